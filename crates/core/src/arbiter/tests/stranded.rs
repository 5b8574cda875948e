//! Containers that greet a standby because they cannot reach the leader.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::engine::{Electors, LeaderSeen, Request};
use crate::message::{ToContainer, ToPeer};
use crate::names::{StreamId, Term};

/// A standby that sees l2 lead.
fn standby() -> Rig {
    let mut rig = Rig::follower();
    rig.take(Event::LeaderSeen(Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) })));
    rig
}

fn not_leader(stream: StreamId) -> Command {
    send(stream, ToContainer::NotLeader { leader: Some(id("l2")) })
}

fn stranded(containers: usize) -> Event {
    Event::Peer { from: id("l2"), message: ToPeer::Stranded { containers } }
}

#[test]
fn a_container_that_greets_a_standby_once_is_sent_on() {
    let mut rig = standby();
    assert_eq!(rig.hear(A, greet(hello("a"))), [not_leader(A)]);
}

#[test]
fn a_container_that_keeps_greeting_a_standby_is_told_of_to_the_leader() {
    let mut rig = standby();
    let began = rig.now;
    rig.hear(A, greet(hello("a")));
    rig.now = began + millis(1_300);
    rig.hear(A, greet(hello("a")));
    rig.now = began + millis(2_600);
    let commands = rig.hear(A, greet(hello("a")));
    let told = Command::Peer { to: id("l2"), message: ToPeer::Stranded { containers: 1 } };
    assert_eq!(commands, [told, not_leader(A)]);
}

#[test]
fn a_leader_with_fewer_sessions_than_are_stranded_resigns_and_keeps_out_for_a_while() {
    let mut rig = Rig::bound();
    rig.pass(at(5_200), &[(A, 1), (B, 2)]);
    let request = rig.request();
    let farewell = ToContainer::Resigning;
    assert_eq!(
        rig.take(stranded(3)),
        [
            ask(request, Request::Resign { token: token(1) }),
            send(A, farewell.clone()),
            Command::Close(A),
            send(B, farewell),
            Command::Close(B),
        ]
    );
    rig.now = at(15_199);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, Request::Observe)]);
}

#[test]
fn a_leader_with_as_many_sessions_as_are_stranded_stays() {
    let mut rig = Rig::bound();
    rig.pass(at(5_200), &[(A, 1), (B, 2)]);
    assert_eq!(rig.take(stranded(2)), []);
}

#[test]
fn a_leader_that_its_containers_have_had_no_time_to_find_stays() {
    let mut rig = Rig::bound();
    assert_eq!(rig.take(stranded(3)), []);
}

/// A leader on a list with l2 and l3, without fail-safe, to which container a is bound.
fn leader_of_one() -> Rig {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.electors = (Electors { fail_safe: false, ..electors(&["l1", "l2", "l3"]) }, 1);
    rig.registered("a", fence(0, 1), 11);
    let reply = rig.everything();
    rig.drive(Event::Engine { request: read, reply });
    rig.bind("a", A, 1);
    rig
}

/// It hears from a peer, and a's heartbeats, until this moment.
fn hears_until(rig: &mut Rig, until: u64) {
    for second in 1..=until / 1_000 {
        rig.pass(at(second * 1_000), &[(A, 1)]);
        rig.take(Event::Peer { from: id("l3"), message: ToPeer::Elector });
    }
}

#[test]
fn a_leader_whom_containers_and_arbitrators_cannot_reach_any_more_resigns_and_keeps_out_for_a_while() {
    let mut rig = leader_of_one();
    hears_until(&mut rig, 20_000);
    // Two greetings of 2 s, and a heartbeat for the answer.
    rig.pass(at(24_399), &[]);
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
    rig.now = at(24_400);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, Request::Resign { token: token(1) })]);
    rig.now = at(34_399);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, Request::Observe)]);
}

#[test]
fn a_leader_that_arbitrators_reach_stays_though_every_container_is_lost() {
    let mut rig = leader_of_one();
    for second in 1..=20 {
        rig.pass(at(second * 1_000), &[]);
        rig.take(Event::Peer { from: id("l3"), message: ToPeer::Elector });
    }
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
}

#[test]
fn a_leader_that_is_alone_because_the_others_died_long_before_its_containers_stays() {
    let mut rig = leader_of_one();
    rig.pass(at(20_000), &[(A, 1)]);
    rig.pass(at(40_000), &[]);
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
}

#[test]
fn a_leader_to_which_a_container_comes_back_stays() {
    let mut rig = leader_of_one();
    hears_until(&mut rig, 20_000);
    rig.pass(at(23_000), &[]);
    rig.bind("a", A, 2);
    rig.pass(at(40_000), &[(A, 2)]);
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
}
