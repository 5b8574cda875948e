//! Acknowledgements: what a lease is counted from, and what revives it.

use super::build::*;
use crate::message::{Effects, Heartbeat, ToContainer};
use crate::session::{Command, Event};
use crate::time::Time;

/// Bound, with a lease that ends at 2,000 ms; the heartbeat of 400 ms has been sent.
fn beating() -> Rig {
    let mut rig = Rig::leased(Effects::Direct);
    rig.now = at(400);
    rig.take(Event::Wake);
    rig
}

#[test]
fn a_heartbeat_is_sent_after_the_interval() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.now = at(400);
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(heartbeat(1, 2, at(400))))]);
}

#[test]
fn a_lease_is_counted_from_the_sending_of_the_heartbeat() {
    let mut rig = beating();
    rig.now = at(700);
    assert_eq!(rig.hear(ack(1, 2, at(400))), [lease(at(2_400), 0)]);
    assert!(rig.session.may_act(Time(at(2_400).0 - 1)));
    assert!(!rig.session.may_act(at(2_400)));
}

#[test]
fn an_acknowledgement_that_comes_late_shortens_no_lease() {
    let mut rig = beating();
    rig.hear(ack(1, 2, at(400)));
    assert_eq!(rig.hear(ack(1, 1, at(0))), [lease(at(2_400), 0)]);
}

#[test]
fn an_acknowledgement_for_another_session_is_not_heard() {
    let mut rig = beating();
    assert_eq!(rig.hear(ack(2, 2, at(400))), []);
    assert!(!rig.session.may_act(at(2_000)));
}

#[test]
fn an_acknowledgement_on_an_older_stream_is_not_heard() {
    let mut rig = beating();
    rig.hear(ToContainer::Resigning);
    rig.now = at(700);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    assert_eq!(rig.hear(ack(1, 2, at(400))), []);
    assert!(!rig.session.may_act(at(2_000)));
}

#[test]
fn a_heartbeat_without_a_lease_says_so() {
    let mut rig = Rig::bound(Effects::Direct);
    rig.now = at(400);
    let lapsed = Heartbeat { lapsed: true, ..heartbeat(1, 2, at(400)) };
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(lapsed))]);
}

#[test]
fn a_lapsed_lease_is_not_revived_by_the_answer_to_an_earlier_heartbeat() {
    let mut rig = beating();
    rig.now = at(2_000);
    rig.take(Event::Wake);
    assert_eq!(rig.hear(ack(1, 2, at(1_900))), []);
    assert!(!rig.session.may_act(rig.now));
}

#[test]
fn a_lapsed_lease_is_revived_by_the_answer_to_a_heartbeat_that_said_so() {
    let mut rig = Rig::bound(Effects::Direct);
    rig.now = at(100);
    assert_eq!(rig.hear(ack(1, 1, at(0))), [lease(at(2_000), 0)]);
    assert!(rig.session.may_act(rig.now));
}

#[test]
fn an_answer_that_comes_when_even_that_lease_is_over_revives_nothing() {
    let mut rig = Rig::bound(Effects::Direct);
    rig.now = at(1_100);
    rig.take(Event::Wake);
    rig.now = at(2_100);
    rig.hear(ack(1, 1, at(0)));
    assert!(!rig.session.may_act(rig.now));
}

#[test]
fn a_leader_that_acknowledges_nothing_for_three_heartbeats_is_left() {
    let mut rig = beating();
    for now in [800, 1_000] {
        rig.now = at(now);
        rig.take(Event::Wake);
    }
    rig.now = at(1_200);
    assert_eq!(rig.take(Event::Wake), [Command::Close(FIRST)]);
}

#[test]
fn a_stream_that_breaks_ends_no_lease() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.take(Event::StreamClosed(FIRST)), []);
    assert!(rig.session.may_act(rig.now));
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
}

#[test]
fn a_heartbeat_tells_of_each_poll_once() {
    let mut rig = Rig::active(Effects::Direct);
    rig.live(at(900));
    rig.now = at(1_000);
    rig.take(Event::Wake);
    rig.now = at(1_200);
    let told = Heartbeat { polled: vec![(x(), millis(200))], ..heartbeat(1, 4, at(1_200)) };
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(told))]);
    rig.now = at(1_600);
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(heartbeat(1, 5, at(1_600))))]);
}
