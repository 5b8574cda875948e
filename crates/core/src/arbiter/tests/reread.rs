//! Reading everything: at the beginning, and again where a write has an unknown outcome. What a write crossed is stale.

use super::build::*;
use crate::arbiter::{Command, Event, Verb};
use crate::engine::{Check, Intent, Key, Reply, Request, Transaction, Value, Write};
use crate::message::{Effects, ToArbitrator, ToPeer};
use crate::names::{RequestId, StreamId};

const C: StreamId = StreamId(3);

/// A leader that reads everything, as an entry of its has an unknown outcome; with the read, and what the store
/// holds when it is read.
fn reading(mut rig: Rig) -> (Rig, RequestId, Reply) {
    let join = rig.request();
    rig.hear(StreamId(7), greet(hello("d")));
    let read = rig.request();
    assert_eq!(rig.answer(join, Reply::Unknown), [ask(read, Request::ReadAll)]);
    let found = rig.everything();
    (rig, read, found)
}

fn names(rig: &Rig) -> Vec<String> {
    rig.arbiter.containers().iter().map(|view| view.name.to_string()).collect()
}

#[test]
fn a_container_that_joined_after_the_register_was_read_stays() {
    let (mut rig, read, stale) = reading(Rig::bound());
    rig.bind("c", C, 3);
    rig.drive(from(C, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    let (held, next) = (rig.held(), rig.request());
    assert_eq!(rig.answer(read, stale), [ask(next, Request::ReadAll)]);
    assert_eq!(rig.held(), held);
    assert_eq!(names(&rig), ["a", "b", "c"]);
}

#[test]
fn a_container_that_was_struck_after_the_register_was_read_does_not_come_back() {
    let (mut rig, read, stale) = reading(Rig::holding(Effects::Direct));
    rig.pass(at(2_800), &[(A, 1)]);
    assert_eq!(names(&rig), ["a"]);
    let next = rig.request();
    assert_eq!(rig.answer(read, stale), [ask(next, Request::ReadAll)]);
    assert_eq!(names(&rig), ["a"]);
}

#[test]
fn a_read_that_a_write_under_way_may_have_crossed_is_repeated() {
    let (mut rig, read, stale) = reading(Rig::bound());
    rig.hear(C, greet(hello("c")));
    let next = rig.request();
    assert_eq!(rig.answer(read, stale), [ask(next, Request::ReadAll)]);
}

#[test]
fn a_read_that_no_write_crossed_is_not_repeated() {
    let (mut rig, read, found) = reading(Rig::bound());
    assert_eq!(rig.answer(read, found), []);
}

#[test]
fn a_pause_that_is_written_while_everything_is_read_for_the_first_time_holds() {
    let (mut rig, read) = Rig::elected(config());
    let stale = rig.everything();
    rig.drive(Event::Operator { request: 1, who: "op".into(), at: 5, verb: Verb::Pause(x()) });
    let next = rig.request();
    assert_eq!(rig.answer(read, stale), [ask(next, Request::ReadAll)]);
    rig.stored.paused.insert(x(), Intent { who: "op".into(), at: 5 });
    let reply = rig.everything();
    rig.drive(Event::Engine { request: next, reply });
    rig.bind("a", A, 1);
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    let sensors = rig.arbiter.sensors();
    assert!(sensors[0].paused.is_some() && sensors[0].active.is_none(), "{sensors:?}");
}

/// The only elector, whose writing of l2 into the list has an unknown outcome; with its read of what is stored.
fn unconfirmed() -> (Rig, RequestId) {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.electors = (electors(&["l1"]), 1);
    let reply = rig.everything();
    rig.drive(Event::Engine { request: read, reply });
    let write = rig.request();
    rig.take(Event::Peer { from: id("l2"), message: ToPeer::Elector });
    let read = rig.request();
    assert_eq!(rig.answer(write, Reply::Unknown), [ask(read, Request::ReadAll)]);
    (rig, read)
}

#[test]
fn an_elector_that_may_be_in_the_list_is_asked_too() {
    let (mut rig, _) = unconfirmed();
    rig.now = at(400);
    let renewal = rig.request();
    rig.take(Event::Wake);
    rig.now = at(800);
    let next = rig.request();
    let extend = Command::Peer { to: id("l2"), message: ToPeer::Extend { term: crate::names::Term(1), ask: 1 } };
    let renew = ask(next, Request::Renew { token: token(1) });
    assert_eq!(rig.answer(renewal, Reply::Unknown), [renew, extend]);
    assert_eq!(rig.arbiter.leads(at(1_467)), None);
}

#[test]
fn a_list_that_may_still_land_is_written_again() {
    let (mut rig, read) = unconfirmed();
    let (found, next) = (rig.everything(), rig.request());
    let transaction = Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Electors, version: 1 }],
        writes: vec![Write::Put(Key::Electors, Value::Electors(electors(&["l1", "l2"])))],
    };
    assert_eq!(rig.answer(read, found), [ask(next, Request::Transact(transaction))]);
}
