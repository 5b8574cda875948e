//! Staying leader, and ceasing to be it in time.

use super::build::*;
use crate::arbiter::{Answer, Command, Event, Verb};
use crate::engine::{Reply, Request};
use crate::message::{Effects, ToContainer, ToPeer};
use crate::names::Term;

/// What a leader says when it ceases to be it.
fn farewell() -> [Command; 4] {
    [send(A, ToContainer::Resigning), Command::Close(A), send(B, ToContainer::Resigning), Command::Close(B)]
}

#[test]
fn a_leader_renews_several_times_within_its_time() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, Request::Renew { token: token(1) })]);
}

#[test]
fn a_leadership_is_in_force_from_the_sending_of_its_last_confirmed_renewal() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(700);
    assert_eq!(rig.answer(request, Reply::Done), []);
    assert_eq!(rig.arbiter.leads(at(400 + 1_466)), Some(Term(1)));
    assert_eq!(rig.arbiter.leads(at(400 + 1_467)), None);
}

#[test]
fn a_leadership_that_is_no_longer_surely_in_force_lapses() {
    let mut rig = Rig::bound();
    rig.now = at(1_467);
    assert_eq!(rig.take(Event::Wake), farewell());
}

#[test]
fn nothing_that_comes_after_the_lapse_is_acted_on() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.now = at(1_467);
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), farewell());
}

#[test]
fn a_refused_renewal_ends_the_leadership() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    assert_eq!(rig.answer(request, Reply::NotLeader), farewell());
}

#[test]
fn a_refused_write_ends_the_leadership() {
    let mut rig = Rig::bound();
    let request = rig.request();
    rig.take(Event::Operator { request: 1, who: "op".into(), at: 5, verb: Verb::Drain(name("a")) });
    let commands = rig.answer(request, Reply::NotLeader);
    assert_eq!(commands[commands.len() - 4..], farewell());
    assert_eq!(rig.arbiter.leads(rig.now), None);
}

#[test]
fn a_leader_that_resigns_acts_no_more_when_it_gives_up_its_key() {
    let mut rig = Rig::bound();
    let request = rig.request();
    let commands = rig.take(Event::Operator { request: 1, who: "op".into(), at: 5, verb: Verb::Resign });
    let mut expected = vec![ask(request, Request::Resign { token: token(1) })];
    expected.extend(farewell());
    expected.push(Command::Answer { request: 1, answer: Answer::Done });
    assert_eq!(commands, expected);
    assert_eq!(rig.arbiter.leads(rig.now), None);
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), []);
}

#[test]
fn a_lapsed_leadership_does_not_come_back_with_a_late_answer() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(1_467);
    rig.take(Event::Wake);
    assert_eq!(rig.answer(request, Reply::Done), []);
    assert_eq!(rig.arbiter.leads(rig.now), None);
}

#[test]
fn without_an_answer_the_electors_are_asked_at_once_and_the_next_renewal_is_sent_when_it_is_due() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now = at(410);
    let asking = ToPeer::Extend { term: Term(1), ask: 1 };
    assert_eq!(
        rig.answer(request, Reply::Unknown),
        ["l2", "l3"].map(|to| Command::Peer { to: id(to), message: asking.clone() })
    );
    rig.now = at(800);
    let (next, renew) = (rig.request(), Request::Renew { token: token(1) });
    assert_eq!(rig.take(Event::Wake)[..1], [ask(next, renew)]);
}
