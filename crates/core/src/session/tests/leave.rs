//! Leaving: everything is handed over, then the register is left.

use super::build::*;
use crate::message::{Effects, Heartbeat, StopCause, ToArbitrator, ToContainer};
use crate::session::{Command, Event, Outcome};

#[test]
fn a_container_with_nothing_active_ends_its_processes_and_leaves() {
    let mut rig = Rig::leased(Effects::Direct);
    assert_eq!(rig.take(Event::Leave), [Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, ToArbitrator::Leaving)]);
    assert_eq!(rig.hear(ToContainer::Left), [Command::Exit]);
}

#[test]
fn a_container_that_leaves_asks_to_hand_over_and_goes_on_meanwhile() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.take(Event::Leave), []);
    rig.now = at(400);
    let draining = Heartbeat { draining: true, ..heartbeat(1, 2, at(400)) };
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(draining))]);
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
}

#[test]
fn what_was_handed_over_is_not_started_again() {
    let mut rig = Rig::active(Effects::Direct);
    rig.take(Event::Leave);
    assert_eq!(rig.hear(standby(fence(1, 2))), [Command::Kill(PROCESS)]);
    let word = stopped(fence(1, 2), StopCause::Asked, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), send(FIRST, ToArbitrator::Leaving)]);
}

#[test]
fn what_nobody_took_goes_on_until_leaving_takes_too_long() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::Leave);
    rig.live(at(60_900));
    let returned = Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) };
    assert_eq!(rig.take(returned), [Command::Poll { process: PROCESS, fence: fence(1, 2) }]);
}

#[test]
fn what_nobody_took_stops_by_itself_when_leaving_takes_too_long() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::Leave);
    rig.live(at(61_000));
    let returned = Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) };
    assert_eq!(rig.take(returned), [Command::Kill(PROCESS)]);
    let word = stopped(fence(1, 2), StopCause::Asked, Some(60_000));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), send(FIRST, ToArbitrator::Leaving)]);
}

#[test]
fn a_container_that_was_struck_without_leaving_greets_again() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.hear(ToContainer::Left), [Command::Close(FIRST)]);
}
