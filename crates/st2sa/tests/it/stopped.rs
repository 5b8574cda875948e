//! SIGSTOP of each kind of process for three times as long as a session lasts, then SIGCONT.

use std::time::{Duration, Instant};

use st2sa_machine::processes::below;
use st2sa_testbed::{FAILOVER, Process, SESSION_TTL, Signal, can_act};

use crate::engines::{Engine, on_every_engine};
use crate::scene::{SETTLES, SLACK, SLOW, Scene, TICKER, all_are_on, tickers};

/// Stopped for so long.
const STOPPED_FOR: Duration = Duration::from_secs(SESSION_TTL.as_secs() * 3);

/// A process that is stopped, and goes on at the end of the time.
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

#[test]
fn stopped_sensor_processes_stay_where_they_are_and_go_on() {
    let scene = Scene::usual();
    let before = scene.history_length();
    let held = [TICKER, SLOW].map(|sensor| scene.bed.sensor_process(sensor).unwrap());
    let stopped = held.map(|process| Stopped::stop(&scene, process));
    let others: Vec<String> = tickers(&scene).into_iter().filter(|sensor| sensor != TICKER).collect();
    scene.polled_within(&others, stopped[0].since, SLACK);
    let woken = stopped.map(Stopped::goes_on_in_time);
    scene.polled_within(&[TICKER.to_owned()], woken[0], SLACK);
    all_are_on("a", &scene.is_well());
    assert_eq!(scene.history_from(before), []);
    assert_eq!([TICKER, SLOW].map(|sensor| scene.bed.sensor_process(sensor).unwrap()), held);
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
    all_are_on("a", &scene.is_well());
    assert_eq!(scene.history_from(before), []);
}

on_every_engine!(the_sensors_of_a_stopped_container_run_elsewhere_and_do_not_act_when_it_wakes);

fn the_sensors_of_a_stopped_container_run_elsewhere_and_do_not_act_when_it_wakes(engine: Engine) {
    let scene = Scene::usual_on(engine);
    let held = scene.processes();
    let stopped = Stopped::stop(&scene, scene.a.process());
    scene.polled_by_others(&held, stopped.since, FAILOVER + SLACK);
    let woken = stopped.goes_on_in_time();
    scene.dead_within(&held, SLACK, "what the woken container held is dead");
    all_are_on("b", &scene.is_well());
    let acted = scene.source.polls().into_iter().filter(|poll| held.contains(&poll.process) && poll.begun >= woken);
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
    let held = below(scene.a.guardian().pid);
    assert!(held.len() > scene.sensors.len(), "{held:?}");
    let frozen = || held.iter().all(|process| !can_act(*process)).then_some(());
    scene.bed.eventually(SESSION_TTL + SLACK, "sensors are frozen when the lease ends", frozen);
    let woken = stopped.goes_on_in_time();
    scene.polled_within(&tickers(&scene), woken, FAILOVER + SLACK);
    all_are_on("a", &scene.settled(SETTLES));
    scene.is_well();
    for record in scene.history_from(before) {
        assert_eq!((record.cause.as_str(), record.from, record.to), ("adopted", Some("a".into()), Some("a".into())));
    }
}
