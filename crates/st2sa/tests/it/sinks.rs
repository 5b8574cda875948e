//! Sinks over the network: what they are sent, and what becomes of triggers while they are away, or refuse them.

mod amqp;
mod endpoint;
mod http;
mod kombu;

use std::collections::BTreeMap;

use serde_json::Value;
use st2sa_testbed::{Pack, Process, Program, Testbed};

use crate::scene::SETTLES;

/// What arrived of each teller, in the order of arrival.
type Arrived = BTreeMap<u32, Vec<Number>>;

/// One number that arrived.
struct Number {
    number: u64,
    /// Who has dispatched it: another process may do so again, under another id.
    process: u64,
    id: String,
}

impl Number {
    /// A trigger's payload, and its id: which teller it is of, and what.
    fn of(payload: &Value, id: String) -> (u32, Self) {
        let teller = payload["teller"].as_str().and_then(|teller| teller.parse().ok()).unwrap();
        let number = |name: &str| payload[name].as_u64().unwrap();
        (teller, Self { number: number("number"), process: number("process"), id })
    }
}

/// How many sensors count in most tests.
const TELLERS: u32 = 4;

/// Fails unless everything that tellers were told is dispatched has arrived, in each one's order, and whatever arrived twice
/// did so under one id. Returns how much arrived, and how much of it again.
fn assert_all_arrived(bed: &Testbed, arrived: &Arrived) -> (usize, usize) {
    let (mut first, mut again) = (0, 0);
    for number in 1..=TELLERS {
        let told = Pack::told(bed.folder(), number);
        let here = arrived.get(&number).map(Vec::as_slice).unwrap_or_default();
        let (mut ids, mut order) = (BTreeMap::new(), Vec::new());
        for Number { number: count, process, id } in here {
            match ids.insert((count, process), id) {
                None => order.extend((!order.contains(count)).then_some(*count)),
                Some(before) => {
                    assert_eq!(before, id, "number {count} of teller {number} arrived under two ids");
                    again += 1;
                }
            }
        }
        let missing: Vec<&u64> = told.iter().filter(|count| !order.contains(count)).collect();
        assert!(missing.is_empty(), "teller {number} was told that these are dispatched: {missing:?}");
        assert!(order.is_sorted(), "the numbers of teller {number} are out of order: {order:?}");
        assert!(!told.is_empty(), "teller {number} has dispatched nothing");
        first += order.len();
    }
    (first, again)
}

/// Fails unless sensors still have the processes that they had `before`.
fn assert_same_processes(bed: &Testbed, container: &Program, sensors: &[String], before: &[Process]) {
    // That is for a machine that gives a process no time for two seconds; it is not the sink's doing.
    if !container.log().contains("the guardian is given up") {
        assert_eq!(before, processes(bed, sensors), "{}", container.log());
    }
}

/// The processes of the ACTIVE instances, once all are known.
fn processes(bed: &Testbed, sensors: &[String]) -> Vec<Process> {
    bed.eventually(SETTLES, "every sensor's process is known", || {
        sensors.iter().map(|sensor| bed.sensor_process(sensor)).collect()
    })
}
