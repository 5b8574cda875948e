//! Two containers with one name: one of them is refused, and the other goes on untouched.

use std::time::{Duration, Instant};

use st2sa_testbed::{FAILOVER, Process, Signal};

use crate::scene::{SLACK, Scene};

/// A name that another has is given up after ten seconds.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
/// The exit code for that.
const NAME_TAKEN: Option<i32> = Some(5);

/// Nothing of the first container's has changed.
fn is_untouched(scene: &Scene, history: usize, before: &[Process]) {
    assert_eq!(scene.history_from(history), []);
    assert_eq!(scene.processes(), before);
    scene.is_well();
}

#[test]
fn a_second_container_on_the_same_state_folder_is_refused_at_once() {
    let scene = Scene::usual();
    let (history, before) = (scene.history_length(), scene.processes());
    let mut second = scene.bed.container("a");
    let status = second.wait(SLACK);
    assert_eq!(status.code(), NAME_TAKEN, "{}", second.log());
    let named = format!("as process {}", scene.a.pid());
    assert!(second.log().contains(&named), "{named} is not in: {}", second.log());
    is_untouched(&scene, history, &before);
}

#[test]
fn a_second_container_of_a_live_name_is_refused_by_the_arbitrator() {
    let scene = Scene::usual();
    let (history, before) = (scene.history_length(), scene.processes());
    let mut second = scene.bed.container_in("a", "elsewhere", &[]);
    let status = second.wait(REFUSED_WITHIN);
    assert_eq!(status.code(), NAME_TAKEN, "{}", second.log());
    let host = st2sa_machine::identity::host();
    for named in [
        format!("it runs on `{host}` as process {}", scene.a.pid()),
        format!("this one on `{host}` as process {}", second.pid()),
    ] {
        assert!(second.log().contains(&named), "{named} is not in: {}", second.log());
    }
    assert_eq!(second.processes(), []);
    is_untouched(&scene, history, &before);
}

#[test]
fn a_container_that_slept_while_another_took_its_name_harms_nobody() {
    let mut scene = Scene::usual();
    let held = scene.processes();
    let since = Instant::now();
    scene.a.kill(Signal::STOP);
    let second = scene.bed.container_in("a", "elsewhere", &[]);
    scene.bed.eventually(FAILOVER + SLACK, "the sleeper is given up and the other is welcomed", || {
        scene.bed.containers()?.iter().find(|container| container.pid == second.pid().unsigned_abs()).map(drop)
    });
    scene.polled_by_others(&held, since, FAILOVER + SLACK);
    let woken = Instant::now();
    scene.a.kill(Signal::CONT);
    assert_eq!(scene.a.wait(REFUSED_WITHIN).code(), NAME_TAKEN, "{}", scene.a.log());
    assert!(held.iter().all(|process| !process.lives()), "what the sleeper held is dead");
    assert!(!scene.source.polls().iter().any(|poll| held.contains(&poll.process) && poll.begun > woken));
    scene.is_well();
}
