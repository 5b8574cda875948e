//! Striking a container whose lease has surely ended.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::engine::{Check, Key, Reply, Request, Transaction, Write};
use crate::history::{Cause, Record};
use crate::message::{Effects, Heartbeat, ToArbitrator, ToContainer};
use crate::names::RequestId;

/// Container a holds x and has been silent since the beginning; b lives. It is just before a's end.
fn silent() -> Rig {
    let mut rig = Rig::holding(Effects::Direct);
    rig.pass(at(2_599), &[(B, 2)]);
    rig
}

fn strike(rig: &Rig) -> Request {
    let key = Key::Register(name("a"));
    Request::Transact(Transaction {
        token: token(1),
        checks: vec![Check { key: key.clone(), version: rig.version(&key) }],
        writes: vec![Write::Delete(key)],
    })
}

/// The same while its strike is under way.
fn striking() -> (Rig, RequestId) {
    let mut rig = silent();
    rig.now = at(2_600);
    let request = rig.request();
    rig.take(Event::Wake);
    (rig, request)
}

/// What follows when x is free: it goes to b.
fn moved(rig: &Rig) -> [Command; 5] {
    let record = |from, to, fence, cause| {
        Command::Record(Record { at: rig.now, sensor: x(), from, to, fence, cause, who: "arbiter".into() })
    };
    let status = activation(None, None);
    [
        record(Some(name("a")), None, fence(1, 1), Cause::Lost),
        send(A, ToContainer::Left),
        Command::Close(A),
        record(None, Some(name("b")), fence(1, 2), Cause::Lost),
        send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status }),
    ]
}

#[test]
fn nobody_is_struck_before_the_lease_has_surely_ended() {
    let mut rig = silent();
    assert_eq!(rig.take(Event::Wake), []);
}

#[test]
fn a_container_is_struck_when_its_lease_has_surely_ended_and_nothing_is_freed_yet() {
    let mut rig = silent();
    rig.now = at(2_600);
    let (request, strike) = (rig.request(), strike(&rig));
    assert_eq!(rig.take(Event::Wake), [ask(request, strike)]);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn what_a_container_held_is_given_away_when_its_strike_is_confirmed() {
    let (mut rig, request) = striking();
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, moved(&rig));
}

#[test]
fn a_container_that_is_being_struck_is_not_acknowledged() {
    let (mut rig, _) = striking();
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), []);
}

#[test]
fn a_strike_of_unknown_outcome_frees_nothing_and_is_looked_up() {
    let (mut rig, request) = striking();
    let read = rig.request();
    assert_eq!(rig.answer(request, Reply::Unknown), [ask(read, Request::ReadAll)]);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_strike_that_was_refused_frees_nothing_and_is_looked_up() {
    let (mut rig, request) = striking();
    let read = rig.request();
    assert_eq!(rig.answer(request, Reply::CheckFailed), [ask(read, Request::ReadAll)]);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_strike_that_the_register_shows_is_as_good_as_confirmed() {
    let (mut rig, request) = striking();
    let read = rig.request();
    rig.answer(request, Reply::Unknown);
    rig.stored.register.remove(&name("a"));
    let found = rig.everything();
    let commands = rig.answer(read, found);
    assert_eq!(commands, moved(&rig));
}

#[test]
fn a_strike_that_the_register_does_not_show_is_written_again() {
    let (mut rig, request) = striking();
    let read = rig.request();
    rig.answer(request, Reply::Unknown);
    let (found, next, strike) = (rig.everything(), rig.request(), strike(&rig));
    assert_eq!(rig.answer(read, found), [ask(next, strike)]);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_container_that_leaves_is_struck_on_its_word() {
    let mut rig = Rig::bound();
    let (request, strike) = (rig.request(), strike(&rig));
    assert_eq!(rig.hear(A, ToArbitrator::Leaving), [ask(request, strike)]);
}

#[test]
fn a_container_that_has_left_is_told_so() {
    let mut rig = Rig::bound();
    let request = rig.request();
    rig.hear(A, ToArbitrator::Leaving);
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [send(A, ToContainer::Left), Command::Close(A)]);
}

#[test]
fn a_container_that_never_applies_what_it_is_told_ends_by_its_lease_however_often_it_binds_itself() {
    let mut rig = Rig::bound();
    for stream in [A, B] {
        rig.drive(from(stream, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    }
    // It is told of x and never says that it applied that: a poll may take 300 s, and 10 s more are granted.
    rig.pass(at(311_000), &[(A, 1), (B, 2)]);
    for again in 0..2 {
        let holds = vec![claim(fence(1, 1))];
        assert_eq!(rig.hear(A, beat(Heartbeat { sequence: 10_000 + again, ..binding(1, holds) })), []);
        rig.pass(at(311_000 + 1_000 * (again + 1)), &[(B, 2)]);
    }
    rig.pass(at(315_000), &[(B, 2)]);
    let active = rig.arbiter.sensors().into_iter().find_map(|sensor| sensor.active);
    assert_eq!(active.map(|active| active.container), Some(name("b")));
    assert!(rig.arbiter.containers().iter().all(|container| container.name != name("a")));
}
