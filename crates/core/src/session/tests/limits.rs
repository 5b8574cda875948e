//! How long anything may take: loading, setting up, being frozen, leaving.

use super::build::*;
use crate::message::{Activation, Effects, StopCause, ToArbitrator};
use crate::session::{Command, Event, Outcome};
use crate::time::Span;

/// Counts as hung after five seconds.
fn brief() -> Activation {
    Activation { timeout: Span::from_secs(5), ..just_polled(Effects::Direct) }
}

#[test]
fn a_process_that_is_not_set_up_in_time_is_killed() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(active(fence(1, 2), brief()));
    rig.live(at(4_999));
    rig.now = at(5_000);
    assert!(rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
    let word = stopped(fence(1, 2), StopCause::Hung, Some(5_000));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

#[test]
fn a_process_that_is_not_set_up_in_time_is_killed_while_it_is_to_stand_by_too() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(active(fence(1, 2), brief()));
    rig.live(at(1_000));
    assert_eq!(rig.hear(standby(fence(1, 2))), []);
    rig.live(at(4_999));
    rig.now = at(5_000);
    assert!(rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
}

#[test]
fn a_process_that_is_not_loaded_in_time_gives_the_sensor_up() {
    let mut rig = Rig::started(config(), at(0));
    rig.take(Event::Offers(vec![offer(Effects::Direct)]));
    rig.take(Event::StreamOpened(FIRST));
    rig.hear(welcome("l1", 1, 1, fence(1, 1)));
    rig.hear(ack(1, 1, at(0)));
    rig.live(at(3_000));
    rig.hear(active(fence(1, 2), brief()));
    rig.live(at(7_999));
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
    rig.now = at(8_000);
    assert!(rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
    rig.take(Event::Gone(PROCESS));
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn a_poll_counts_as_hung_when_the_leader_says() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(active(fence(1, 2), Activation { polled_ago: None, ..brief() }));
    assert_eq!(rig.take(Event::Activated(PROCESS)), [Command::Poll { process: PROCESS, fence: fence(1, 2) }]);
    rig.live(at(4_999));
    rig.now = at(5_000);
    assert!(rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
}

#[test]
fn what_is_activated_during_a_long_lapse_may_be_frozen_for_as_long_as_anything() {
    let mut rig = Rig::started(config(), at(0));
    rig.take(Event::Offers(vec![offer(Effects::Direct)]));
    rig.take(Event::Ready(PROCESS));
    rig.now = at(31_000);
    rig.take(Event::Wake);
    rig.now = at(32_000);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l1", 1, 1, fence(1, 1)));
    rig.hear_on(NEXT, active(fence(1, 2), just_polled(Effects::Direct)));
    rig.now = at(61_999);
    rig.take(Event::Wake);
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
    rig.now = at(62_000);
    rig.take(Event::Wake);
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn a_container_that_leaves_starts_no_process_for_what_it_still_holds() {
    let mut rig = Rig::polling(Effects::Journal);
    rig.take(Event::PollReturned { process: PROCESS, outcome: work(7) });
    rig.live(at(2_000));
    assert_eq!(rig.take(Event::Leave), []);
    let raised = Event::PollReturned { process: PROCESS, outcome: Outcome::Raised { effects: true } };
    assert_eq!(rig.take(raised), [Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), []);
    assert!(rig.session.next_deadline().unwrap().0 > rig.now);
    rig.live(at(61_999));
    rig.live(at(62_000));
    // Its entry, which nobody answers, is waited for once more.
    rig.live(at(71_999));
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
    rig.now = at(72_000);
    let commands = rig.take(Event::Wake);
    assert!(commands.contains(&send(FIRST, ToArbitrator::Leaving)), "{commands:?}");
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn an_effect_that_was_not_handed_on_is_given_again() {
    let mut rig = Rig::polling(Effects::Direct);
    let emitted = Event::Emitted { process: PROCESS, id: crate::names::EntryId(7), effect: effects() };
    assert_eq!(rig.take(emitted), [publish(fence(1, 2), 7)]);
    let withheld = Event::NotPublished { sensor: x(), id: crate::names::EntryId(7) };
    assert_eq!(rig.take(withheld), [publish(fence(1, 2), 7)]);
    rig.take(Event::Published { sensor: x(), id: crate::names::EntryId(7) });
    let late = Event::NotPublished { sensor: x(), id: crate::names::EntryId(7) };
    assert_eq!(rig.take(late), []);
}
