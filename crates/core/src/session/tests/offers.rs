//! What the packs offer: withdrawn, offered again, changed.

use super::build::*;
use crate::message::{Binding, Effects, Heartbeat, Offer, State, StopCause, ToArbitrator};
use crate::names::Digest;
use crate::session::{Command, Event};

fn told(offers: Vec<Offer>) -> Command {
    send(FIRST, ToArbitrator::Offers(offers))
}

fn newer() -> Offer {
    Offer { digest: Digest(2), previous: Some(Digest(1)), ..offer(Effects::Direct) }
}

/// Bound, with a lease; x has been withdrawn, and nothing of it runs.
fn withdrawn() -> Rig {
    let mut rig = Rig::leased(Effects::Direct);
    rig.take(Event::Offers(Vec::new()));
    rig.take(Event::Gone(PROCESS));
    rig
}

#[test]
fn a_withdrawn_sensors_standby_is_killed_and_not_started_again() {
    let mut rig = Rig::leased(Effects::Direct);
    assert_eq!(rig.take(Event::Offers(Vec::new())), [told(Vec::new()), Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), []);
}

#[test]
fn a_word_for_a_withdrawn_sensor_holds_when_it_is_offered_again() {
    let mut rig = withdrawn();
    let word = stopped(fence(1, 2), StopCause::Asked, None);
    assert_eq!(rig.hear(active(fence(1, 2), just_polled(Effects::Direct))), [send(FIRST, word.clone())]);
    let offers = vec![offer(Effects::Direct)];
    assert_eq!(rig.take(Event::Offers(offers.clone())), [told(offers), spawn(FRESH)]);
    assert_eq!(rig.hear(active(fence(1, 2), just_polled(Effects::Direct))), [send(FIRST, word)]);
    let commands = rig.hear(active(fence(1, 3), just_polled(Effects::Direct)));
    assert_eq!(commands, [send(FIRST, applied(fence(1, 3), State::Starting))]);
}

#[test]
fn an_active_sensor_that_is_withdrawn_runs_until_it_is_to_stand_by() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.take(Event::Offers(Vec::new())), [told(Vec::new())]);
    assert_eq!(rig.hear(standby(fence(1, 2))), [Command::Kill(PROCESS)]);
    let word = stopped(fence(1, 2), StopCause::Asked, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word)]);
}

#[test]
fn the_word_for_a_withdrawn_sensor_is_the_one_for_the_newest_fence() {
    let mut rig = Rig::active(Effects::Direct);
    rig.hear(adopted(fence(1, 5)));
    rig.take(Event::Offers(Vec::new()));
    rig.hear(standby(fence(1, 5)));
    rig.take(Event::Gone(PROCESS));
    let word = stopped(fence(1, 5), StopCause::Asked, None);
    assert_eq!(rig.hear(active(fence(1, 2), just_polled(Effects::Direct))), [send(FIRST, word)]);
}

#[test]
fn a_withdrawn_sensor_is_not_claimed() {
    let mut rig = Rig::active(Effects::Direct);
    rig.take(Event::Offers(Vec::new()));
    rig.hear(standby(fence(1, 2)));
    rig.take(Event::Gone(PROCESS));
    rig.hear(crate::message::ToContainer::Resigning);
    rig.now = at(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    let commands = rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    let first = Heartbeat { binds: Some(Binding::default()), ..heartbeat(1, 1, at(250)) };
    assert_eq!(commands[1..3], [send(NEXT, beat(first)), send(NEXT, ToArbitrator::Offers(Vec::new()))]);
}

#[test]
fn an_instance_that_is_not_set_up_yet_is_set_up_from_the_new_code() {
    let mut rig = Rig::started(config(), at(0));
    rig.take(Event::Offers(vec![offer(Effects::Direct)]));
    rig.take(Event::StreamOpened(FIRST));
    rig.hear(welcome("l1", 1, 1, fence(1, 1)));
    rig.hear(ack(1, 1, at(0)));
    rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    assert_eq!(rig.take(Event::Offers(vec![newer()])), [told(vec![newer()]), Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Ready(PROCESS)), []);
    assert_eq!(rig.take(Event::Gone(PROCESS)), [spawn(FRESH)]);
    assert_eq!(rig.take(Event::Ready(FRESH)), [Command::Activate { process: FRESH, values: None }]);
}

#[test]
fn an_active_instance_whose_code_changed_is_left_to_the_leader() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.take(Event::Offers(vec![newer()])), [told(vec![newer()])]);
}
