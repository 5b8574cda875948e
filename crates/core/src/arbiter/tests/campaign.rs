//! Trying for leadership.

use super::build::*;
use crate::arbiter::{Command, Config, Event};
use crate::engine::{LeaderSeen, Reply, Request};
use crate::message::ToPeer;
use crate::names::Term;
use crate::time::Span;

fn campaign(attempt: u64, above: u64, only_as_first: bool) -> Request {
    let session_ttl = Span::from_secs(2);
    Request::Campaign { token: token(attempt), above: Term(above), session_ttl, only_as_first }
}

fn won(term: u64) -> Reply {
    Reply::Won { term: Term(term), longest_ttl: Span::from_secs(2) }
}

#[test]
fn an_arbitrator_that_has_just_started_tries_only_to_be_the_first() {
    let mut rig = Rig::started(config(), at(0));
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, campaign(1, 0, true))]);
}

#[test]
fn one_whose_engine_is_its_own_campaigns_at_once() {
    let mut rig = Rig::started(Config { exclusive: true, ..config() }, at(0));
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, campaign(1, 0, false))]);
}

#[test]
fn a_follower_that_knows_of_no_leader_campaigns() {
    let mut rig = Rig::follower();
    let request = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(request, campaign(2, 0, false))]);
}

#[test]
fn a_winner_remembers_the_term_reads_everything_and_greets_its_peers() {
    let mut rig = Rig::follower();
    let request = rig.request();
    rig.take(Event::Wake);
    let read = rig.request();
    let alive = |to| Command::Peer { to: id(to), message: ToPeer::Alive { term: Term(3) } };
    assert_eq!(
        rig.answer(request, won(3)),
        [Command::Remember(Term(3)), ask(read, Request::ReadAll), alive("l2"), alive("l3")]
    );
}

#[test]
fn a_campaign_won_so_late_that_it_is_no_longer_in_force_is_resigned() {
    let mut rig = Rig::follower();
    let request = rig.request();
    rig.take(Event::Wake);
    rig.now += rig.arbiter.config.timing.acts_for();
    let next = rig.request();
    let after = crate::names::RequestId(next.0 + 1);
    assert_eq!(
        rig.answer(request, won(3)),
        [Command::Remember(Term(3)), ask(next, Request::Resign { token: token(2) }), ask(after, campaign(3, 3, false)),]
    );
    assert_eq!(rig.arbiter.leads(rig.now), None);
}

#[test]
fn a_campaign_won_while_promised_to_another_is_not_acted_on() {
    let mut rig = Rig::follower();
    let request = rig.request();
    rig.take(Event::Wake);
    let probe = rig.request();
    rig.take(Event::Peer { from: id("l2"), message: ToPeer::Extend { term: Term(1), ask: 1 } });
    rig.answer(probe, Reply::Unknown);
    let resign = rig.request();
    assert_eq!(
        rig.answer(request, won(2)),
        [Command::Remember(Term(2)), ask(resign, Request::Resign { token: token(2) })]
    );
    assert_eq!(rig.arbiter.leads(rig.now), None);
}

#[test]
fn one_that_loses_remembers_the_term_and_looks_again_after_a_while() {
    let mut rig = Rig::follower();
    let request = rig.request();
    rig.take(Event::Wake);
    let leader = Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) });
    let commands = rig.answer(request, Reply::NotWon { leader, elector: true });
    assert_eq!(commands, [Command::Remember(Term(4))]);
    let deadline = rig.arbiter.next_deadline();
    assert_eq!(deadline, Some((rig.now + Span::from_secs(4), "look at the leadership")));
}

#[test]
fn one_that_may_not_campaign_asks_the_leader_to_be_an_elector() {
    let mut rig = Rig::follower();
    let request = rig.request();
    rig.take(Event::Wake);
    let leader = Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) });
    assert_eq!(
        rig.answer(request, Reply::NotWon { leader, elector: false }),
        [Command::Remember(Term(4)), Command::Peer { to: id("l2"), message: ToPeer::Elector }]
    );
}

#[test]
fn a_follower_that_knows_the_leader_only_looks() {
    let mut rig = Rig::follower();
    let request = rig.request();
    let leader = Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) });
    assert_eq!(rig.take(Event::LeaderSeen(leader)), [Command::Remember(Term(4)), ask(request, Request::Observe)]);
}

#[test]
fn a_leader_whose_key_is_seen_to_go_is_followed_by_a_campaign_at_once() {
    let mut rig = Rig::follower();
    let seen = Some(LeaderSeen { arbitrator: id("l2"), term: Term(4) });
    let first = rig.request();
    rig.take(Event::LeaderSeen(seen.clone()));
    rig.answer(first, Reply::Observed { leader: seen });
    let request = rig.request();
    assert_eq!(rig.take(Event::LeaderSeen(None)), [ask(request, campaign(2, 4, false))]);
}

#[test]
fn a_standby_asks_a_leader_that_it_has_never_heard_from_to_be_an_elector() {
    let mut rig = Rig::follower();
    let first = rig.request();
    rig.take(Event::Wake);
    let stranger = LeaderSeen { arbitrator: id("l9"), term: Term(4) };
    let asked = Command::Peer { to: id("l9"), message: ToPeer::Elector };
    let seen = Reply::NotWon { leader: Some(stranger.clone()), elector: true };
    assert_eq!(rig.answer(first, seen), [Command::Remember(Term(4)), asked.clone()]);
    // Again at each look, until it is heard.
    rig.now = at(8_000);
    let look = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(look, Request::Observe)]);
    assert_eq!(rig.answer(look, Reply::Observed { leader: Some(stranger.clone()) }), [asked]);
    rig.take(Event::Peers(vec![id("l9")]));
    rig.now = at(13_000);
    let look = rig.request();
    assert_eq!(rig.take(Event::Wake), [ask(look, Request::Observe)]);
    assert_eq!(rig.answer(look, Reply::Observed { leader: Some(stranger) }), []);
}
