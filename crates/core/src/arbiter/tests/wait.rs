//! How long a new leader waits for those who may hold something, and what a stall adds.

use super::build::*;
use crate::arbiter::{Command, Config, Event};
use crate::engine::{Check, Key, Reply, Request, Transaction, Value, Write};
use crate::history::{Cause, Record};
use crate::message::{Effects, Heartbeat, Status, ToArbitrator, ToContainer};
use crate::names::{SessionId, Term};
use crate::time::{Span, Time};

fn strike(of: &str, version: u64) -> Request {
    let key = Key::Register(name(of));
    let checks = vec![Check { key: key.clone(), version }];
    Request::Transact(Transaction { token: token(1), checks, writes: vec![Write::Delete(key)] })
}

fn offers() -> ToArbitrator {
    ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])
}

fn forgetful() -> Config {
    Config { forgetful: true, ..config() }
}

/// Container a has bound itself; b, in the register as well, has not been heard of.
fn half_bound(longest_ttl: Span) -> Rig {
    let mut rig = Rig::started(config(), at(0));
    let campaign = rig.request();
    rig.take(Event::Wake);
    let read = rig.request();
    rig.answer(campaign, Reply::Won { term: Term(1), longest_ttl });
    rig.stored.electors = (electors(&["l1", "l2", "l3"]), 1);
    rig.stored.register.insert(name("a"), (entry_of("a", fence(0, 1)), 11));
    rig.stored.register.insert(name("b"), (entry_of("b", fence(0, 2)), 12));
    let found = rig.everything();
    rig.drive(Event::Engine { request: read, reply: found });
    rig.drive(from(A, greet(hello("a"))));
    rig.drive(from(A, beat(binding(1, Vec::new()))));
    rig.drive(from(A, offers()));
    rig
}

fn given(rig: &Rig, cause: Cause) -> [Command; 2] {
    let to = Some(name("a"));
    let record = Record { at: rig.now, sensor: x(), from: None, to, fence: fence(1, 1), cause, who: "arbiter".into() };
    let status = activation(None, None);
    [Command::Record(record), send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status })]
}

#[test]
fn a_container_that_has_not_bound_itself_is_struck_after_the_wait() {
    let mut rig = half_bound(Span::from_secs(2));
    rig.pass(at(2_599), &[(A, 1)]);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(2_600);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, strike("b", 12))]);
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, given(&rig, Cause::Placed));
}

#[test]
fn the_wait_is_for_the_longest_ttl_that_may_still_be_running() {
    let mut rig = half_bound(Span::from_secs(10));
    rig.pass(at(12_199), &[(A, 1)]);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(12_200);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, strike("b", 12))]);
}

#[test]
fn a_shorter_ttl_is_written_when_the_wait_is_over() {
    let mut rig = half_bound(Span::from_secs(10));
    rig.hear(B, greet(hello("b")));
    let request = rig.request();
    let commands = rig.hear(B, beat(binding(2, Vec::new())));
    let writes = vec![Write::Put(Key::LongestTtl, Value::Ttl(Span::from_secs(2)))];
    let transaction = Transaction { token: token(1), checks: Vec::new(), writes };
    assert_eq!(commands, [send(B, ack(2, 1)), ask(request, Request::Transact(transaction))]);
    assert_eq!(rig.hear(B, ToArbitrator::Offers(Vec::new())), given(&rig, Cause::Placed));
}

#[test]
fn an_engine_that_may_forget_makes_the_wait_longer_though_all_are_bound() {
    let mut rig = Rig::settled(forgetful());
    rig.bind("a", A, 1);
    rig.drive(from(A, offers()));
    rig.pass(at(4_599), &[(A, 1)]);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(4_600);
    let commands = rig.take(Event::Wake);
    let mut expected = given(&rig, Cause::Placed);
    // Fence 1.1 is a's registration there.
    let status = activation(None, None);
    expected[1] = send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status });
    if let Command::Record(record) = &mut expected[0] {
        record.fence = fence(1, 2);
    }
    assert_eq!(commands, expected);
}

#[test]
fn an_engine_that_may_forget_adopts_a_running_claim_at_once() {
    let mut rig = Rig::waiting(forgetful());
    let commands = rig.hear(A, beat(binding(1, vec![claim(fence(0, 5))])));
    let status = ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status: Status::Active(None) };
    let (from, to, cause) = (Some(name("a")), Some(name("a")), Cause::Adopted);
    let record = Record { at: rig.now, sensor: x(), from, to, fence: fence(1, 1), cause, who: "arbiter".into() };
    assert_eq!(commands, [send(A, status), Command::Record(record), send(A, ack(1, 1))]);
}

#[test]
fn an_engine_that_may_forget_keeps_a_frozen_claim_for_the_end_of_the_wait() {
    let mut rig = Rig::waiting(forgetful());
    let request = rig.request();
    let frozen = Heartbeat { lapsed: true, ..binding(1, vec![claim(fence(0, 5))]) };
    let not_yet = |sequence| send(A, ToContainer::NotYet { session: SessionId(1), sent_at: Time(sequence) });
    assert_eq!(rig.hear(A, beat(frozen)), [not_yet(1), ask(request, Request::Renew { token: token(1) })]);
    assert_eq!(rig.answer(request, Reply::Done), []);
    // It hears that it is heard, else it would look for somebody else.
    let later = Heartbeat { lapsed: true, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(later)), [not_yet(2)]);
}

#[test]
fn a_frozen_claim_of_a_container_that_is_between_two_streams_is_adopted_all_the_same() {
    let mut rig = Rig::waiting(forgetful());
    let frozen = Heartbeat { lapsed: true, ..binding(1, vec![claim(fence(0, 5))]) };
    rig.drive(from(A, beat(frozen)));
    rig.bind("b", B, 2);
    for sequence in 2..23 {
        rig.now += millis(200);
        rig.drive(from(A, beat(Heartbeat { lapsed: true, ..heartbeat(1, sequence) })));
        rig.drive(from(B, beat(heartbeat(2, sequence))));
    }
    rig.drive(Event::StreamClosed(A));
    rig.now = at(4_600);
    rig.drive(Event::Wake);
    assert_eq!(rig.arbiter.active(&x()).map(|(name, _)| name), Some(name("a")));
}

#[test]
fn of_frozen_claims_the_one_with_the_highest_fence_is_adopted() {
    let mut rig = Rig::waiting(forgetful());
    rig.drive(from(B, greet(hello("b"))));
    rig.pass(at(4_400), &[]);
    let mut rig = late_claims(rig);
    rig.now = at(4_600);
    let commands = rig.take(Event::Wake);
    let told =
        |stream, n, term, status| send(stream, ToContainer::SetStatus { sensor: x(), fence: fence(term, n), status });
    assert!(commands.contains(&told(B, 1, 1, Status::Active(None))), "{commands:?}");
    assert!(commands.contains(&told(A, 5, 0, Status::Standby)), "{commands:?}");
}

/// Containers a and b greet again and bind, frozen, with claims of x under 0.5 and 0.6.
fn late_claims(mut rig: Rig) -> Rig {
    for (of, stream, n) in [("a", A, 5), ("b", B, 6)] {
        rig.drive(from(stream, greet(hello(of))));
        let session = rig.session_on(stream);
        let frozen = Heartbeat { lapsed: true, ..binding(session, vec![claim(fence(0, n))]) };
        rig.drive(from(stream, beat(frozen)));
    }
    rig
}

#[test]
fn time_in_which_the_loop_stood_still_is_added_to_every_deadline() {
    let mut rig = Rig::bound();
    rig.pass(at(2_000), &[(A, 1)]);
    let due = rig.arbiter.next_deadline().map(|(deadline, _)| deadline);
    assert_eq!(due, Some(at(2_400)));
    rig.now = at(2_900);
    rig.drive(Event::Wake);
    rig.now = at(3_000);
    rig.drive(Event::Wake);
    // Container b was last heard of at 0; its 2,600 ms are now 500 ms longer.
    rig.now = at(3_099);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(3_100);
    let (request, version) = (rig.request(), rig.version(&Key::Register(name("b"))));
    assert_eq!(rig.take(Event::Wake), [ask(request, strike("b", version))]);
}

#[test]
fn a_frozen_container_that_is_heard_until_the_end_of_the_wait_is_not_struck() {
    let mut rig = Rig::waiting(forgetful());
    let lapsed = Heartbeat { lapsed: true, ..binding(1, vec![claim(fence(0, 5))]) };
    rig.drive(from(A, beat(lapsed)));
    for sequence in 2..25 {
        rig.now += millis(200);
        let lapsed = Heartbeat { lapsed: true, ..heartbeat(1, sequence) };
        rig.drive(from(A, beat(lapsed)));
        rig.drive(Event::Wake);
    }
    let containers = rig.arbiter.containers();
    assert_eq!(containers.iter().map(|view| view.name.clone()).collect::<Vec<_>>(), [name("a")]);
    assert_eq!(rig.held().term, Term(1));
}
