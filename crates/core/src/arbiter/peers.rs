//! Arbitrator to arbitrator: electors, extensions while the store is away (rule 11), stranded containers.

use std::collections::BTreeSet;

use super::follower::Probe;
use super::leadership::{Extension, Pending};
use super::{Arbiter, Command, Role, Verb};
use crate::engine::{Check, Electors, Key, LeaderSeen, Request, Value, Write};
use crate::guard;
use crate::message::ToPeer;
use crate::names::{ArbitratorId, ContainerName, Term};
use crate::time::{Span, Time};

/// A leader that resigned because others are better connected does not campaign for so long.
const BARRED_AFTER_STRANDED: Span = Span::from_secs(10);

impl Arbiter {
    pub(super) fn on_peer(&mut self, now: Time, from: &ArbitratorId, message: &ToPeer) {
        match message {
            ToPeer::Alive { term } => self.on_alive(now, from, *term),
            ToPeer::Elector => self.on_elector(now, from),
            ToPeer::Extend { term, ask } => self.on_extend(now, from, *term, *ask),
            ToPeer::Extended { term, ask } => self.on_extended(now, from, *term, *ask),
            ToPeer::Stranded { containers } => self.on_stranded(now, *containers),
        }
    }

    /// The leader shows itself to its peers now and then.
    pub(super) fn greet_peers(&mut self, now: Time) {
        let every = self.config.timing.leader_ttl;
        let me = self.config.me.clone();
        let mut peers: BTreeSet<_> = self.config.peers.iter().cloned().collect();
        let Some(leadership) = self.leader() else { return };
        if now < leadership.greet_peers_at {
            return;
        }
        // Also whom the store alone knows of: a new leader has heard from nobody yet.
        peers.extend(leadership.electors.0.members.iter().filter(|member| **member != me).cloned());
        leadership.greet_peers_at = now + every;
        let term = leadership.term;
        for to in peers {
            self.outbox.push(Command::Peer { to, message: ToPeer::Alive { term } });
        }
        self.drop_silent_electors(now);
    }

    fn on_alive(&mut self, now: Time, from: &ArbitratorId, term: Term) {
        self.know_term(term);
        let Role::Follower(follower) = &mut self.role else { return };
        if self.seen.is_none() && now < follower.look_at && term == self.highest {
            self.seen = Some(LeaderSeen { arbitrator: from.clone(), term });
        }
        self.outbox.push(Command::Peer { to: from.clone(), message: ToPeer::Elector });
    }

    fn on_elector(&mut self, now: Time, from: &ArbitratorId) {
        let known = self.config.peers.contains(from);
        let Some(leadership) = self.leader() else { return };
        leadership.peers_seen.insert(from.clone(), now);
        if known {
            leadership.newcomers.insert(from.clone());
        }
    }

    /// Writes newcomers into the electors' list as soon as it can be written: a leader that dies before leaves nobody who may
    /// campaign, so none is to announce itself twice.
    pub(super) fn admit_newcomers(&mut self) {
        let Some(leadership) = self.leader() else { return };
        let read = leadership.phase != super::Phase::Reading;
        // A list that is on its way is waited for.
        if leadership.store_away || !read || !leadership.electors_tried.is_empty() {
            return;
        }
        let mut electors = leadership.electors.0.clone();
        leadership.newcomers.retain(|newcomer| electors.members.insert(newcomer.clone()));
        if !leadership.newcomers.is_empty() {
            self.write_electors(electors);
        }
    }

    /// With fail-safe on, an elector that is gone would keep every extension from being given: it is
    /// taken off the list while the store is there. Of several none is while all of them are silent: then it is this leader
    /// that is cut off, and once it is lost nobody would be left who may follow it.
    fn drop_silent_electors(&mut self, now: Time) {
        let silence = self.config.timing.elector_silence;
        let greetings = self.two_greetings();
        let me = self.config.me.clone();
        let Some(leadership) = self.leader() else { return };
        let mut electors = leadership.electors.0.clone();
        if !electors.fail_safe || leadership.store_away || leadership.phase == super::Phase::Reading {
            return;
        }
        let seen = &leadership.peers_seen;
        let since = leadership.elected_at;
        let before = electors.members.len();
        let last = |member: &ArbitratorId| seen.get(member).copied().unwrap_or(since);
        let heard = electors.members.iter().any(|member| *member != me && now < last(member) + greetings);
        if before > 2 && !heard {
            return;
        }
        electors.members.retain(|member| *member == me || now < last(member) + silence);
        if electors.members.len() < before {
            self.write_electors(electors);
        }
    }

    pub(super) fn write_electors(&mut self, electors: Electors) {
        let Some(leadership) = self.leader() else { return };
        // Two writes on their way may arrive in either order.
        let writes = |pending: &Pending| {
            matches!(pending, Pending::Electors(_) | Pending::Intent { verb: Verb::FailSafe(_), .. })
        };
        if leadership.pending.values().any(writes) {
            return;
        }
        leadership.electors_tried.extend(electors.members.iter().cloned());
        let check = Check { key: Key::Electors, version: leadership.electors.1 };
        let write = Write::Put(Key::Electors, Value::Electors(electors.clone()));
        self.transact(vec![check], vec![write], Pending::Electors(electors));
    }

    /// A list whose writing got no answer may land as long as the key does not change: changes it.
    pub(super) fn confirm_electors(&mut self) {
        let Some(leadership) = self.leader() else { return };
        if !leadership.electors_tried.is_empty() {
            let mut electors = leadership.electors.0.clone();
            electors.members.extend(leadership.electors_tried.iter().cloned());
            self.write_electors(electors);
        }
    }

    /// The store is away: asks every other elector to let this leadership go on.
    pub(super) fn ask_for_extension(&mut self, now: Time) {
        let me = self.config.me.clone();
        let Some(leadership) = self.leader() else { return };
        if !leadership.store_away || !leadership.electors.0.fail_safe {
            return;
        }
        leadership.asks += 1;
        let (term, ask) = (leadership.term, leadership.asks);
        let others: Vec<_> = leadership.may_campaign().filter(|member| **member != me).cloned().collect();
        leadership.asked.insert(ask, Extension { asked_at: now, given: BTreeSet::new() });
        // Answers come within a heartbeat or so; older askings than this are worth nothing.
        while leadership.asked.len() > 8 {
            leadership.asked.pop_first();
        }
        if others.is_empty() {
            leadership.extended = true;
            self.confirmed(now, now);
        }
        for to in others {
            self.outbox.push(Command::Peer { to, message: ToPeer::Extend { term, ask } });
        }
    }

    /// A leader asks. The promise is given only if the store does not answer here either.
    fn on_extend(&mut self, now: Time, from: &ArbitratorId, term: Term, ask: u64) {
        let heartbeat = self.config.timing.heartbeat;
        let Role::Follower(follower) = &mut self.role else { return };
        if term < self.highest {
            return;
        }
        if let Some(probe) = &mut follower.probe {
            // The store is being tried already; what comes of that answers the newest asking.
            if probe.asker == *from && probe.term == term {
                probe.ask = probe.ask.max(ask);
            }
            return;
        }
        self.know_term(term);
        let request = self.ask(Request::Observe);
        let probe = Probe { asker: from.clone(), term, ask, request, deadline: now + heartbeat };
        if let Role::Follower(follower) = &mut self.role {
            follower.probe = Some(probe);
        }
    }

    /// Gives the promise when the store did not answer within a heartbeat (rule 11).
    pub(super) fn probe_over(&mut self, now: Time) {
        let promise = self.config.timing.outlast(self.config.timing.leader_ttl);
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(probe) = follower.probe.take_if(|probe| now >= probe.deadline) else { return };
        if probe.term < self.highest {
            return;
        }
        self.promised_until = self.promised_until.max(now + promise);
        self.seen = Some(LeaderSeen { arbitrator: probe.asker.clone(), term: probe.term });
        let message = ToPeer::Extended { term: probe.term, ask: probe.ask };
        self.outbox.push(Command::Peer { to: probe.asker, message });
    }

    fn on_extended(&mut self, now: Time, from: &ArbitratorId, term: Term, ask: u64) {
        let me = self.config.me.clone();
        let Some(leadership) = self.leader() else { return };
        if leadership.term != term {
            return;
        }
        // A promise given to a later asking holds at least as long as one given to an earlier one would: electors answer the
        // newest asking that has reached them, which need not be the same for all of them.
        for (_, extension) in leadership.asked.range_mut(..=ask) {
            extension.given.insert(from.clone());
        }
        let says = |member: &ArbitratorId, extension: &Extension| *member == me || extension.given.contains(member);
        let enough = |extension: &&Extension| {
            let all = leadership.may_campaign().all(|member| says(member, extension));
            guard!(EveryElectorExtends, all, else !extension.given.is_empty())
        };
        let asked_at = leadership.asked.values().filter(enough).map(|extension| extension.asked_at).max();
        if let Some(asked_at) = asked_at {
            leadership.extended = true;
            self.confirmed(now, asked_at);
        }
    }

    /// A container greets this standby. One that does so again though it was told who leads cannot
    /// reach the leader.
    pub(super) fn note_stranded(&mut self, now: Time, name: &ContainerName) {
        let window = self.config.timing.outlast(self.config.timing.session_ttl);
        let Some(leader) = self.seen.as_ref().map(|seen| seen.arbitrator.clone()) else { return };
        self.stranded.retain(|_, (_, last)| now < *last + window * 3);
        let (since, last) = self.stranded.entry(name.clone()).or_insert((now, now));
        *last = now;
        if now < *since + window {
            return;
        }
        let containers = self.stranded.values().filter(|(since, last)| *last >= *since + window).count();
        self.outbox.push(Command::Peer { to: leader, message: ToPeer::Stranded { containers } });
    }

    /// Every container is lost, and at the same time every other elector fell silent: it is this leader that is cut off from all
    /// but the store, and whom containers greet instead cannot tell it so. Somebody else should lead. Where the others had
    /// been silent for long before, they are dead, and nobody else would.
    pub(super) fn give_up_alone(&mut self, now: Time) {
        let timing = self.config.timing.clone();
        let silence = self.two_greetings();
        let me = self.config.me.clone();
        let Some(leadership) = self.leader() else { return };
        let Some(deserted_at) = leadership.deserted_at else { return };
        let seen = |peer: &ArbitratorId| leadership.peers_seen.get(peer).copied().unwrap_or(leadership.elected_at);
        let last = leadership.electors.0.members.iter().filter(|member| **member != me).map(seen).max();
        let Some(last) = last else { return };
        let together = last + silence + timing.outlast(timing.session_ttl) >= deserted_at;
        if !leadership.store_away && now >= last + silence && together {
            self.resign(now, now + BARRED_AFTER_STRANDED);
        }
    }

    /// Two greetings, and the time for an answer.
    fn two_greetings(&self) -> Span {
        self.config.timing.leader_ttl * 2 + self.config.timing.heartbeat
    }

    /// More containers are stranded with a standby than are bound here: somebody else should lead.
    fn on_stranded(&mut self, now: Time, containers: usize) {
        let timing = &self.config.timing;
        let settled_in = timing.outlast(timing.session_ttl) * 2;
        let Some(leadership) = self.leader() else { return };
        let bound = leadership.register.values().filter(|member| member.live.is_some()).count();
        if now >= leadership.elected_at + settled_in && containers > bound {
            self.resign(now, now + BARRED_AFTER_STRANDED);
        }
    }
}

impl super::Leadership {
    /// Everyone who is an elector in the store, or may be.
    fn may_campaign(&self) -> impl Iterator<Item = &ArbitratorId> {
        self.electors.0.members.union(&self.electors_tried)
    }
}
