//! Greetings: they claim nothing, and join, welcome or refuse.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::engine::{Check, Key, LeaderSeen, Registered, Reply, Request, Token, Transaction, Value, Write};
use crate::history::{Cause, Record};
use crate::message::{Effects, Hello, ToContainer};
use crate::names::{Incarnation, Registration, StreamId, Term};

const NEW: StreamId = StreamId(9);

fn successor() -> Hello {
    Hello { incarnation: Incarnation(2), succeeds: Some(Incarnation(1)), ..hello("a") }
}

/// A leadership that is not this arbitrator's.
fn anothers() -> Token {
    Token { arbitrator: id("l2"), ..token(1) }
}

fn entering(of: &str, entry: Registered, version: u64) -> Request {
    Request::Transact(Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Register(name(of)), version }],
        writes: vec![Write::Put(Key::Register(name(of)), Value::Registered(entry))],
    })
}

#[test]
fn a_standby_says_who_leads() {
    let mut rig = Rig::follower();
    rig.take(Event::LeaderSeen(Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) })));
    let commands = rig.hear(NEW, greet(hello("a")));
    assert_eq!(commands, [send(NEW, ToContainer::NotLeader { leader: Some(id("l2")) })]);
}

#[test]
fn an_unknown_name_is_written_into_the_register_before_anything_is_said() {
    let mut rig = Rig::bound();
    let request = rig.request();
    let commands = rig.hear(NEW, greet(hello("c")));
    assert_eq!(commands, [ask(request, entering("c", entry_of("c", fence(1, 1)), 0))]);
}

#[test]
fn a_name_that_is_being_written_is_not_written_twice() {
    let mut rig = Rig::bound();
    rig.hear(NEW, greet(hello("c")));
    assert_eq!(rig.hear(StreamId(10), greet(hello("c"))), []);
}

#[test]
fn a_confirmed_entry_is_welcomed() {
    let mut rig = Rig::bound();
    let request = rig.request();
    rig.hear(NEW, greet(hello("c")));
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [send(NEW, welcome(3, fence(1, 1)))]);
}

#[test]
fn an_entry_of_unknown_outcome_is_looked_up() {
    let mut rig = Rig::bound();
    let request = rig.request();
    rig.hear(NEW, greet(hello("c")));
    let read = rig.request();
    assert_eq!(rig.answer(request, Reply::Unknown), [ask(read, Request::ReadAll)]);
}

#[test]
fn a_registered_incarnation_is_welcomed_under_its_registration() {
    let mut rig = Rig::holding(Effects::Direct);
    assert_eq!(rig.hear(NEW, greet(hello("a"))), [send(NEW, welcome(3, fence(0, 1)))]);
}

#[test]
fn another_incarnation_is_told_who_holds_its_name() {
    let mut rig = Rig::holding(Effects::Direct);
    let other = Hello { incarnation: Incarnation(2), ..hello("a") };
    let commands = rig.hear(NEW, greet(other));
    assert_eq!(commands, [send(NEW, ToContainer::NameTaken { machine: machine("a") })]);
}

#[test]
fn a_successor_on_another_machine_is_told_who_holds_its_name() {
    let mut rig = Rig::holding(Effects::Direct);
    let other = Hello { machine: machine("z"), ..successor() };
    let commands = rig.hear(NEW, greet(other));
    assert_eq!(commands, [send(NEW, ToContainer::NameTaken { machine: machine("a") })]);
}

#[test]
fn a_successor_on_the_same_machine_takes_its_predecessors_place_in_one_transaction() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    let version = rig.version(&Key::Register(name("a")));
    let entry =
        Registered { incarnation: Incarnation(2), registration: Registration(fence(1, 2)), machine: machine("a") };
    assert_eq!(rig.hear(NEW, greet(successor())), [ask(request, entering("a", entry, version))]);
}

#[test]
fn what_a_predecessor_held_is_free_when_its_successor_is_registered() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    rig.hear(NEW, greet(successor()));
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    let record = |from, to, fence, cause| {
        Command::Record(Record { at: rig.now, sensor: x(), from, to, fence, cause, who: "arbiter".into() })
    };
    let status = activation(None, None);
    assert_eq!(
        commands,
        [
            record(Some(name("a")), None, fence(1, 1), Cause::Restarted),
            Command::Close(A),
            send(NEW, welcome(3, fence(1, 2))),
            record(None, Some(name("b")), fence(1, 3), Cause::Restarted),
            send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 3), status }),
        ]
    );
}

#[test]
fn a_leader_that_is_shown_a_higher_term_resigns() {
    let mut rig = Rig::settled(config());
    rig.bind("a", A, 1);
    let request = rig.request();
    let shown = Hello { highest: Some((Term(9), anothers())), ..hello("b") };
    assert_eq!(
        rig.hear(B, greet(shown)),
        [
            Command::Remember(Term(9)),
            ask(request, Request::Resign { token: token(1) }),
            send(A, ToContainer::Resigning),
            Command::Close(A),
        ]
    );
}

#[test]
fn a_leader_that_is_shown_its_term_in_anothers_hands_resigns() {
    let mut rig = Rig::settled(config());
    let request = rig.request();
    let shown = Hello { highest: Some((Term(1), anothers())), ..hello("b") };
    assert_eq!(rig.hear(B, greet(shown)), [ask(request, Request::Resign { token: token(1) })]);
}

#[test]
fn a_greeting_waits_until_the_register_is_read() {
    let (mut rig, read) = Rig::elected(config());
    assert_eq!(rig.hear(NEW, greet(hello("a"))), []);
    rig.stored.electors = (electors(&["l1"]), 1);
    rig.stored.register.insert(name("a"), (entry_of("a", fence(0, 1)), 11));
    let found = rig.everything();
    assert_eq!(rig.answer(read, found), [send(NEW, welcome(1, fence(0, 1)))]);
}

#[test]
fn a_late_greeting_of_a_run_that_followed_an_earlier_one_replaces_nobody() {
    let mut rig = Rig::holding(Effects::Direct);
    let second = Hello { incarnation: Incarnation(2), ..successor() };
    let third = Hello { incarnation: Incarnation(3), succeeds: Some(Incarnation(1)), ..second.clone() };
    rig.drive(from(NEW, greet(third.clone())));
    let taken = send(StreamId(10), ToContainer::NameTaken { machine: machine("a") });
    assert_eq!(rig.hear(StreamId(10), greet(second)), [taken]);
    let commands = rig.hear(StreamId(11), greet(third));
    assert_eq!(commands, [send(StreamId(11), welcome(4, fence(1, 2)))]);
}

#[test]
fn a_run_that_follows_no_other_replaces_nobody() {
    let mut rig = Rig::holding(Effects::Direct);
    let other = Hello { succeeds: None, ..successor() };
    let commands = rig.hear(NEW, greet(other));
    assert_eq!(commands, [send(NEW, ToContainer::NameTaken { machine: machine("a") })]);
}
