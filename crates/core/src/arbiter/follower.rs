//! An arbitrator that does not lead: it looks, keeps its promises, and campaigns (rules 7 and 11).

use super::leadership::{Leadership, Pending};
use super::{Arbiter, Command, Role};
use crate::engine::{LeaderSeen, Reply, Request, Token};
use crate::guard;
use crate::message::ToPeer;
use crate::names::{ArbitratorId, RequestId, Term};
use crate::time::{Span, Time};

/// An arbitrator that does not lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    /// It campaigns no earlier, except as the first elector of an empty store.
    pub(super) not_before: Time,
    /// It never campaigns before this, whatever the store says (after a resignation).
    pub(super) barred_until: Time,
    /// The next look at the store.
    pub(super) look_at: Time,
    pub(super) asked: Option<Asked>,
    /// Being asked by the leader to extend its leadership: is the store really away?
    pub(super) probe: Option<Probe>,
    /// In the electors' list, as far as it knows; one that is not asks the leader to be.
    pub(super) elector: bool,
    /// Nobody leads, and the store has said since that this one may not.
    pub(super) outside: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) request: RequestId,
    pub(super) sent_at: Time,
    /// The leadership tried for; `None` for a mere look.
    pub(super) token: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    pub(super) asker: ArbitratorId,
    pub(super) term: Term,
    pub(super) ask: u64,
    pub(super) request: RequestId,
    pub(super) deadline: Time,
}

impl Follower {
    pub(super) fn starting(now: Time, not_before: Time) -> Self {
        Self { not_before, barred_until: now, look_at: now, asked: None, probe: None, elector: true, outside: false }
    }

    pub(super) fn next_deadline(&self, promised_until: Time) -> Option<(Time, &'static str)> {
        let look_at = guard!(PromiseHolds, self.look_at.max(promised_until), else self.look_at);
        let look = (look_at, "look at the leadership");
        let look = if self.asked.is_some() { None } else { Some(look) };
        let probe = self.probe.as_ref().map(|probe| (probe.deadline, "the store does not answer"));
        look.into_iter().chain(probe).min()
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        f(&mut self.not_before);
        f(&mut self.barred_until);
        f(&mut self.look_at);
        self.asked.iter_mut().for_each(|asked| f(&mut asked.sent_at));
        self.probe.iter_mut().for_each(|probe| f(&mut probe.deadline));
    }
}

impl Arbiter {
    pub(super) fn on_leader_seen(&mut self, now: Time, leader: Option<LeaderSeen>) {
        if let Some(seen) = &leader {
            self.know_term(seen.term);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        if leader.is_none() && self.seen.is_some() {
            follower.look_at = follower.look_at.min(now);
        }
        follower.outside &= leader.is_none();
        let is_new = leader != self.seen;
        self.seen = leader;
        if is_new {
            self.ask_to_elect();
        }
    }

    pub(super) fn follow(&mut self, now: Time) {
        self.probe_over(now);
        let promised = self.promised(now);
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.asked.is_some() || now < follower.look_at || promised {
            return;
        }
        let still = now < follower.not_before && guard!(StartKeepsStill, true, else false);
        let may_try = self.seen.is_none() && now >= follower.barred_until;
        let token = may_try.then(|| self.new_token());
        let ask = match &token {
            Some(token) => Request::Campaign {
                token: token.clone(),
                above: self.highest,
                session_ttl: self.config.timing.session_ttl,
                only_as_first: still,
            },
            None => Request::Observe,
        };
        let request = self.ask(ask);
        let look_every = self.config.timing.heartbeat + self.jitter();
        if let Role::Follower(follower) = &mut self.role {
            follower.asked = Some(Asked { request, sent_at: now, token });
            follower.look_at = now + look_every;
        }
    }

    /// Promised the leader not to campaign, and not to act on a campaign already sent (rule 11).
    fn promised(&self, now: Time) -> bool {
        now < self.promised_until && guard!(PromiseHolds, true, else false)
    }

    /// Up to 200 ms, different for each arbitrator and try, so that they do not all ask at once.
    pub(super) fn jitter(&self) -> Span {
        let seed = self.incarnation.0 ^ self.requests.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Span::from_millis(seed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32 & 0x7F) + Span::from_millis(50)
    }

    /// The engine's answer to a follower's request.
    pub(super) fn on_follower_reply(&mut self, now: Time, request: RequestId, reply: Reply) {
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.probe.as_ref().is_some_and(|probe| probe.request == request) {
            if reply == Reply::Unknown {
                follower.probe.iter_mut().for_each(|probe| probe.deadline = now);
            } else {
                follower.probe = None;
            }
            return;
        }
        let asked = follower.asked.take_if(|asked| asked.request == request);
        match reply {
            Reply::Won { term, longest_ttl } => self.on_won(now, asked, term, longest_ttl),
            Reply::NotWon { leader, elector } => {
                follower.elector = elector;
                follower.outside = leader.is_none() && !elector;
                self.look(now, leader);
                self.ask_to_elect();
            }
            Reply::Observed { leader } => {
                self.look(now, leader);
                self.ask_to_elect();
            }
            _ => {}
        }
    }

    /// Takes note of who leads; looks again soon where nobody does.
    fn look(&mut self, now: Time, leader: Option<LeaderSeen>) {
        let soon = now + self.jitter();
        // The store tells of every change by itself: this is for what it does not tell.
        let slow = now + self.config.timing.leader_ttl * 2;
        if let Some(seen) = &leader {
            self.know_term(seen.term);
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.look_at = if leader.is_some() { slow } else { soon };
            follower.outside &= leader.is_none();
        }
        self.seen = leader;
    }

    fn on_won(&mut self, now: Time, asked: Option<Asked>, term: Term, longest_ttl: Span) {
        self.know_term(term);
        let promised = self.promised(now);
        let Some(Asked { sent_at, token: Some(token), .. }) = asked else { return };
        let leadership = Leadership::new(&self.config, term, token.clone(), sent_at, now, longest_ttl);
        if promised || now >= leadership.acts_until(&self.config) {
            self.ask(Request::Resign { token });
            return;
        }
        let read = self.ask(Request::ReadAll);
        let mut leadership = leadership;
        leadership.pending.insert(read, Pending::Read { writes: 0 });
        self.role = Role::Leader(Box::new(leadership));
        self.seen = Some(LeaderSeen { arbitrator: self.config.me.clone(), term });
        self.stranded.clear();
    }

    /// A standby that is not in the electors' list asks the leader to be; one that has never heard from that leader does, too:
    /// how should the leader know of it?
    pub(super) fn ask_to_elect(&mut self) {
        let Role::Follower(follower) = &self.role else { return };
        let Some(seen) = &self.seen else { return };
        let is_known = self.config.peers.contains(&seen.arbitrator);
        if seen.arbitrator != self.config.me && (!follower.elector || !is_known) {
            let to = seen.arbitrator.clone();
            self.outbox.push(Command::Peer { to, message: ToPeer::Elector });
        }
    }
}
