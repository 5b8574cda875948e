//! Sinks over the network: what they are sent, and what becomes of triggers while they are away, or refuse them.

mod amqp;
mod endpoint;
mod http;
mod kombu;

use std::collections::BTreeMap;

use st2sa_testbed::{Pack, Process, Testbed};

use crate::scene::SETTLES;

/// What arrived of one teller: the number of each message, and its id, in the order of arrival.
type Arrived = BTreeMap<u32, Vec<(u64, String)>>;

/// How many sensors count in most tests.
const TELLERS: u32 = 4;

/// Fails unless everything that tellers were told is dispatched has arrived, in each one's order, and whatever arrived twice
/// did so under one id. Returns how much arrived, and how much of it again.
fn assert_all_arrived(bed: &Testbed, arrived: &Arrived) -> (usize, usize) {
    let (mut first, mut again) = (0, 0);
    for number in 1..=TELLERS {
        let told = Pack::told(bed.folder(), number);
        let here = arrived.get(&number).map(Vec::as_slice).unwrap_or_default();
        let mut ids = BTreeMap::new();
        let mut order = Vec::new();
        for (count, id) in here {
            match ids.insert(*count, id) {
                None => order.push(*count),
                Some(before) => {
                    assert_eq!(before, id, "number {count} of teller {number} arrived under two ids");
                    again += 1;
                }
            }
        }
        let missing: Vec<&u64> = told.iter().filter(|count| !ids.contains_key(count)).collect();
        assert!(missing.is_empty(), "teller {number} was told that these are dispatched: {missing:?}");
        assert!(order.is_sorted(), "the numbers of teller {number} are out of order");
        assert!(!told.is_empty(), "teller {number} has dispatched nothing");
        first += order.len();
    }
    (first, again)
}

/// The processes of the ACTIVE instances, once all are known.
fn processes(bed: &Testbed, sensors: &[String]) -> Vec<Process> {
    bed.eventually(SETTLES, "every sensor's process is known", || {
        sensors.iter().map(|sensor| bed.sensor_process(sensor)).collect()
    })
}
