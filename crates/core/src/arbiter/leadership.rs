//! Becoming leader, staying it, and ceasing to be it in time (rules 7, 8 and 11).

use std::collections::{BTreeMap, BTreeSet};

use super::follower::Follower;
use super::register::Member;
use super::sensor::{Holder, Sensor};
use super::{Arbiter, Command, Config, Role};
use crate::engine::{Electors, Intent, Key, Reply, Request, Snapshot, Token, Transaction, Value, Write};
use crate::guard;
use crate::message::{Hello, ToContainer};
use crate::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, RequestId, SensorRef, SessionId, StreamId, Term,
};
use crate::time::{Span, Time};

/// How far a leader is with what it must know before it gives sensors away (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the register.
    Reading,
    /// Waiting for the registered containers, at the longest until this moment.
    Waiting(Time),
    /// Every unclaimed sensor is free.
    Settled,
}

/// A leadership in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leadership {
    pub(super) term: Term,
    pub(super) token: Token,
    /// When the last confirmed renewal was sent; the campaign is the first.
    pub(super) renewed_at: Time,
    pub(super) renewing: Option<(RequestId, Time)>,
    pub(super) renew_at: Time,
    /// The last renewal went unanswered: the store may be away.
    pub(super) store_away: bool,
    /// When it last came back: what waited for it gets its time from then.
    pub(super) store_back_at: Time,
    /// Askings of the electors that may still be answered, and whether one was granted since the last
    /// renewal in the store.
    pub(super) asked: BTreeMap<u64, Extension>,
    pub(super) extended: bool,
    /// The leader's key is being taken again.
    pub(super) retaking: bool,
    pub(super) asks: u64,
    pub(super) longest_ttl: Span,
    pub(super) elected_at: Time,
    pub(super) phase: Phase,
    pub(super) register: BTreeMap<ContainerName, Member>,
    /// Streams welcomed or bound, and whose they are.
    pub(super) streams: BTreeMap<StreamId, (ContainerName, SessionId)>,
    /// Greetings that came before the register was read.
    pub(super) early: BTreeMap<StreamId, Hello>,
    pub(super) sensors: BTreeMap<SensorRef, Sensor>,
    /// Sensors whose container was told something that it may not have applied yet.
    pub(super) told: BTreeMap<ContainerName, BTreeSet<SensorRef>>,
    pub(super) paused: BTreeMap<SensorRef, Intent>,
    pub(super) drained: BTreeMap<ContainerName, Intent>,
    /// Newest digest and since when it is.
    pub(super) code: BTreeMap<SensorRef, (Digest, Time)>,
    pub(super) electors: (Electors, u64),
    /// Members of lists whose writing is not confirmed: they may be electors already.
    pub(super) electors_tried: BTreeSet<ArbitratorId>,
    /// When each peer last showed itself.
    pub(super) peers_seen: BTreeMap<ArbitratorId, Time>,
    /// Arbitrators that have asked to be electors, until the list has them.
    pub(super) newcomers: BTreeSet<ArbitratorId>,
    pub(super) greet_peers_at: Time,
    pub(super) pending: BTreeMap<RequestId, Pending>,
    pub(super) n: u64,
    pub(super) sessions: u64,
    /// Recent failures, for the brake on a pack's mass failure.
    pub(super) failures: Vec<(Time, SensorRef)>,
    /// Packs that were alarmed about, and when.
    pub(super) alarmed: BTreeMap<String, Time>,
    /// Sensors that nobody has run yet are placed from here on.
    pub(super) place_new_from: Time,
    /// Something that placement looks at has changed.
    pub(super) dirty: bool,
    /// Placement looks again at this time.
    pub(super) replan_at: Time,
    /// Writes of what `Request::ReadAll` reads, sent or answered: a read that one of them crossed is stale.
    pub(super) writes: u64,
    /// The register must be read again: a write to it has an unknown outcome, or was refused.
    pub(super) reread_at: Option<Time>,
    /// Since when every container that there was has been struck, and none has bound itself again.
    pub(super) deserted_at: Option<Time>,
    /// Small writes that failed: written again with a later renewal.
    pub(super) unwritten: Vec<Write>,
    pub(super) plan: crate::placement::Plan,
}

/// An extension by the electors' word while the store is away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extension {
    pub(super) asked_at: Time,
    pub(super) given: BTreeSet<ArbitratorId>,
}

/// What an unanswered engine request of a leader is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    /// A read of everything, and how many writes of it had been sent or answered by then.
    Read { writes: u64 },
    /// A new entry in the register, with who is to be welcomed.
    Join { stream: StreamId, hello: Box<Hello>, member: Box<Member> },
    /// A successor's entry in place of its predecessor's.
    Replace { stream: StreamId, hello: Box<Hello>, member: Box<Member> },
    /// A strike.
    Strike { name: ContainerName },
    /// A new list of electors.
    Electors(Electors),
    /// An operator's intent; answered when it is written.
    Intent { request: u64, intent: Intent, verb: super::Verb },
    /// The ttl record, or a digest: written again at the next chance if this fails.
    Minor(Vec<Write>),
    /// Read or seal of a journal, for an activation.
    Prepare { sensor: SensorRef },
    /// Read of a journal for its holder's commits.
    Cache { sensor: SensorRef },
    /// A commit under way.
    Commit { sensor: SensorRef, entry: EntryId },
    /// Marks under way, and who said each.
    Mark { sensor: SensorRef, entries: Vec<(EntryId, StreamId)> },
}

impl Arbiter {
    /// The term that this arbitrator leads, while its leadership is in force.
    pub fn leads(&self, now: Time) -> Option<Term> {
        match &self.role {
            Role::Leader(leadership) if now < leadership.acts_until(&self.config) => Some(leadership.term),
            Role::Leader(_) | Role::Follower(_) => None,
        }
    }

    /// Ends a leadership that is no longer surely in force. It is over for good (rule 7).
    pub(super) fn lapse(&mut self, now: Time) {
        if let Role::Leader(leadership) = &self.role
            && now >= leadership.acts_until(&self.config)
        {
            self.step_down(now, now);
        }
    }

    /// Ceases to lead at once; containers are told to look elsewhere.
    pub(super) fn step_down(&mut self, now: Time, barred_until: Time) {
        let Role::Leader(leadership) = &self.role else { return };
        let unanswered: Vec<_> = leadership.pending.values().filter_map(Pending::operators).collect();
        let streams: Vec<_> = leadership.streams.keys().chain(leadership.early.keys()).copied().collect();
        // Whoever was deposed before its own list was written is on none: it has to ask its successor.
        let elector = leadership.electors.0.members.contains(&self.config.me);
        for request in unanswered {
            self.outbox.push(Command::Answer { request, answer: super::Answer::Unknown });
        }
        for stream in streams {
            self.send(stream, ToContainer::Resigning);
            self.outbox.push(Command::Close(stream));
        }
        let mut follower = Follower::starting(now, now);
        follower.barred_until = barred_until;
        follower.look_at = now + self.jitter();
        follower.elector = elector;
        self.role = Role::Follower(follower);
        self.seen = None;
    }

    /// Gives the leadership up: stops first, then releases (rule 7).
    pub(super) fn resign(&mut self, now: Time, barred_until: Time) {
        let Role::Leader(leadership) = &self.role else { return };
        let token = leadership.token.clone();
        let stops_first = guard!(ResignStopsFirst, true, else false);
        self.ask(Request::Resign { token });
        if stops_first {
            self.step_down(now, barred_until);
        }
    }

    pub(super) fn know_term(&mut self, term: Term) {
        if term > self.highest {
            self.highest = term;
            self.outbox.push(Command::Remember(term));
        }
    }

    /// What is due by now, follower or leader.
    pub(super) fn on_time(&mut self, now: Time) {
        match &self.role {
            Role::Follower(_) => self.follow(now),
            Role::Leader(_) => self.lead(now),
        }
    }

    fn lead(&mut self, now: Time) {
        self.give_up_alone(now);
        self.renew(now);
        self.greet_peers(now);
        self.admit_newcomers();
        self.read_register_again(now);
        self.strike_the_dead(now);
        self.settle(now);
        self.reconcile(now);
    }

    /// Sends the next renewal, and asks the electors while the store is away.
    fn renew(&mut self, now: Time) {
        let renew_every = self.config.timing.renew_every();
        let Some(leadership) = self.leader() else { return };
        if now < leadership.renew_at {
            return;
        }
        leadership.renew_at = now + renew_every;
        let unwritten = if leadership.store_away { Vec::new() } else { std::mem::take(&mut leadership.unwritten) };
        if leadership.renewing.is_none() {
            self.send_renewal(now);
        }
        if !unwritten.is_empty() {
            self.transact(Vec::new(), unwritten.clone(), Pending::Minor(unwritten));
        }
        self.ask_for_extension(now);
    }

    pub(super) fn send_renewal(&mut self, now: Time) {
        let Some(leadership) = self.leader() else { return };
        let token = leadership.token.clone();
        let request = self.ask(Request::Renew { token });
        if let Some(leadership) = self.leader() {
            leadership.renewing = Some((request, now));
        }
    }

    /// The engine's answer to a leader's request.
    pub(super) fn on_leader_reply(&mut self, now: Time, request: RequestId, reply: Reply) {
        let pause = self.config.timing.heartbeat;
        let Some(leadership) = self.leader() else { return };
        if let Some((_, sent_at)) = leadership.renewing.take_if(|(renewal, _)| *renewal == request) {
            self.on_renewal(now, sent_at, &reply);
            return;
        }
        let Some(pending) = leadership.pending.remove(&request) else { return };
        if pending.is_read_back() {
            leadership.writes += 1;
        }
        if reply == Reply::NotLeader {
            self.on_not_leader(now, request, pending);
            return;
        }
        match (pending, reply) {
            (Pending::Electors(electors), Reply::Applied { version }) => {
                // Whatever else was tried can land no more: the key has moved on.
                leadership.electors = (electors, version);
                leadership.electors_tried.clear();
            }
            (Pending::Read { writes }, Reply::All(_)) if writes != leadership.writes => {
                leadership.reread_at = Some(now);
            }
            (Pending::Read { .. }, Reply::All(snapshot)) => self.on_snapshot(now, *snapshot),
            (Pending::Read { .. }, _) => leadership.reread_at = Some(now + pause),
            (Pending::Electors(_), _) => leadership.reread_at = Some(now),
            (Pending::Join { stream, hello, member }, Reply::Applied { version }) => {
                self.joined(now, stream, &hello, *member, version);
            }
            (Pending::Replace { stream, hello, member }, Reply::Applied { version }) => {
                self.replaced(now, stream, &hello, *member, version);
            }
            (Pending::Strike { name }, Reply::Applied { .. }) => self.struck(now, &name),
            (Pending::Join { .. } | Pending::Replace { .. } | Pending::Strike { .. }, _) => {
                leadership.reread_at = Some(now);
            }
            (Pending::Intent { request, intent, verb }, reply) => {
                self.intent_written(now, request, intent, verb, &reply);
            }
            (Pending::Prepare { sensor }, reply) => self.prepared(now, request, &sensor, reply),
            (Pending::Cache { sensor }, reply) => self.cached(&sensor, reply),
            (Pending::Commit { sensor, entry }, reply) => self.commit_answered(&sensor, entry, &reply),
            (Pending::Mark { sensor, entries }, reply) => self.mark_answered(&sensor, entries, &reply),
            (Pending::Minor(_), Reply::Applied { .. }) => {}
            (Pending::Minor(writes), _) => leadership.unwritten.extend(writes),
        }
    }

    /// A write was refused because this leadership is not the store's: it is over, unless the store was
    /// away and the electors extended it, in which case the leader's key is taken again first.
    fn on_not_leader(&mut self, now: Time, request: RequestId, pending: Pending) {
        let extended = self.leader().is_some_and(|leadership| leadership.extended);
        if !extended {
            if let Some(request) = pending.operators() {
                self.outbox.push(Command::Answer { request, answer: super::Answer::NotLeader(None) });
            }
            self.step_down(now, now);
            return;
        }
        match pending {
            Pending::Commit { sensor, entry } => self.commit_answered(&sensor, entry, &Reply::Unknown),
            Pending::Prepare { sensor } => self.prepared(now, request, &sensor, Reply::Unknown),
            Pending::Mark { sensor, entries } => self.mark_answered(&sensor, entries, &Reply::Unknown),
            Pending::Minor(writes) => {
                if let Some(leadership) = self.leader() {
                    leadership.unwritten.extend(writes);
                }
            }
            Pending::Intent { request, intent, verb } => {
                self.intent_written(now, request, intent, verb, &Reply::Unknown);
            }
            _ => {
                if let Some(leadership) = self.leader() {
                    leadership.reread_at = Some(now);
                }
            }
        }
    }

    fn on_renewal(&mut self, now: Time, sent_at: Time, reply: &Reply) {
        match reply {
            Reply::Done => {
                if let Some(leadership) = self.leader() {
                    if std::mem::replace(&mut leadership.store_away, false) {
                        leadership.store_back_at = now;
                    }
                    leadership.extended = false;
                    leadership.retaking = false;
                    leadership.asked.clear();
                }
                self.confirmed(now, sent_at);
            }
            Reply::NotLeader => {
                let Some(leadership) = self.leader() else { return };
                if !leadership.extended || leadership.retaking {
                    self.step_down(now, now);
                    return;
                }
                // The store is back and forgot our key while the electors kept it for us: take it again
                // in the same term. If another term began, that fails, and this leadership is over.
                leadership.retaking = true;
                let (token, term) = (leadership.token.clone(), leadership.term);
                let request = self.ask(Request::Retake { token, term });
                if let Some(leadership) = self.leader() {
                    leadership.renewing = Some((request, now));
                }
            }
            _ => {
                if let Some(leadership) = self.leader() {
                    leadership.store_away = true;
                    leadership.retaking = false;
                }
                // At once: what is left of the leadership may not last until the next renewal.
                if self.leader().is_some_and(|leadership| now < leadership.renew_at) {
                    self.ask_for_extension(now);
                }
            }
        }
    }

    /// The leadership is confirmed as of `sent_at`.
    pub(super) fn confirmed(&mut self, now: Time, sent_at: Time) {
        let Some(leadership) = self.leader() else { return };
        leadership.renewed_at = leadership.renewed_at.max(sent_at);
        self.acknowledge_revived(now);
    }

    pub(super) fn on_snapshot(&mut self, now: Time, snapshot: Snapshot) {
        let timing = self.config.timing.clone();
        let forgetful = self.config.forgetful;
        let Some(leadership) = self.leader() else { return };
        leadership.reread_at = None;
        leadership.electors = snapshot.electors;
        leadership.paused = snapshot.paused;
        leadership.drained = snapshot.drained;
        leadership.dirty = true;
        if leadership.phase != Phase::Reading {
            self.register_read_again(now, snapshot.register);
            self.confirm_electors();
            return;
        }
        leadership.code = snapshot.code.into_iter().map(|(sensor, digest)| (sensor, (digest, now))).collect();
        let longest = guard!(LongestTtlCounts, leadership.longest_ttl, else timing.session_ttl);
        let wait = if forgetful { timing.outlast(longest) + timing.leader_ttl } else { timing.outlast(longest) };
        let until = leadership.elected_at + guard!(UnclaimedWait, wait, else Span::ZERO);
        leadership.phase = Phase::Waiting(until);
        if snapshot.register.is_empty() {
            // A cluster that starts: the first container to come is not given everything.
            leadership.place_new_from = now + timing.heartbeat;
        }
        leadership.register = snapshot
            .register
            .into_iter()
            .map(|(name, (entry, version))| (name, Member::found(entry, version, until)))
            .collect();
        let mut electors = leadership.electors.0.clone();
        if electors.members.is_empty() {
            electors.fail_safe = self.config.fail_safe && !self.config.forgetful;
        }
        if electors.members.insert(self.config.me.clone()) {
            self.write_electors(electors);
        }
        let early = self.leader().map(|leadership| std::mem::take(&mut leadership.early)).unwrap_or_default();
        for (stream, hello) in early {
            self.on_hello(now, stream, hello);
        }
    }

    /// Ends the wait when nothing unclaimed can be acting any more (rule 8).
    fn settle(&mut self, now: Time) {
        let forgetful = self.config.forgetful;
        let own_ttl = self.config.timing.session_ttl;
        let Some(leadership) = self.leader() else { return };
        let Phase::Waiting(until) = leadership.phase else { return };
        let bound = |member: &Member| member.bound;
        let register = &leadership.register;
        let all = guard!(EarlyEndNeedsAll, register.values().all(bound), else register.values().any(bound));
        let early = all && !(forgetful && guard!(ForgetfulWaitsFull, true, else false));
        if !early && (now < until || !all) {
            return;
        }
        leadership.phase = Phase::Settled;
        leadership.dirty = true;
        for sensor in leadership.sensors.values_mut() {
            if sensor.holder == Holder::Unknown {
                sensor.holder = Holder::Free;
            }
        }
        let shorten = leadership.longest_ttl > own_ttl;
        leadership.longest_ttl = own_ttl;
        if shorten {
            let write = Write::Put(Key::LongestTtl, Value::Ttl(own_ttl));
            self.transact(Vec::new(), vec![write.clone()], Pending::Minor(vec![write]));
        }
        self.adopt_after_the_wait(now);
    }

    pub(super) fn transact(&mut self, checks: Vec<crate::engine::Check>, writes: Vec<Write>, pending: Pending) {
        let Some(leadership) = self.leader() else { return };
        if pending.is_read_back() {
            leadership.writes += 1;
        }
        let token = leadership.token.clone();
        let request = self.ask(Request::Transact(Transaction { token, checks, writes }));
        if let Some(leadership) = self.leader() {
            leadership.pending.insert(request, pending);
        }
    }

    pub(super) fn on_engine(&mut self, now: Time, request: RequestId, reply: Reply) {
        match &self.role {
            Role::Follower(_) => self.on_follower_reply(now, request, reply),
            Role::Leader(_) => self.on_leader_reply(now, request, reply),
        }
    }
}

impl Pending {
    /// A write of something that `Request::ReadAll` reads.
    fn is_read_back(&self) -> bool {
        matches!(
            self,
            Self::Join { .. } | Self::Replace { .. } | Self::Strike { .. } | Self::Electors(_) | Self::Intent { .. }
        )
    }

    /// The operator's request that waits for it.
    fn operators(&self) -> Option<u64> {
        match self {
            Self::Intent { request, .. } => Some(*request),
            _ => None,
        }
    }
}

impl Leadership {
    pub(super) fn new(config: &Config, term: Term, token: Token, sent_at: Time, now: Time, longest_ttl: Span) -> Self {
        Self {
            term,
            token,
            renewed_at: sent_at,
            renewing: None,
            renew_at: now + config.timing.renew_every(),
            store_away: false,
            store_back_at: now,
            asked: BTreeMap::new(),
            extended: false,
            retaking: false,
            asks: 0,
            longest_ttl,
            elected_at: now,
            phase: Phase::Reading,
            register: BTreeMap::new(),
            streams: BTreeMap::new(),
            early: BTreeMap::new(),
            sensors: BTreeMap::new(),
            told: BTreeMap::new(),
            paused: BTreeMap::new(),
            drained: BTreeMap::new(),
            code: BTreeMap::new(),
            electors: (Electors::default(), 0),
            peers_seen: config.peers.iter().map(|peer| (peer.clone(), now)).collect(),
            newcomers: BTreeSet::new(),
            greet_peers_at: now,
            pending: BTreeMap::new(),
            n: 0,
            sessions: 0,
            failures: Vec::new(),
            alarmed: BTreeMap::new(),
            place_new_from: now,
            dirty: false,
            replan_at: Time::NEVER,
            writes: 0,
            unwritten: Vec::new(),
            electors_tried: BTreeSet::new(),
            reread_at: None,
            deserted_at: None,
            plan: crate::placement::Plan { placements: BTreeMap::new() },
        }
    }

    /// The moment at which this leadership ends unless it is confirmed again.
    pub(super) fn acts_until(&self, config: &Config) -> Time {
        guard!(LeaderActsInForce, self.renewed_at + config.timing.acts_for(), else Time::NEVER)
    }

    pub(super) fn add_stall(&mut self, late: Span) {
        for member in self.register.values_mut() {
            member.allowance = member.allowance + late;
        }
    }

    pub(super) fn next_fence(&mut self) -> Fence {
        self.n += 1;
        Fence { term: self.term, n: self.n }
    }

    pub(super) fn next_deadline(&self, config: &Config) -> Option<(Time, &'static str)> {
        let mut deadlines = vec![
            (self.acts_until(config), "the leadership is no longer surely in force"),
            (self.renew_at, "renew the leadership"),
            (self.greet_peers_at, "greet the peers"),
            (self.replan_at, "look at placements again"),
        ];
        if let Phase::Waiting(until) = self.phase {
            let all_bound = self.register.values().all(|member| member.bound);
            if all_bound {
                deadlines.push((until, "nothing unclaimed acts any more"));
            }
        }
        if let Some(reread_at) = self.reread_at {
            deadlines.push((reread_at, "read the register again"));
        }
        for member in self.register.values() {
            if !member.striking && !self.store_away {
                deadlines.push((member.dead_at(&config.timing), "a container's lease has surely ended"));
            }
        }
        deadlines.into_iter().min()
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        f(&mut self.renewed_at);
        f(&mut self.renew_at);
        f(&mut self.elected_at);
        f(&mut self.store_back_at);
        f(&mut self.greet_peers_at);
        f(&mut self.replan_at);
        self.renewing.iter_mut().for_each(|(_, sent_at)| f(sent_at));
        self.asked.values_mut().for_each(|extension| f(&mut extension.asked_at));
        self.reread_at.iter_mut().for_each(&mut *f);
        self.deserted_at.iter_mut().for_each(&mut *f);
        if let Phase::Waiting(until) = &mut self.phase {
            f(until);
        }
        self.peers_seen.values_mut().for_each(&mut *f);
        self.failures.iter_mut().for_each(|(at, _)| f(at));
        self.alarmed.values_mut().for_each(&mut *f);
        f(&mut self.place_new_from);
        self.code.values_mut().for_each(|(_, since)| f(since));
        self.register.values_mut().for_each(|member| member.each_time(f));
        self.sensors.values_mut().for_each(|sensor| sensor.each_time(f));
    }
}
