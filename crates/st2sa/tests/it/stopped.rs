//! SIGSTOP of each kind of process for three times as long as a session lasts, then SIGCONT.

use std::time::{Duration, Instant};

use st2sa_testbed::{FAILOVER, Poll, Process, SESSION_TTL, Signal};

use crate::scene::{SETTLES, SLACK, Scene, TICKER, tickers};

/// Stopped for so long.
const STOPPED_FOR: Duration = Duration::from_secs(SESSION_TTL.as_secs() * 3);

/// A process that is stopped, and goes on at the end of the time, or when dropped.
struct Stopped<'a> {
    scene: &'a Scene,
    process: Process,
    since: Instant,
}

impl<'a> Stopped<'a> {
    fn stop(scene: &'a Scene, process: Process) -> Self {
        scene.bed.kill(process, Signal::STOP);
        Self { scene, process, since: Instant::now() }
    }

    /// Lets the time pass, then the process go on; returns when that was.
    fn goes_on_in_time(self) -> Instant {
        std::thread::sleep(STOPPED_FOR.saturating_sub(self.since.elapsed()));
        self.scene.bed.kill(self.process, Signal::CONT);
        Instant::now()
    }
}

fn of(poll: &Poll, process: Process) -> bool {
    poll.process == process
}

#[test]
fn a_stopped_sensor_process_stays_where_it_is_and_goes_on() {
    let scene = Scene::usual();
    let before = scene.history_length();
    let process = scene.bed.sensor_process(TICKER).unwrap();
    let stopped = Stopped::stop(&scene, process);
    let since = stopped.since;
    let others: Vec<String> = tickers(&scene).into_iter().filter(|sensor| sensor != TICKER).collect();
    scene.polled_within(&others, since, SLACK);
    let woken = stopped.goes_on_in_time();
    scene.polled_within(&[TICKER.to_owned()], woken, SLACK);
    scene.is_well();
    assert!(scene.source.polls().iter().rev().any(|poll| of(poll, process) && poll.begun > woken));
    assert_eq!(scene.history_from(before), []);
}

#[test]
fn a_stopped_host_keeps_nobody_from_polling() {
    let scene = Scene::usual();
    let before = scene.history_length();
    let stopped = Stopped::stop(&scene, scene.a.hosts()[0]);
    let half = stopped.since + STOPPED_FOR / 2;
    std::thread::sleep(half.saturating_duration_since(Instant::now()));
    scene.polled_within(&tickers(&scene), half, SLACK);
    stopped.goes_on_in_time();
    let placement = scene.is_well();
    assert!(placement.values().all(|container| container == "a"), "{placement:?}");
    assert_eq!(scene.history_from(before), []);
}

#[test]
fn the_sensors_of_a_stopped_container_run_elsewhere_and_do_not_act_when_it_wakes() {
    let scene = Scene::usual();
    let processes: Vec<Process> =
        scene.sensors.iter().map(|sensor| scene.bed.sensor_process(sensor).unwrap()).collect();
    let stopped = Stopped::stop(&scene, scene.a.process());
    // Until the lease ends they go on: what counts is who polls then.
    let frozen = stopped.since + FAILOVER + SLACK;
    for sensor in &scene.sensors {
        let left = frozen.saturating_duration_since(Instant::now());
        scene.bed.eventually(left, &format!("{sensor} is polled on b"), || {
            let polls = scene.source.polls();
            let elsewhere = |poll: &&Poll| poll.sensor == *sensor && !processes.contains(&poll.process);
            polls.iter().find(elsewhere).map(drop)
        });
    }
    let woken = stopped.goes_on_in_time();
    let gone = || processes.iter().all(|process| !process.lives()).then_some(());
    scene.bed.eventually(SLACK, "what a woken container held is dead", gone);
    let placement = scene.is_well();
    assert!(placement.values().all(|container| container == "b"), "{placement:?}");
    let acted =
        scene.source.polls().into_iter().filter(|poll| processes.contains(&poll.process) && poll.begun >= woken);
    assert_eq!(acted.count(), 0, "sensors of the woken container have polled");
    scene.until_ready("a");
}

#[test]
fn a_stopped_guardian_is_replaced() {
    let scene = Scene::usual();
    let guardian = scene.a.guardian();
    let since = Instant::now();
    scene.bed.kill(guardian, Signal::STOP);
    scene.bed.eventually(SESSION_TTL + SLACK, "the stopped guardian is killed", || (!guardian.lives()).then_some(()));
    scene.polled_within(&tickers(&scene), since + SESSION_TTL, FAILOVER + SLACK);
    assert_ne!(scene.a.guardian(), guardian);
    std::thread::sleep((since + STOPPED_FOR).saturating_duration_since(Instant::now()));
    scene.is_well();
}

#[test]
fn a_stopped_arbitrator_goes_on_and_nothing_moves() {
    let scene = Scene::usual();
    let before = scene.history_length();
    let stopped = Stopped::stop(&scene, scene.arbitrator.process());
    let frozen = || {
        let processes = scene.a.guardian().pid;
        let below = st2sa_machine::processes::below(processes);
        (!below.is_empty() && below.iter().all(|process| process.is_stopped())).then_some(())
    };
    scene.bed.eventually(SESSION_TTL + SLACK, "sensors are frozen when the lease ends", frozen);
    let woken = stopped.goes_on_in_time();
    scene.polled_within(&tickers(&scene), woken, FAILOVER + SLACK);
    let placement = scene.settled(SETTLES);
    assert!(placement.values().all(|container| container == "a"), "{placement:?}");
    scene.is_well();
    for record in scene.history_from(before) {
        assert_eq!((record.cause.as_str(), record.from, record.to), ("adopted", Some("a".into()), Some("a".into())));
    }
}
