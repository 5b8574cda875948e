//! Leading on by the word of every other elector while the store is away, and giving that word.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::engine::{Reply, Request};
use crate::message::ToPeer;
use crate::names::{RequestId, Term};

fn peer(to: &str, message: ToPeer) -> Command {
    Command::Peer { to: id(to), message }
}

fn heard(from: &str, message: ToPeer) -> Event {
    Event::Peer { from: id(from), message }
}

fn extend(ask: u64) -> ToPeer {
    ToPeer::Extend { term: Term(1), ask }
}

fn extended(ask: u64) -> ToPeer {
    ToPeer::Extended { term: Term(1), ask }
}

/// At 800 ms a leader's renewal has gone unanswered and it has asked l2 and l3; the next renewal is returned.
fn asking() -> (Rig, RequestId) {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(800);
    let next = rig.request();
    rig.answer(request, Reply::Unknown);
    (rig, next)
}

/// A follower that l2 asked to extend its leadership; its look at the store is returned.
fn asked() -> (Rig, RequestId) {
    let mut rig = Rig::follower();
    rig.now = at(100);
    let request = rig.request();
    rig.take(heard("l2", extend(5)));
    (rig, request)
}

#[test]
fn an_unanswered_renewal_is_sent_again_and_every_other_elector_is_asked() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(800);
    let next = rig.request();
    assert_eq!(
        rig.answer(request, Reply::Unknown),
        [ask(next, Request::Renew { token: token(1) }), peer("l2", extend(1)), peer("l3", extend(1))]
    );
}

#[test]
fn the_word_of_some_electors_extends_nothing() {
    let (mut rig, _) = asking();
    rig.now = at(1_200);
    rig.take(heard("l2", extended(1)));
    assert_eq!(rig.arbiter.leads(at(1_466)), Some(Term(1)));
    assert_eq!(rig.arbiter.leads(at(1_467)), None);
}

#[test]
fn the_word_of_one_that_is_no_elector_extends_nothing() {
    let (mut rig, _) = asking();
    rig.take(heard("l2", extended(1)));
    rig.take(heard("l9", extended(1)));
    assert_eq!(rig.arbiter.leads(at(1_467)), None);
}

#[test]
fn the_word_of_every_elector_extends_as_a_renewal_sent_when_it_was_asked_for() {
    let (mut rig, _) = asking();
    rig.now = at(1_100);
    rig.take(heard("l2", extended(1)));
    assert_eq!(rig.take(heard("l3", extended(1))), []);
    assert_eq!(rig.arbiter.leads(at(800 + 1_466)), Some(Term(1)));
    assert_eq!(rig.arbiter.leads(at(800 + 1_467)), None);
}

/// It has asked at 800 ms, and again at 1,200 ms.
fn asking_twice() -> Rig {
    let (mut rig, next) = asking();
    rig.now = at(1_200);
    rig.answer(next, Reply::Unknown);
    rig
}

#[test]
fn a_word_given_to_a_later_asking_counts_for_the_earlier_one_too() {
    let mut rig = asking_twice();
    rig.take(heard("l2", extended(1)));
    rig.take(heard("l3", extended(2)));
    assert_eq!(rig.arbiter.leads(at(800 + 1_466)), Some(Term(1)));
    assert_eq!(rig.arbiter.leads(at(800 + 1_467)), None);
}

#[test]
fn a_word_given_to_an_earlier_asking_does_not_count_for_the_later_one() {
    let mut rig = asking_twice();
    rig.take(heard("l2", extended(2)));
    rig.take(heard("l3", extended(1)));
    assert_eq!(rig.arbiter.leads(at(800 + 1_467)), None);
    rig.take(heard("l3", extended(2)));
    assert_eq!(rig.arbiter.leads(at(1_200 + 1_466)), Some(Term(1)));
}

#[test]
fn a_store_without_fail_safe_is_not_outlived() {
    let (mut rig, read) = Rig::elected(config());
    let mut list = electors(&["l1", "l2", "l3"]);
    list.fail_safe = false;
    rig.stored.electors = (list, 1);
    let found = rig.everything();
    rig.drive(Event::Engine { request: read, reply: found });
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(800);
    let next = rig.request();
    assert_eq!(rig.answer(request, Reply::Unknown), [ask(next, Request::Renew { token: token(1) })]);
}

#[test]
fn an_extended_leader_takes_its_key_again_when_the_store_is_back() {
    let (mut rig, renewal) = asking();
    rig.take(heard("l2", extended(1)));
    rig.take(heard("l3", extended(1)));
    let next = rig.request();
    assert_eq!(rig.answer(renewal, Reply::NotLeader), [ask(next, Request::Retake { token: token(1), term: Term(1) })]);
    assert_eq!(rig.answer(next, Reply::Done), []);
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
}

#[test]
fn an_extended_leader_ends_when_its_key_cannot_be_taken_again() {
    let (mut rig, renewal) = asking();
    rig.take(heard("l2", extended(1)));
    rig.take(heard("l3", extended(1)));
    let next = rig.request();
    rig.answer(renewal, Reply::NotLeader);
    rig.answer(next, Reply::NotLeader);
    assert_eq!(rig.arbiter.leads(rig.now), None);
}

#[test]
fn an_elector_that_is_asked_looks_at_the_store_first() {
    let mut rig = Rig::follower();
    rig.now = at(40);
    let request = rig.request();
    assert_eq!(rig.take(heard("l2", extend(5))), [Command::Remember(Term(1)), ask(request, Request::Observe)]);
}

#[test]
fn an_elector_that_reaches_the_store_promises_nothing() {
    let (mut rig, request) = asked();
    let commands = rig.answer(request, Reply::Observed { leader: None });
    assert!(!commands.contains(&peer("l2", extended(5))), "{commands:?}");
    rig.now = at(600);
    let commands = rig.take(Event::Wake);
    assert!(!commands.contains(&peer("l2", extended(5))), "{commands:?}");
}

#[test]
fn an_elector_that_cannot_reach_the_store_gives_its_word() {
    let (mut rig, request) = asked();
    assert_eq!(rig.answer(request, Reply::Unknown), [peer("l2", extended(5))]);
}

#[test]
fn an_elector_that_had_no_answer_within_a_heartbeat_gives_its_word() {
    let (mut rig, _) = asked();
    rig.now = at(500);
    assert_eq!(rig.take(Event::Wake), [peer("l2", extended(5))]);
}

#[test]
fn an_elector_that_gave_its_word_keeps_still_until_it_is_over() {
    let (mut rig, request) = asked();
    rig.answer(request, Reply::Unknown);
    rig.now = at(100 + 2_599);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(100 + 2_600);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, Request::Observe)]);
}

#[test]
fn an_elector_that_knows_a_higher_term_gives_no_word() {
    let (mut rig, request) = asked();
    rig.take(heard("l3", ToPeer::Alive { term: Term(2) }));
    let commands = rig.answer(request, Reply::Unknown);
    assert!(!commands.contains(&peer("l2", extended(5))), "{commands:?}");
}

#[test]
fn a_leader_gives_no_word() {
    let mut rig = Rig::bound();
    assert_eq!(rig.take(heard("l2", extend(5))), []);
}

/// Container b is silent; the store is away for as long, and every elector extends.
fn extended_until(until: u64) -> Rig {
    let (mut rig, mut renewal) = asking();
    for (asked, now) in (1..).zip((800..=until).step_by(400)) {
        rig.now = at(now);
        let next = rig.request();
        if now > 800 {
            let commands = rig.answer(renewal, Reply::Unknown);
            assert_eq!(commands[..1], [ask(next, Request::Renew { token: token(1) })], "{now}");
            renewal = next;
        }
        rig.take(heard("l2", extended(asked)));
        rig.take(heard("l3", extended(asked)));
        rig.hear(A, beat(heartbeat(1, now)));
    }
    rig
}

#[test]
fn nobody_is_struck_while_the_store_is_away() {
    let mut rig = extended_until(4_000);
    assert_eq!(rig.arbiter.leads(rig.now), Some(Term(1)));
    assert_eq!(rig.take(Event::Wake), []);
    assert_eq!(rig.arbiter.containers().len(), 2);
    assert_eq!(rig.hear(B, beat(heartbeat(2, 70))), [send(B, ack(2, 70))]);
}

#[test]
fn who_was_silent_while_the_store_was_away_is_struck_when_it_is_back() {
    let mut rig = extended_until(4_000);
    let renewal = RequestId(rig.request().0 - 1);
    let strike = rig.request();
    let commands = rig.answer(renewal, Reply::Done);
    assert!(matches!(&commands[..], [Command::Engine { request, ask: Request::Transact(_) }] if *request == strike));
}
