//! A container without high availability: it needs nobody, runs everything that it has, and never gives up.

use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{Pack, Program, Signal, Source, Testbed};

use crate::scene::{SETTLES, TICKER, sensors_of, testbed};

/// More deaths than StackStorm's container takes before it leaves a sensor dead.
const DEATHS: usize = 5;
/// A sensor process that has died is started again: after 1 s, doubled each time.
const STARTED_AGAIN: Duration = Duration::from_mins(1);

struct Alone {
    container: Program,
    source: Source,
    bed: Testbed,
    sensors: Vec<String>,
}

fn alone() -> Alone {
    let (bed, source) = (testbed(), Source::start());
    let packs = [Pack::Ticker(2), Pack::Cursor];
    bed.add_packs(&packs, &source);
    let listen = format!("--arbitrator-listen={}", bed.listen());
    let data = format!("--data-dir={}", bed.folder().join("alone").display());
    // No arbitrator is there to be asked.
    let container = bed.container_in("a", "a", &["--no-ha", &listen, &data]);
    let sensors = sensors_of(&packs);
    bed.eventually(SETTLES, "every sensor runs", || bed.placement(&sensors));
    Alone { container, source, bed, sensors }
}

#[test]
fn a_sensor_that_dies_again_and_again_is_always_started_again() {
    let alone = alone();
    for death in 1..=DEATHS {
        let what = format!("it is polled before death {death}");
        let since = Instant::now();
        alone.bed.eventually(STARTED_AGAIN, &what, || alone.source.first_since(TICKER, since));
        let process = alone.bed.eventually(SETTLES, &what, || alone.bed.sensor_process(TICKER));
        alone.bed.kill(process, Signal::KILL);
        alone.bed.eventually(SETTLES, "it is dead", || (!process.lives()).then_some(()));
    }
    let since = Instant::now();
    alone.bed.eventually(STARTED_AGAIN, "it is polled again", || alone.source.first_since(TICKER, since));
    let sensors = alone.bed.sensors().unwrap();
    let ticker = sensors.iter().find(|sensor| sensor.reference == TICKER).unwrap();
    assert_eq!(ticker.instances[0].errors, DEATHS as u64, "{ticker:?}");
    alone.source.assert_no_overlap();
}

#[test]
fn it_keeps_cursors_answers_people_and_ends_at_once_when_asked() {
    let mut alone = alone();
    let last = |alone: &Alone| {
        let numbers = alone.bed.triggers().into_iter().filter_map(|trigger| trigger.payload["number"].as_u64());
        numbers.max().filter(|last| *last > 5)
    };
    alone.bed.eventually(SETTLES, "a cursor has moved on", || last(&alone));
    let mut pause =
        alone.bed.program("pause", &["pause", TICKER, "--yes", &format!("--arbitrator={}", alone.bed.listen())]);
    assert!(pause.wait(SETTLES).success(), "{}", pause.log());
    alone.container.kill(Signal::TERM);
    assert_eq!(alone.container.wait(SETTLES).code(), Some(0), "{}", alone.container.log());
    let before = last(&alone).unwrap();
    alone.container.restart();
    alone.bed.eventually(SETTLES, "it goes on at the cursor", || last(&alone).filter(|last| *last > before));
    let numbers: Vec<u64> =
        alone.bed.triggers().into_iter().filter_map(|trigger| trigger.payload["number"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    // What was paused stays paused.
    alone.bed.eventually(SETTLES, "all others run", || {
        let others: Vec<String> = alone.sensors.iter().filter(|sensor| *sensor != TICKER).cloned().collect();
        alone.bed.placement(&others)
    });
    let sensors = alone.bed.sensors().unwrap();
    assert_eq!(sensors.iter().find(|sensor| sensor.reference == TICKER).unwrap().status, word::PAUSED);
}
