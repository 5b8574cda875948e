//! Greeting, and binding to a leader.

use super::build::*;
use crate::message::{Binding, Claim, Effects, Heartbeat, Hello, ToArbitrator, ToContainer};
use crate::names::{Machine, Registration, Term};
use crate::session::{Command, Event};
use crate::time::Time;

/// The heartbeat that binds, and what goes with it.
fn binds(rig: &Rig, session: u64, lapsed: bool, holds: Vec<Claim>, lease: Command) -> [Command; 3] {
    let binds = Some(Binding { holds, failed: Vec::new() });
    let first = Heartbeat { lapsed, binds, ..heartbeat(session, 1, rig.now) };
    // The guardian knows of a shorter lease before the leader can count on it.
    [lease, send(NEXT, beat(first)), send(NEXT, ToArbitrator::Offers(vec![offer(Effects::Direct)]))]
}

/// Leaves the first stream, as its leader resigns, and greets on the next one.
fn greeting_again(mut rig: Rig) -> Rig {
    rig.hear(ToContainer::Resigning);
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig
}

#[test]
fn a_container_connects_to_the_first_arbitrator() {
    let mut rig = Rig::started(config(), at(0));
    assert_eq!(rig.take(Event::Wake), [Command::Connect { stream: FIRST, to: id("l1") }]);
}

#[test]
fn an_open_stream_is_greeted_on() {
    let mut rig = Rig::started(config(), at(0));
    rig.take(Event::Wake);
    let commands = rig.take(Event::StreamOpened(FIRST));
    assert_eq!(commands, [send(FIRST, ToArbitrator::Hello(Box::new(hello())))]);
}

#[test]
fn a_greeting_shows_the_registration_and_the_highest_term() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(ToContainer::Resigning);
    rig.now = at(250);
    assert_eq!(rig.take(Event::Wake), [Command::Connect { stream: NEXT, to: id("l2") }]);
    let registration = Some(Registration(fence(1, 1)));
    let hello = Hello { registration, highest: Some((Term(1), token("l1"))), ..hello() };
    assert_eq!(rig.take(Event::StreamOpened(NEXT)), [send(NEXT, ToArbitrator::Hello(Box::new(hello)))]);
}

#[test]
fn an_unanswered_greeting_is_given_up() {
    let mut rig = Rig::greeting(Effects::Direct);
    rig.now = at(800);
    assert_eq!(rig.take(Event::Wake), [Command::Close(FIRST)]);
}

#[test]
fn a_container_that_is_sent_on_greets_the_leader_next() {
    let mut rig = Rig::greeting(Effects::Direct);
    assert_eq!(rig.hear(ToContainer::NotLeader { leader: Some(id("l3")) }), [Command::Close(FIRST)]);
    rig.now = at(250);
    assert_eq!(rig.take(Event::Wake), [Command::Connect { stream: NEXT, to: id("l3") }]);
}

#[test]
fn a_leader_that_is_in_nobodys_list_is_greeted_once_it_is_named() {
    let mut rig = Rig::greeting(Effects::Direct);
    rig.hear(ToContainer::NotLeader { leader: Some(id("l9")) });
    rig.now = at(250);
    assert_eq!(rig.take(Event::Wake), [Command::Connect { stream: NEXT, to: id("l9") }]);
}

#[test]
fn a_container_whose_name_is_taken_tries_again_after_a_heartbeat() {
    let mut rig = Rig::greeting(Effects::Direct);
    assert_eq!(rig.hear(ToContainer::NameTaken { machine: Machine(8) }), [Command::Close(FIRST)]);
    assert_eq!(rig.session.next_deadline(), Some((at(400), "greet an arbitrator")));
}

#[test]
fn a_first_welcome_is_answered_with_a_list_of_nothing_and_no_lease() {
    let mut rig = Rig::greeting(Effects::Direct);
    let binds = Some(Binding::default());
    let first = Heartbeat { lapsed: true, binds, ..heartbeat(1, 1, at(0)) };
    assert_eq!(
        rig.hear(welcome("l1", 1, 1, fence(1, 1))),
        [lease(Time(0), 0), send(FIRST, beat(first)), send(FIRST, ToArbitrator::Offers(vec![offer(Effects::Direct)]))]
    );
    assert!(!rig.session.may_act(rig.now));
}

#[test]
fn a_welcome_under_the_same_registration_is_answered_with_what_is_held() {
    let mut rig = greeting_again(Rig::active(Effects::Direct));
    let holds = vec![Claim { sensor: x(), fence: fence(1, 2), polled_ago: Some(millis(250)) }];
    let commands = rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    assert_eq!(commands, binds(&rig, 1, false, holds, lease(at(2_000), 0)));
}

#[test]
fn a_leader_with_a_shorter_ttl_shortens_the_lease() {
    let mut rig = greeting_again(Rig::active(Effects::Direct));
    let holds = vec![Claim { sensor: x(), fence: fence(1, 2), polled_ago: Some(millis(250)) }];
    let mut shorter = welcome("l2", 2, 1, fence(1, 1));
    if let ToContainer::Welcome { session_ttl, .. } = &mut shorter {
        *session_ttl = millis(1_000);
    }
    let commands = rig.hear_on(NEXT, shorter);
    assert_eq!(commands, binds(&rig, 1, false, holds, lease(at(1_250), 0)));
}

#[test]
fn a_lower_term_is_refused() {
    let mut rig = greeting_again(Rig::active(Effects::Direct));
    assert_eq!(rig.hear_on(NEXT, welcome("l2", 0, 1, fence(1, 1))), [Command::Close(NEXT)]);
}

#[test]
fn a_second_leader_of_one_term_is_refused() {
    let mut rig = greeting_again(Rig::active(Effects::Direct));
    assert_eq!(rig.hear_on(NEXT, welcome("l2", 1, 1, fence(1, 1))), [Command::Close(NEXT)]);
}

#[test]
fn a_welcome_on_an_older_stream_is_not_heard() {
    let mut rig = greeting_again(Rig::active(Effects::Direct));
    assert_eq!(rig.hear(welcome("l1", 1, 2, fence(1, 1))), []);
}

#[test]
fn a_new_registration_kills_all_that_was_held_before_it_is_bound() {
    let mut rig = greeting_again(Rig::polling(Effects::Direct));
    assert_eq!(rig.hear_on(NEXT, welcome("l2", 2, 1, fence(2, 1))), [Command::Kill(PROCESS)]);
}

#[test]
fn a_new_registration_is_bound_with_nothing_when_all_that_was_held_is_dead() {
    let mut rig = greeting_again(Rig::polling(Effects::Direct));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(2, 1)));
    rig.now += millis(10);
    let commands = rig.take(Event::Gone(PROCESS));
    // The lease of the old registration is over too.
    let mut expected = vec![spawn(FRESH), Command::Freeze];
    expected.extend(binds(&rig, 1, true, Vec::new(), lease(Time(0), 1)));
    assert_eq!(commands, expected);
    assert!(!rig.session.may_act(rig.now));
}

#[test]
fn a_container_whose_name_was_given_away_kills_what_it_held() {
    let mut rig = Rig::lapsed(Effects::Direct);
    rig.now = at(3_100);
    let greeting = rig.take(Event::Wake);
    let Some(Command::Connect { stream, .. }) = greeting.last() else { panic!("no greeting in {greeting:?}") };
    let stream = *stream;
    rig.take(Event::StreamOpened(stream));
    let killed = rig.hear_on(stream, ToContainer::NameTaken { machine: Machine(8) });
    assert!(killed.contains(&Command::Kill(PROCESS)), "{killed:?}");
}
