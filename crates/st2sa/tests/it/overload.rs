//! A journaled sensor that does far too much in one poll: it is told so, its container stays small, and nobody else feels it.

use std::time::{Duration, Instant};

use st2sa_testbed::Pack;

use crate::scene::{SETTLES, Scene, TICKER};

/// In which a hundred thousand dispatches are made by a program that is not optimised, on a busy machine.
const OVERFLOWS: Duration = Duration::from_mins(3);
/// More than a container has in idle, in KiB.
const GROWS_KIB_AT_MOST: u64 = 256 * 1024;

#[test]
fn a_hundred_thousand_triggers_in_one_poll_are_refused() {
    is_told_and_bounded("overflows");
}

#[test]
fn a_poll_that_dispatches_for_ever_ends() {
    is_told_and_bounded("goes_on");
}

#[test]
fn a_trigger_of_ten_mebibytes_is_refused() {
    is_told_and_bounded("swells");
}

fn is_told_and_bounded(how: &'static str) {
    let scene = Scene::under(&[Pack::Ticker(2), Pack::Ill { how, on: "" }], "\"ill.*\": {effects: journal}");
    let idle = resident_kib(scene.a.pid());
    let before = scene.bed.triggers().iter().filter(|trigger| trigger.sensor == "ill.Ill").count();
    Pack::fall_ill(scene.bed.folder());
    let told = scene.bed.eventually(OVERFLOWS, "the sensor is told why", || {
        let sensors = scene.bed.sensors()?;
        let ill = sensors.iter().find(|sensor| sensor.reference == "ill.Ill")?;
        ill.instances.iter().find_map(|instance| instance.last_error.clone())
    });
    assert!(
        told.contains("ValueError") && told.contains("one poll may dispatch and store 100000 times and 8 MiB"),
        "{told}"
    );
    for program in [&scene.a, &scene.b] {
        let now = resident_kib(program.pid());
        assert!(now < idle + GROWS_KIB_AT_MOST, "{} has grown from {idle} to {now} KiB", program.name());
    }
    let since = Instant::now();
    scene.bed.eventually(SETTLES, "others poll on", || scene.source.first_since(TICKER, since));
    // What a raising poll did is withheld, all of it.
    let of_polls = |number: &serde_json::Value| number["poll"].as_u64().is_some();
    let triggers = scene.bed.triggers();
    let ill: Vec<_> = triggers.iter().filter(|trigger| trigger.sensor == "ill.Ill").collect();
    assert!(ill.iter().all(|trigger| of_polls(&trigger.payload)) && ill.len() <= before + 2, "{}", ill.len());
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
