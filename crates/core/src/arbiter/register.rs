//! Who may hold something: greeting, joining, binding, heartbeats, striking (rules 1, 2, 3 and 8).

use std::collections::BTreeMap;

use super::leadership::{Leadership, Pending, Phase};
use super::sensor::{Holder, Sensor};
use super::{Arbiter, Command, Role};
use crate::engine::{Check, Key, Registered, Request, Value, Write};
use crate::guard;
use crate::history::Cause;
use crate::message::{Heartbeat, Hello, Offer, Report, ToContainer};
use crate::names::{ContainerName, Fence, Registration, SensorRef, SessionId, StreamId};
use crate::placement::Labels;
use crate::time::{Span, Time};
use crate::timing::Timing;

/// No store has lost so many elections: a term that is shown further ahead is not believed.
const TERM_JUMP_AT_MOST: u64 = 1 << 32;

/// A container in the register, as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) entry: Registered,
    pub(super) version: u64,
    /// It has bound itself to this term.
    pub(super) bound: bool,
    /// The stream of the session that is bound, while it is open.
    pub(super) live: Option<(StreamId, SessionId)>,
    /// Its lease has surely ended at this moment plus the wait, or, unbound, at this moment.
    lease_base: Time,
    /// Time in which this leader's loop stood still.
    pub(super) allowance: Span,
    pub(super) striking: bool,
    /// It does not apply what it is told: no acknowledgement any more.
    pub(super) muted: bool,
    /// The last heartbeat read, while it waits for a renewal that began after it came (rule 7).
    revival: Option<Revival>,
    pub(super) draining: bool,
    pub(super) labels: Labels,
    pub(super) capacity: Option<u32>,
    pub(super) offers: BTreeMap<SensorRef, Offer>,
    /// The offers have come; until then nothing is decided about what it holds.
    pub(super) told_offers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Revival {
    beat: Beat,
    came_at: Time,
    /// On an engine that may forget, frozen claims wait for the end of the wait (rule 9).
    after_the_wait: bool,
}

/// What of a heartbeat its acknowledgement repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Beat {
    stream: StreamId,
    session: SessionId,
    sequence: u64,
    sent_at: Time,
}

impl Beat {
    fn ack(self) -> ToContainer {
        ToContainer::Ack { session: self.session, sequence: self.sequence, sent_at: self.sent_at }
    }

    fn not_yet(self) -> ToContainer {
        ToContainer::NotYet { session: self.session, sent_at: self.sent_at }
    }
}

impl Member {
    /// An entry that was found in the register: it may act until `until`, and nothing is known of it.
    pub(super) fn found(entry: Registered, version: u64, until: Time) -> Self {
        Self {
            entry,
            version,
            bound: false,
            live: None,
            lease_base: until,
            allowance: Span::ZERO,
            striking: false,
            muted: false,
            revival: None,
            draining: false,
            labels: Labels::new(),
            capacity: None,
            offers: BTreeMap::new(),
            told_offers: false,
        }
    }

    /// When it can be struck.
    pub(super) fn dead_at(&self, timing: &Timing) -> Time {
        let lease = guard!(StrikeOutlastsLease, timing.outlast(timing.session_ttl), else timing.session_ttl);
        let wait = if self.bound { lease } else { Span::ZERO };
        self.lease_base + wait + self.allowance
    }

    /// Whether new work can be given to it.
    pub(super) fn reachable(&self) -> bool {
        self.live.is_some() && self.told_offers && !self.striking && !self.muted
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        f(&mut self.lease_base);
        self.revival.iter_mut().for_each(|revival| f(&mut revival.came_at));
    }
}

impl Arbiter {
    pub(super) fn on_hello(&mut self, now: Time, stream: StreamId, hello: Hello) {
        let Role::Leader(leadership) = &mut self.role else {
            self.note_stranded(now, &hello.name);
            let leader = self.seen.as_ref().map(|seen| seen.arbitrator.clone());
            self.send(stream, ToContainer::NotLeader { leader });
            return;
        };
        if leadership.phase == Phase::Reading {
            leadership.early.insert(stream, hello);
            return;
        }
        if let Some((shown, whose)) = &hello.highest {
            // A peer that is wrong, or worse, must not use the numbers up.
            if shown.0 > leadership.term.0.saturating_add(TERM_JUMP_AT_MOST) {
                return;
            }
            let higher = guard!(LowerTermRefused, *shown > leadership.term, else false);
            let twice = *shown == leadership.term && *whose != leadership.token;
            let stops = higher || guard!(SameTermOneLeader, twice, else false);
            if stops && guard!(TermAboveShown, true, else false) {
                let shown = *shown;
                self.know_term(shown);
                self.resign(now, now);
                return;
            }
        }
        let Some(member) = leadership.register.get(&hello.name) else {
            self.join(stream, hello);
            return;
        };
        let same = member.entry.incarnation == hello.incarnation;
        let names_it = hello.succeeds == Some(member.entry.incarnation);
        let successor = names_it && member.entry.machine == hello.machine;
        if same && !member.striking {
            self.welcome(stream, &hello);
        } else if !same && (successor || guard!(IncarnationFreesNothing, false, else true)) {
            self.replace(stream, hello);
        } else if !same {
            let machine = member.entry.machine;
            self.send(stream, ToContainer::NameTaken { machine });
        }
    }

    fn join(&mut self, stream: StreamId, hello: Hello) {
        let Some(leadership) = self.leader() else { return };
        let under_way = leadership
            .pending
            .values()
            .any(|pending| matches!(pending, Pending::Join { hello: other, .. } if other.name == hello.name));
        if under_way {
            return;
        }
        let member = Box::new(leadership.new_member(&hello));
        let check = Check { key: Key::Register(hello.name.clone()), version: 0 };
        let write = Write::Put(Key::Register(hello.name.clone()), Value::Registered(member.entry.clone()));
        if guard!(JoinBeforeWelcome, false, else true) {
            leadership.register.insert(hello.name.clone(), (*member).clone());
            self.welcome(stream, &hello);
        }
        self.transact(vec![check], vec![write], Pending::Join { stream, hello: Box::new(hello), member });
    }

    fn replace(&mut self, stream: StreamId, hello: Hello) {
        let Some(leadership) = self.leader() else { return };
        let member = Box::new(leadership.new_member(&hello));
        let Some(old) = leadership.register.get_mut(&hello.name) else { return };
        if old.striking {
            return;
        }
        old.striking = true;
        let check = Check { key: Key::Register(hello.name.clone()), version: old.version };
        let write = Write::Put(Key::Register(hello.name.clone()), Value::Registered(member.entry.clone()));
        self.transact(vec![check], vec![write], Pending::Replace { stream, hello: Box::new(hello), member });
    }

    pub(super) fn joined(&mut self, now: Time, stream: StreamId, hello: &Hello, mut member: Member, version: u64) {
        let Some(leadership) = self.leader() else { return };
        if leadership.register.get(&hello.name).is_some_and(|member| member.version > 0) {
            return;
        }
        member.version = version;
        member.lease_base = now + self.config.timing.outlast(self.config.timing.session_ttl);
        let Some(leadership) = self.leader() else { return };
        if let Some(early) = leadership.register.get_mut(&hello.name) {
            early.version = version;
            return;
        }
        leadership.register.insert(hello.name.clone(), member);
        self.welcome(stream, hello);
    }

    pub(super) fn replaced(&mut self, now: Time, stream: StreamId, hello: &Hello, member: Member, version: u64) {
        self.free_all(now, &hello.name, Cause::Restarted);
        self.forget_container(&hello.name);
        self.joined(now, stream, hello, member, version);
    }

    /// Invites the container to bind itself. Nothing else is sent before it does.
    fn welcome(&mut self, stream: StreamId, hello: &Hello) {
        let (session_ttl, heartbeat) = (self.config.timing.session_ttl, self.config.timing.heartbeat);
        let Some(leadership) = self.leader() else { return };
        let Some(member) = leadership.register.get_mut(&hello.name) else { return };
        member.labels.clone_from(&hello.labels);
        member.capacity = hello.capacity;
        let registration = member.entry.registration;
        leadership.sessions += 1;
        let session = SessionId(leadership.sessions);
        let (term, token) = (leadership.term, leadership.token.clone());
        leadership.streams.insert(stream, (hello.name.clone(), session));
        let welcome = ToContainer::Welcome { term, leadership: token, session, registration, session_ttl, heartbeat };
        if guard!(BindingRegisters, false, else true)
            && let Some(member) = leadership.register.get_mut(&hello.name)
        {
            member.bound = true;
            member.live = Some((stream, session));
            leadership.dirty = true;
        }
        self.send(stream, welcome);
    }

    pub(super) fn on_heartbeat(&mut self, now: Time, stream: StreamId, heartbeat: Heartbeat) {
        let forgetful = self.config.forgetful;
        let Some(leadership) = self.leader() else { return };
        let settled = leadership.phase == Phase::Settled;
        let Some((name, session)) = leadership.streams.get(&stream).cloned() else { return };
        let Some(member) = leadership.register.get_mut(&name) else { return };
        if session != heartbeat.session || member.striking || member.muted {
            return;
        }
        let binds = heartbeat.binds.is_some();
        if !binds && member.live != Some((stream, session)) {
            return;
        }
        if member.draining != heartbeat.draining {
            member.draining = heartbeat.draining;
            leadership.dirty = true;
        }
        if let Some(binding) = heartbeat.binds {
            let first = !std::mem::replace(&mut member.bound, true);
            member.live = Some((stream, session));
            member.lease_base = now;
            member.allowance = Span::ZERO;
            leadership.deserted_at = None;
            let older: Vec<_> = leadership
                .streams
                .iter()
                .filter(|(other, (owner, _))| **other != stream && *owner == name)
                .map(|(other, _)| *other)
                .collect();
            for other in &older {
                leadership.streams.remove(other);
            }
            self.outbox.extend(older.into_iter().map(Command::Close));
            // A leader that has led it knows better: it may have judged a failure to be the source's.
            if first {
                self.take_failed_marks(now, &name, &binding.failed);
            }
            let wait = forgetful && heartbeat.lapsed && !settled && !binding.holds.is_empty();
            self.bind_claims(now, &name, &binding.holds, wait);
            self.take_notes(now, &name, &heartbeat.polled, &heartbeat.reports);
            let beat = Beat { stream, session, sequence: heartbeat.sequence, sent_at: heartbeat.sent_at };
            self.acknowledge(now, &name, beat, heartbeat.lapsed, wait);
            return;
        }
        self.take_notes(now, &name, &heartbeat.polled, &heartbeat.reports);
        let beat = Beat { stream, session, sequence: heartbeat.sequence, sent_at: heartbeat.sent_at };
        self.acknowledge(now, &name, beat, heartbeat.lapsed, false);
        self.resend_unapplied(now, &name);
    }

    fn take_notes(&mut self, now: Time, name: &ContainerName, polled: &[(SensorRef, Span)], reports: &[Report]) {
        let Some(leadership) = self.leader() else { return };
        for (sensor, ago) in polled {
            let sensor = leadership.sensor(sensor);
            if sensor.holder.is_held_by(name) {
                sensor.polled_at = Some(now - *ago);
            }
        }
        for report in reports {
            self.on_report(now, name, report);
        }
    }

    /// Acknowledges a heartbeat; one sent after the lease had lapsed only when a renewal that began
    /// after it came is confirmed.
    fn acknowledge(&mut self, now: Time, name: &ContainerName, beat: Beat, lapsed: bool, after_the_wait: bool) {
        let Some(leadership) = self.leader() else { return };
        let Some(member) = leadership.register.get_mut(name) else { return };
        if member.muted {
            return;
        }
        if !after_the_wait && !guard!(RevivalNeedsRenewal, lapsed, else false) {
            member.lease_base = now;
            member.allowance = Span::ZERO;
            member.revival = None;
            self.send(beat.stream, beat.ack());
            return;
        }
        // It lives, and cannot act: its strike can wait.
        member.lease_base = now;
        // One at a time: the heartbeat that is acknowledged is the one that the renewal came after.
        if let Some(earlier) = member.revival.as_ref().filter(|earlier| earlier.beat.session == beat.session) {
            if earlier.after_the_wait {
                self.send(beat.stream, beat.not_yet());
            }
            return;
        }
        member.revival = Some(Revival { beat, came_at: now, after_the_wait });
        if after_the_wait {
            self.send(beat.stream, beat.not_yet());
        }
        let Some(leadership) = self.leader() else { return };
        if leadership.renewing.is_none() {
            self.send_renewal(now);
        }
    }

    /// After a confirmed renewal: those whose heartbeats came before it began live again.
    pub(super) fn acknowledge_revived(&mut self, now: Time) {
        let Some(leadership) = self.leader() else { return };
        let renewed_at = leadership.renewed_at;
        let settled = leadership.phase == Phase::Settled;
        let mut acks = Vec::new();
        let mut waiting = false;
        for member in leadership.register.values_mut() {
            let Some(revival) = member.revival.take() else { continue };
            if member.striking || member.muted || member.live != Some((revival.beat.stream, revival.beat.session)) {
                continue;
            }
            if revival.came_at <= renewed_at && (settled || !revival.after_the_wait) {
                member.lease_base = now;
                member.allowance = Span::ZERO;
                acks.push((revival.beat.stream, revival.beat.ack()));
            } else {
                waiting |= revival.came_at > renewed_at;
                member.revival = Some(revival);
            }
        }
        let renew_now = waiting && leadership.renewing.is_none();
        for (stream, ack) in acks {
            self.send(stream, ack);
        }
        if renew_now {
            self.send_renewal(now);
        }
    }

    pub(super) fn on_offers(&mut self, now: Time, stream: StreamId, offers: Vec<Offer>) {
        let Some(leadership) = self.leader() else { return };
        let Some((name, _)) = leadership.streams.get(&stream).cloned() else { return };
        let settled = leadership.phase == Phase::Settled;
        let Some(member) = leadership.register.get_mut(&name) else { return };
        let before = std::mem::take(&mut member.offers);
        member.told_offers = true;
        member.offers = offers.into_iter().map(|offer| (offer.sensor.clone(), offer)).collect();
        leadership.dirty = true;
        let mut newer = Vec::new();
        for (sensor, offer) in &member.offers {
            let changed = match before.get(sensor) {
                Some(earlier) => earlier.digest != offer.digest,
                // Told by its container: a change from what was the newest, and no older one.
                None => offer.previous.is_some() && offer.previous == leadership.code.get(sensor).map(|known| known.0),
            };
            let known = leadership.code.get(sensor);
            if known.is_none() || changed && known.is_some_and(|(digest, _)| *digest != offer.digest) {
                newer.push((sensor.clone(), offer.digest));
            }
            let state = leadership.sensors.entry(sensor.clone()).or_insert_with(|| Sensor::new(settled));
            state.offered = true;
            if before.get(sensor).is_some_and(|earlier| earlier.digest != offer.digest) {
                // What failed there was other code.
                state.forgive(&name);
            }
        }
        for sensor in before.keys().filter(|sensor| !member.offers.contains_key(*sensor)) {
            if let Some(state) = leadership.sensors.get_mut(sensor) {
                state.offered = false;
            }
        }
        let mut writes = Vec::new();
        for (sensor, digest) in newer {
            leadership.code.insert(sensor.clone(), (digest, now));
            writes.push(Write::Put(Key::Code(sensor), Value::Digest(digest)));
        }
        if !writes.is_empty() {
            self.transact(Vec::new(), writes.clone(), Pending::Minor(writes));
        }
    }

    pub(super) fn on_stream_closed(&mut self, now: Time, stream: StreamId) {
        let Some(leadership) = self.leader() else { return };
        leadership.early.remove(&stream);
        let Some((name, _)) = leadership.streams.remove(&stream) else { return };
        let Some(member) = leadership.register.get_mut(&name) else { return };
        if member.live.is_some_and(|(live, _)| live == stream) {
            member.live = None;
            leadership.dirty = true;
            if guard!(SilenceFreesNothing, false, else true) {
                self.free_all(now, &name, Cause::Lost);
            }
        }
    }

    /// The container says that all of it has stopped, for good.
    pub(super) fn on_leaving(&mut self, stream: StreamId) {
        let Some(leadership) = self.leader() else { return };
        let Some((name, _)) = leadership.streams.get(&stream).cloned() else { return };
        if let Some(member) = leadership.register.get_mut(&name)
            && member.live.is_some_and(|(live, _)| live == stream)
            && !member.striking
        {
            self.strike(&name);
        }
    }

    /// Strikes every container whose lease has surely ended.
    pub(super) fn strike_the_dead(&mut self, now: Time) {
        let timing = self.config.timing.clone();
        let Some(leadership) = self.leader() else { return };
        // A strike must be stored; with the store away nothing is struck (rule 11).
        if leadership.store_away {
            return;
        }
        let dead: Vec<_> = leadership
            .register
            .iter()
            .filter(|(_, member)| !member.striking && now >= member.dead_at(&timing))
            .map(|(name, _)| name.clone())
            .collect();
        for name in dead {
            self.strike(&name);
            if guard!(StrikeBeforeGiving, false, else true) {
                self.free_all(now, &name, Cause::Lost);
            }
        }
    }

    fn strike(&mut self, name: &ContainerName) {
        let Some(leadership) = self.leader() else { return };
        let Some(member) = leadership.register.get_mut(name) else { return };
        member.striking = true;
        let key = Key::Register(name.clone());
        let check = Check { key: key.clone(), version: member.version };
        self.transact(vec![check], vec![Write::Delete(key)], Pending::Strike { name: name.clone() });
    }

    /// The strike is durable: what the container held is free.
    pub(super) fn struck(&mut self, now: Time, name: &ContainerName) {
        let Some(leadership) = self.leader() else { return };
        let left = leadership.register.get(name).and_then(|member| member.live);
        self.free_all(now, name, Cause::Lost);
        if let Some((stream, _)) = left {
            self.send(stream, ToContainer::Left);
        }
        self.forget_container(name);
        let Some(leadership) = self.leader() else { return };
        if leadership.register.is_empty() {
            leadership.deserted_at = Some(now);
        }
    }

    /// Nothing of the container is known any more, and none of its streams is read.
    fn forget_container(&mut self, name: &ContainerName) {
        let Some(leadership) = self.leader() else { return };
        leadership.register.remove(name);
        leadership.told.remove(name);
        let mut closed = Vec::new();
        leadership.streams.retain(|stream, (owner, _)| {
            let stays = owner != name;
            if !stays {
                closed.push(Command::Close(*stream));
            }
            stays
        });
        self.outbox.extend(closed);
    }

    pub(super) fn read_register_again(&mut self, now: Time) {
        let pause = self.config.timing.heartbeat;
        let Some(leadership) = self.leader() else { return };
        if leadership.reread_at.is_none_or(|at| now < at) {
            return;
        }
        leadership.reread_at =
            leadership.pending.values().any(|pending| matches!(pending, Pending::Read { .. })).then_some(now + pause);
        if leadership.reread_at.is_none() {
            let writes = leadership.writes;
            let request = self.ask(Request::ReadAll);
            if let Some(leadership) = self.leader() {
                leadership.pending.insert(request, Pending::Read { writes });
            }
        }
    }

    /// What became of writes with an unknown outcome.
    pub(super) fn register_read_again(&mut self, now: Time, stored: BTreeMap<ContainerName, (Registered, u64)>) {
        let unknown_until = now + self.config.timing.outlast(self.config.timing.session_ttl);
        let Some(leadership) = self.leader() else { return };
        let busy: Vec<ContainerName> =
            leadership.pending.values().filter_map(Pending::register_write).cloned().collect();
        let gone: Vec<_> = leadership
            .register
            .iter()
            .filter(|(name, member)| {
                let stands = stored.get(*name).is_some_and(|(entry, _)| *entry == member.entry);
                !stands && !busy.contains(*name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            // Gone by our strike, or lost by an engine that forgets: then it may still act on its lease.
            let Some(leadership) = self.leader() else { return };
            let Some(member) = leadership.register.get_mut(&name) else { continue };
            if member.striking {
                self.struck(now, &name);
            } else {
                member.muted = true;
                leadership.dirty = true;
            }
        }
        let Some(leadership) = self.leader() else { return };
        let mut again = Vec::new();
        for (name, (entry, version)) in stored {
            if busy.contains(&name) {
                continue;
            }
            match leadership.register.get_mut(&name) {
                None => {
                    leadership.register.insert(name, Member::found(entry, version, unknown_until));
                }
                Some(member) => {
                    member.version = version;
                    if member.striking {
                        again.push(name);
                    }
                }
            }
        }
        for name in again {
            self.strike(&name);
        }
    }
}

impl Pending {
    fn register_write(&self) -> Option<&ContainerName> {
        match self {
            Self::Join { hello, .. } | Self::Replace { hello, .. } => Some(&hello.name),
            Self::Strike { name } => Some(name),
            _ => None,
        }
    }
}

impl Leadership {
    fn new_member(&mut self, hello: &Hello) -> Member {
        let registration = Registration(self.next_fence());
        let entry = Registered { incarnation: hello.incarnation, registration, machine: hello.machine };
        Member::found(entry, 0, Time::NEVER)
    }

    /// Fences of sensors held by `name`.
    pub(super) fn held_by(&self, name: &ContainerName) -> Vec<(SensorRef, Fence)> {
        self.sensors
            .iter()
            .filter_map(|(sensor, state)| match &state.holder {
                Holder::Held(held) if held.by == *name => Some((sensor.clone(), held.fence)),
                _ => None,
            })
            .collect()
    }
}
