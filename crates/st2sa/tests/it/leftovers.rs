//! What a process leaves behind when it is killed: nothing, daemons of its sensors included.

use std::collections::BTreeSet;
use std::time::Duration;

use st2sa_machine::processes::{Process, below, wait_until_dead};
use st2sa_testbed::{Pack, Signal};

use crate::scene::{SETTLES, SLACK, SLOW, Scene};

/// Everything of a killed container is dead within this.
const DEAD_WITHIN: Duration = Duration::from_secs(1);
const FORKER: &str = "forker.Forker";

/// The processes that have appended to the forker's file so far.
fn grown_by(scene: &Scene) -> BTreeSet<i32> {
    let text = std::fs::read_to_string(Pack::grown(scene.bed.folder())).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The one daemon that lives.
fn daemon(scene: &Scene, but: &BTreeSet<i32>) -> Process {
    scene.bed.eventually(SETTLES, "a daemon of the forker's appends to its file", || {
        grown_by(scene).difference(but).copied().filter_map(Process::of).find(|process| process.lives())
    })
}

/// Those of them that live: what they are, and in which state.
fn described(processes: &[Process]) -> Vec<String> {
    let living = processes.iter().filter(|process| process.lives());
    let status = |process: &Process| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
        let lines = status.lines().filter(|line| ["Name", "State", "PPid"].iter().any(|name| line.starts_with(name)));
        let command = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        format!("{} {} {}", process.pid, lines.collect::<Vec<_>>().join(", "), command.replace('\0', " "))
    };
    living.map(status).collect()
}

fn forking() -> Scene {
    let scene = Scene::of(&[Pack::Ticker(2), Pack::Slow, Pack::Forker]);
    scene.until_slow_is_inside();
    scene
}

#[test]
fn a_killed_container_leaves_no_process() {
    let scene = forking();
    let daemon_of_a = daemon(&scene, &BTreeSet::new());
    let all = below(scene.a.pid());
    assert!(all.contains(&daemon_of_a), "the daemon stands below its container");
    // The guardian, the host, the sensors, the daemon.
    assert!(all.len() >= scene.sensors.len() + 3, "{all:?}");
    scene.a.kill(Signal::KILL);
    wait_until_dead(&all, DEAD_WITHIN);
    assert_eq!(described(&all), Vec::<String>::new());
    assert_eq!(described(&scene.a.processes()), Vec::<String>::new());
    let daemon_of_b = daemon(&scene, &BTreeSet::from([daemon_of_a.pid]));
    assert!(below(scene.b.pid()).contains(&daemon_of_b));
    scene.is_well();
}

#[test]
fn a_killed_sensor_process_takes_its_daemon_with_it() {
    let scene = forking();
    let first = daemon(&scene, &BTreeSet::new());
    scene.bed.kill(scene.bed.sensor_process(FORKER).unwrap(), Signal::KILL);
    scene.bed.eventually(DEAD_WITHIN, "the daemon is dead", || (!first.lives()).then_some(()));
    daemon(&scene, &BTreeSet::from([first.pid]));
    scene.is_well();
}

#[test]
fn a_container_that_leaves_takes_every_daemon_with_it() {
    let mut scene = forking();
    let first = daemon(&scene, &BTreeSet::new());
    scene.a.kill(Signal::TERM);
    let handed_over = || {
        scene.source.release(SLOW);
        (!scene.a.process().lives()).then_some(())
    };
    scene.bed.eventually(SETTLES, "the container has handed everything over", handed_over);
    assert_eq!(scene.a.wait(SLACK).code(), Some(0), "{}", scene.a.log());
    assert!(!first.lives());
    assert_eq!(scene.a.processes(), []);
    daemon(&scene, &BTreeSet::from([first.pid]));
    scene.is_well();
}

#[test]
fn the_last_container_stops_without_waiting_for_anybody_to_take_over() {
    let mut scene = forking();
    let ends = |container: &st2sa_testbed::Program| {
        container.kill(Signal::TERM);
        scene.bed.eventually(SETTLES, "it has ended", || {
            scene.source.release(SLOW);
            (!container.process().lives()).then_some(())
        });
    };
    ends(&scene.b);
    ends(&scene.a);
    assert_eq!(scene.b.wait(SLACK).code(), Some(0), "{}", scene.b.log());
    assert_eq!(scene.a.wait(SLACK).code(), Some(0), "{}", scene.a.log());
    assert_eq!(scene.a.processes(), []);
}
