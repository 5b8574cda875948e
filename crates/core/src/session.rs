//! The session: the part of a sensor container that decides whether its instances may act.
//!
//! `handle(now, event)` changes its state and returns commands in order; `next_deadline()` names when to
//! wake it. One loop sends the heartbeats, applies the statuses and enforces the lease (rule 1). The
//! shell's side of the contract:
//!
//! - `now` is `CLOCK_BOOTTIME`, read after the message was read and before anything is sent;
//! - every process is below the guardian, and [`Event::Gone`] means that its whole group is dead, or
//!   that SIGKILL reached all of it a second ago;
//! - [`Command::Freeze`] stops every process; only the guardian lets them go on;
//! - before it carries out a [`Command::Publish`] or a [`Command::Poll`] it looks at [`Session::may_act`] with a
//!   clock read then; what may not go out any more is dropped: the session knows, and hands it on again.

mod contract;
mod effects;
mod instance;
mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::engine::{Body, Token};
use crate::guard;
use crate::message::{Offer, Report, State, Status, StopCause, ToArbitrator, ToContainer};
use crate::names::{ArbitratorId, EntryId, Fence, Incarnation, ProcessId, Registration, SensorRef, StreamId, Term};
use crate::time::{Span, Time};

pub use contract::{Command, Config, Event, Outcome, Work};
use instance::Instance;
use link::Link;

/// The part of a sensor container that decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    config: Config,
    incarnation: Incarnation,
    succeeds: Option<Incarnation>,
    registration: Option<Registration>,
    highest: Option<(Term, Token)>,
    link: Link,
    /// Which arbitrator is tried next, and who was named leader.
    next_arbitrator: usize,
    named_leader: Option<ArbitratorId>,
    session_ttl: Span,
    heartbeat: Span,
    /// The lease's end; past ends stay, as a lapsed lease.
    lease_end: Time,
    /// The lease has ended and everything was frozen; with when, and how late.
    lapse: Option<Lapse>,
    /// Only the acknowledgement of a heartbeat from this one on revives the lapsed lease.
    revive_from: Option<u64>,
    instances: BTreeMap<SensorRef, Instance>,
    /// The packs have been read, whatever was in them.
    has_offered: bool,
    streams: u64,
    processes: u64,
    /// Reports for the next heartbeat, and those sent in one that is not acknowledged, by its sequence.
    reports: Vec<Report>,
    unheard: Vec<(u64, Report)>,
    /// The newest fence of each sensor under which nothing acts here any more, also of sensors that are
    /// no longer offered: what was said once stays so.
    words: BTreeMap<SensorRef, Fence>,
    /// Entries that were applied by instances that are gone, until the marks are stored.
    marks: BTreeMap<EntryId, SensorRef>,
    /// How often this container froze its processes by itself.
    freezes: u64,
    /// Asked to leave, and since when.
    leaving: Option<Time>,
    outbox: Vec<Command>,
}

/// One instance, as its container sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceView<'a> {
    /// The sensor.
    pub sensor: &'a SensorRef,
    /// What it is doing.
    pub state: State,
    /// Under which fence it is ACTIVE, if it is.
    pub fence: Option<Fence>,
    /// Its process.
    pub process: Option<ProcessId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lapse {
    since: Time,
    /// How late the container's own freeze was, and the guardian's, once they are done.
    own: Option<Span>,
    guardian: Option<Span>,
    /// What was ACTIVE when the lease ended, until both are known.
    suspects: Vec<(SensorRef, Fence)>,
}

impl Lapse {
    fn since(since: Time) -> Self {
        Self { since, own: None, guardian: None, suspects: Vec::new() }
    }
}

impl Session {
    /// A container that has just started. `succeeds`: the run whose lock for the name it took over, and
    /// whose processes it has seen dead.
    pub fn new(config: Config, incarnation: Incarnation, succeeds: Option<Incarnation>, now: Time) -> Self {
        Self {
            heartbeat: config.heartbeat,
            session_ttl: config.heartbeat * 4,
            config,
            incarnation,
            succeeds,
            registration: None,
            highest: None,
            link: Link::Idle { retry_at: now },
            next_arbitrator: 0,
            named_leader: None,
            lease_end: Time::default(),
            lapse: Some(Lapse { own: Some(Span::ZERO), ..Lapse::since(now) }),
            revive_from: None,
            instances: BTreeMap::new(),
            has_offered: false,
            streams: 0,
            processes: 0,
            reports: Vec::new(),
            unheard: Vec::new(),
            words: BTreeMap::new(),
            marks: BTreeMap::new(),
            freezes: 0,
            leaving: None,
            outbox: Vec::new(),
        }
    }

    /// Takes one event; returns what to do, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        self.enforce_lease(now);
        match event {
            Event::Wake => {}
            Event::Offers(offers) => self.on_offers(offers),
            Event::StreamOpened(stream) => self.on_stream_opened(now, stream),
            Event::StreamClosed(stream) => self.on_stream_closed(now, stream),
            Event::Message { stream, message } => self.on_message(now, stream, message),
            Event::Ready(process) => self.on_ready(process),
            Event::Activated(process) => self.on_activated(now, process),
            Event::Paced { process, interval } => self.on_paced(process, interval),
            Event::NotPolled(process) => self.on_not_polled(now, process),
            Event::PollReturned { process, outcome } => self.on_poll_returned(now, process, outcome),
            Event::Wrote { process, work } => self.on_wrote(process, work),
            Event::Emitted { process, id, effect } => self.on_emitted(now, process, id, effect),
            Event::Gone(process) => self.on_gone(now, process),
            Event::Lost(process) => self.on_lost(now, process),
            Event::Published { sensor, id } => self.on_published(now, &sensor, id),
            Event::NotPublished { sensor, id } => self.on_not_published(&sensor, id),
            Event::Frozen => self.on_frozen(now.since(self.lease_end), None),
            Event::Froze { late_by } => self.on_frozen(Span(u64::MAX), Some(late_by)),
            Event::GuardianGone => self.expect_all_gone(),
            Event::Leave => self.leaving = self.leaving.or(Some(now)),
        }
        self.keep_link(now);
        self.advance(now);
        self.bind_when_clear(now);
        std::mem::take(&mut self.outbox)
    }

    /// When to wake the session if nothing else happens, and why.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        let lease = (self.lease_end, "the lease ends");
        let frozen = self.lapse.is_some();
        let limits = self
            .lapse
            .iter()
            .flat_map(|lapse| self.instances.values().filter_map(|instance| instance.frozen_since(lapse.since)));
        let limit = limits.min().map(|since| (since + self.config.freeze_limit, "frozen for too long"));
        let own = if frozen { limit } else { Some(lease) };
        let leaving = self.leaving.is_some();
        let instances = self.instances.values().filter_map(|instance| instance.next_deadline(frozen, leaving));
        let unasked = self.instances.values().any(Instance::goes_on);
        let leave = self.leaving.filter(|_| unasked);
        let leave = leave.map(|since| (since + self.config.drain_timeout, "leaving takes too long"));
        own.into_iter().chain(leave).chain(Some(self.link.next_deadline())).chain(instances).min()
    }

    /// Whether a sensor is ACTIVE here with a journal.
    pub fn is_journaled(&self, sensor: &SensorRef) -> bool {
        self.instances.get(sensor).is_some_and(Instance::is_journaled)
    }

    /// Whether the lease holds: asked here when an effect is handed on, and by the shell once more right
    /// before it goes to the network (rule 4).
    pub fn may_act(&self, now: Time) -> bool {
        guard!(GateChecksLease, now < self.lease_end, else true)
    }

    /// The fence under which a sensor is ACTIVE here, if it is.
    pub fn active(&self, sensor: &SensorRef) -> Option<Fence> {
        self.instances.get(sensor)?.grant.as_ref().map(|grant| grant.fence)
    }

    /// Every instance, for people and reports: never an input of a decision.
    pub fn instances(&self) -> impl Iterator<Item = InstanceView<'_>> {
        let frozen = self.lapse.is_some();
        self.instances.iter().map(move |(sensor, instance)| InstanceView {
            sensor,
            state: instance.state(frozen),
            fence: instance.grant.as_ref().map(|grant| grant.fence),
            process: instance.process.as_ref().map(|process| process.id),
        })
    }

    /// The same with all times counted from `now`, for a model checker.
    #[must_use]
    pub fn normalised(&self, now: Time) -> Self {
        let mut same = self.clone();
        let mut f = |time: &mut Time| time.normalise(now);
        f(&mut same.lease_end);
        same.lapse.iter_mut().for_each(|lapse| f(&mut lapse.since));
        same.leaving.iter_mut().for_each(&mut f);
        same.link.each_time(&mut f);
        same.instances.values_mut().for_each(|instance| instance.each_time(&mut f));
        same
    }

    /// Freezes everything when the lease ends (rule 5).
    fn enforce_lease(&mut self, now: Time) {
        if now < self.lease_end {
            return;
        }
        if self.lapse.is_none() {
            let active =
                |(sensor, instance): (&SensorRef, &Instance)| Some((sensor.clone(), instance.grant.as_ref()?.fence));
            let suspects = self.instances.iter().filter_map(active).collect();
            self.lapse = Some(Lapse { suspects, ..Lapse::since(now) });
            self.revive_from = None;
            for instance in self.instances.values_mut() {
                instance.sink_reset();
            }
            if guard!(ContainerFreezes, true, else false) {
                self.freezes += 1;
                self.outbox.push(Command::Freeze);
            }
        }
        let limit = self.config.freeze_limit;
        let Some(lapse) = &self.lapse else { return };
        for instance in self.instances.values_mut() {
            if instance.frozen_since(lapse.since).is_some_and(|since| now >= since + limit) {
                instance.stop_now(StopCause::FrozenTooLong);
            }
        }
    }

    /// The lease now ends at `end`.
    fn extend_lease(&mut self, now: Time, end: Time) {
        self.lease_end = self.lease_end.max(end);
        if now >= self.lease_end {
            return;
        }
        self.tell_of_late_freeze();
        if let Some(lapse) = self.lapse.take() {
            for (sensor, instance) in &mut self.instances {
                instance.thaw(now, lapse.since, spread(sensor));
            }
        }
        self.publish_lease();
    }

    fn publish_lease(&mut self) {
        self.outbox.push(Command::PublishLease { end: self.lease_end, freezes: self.freezes });
    }

    /// A freeze is done; where both the container's and its guardian's were late, instances may have
    /// run on beside their successors (rule 5).
    fn on_frozen(&mut self, own: Span, guardian: Option<Span>) {
        let Some(lapse) = &mut self.lapse else { return };
        match guardian {
            Some(late_by) => lapse.guardian = Some(late_by),
            None => lapse.own = Some(own),
        }
        if lapse.own.is_some() && lapse.guardian.is_some() {
            self.tell_of_late_freeze();
        }
    }

    fn tell_of_late_freeze(&mut self) {
        let margin = self.config.margin;
        let Some(lapse) = &mut self.lapse else { return };
        let late_by = lapse.own.into_iter().chain(lapse.guardian).min().unwrap_or_default();
        let suspects = std::mem::take(&mut lapse.suspects);
        if late_by > margin {
            let report = |(sensor, fence)| Report::PossibleOverlap { sensor, fence, late_by };
            self.reports.extend(suspects.into_iter().map(report));
        }
    }

    fn on_message(&mut self, now: Time, stream: StreamId, message: ToContainer) {
        let current = self.link.stream() == Some(stream);
        if !guard!(OlderStreamsIgnored, current, else true) {
            return;
        }
        match message {
            ToContainer::Welcome { term, leadership, session, registration, session_ttl, heartbeat } if current => {
                let welcome = link::Welcomed { stream, session, registration, session_ttl, heartbeat };
                self.on_welcome(now, term, leadership, welcome);
            }
            ToContainer::NotLeader { leader } if current => self.try_another(now, leader),
            ToContainer::NameTaken { .. } if current => self.name_taken(now),
            ToContainer::Resigning if current => self.try_another(now, None),
            ToContainer::Left if current => self.on_left(now),
            ToContainer::Ack { session, sequence, sent_at } => self.on_ack(now, session, sequence, sent_at),
            ToContainer::NotYet { session, sent_at } => self.on_not_yet(now, session, sent_at),
            ToContainer::SetStatus { sensor, fence, status } => self.on_status(now, &sensor, fence, status),
            ToContainer::PollNow { sensor, fence } => {
                if let Some(instance) = self.instances.get_mut(&sensor) {
                    instance.poll_now(now, fence);
                }
            }
            ToContainer::Committed { sensor, entry } => self.on_committed(&sensor, entry),
            ToContainer::CommitRefused { sensor, entry } => self.on_refused(&sensor, entry),
            ToContainer::Marked { sensor, entry } => self.on_marked(&sensor, entry),
            ToContainer::Welcome { .. }
            | ToContainer::NotLeader { .. }
            | ToContainer::NameTaken { .. }
            | ToContainer::Resigning
            | ToContainer::Left => {}
        }
    }

    fn on_status(&mut self, now: Time, sensor: &SensorRef, fence: Fence, status: Status) {
        if !self.link.is_bound() {
            return;
        }
        let stopped = self.words.get(sensor).copied().unwrap_or_default();
        let Some(instance) =
            self.instances.get_mut(sensor).filter(|instance| instance.offered || instance.grant.is_some())
        else {
            self.give_word(sensor, fence, StopCause::Asked, None);
            return;
        };
        match status {
            Status::Active(activation) => {
                if instance.grant.is_some() {
                    if instance.refence(fence) {
                        let applied = ToArbitrator::Applied {
                            sensor: sensor.clone(),
                            fence,
                            state: instance.state(self.lapse.is_some()),
                        };
                        self.tell(applied);
                    }
                    return;
                }
                let higher = guard!(OnlyHigherFenceActivates, fence > stopped, else true);
                match activation {
                    Some(activation) if higher => {
                        instance.activate(now, fence, *activation);
                        let applied = ToArbitrator::Applied {
                            sensor: sensor.clone(),
                            fence,
                            state: instance.state(self.lapse.is_some()),
                        };
                        self.tell(applied);
                    }
                    _ => self.give_word(sensor, fence, StopCause::Asked, None),
                }
            }
            Status::Standby => {
                let lapsed = self.lapse.is_some();
                if !instance.ask_to_stop(now, fence, lapsed) || guard!(WordAfterStop, false, else true) {
                    self.give_word(sensor, fence, StopCause::Asked, None);
                }
            }
        }
    }

    fn on_offers(&mut self, offers: Vec<Offer>) {
        self.has_offered = true;
        for offer in &offers {
            let instance = self.instances.entry(offer.sensor.clone()).or_insert_with(|| Instance::new(offer.clone()));
            if instance.offer != *offer {
                if instance.offer.digest != offer.digest {
                    instance.failed_at = None;
                }
                instance.offer = offer.clone();
                instance.renew_standby();
            }
            instance.offered = true;
        }
        for (sensor, instance) in &mut self.instances {
            if !offers.iter().any(|offer| offer.sensor == *sensor) {
                instance.offered = false;
                instance.renew_standby();
            }
        }
        if self.link.is_bound() {
            self.tell(ToArbitrator::Offers(offers));
        }
    }

    /// The word (rule 6), and the memory of it.
    fn give_word(&mut self, sensor: &SensorRef, fence: Fence, cause: StopCause, polled_ago: Option<Span>) {
        let word = self.words.entry(sensor.clone()).or_default();
        *word = fence.max(*word);
        let fence = *word;
        self.tell(ToArbitrator::Stopped { sensor: sensor.clone(), fence, cause, polled_ago });
    }

    /// Sends to the leader, if this container is bound to one.
    fn tell(&mut self, message: ToArbitrator) {
        if let Link::Bound(bound) = &self.link {
            self.outbox.push(Command::Send { stream: bound.stream, message });
        }
    }

    /// The guardian is gone and takes every process with it: none of that counts as a death.
    fn expect_all_gone(&mut self) {
        for instance in self.instances.values_mut() {
            if let Some(process) = &mut instance.process {
                process.killed = true;
                self.outbox.push(Command::Kill(process.id));
            }
        }
    }

    /// Every step that can be taken now, of every instance.
    fn advance(&mut self, now: Time) {
        let holds = now < self.lease_end;
        let bound = self.link.is_bound();
        let sensors: Vec<_> = self.instances.keys().cloned().collect();
        for sensor in sensors {
            self.advance_one(now, &sensor, holds, bound);
        }
        self.leave_when_empty(now);
    }

    fn advance_one(&mut self, now: Time, sensor: &SensorRef, holds: bool, bound: bool) {
        let may_pass = self.may_act(now);
        let lapsed = self.lapse.is_some();
        let Some(instance) = self.instances.get_mut(sensor) else { return };
        if instance.hung(now, lapsed) {
            instance.hangs(now);
        }
        instance.apply(sensor, may_pass, bound.then(|| self.link.stream()).flatten(), &mut self.outbox);
        instance.act(now, holds && !lapsed, &mut self.outbox);
        if let Some(process) = instance.process_to_kill(now) {
            self.outbox.push(Command::Kill(process));
        }
        if let Some(word) = instance.word(now) {
            self.marks.extend(word.marks.into_iter().map(|entry| (entry, sensor.clone())));
            self.give_word(sensor, word.fence, word.cause, word.polled_ago);
        }
        let Some(instance) = self.instances.get_mut(sensor) else { return };
        let gone = instance.process.is_none() && instance.grant.is_none();
        if gone && !instance.offered {
            self.instances.remove(sensor);
            return;
        }
        if instance.process.is_none() && now >= instance.respawn_at && self.leaving.is_none() {
            self.processes += 1;
            let process = ProcessId(self.processes);
            instance.process = Some(instance::Process::starting(process, now));
            self.outbox.push(Command::Spawn { sensor: sensor.clone(), process });
        }
    }

    fn of_process(&mut self, process: ProcessId) -> Option<(SensorRef, &mut Instance)> {
        self.instances
            .iter_mut()
            .find(|(_, instance)| instance.process.as_ref().is_some_and(|own| own.id == process))
            .map(|(sensor, instance)| (sensor.clone(), instance))
    }

    fn on_ready(&mut self, process: ProcessId) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.ready();
        }
    }

    fn on_activated(&mut self, now: Time, process: ProcessId) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.activated(now);
        }
    }

    fn on_paced(&mut self, process: ProcessId, interval: Span) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.paced(interval);
        }
    }

    fn on_not_polled(&mut self, now: Time, process: ProcessId) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.not_polled(now);
        }
    }

    fn on_poll_returned(&mut self, now: Time, process: ProcessId, outcome: Outcome) {
        let part_bytes = self.config.part_bytes;
        let Some((sensor, instance)) = self.of_process(process) else { return };
        let fence = instance.grant.as_ref().map(|grant| grant.fence);
        let told = instance.poll_returned(now, outcome, part_bytes);
        match (told, fence) {
            (Some(instance::Told::Failing), Some(fence)) => self.reports.push(Report::Failing { sensor, fence }),
            (Some(instance::Told::Recovered), _) => self.reports.push(Report::Recovered { sensor }),
            _ => {}
        }
    }

    fn on_wrote(&mut self, process: ProcessId, work: Work) {
        let part_bytes = self.config.part_bytes;
        if let Some((_, instance)) = self.of_process(process) {
            instance.wrote(work, part_bytes);
        }
    }

    fn on_emitted(&mut self, now: Time, process: ProcessId, id: EntryId, effect: Body) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.emitted(now, id, effect);
        }
    }

    fn on_gone(&mut self, now: Time, process: ProcessId) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.gone(now);
        }
    }

    fn on_lost(&mut self, now: Time, process: ProcessId) {
        if let Some((_, instance)) = self.of_process(process) {
            instance.lost(now);
        }
    }

    fn on_published(&mut self, now: Time, sensor: &SensorRef, id: EntryId) {
        if let Some(instance) = self.instances.get_mut(sensor) {
            instance.published(now, id);
        }
    }

    fn on_not_published(&mut self, sensor: &SensorRef, id: EntryId) {
        if let Some(instance) = self.instances.get_mut(sensor) {
            instance.not_published(id);
        }
    }

    fn on_marked(&mut self, sensor: &SensorRef, entry: EntryId) {
        self.marks.remove(&entry);
        if let Some(instance) = self.instances.get_mut(sensor) {
            instance.marked(entry);
        }
    }

    fn on_committed(&mut self, sensor: &SensorRef, entry: EntryId) {
        if let Some(instance) = self.instances.get_mut(sensor) {
            instance.committed(entry);
        }
    }

    fn on_refused(&mut self, sensor: &SensorRef, entry: EntryId) {
        if let Some(instance) = self.instances.get_mut(sensor) {
            instance.refused(entry);
        }
    }

    fn leave_when_empty(&mut self, now: Time) {
        let Some(since) = self.leaving else { return };
        let overdue = now >= since + self.config.drain_timeout;
        if overdue {
            for instance in self.instances.values_mut() {
                instance.stop_by_itself(now);
            }
        }
        if self.instances.values().any(|instance| instance.grant.is_some()) {
            return;
        }
        for instance in self.instances.values_mut() {
            if let Some(process) = instance.process.as_mut().filter(|process| !process.killed) {
                process.killed = true;
                self.outbox.push(Command::Kill(process.id));
            }
        }
        let clear = self.instances.values().all(|instance| instance.process.is_none());
        match &mut self.link {
            Link::Bound(bound) if clear && !bound.left => {
                bound.left = true;
                let stream = bound.stream;
                self.outbox.push(Command::Send { stream, message: ToArbitrator::Leaving });
            }
            // Said, and not answered: the lease ends by itself, as it does with nobody to say it to.
            Link::Bound(bound) if bound.left && now >= since + self.config.drain_timeout + self.session_ttl => {
                self.outbox.push(Command::Exit);
            }
            // Never registered, or its time to leave is over.
            Link::Idle { .. } | Link::Greeting { .. } if clear && (overdue || self.registration.is_none()) => {
                self.outbox.push(Command::Exit);
            }
            Link::Idle { .. } | Link::Greeting { .. } | Link::Clearing { .. } | Link::Bound(_) => {}
        }
    }

    fn on_left(&mut self, now: Time) {
        if self.leaving.is_some() {
            self.outbox.push(Command::Exit);
        } else {
            self.try_another(now, None);
        }
    }
}

/// A number that differs from sensor to sensor, so that overdue polls do not all begin at one instant.
fn spread(sensor: &SensorRef) -> u64 {
    sensor
        .as_str()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
