//! How arbitrators get on the list of those that may campaign.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::engine::{Check, Key, LeaderSeen, Reply, Request, Transaction, Value, Write};
use crate::message::ToPeer;
use crate::names::{RequestId, Term};

fn announces(of: &str) -> Event {
    Event::Peer { from: id(of), message: ToPeer::Elector }
}

/// The list's writing over the version that it has.
fn writes(request: RequestId, version: u64, members: &[&str]) -> Command {
    let transaction = Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Electors, version }],
        writes: vec![Write::Put(Key::Electors, Value::Electors(electors(members)))],
    };
    ask(request, Request::Transact(transaction))
}

/// A leader just elected by a store that lists it alone; the returned request is its read of everything.
fn elected() -> (Rig, RequestId) {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.electors = (electors(&["l1"]), 1);
    (rig, read)
}

#[test]
fn a_leader_that_is_deposed_before_its_list_is_written_asks_its_successor_to_be_on_the_next_one() {
    let (mut rig, _) = Rig::elected(config());
    rig.now = at(400);
    let renewal = rig.request();
    rig.take(Event::Wake);
    rig.answer(renewal, Reply::NotLeader);
    // A peer that it knows, and that has not heard of it.
    let successor = Some(LeaderSeen { arbitrator: id("l2"), term: Term(2) });
    rig.take(Event::LeaderSeen(successor.clone()));
    rig.now = at(5_000);
    let look = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(look, Request::Observe)]);
    let asks = Command::Peer { to: id("l2"), message: ToPeer::Elector };
    assert_eq!(rig.answer(look, Reply::Observed { leader: successor }), [asks]);
}

#[test]
fn a_newcomer_that_announces_itself_before_the_list_is_read_is_on_it_right_after() {
    let (mut rig, read) = elected();
    assert_eq!(rig.take(announces("l2")), []);
    let (found, next) = (rig.everything(), rig.request());
    assert_eq!(rig.answer(read, found), [writes(next, 1, &["l1", "l2"])]);
}

#[test]
fn a_newcomer_that_announces_itself_while_another_is_written_is_written_next() {
    let (mut rig, read) = elected();
    let found = rig.everything();
    rig.answer(read, found);
    let first = rig.request();
    assert_eq!(rig.take(announces("l2")), [writes(first, 1, &["l1", "l2"])]);
    assert_eq!(rig.take(announces("l3")), []);
    let next = rig.request();
    assert_eq!(rig.answer(first, Reply::Applied { version: 2 }), [writes(next, 2, &["l1", "l2", "l3"])]);
    assert_eq!(rig.answer(next, Reply::Applied { version: 3 }), []);
}

#[test]
fn a_newcomer_that_announces_itself_while_the_store_is_away_is_written_when_it_is_back() {
    let (mut rig, read) = elected();
    let found = rig.everything();
    rig.answer(read, found);
    rig.now = at(400);
    let renewal = rig.request();
    rig.take(Event::Wake);
    rig.now = at(800);
    let again = rig.request();
    rig.answer(renewal, Reply::Unknown);
    assert_eq!(rig.take(announces("l2")), []);
    let write = rig.request();
    let commands = rig.answer(again, Reply::Done);
    assert!(commands.contains(&writes(write, 1, &["l1", "l2"])), "{commands:?}");
}

#[test]
fn a_standby_that_hears_of_a_new_leader_announces_itself_at_once() {
    let mut config = config();
    config.peers.clear();
    let mut rig = Rig::started(config, at(0));
    let first = rig.request();
    rig.take(Event::Wake);
    rig.answer(first, Reply::NotWon { leader: None, elector: true });
    let seen = Some(LeaderSeen { arbitrator: id("l9"), term: Term(4) });
    let announced = Command::Peer { to: id("l9"), message: ToPeer::Elector };
    assert_eq!(rig.take(Event::LeaderSeen(seen.clone())), [Command::Remember(Term(4)), announced]);
    assert_eq!(rig.take(Event::LeaderSeen(seen)), []);
}

#[test]
fn whether_it_may_lead_is_said_only_once_the_store_has_said_so() {
    let mut rig = Rig::started(config(), at(0));
    let first = rig.request();
    rig.take(Event::Wake);
    rig.answer(first, Reply::NotWon { leader: None, elector: false });
    assert!(!rig.arbiter.is_elector());
    rig.take(Event::LeaderSeen(Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) })));
    assert!(rig.arbiter.is_elector());
    // Meanwhile the leader may have put it on the list: it is not known before it has tried.
    rig.take(Event::LeaderSeen(None));
    assert!(rig.arbiter.is_elector());
}

/// A settled leader of a list with fail-safe on, after this time in which these peers answer.
fn listed_after(listed: &[&str], seconds: u64, alive: &[&str]) -> Vec<String> {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.electors = (electors(listed), 1);
    let found = rig.everything();
    rig.drive(Event::Engine { request: read, reply: found });
    for second in 1..=seconds {
        rig.pass(at(second * 1_000), &[]);
        for peer in alive {
            rig.drive(announces(peer));
        }
    }
    rig.stored.electors.0.members.iter().map(ToString::to_string).collect()
}

#[test]
fn an_elector_that_is_silent_is_taken_off_the_list_while_another_one_is_heard() {
    assert_eq!(listed_after(&["l1", "l2", "l3"], 9, &["l2"]), ["l1", "l2", "l3"]);
    assert_eq!(listed_after(&["l1", "l2", "l3"], 13, &["l2"]), ["l1", "l2"]);
    assert_eq!(listed_after(&["l1", "l2"], 13, &[]), ["l1"]);
}

#[test]
fn a_leader_that_hears_of_nobody_takes_nobody_off_the_list() {
    assert_eq!(listed_after(&["l1", "l2", "l3"], 60, &[]), ["l1", "l2", "l3"]);
}
