//! Finding the leader, binding to it, and keeping the lease alive (rules 1 and 3).

use super::{Command, Session};
use crate::engine::Token;
use crate::guard;
use crate::message::{Binding, Heartbeat, Hello, StopCause, ToArbitrator};
use crate::names::{ArbitratorId, Registration, SensorRef, SessionId, StreamId, Term};
use crate::time::{Span, Time};

/// Heartbeats without an acknowledgement after which another stream is tried: the lease is then 3/5
/// over by default, which leaves time to greet two arbitrators.
const MISSED_HEARTBEATS: u64 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Link {
    /// No stream.
    Idle { retry_at: Time },
    /// A stream is opened, or a greeting is unanswered.
    Greeting { stream: StreamId, until: Time },
    /// Welcomed under a new registration: what it voids is being killed before the binding.
    Clearing { welcome: Welcomed, until: Time },
    /// Bound.
    Bound(Bound),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Welcomed {
    pub(super) stream: StreamId,
    pub(super) session: SessionId,
    pub(super) registration: Registration,
    pub(super) session_ttl: Span,
    pub(super) heartbeat: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    pub(super) stream: StreamId,
    session: SessionId,
    sequence: u64,
    next_heartbeat: Time,
    /// When the newest acknowledged heartbeat was sent.
    answered_to: Time,
    /// The word to leave was given on this stream.
    pub(super) left: bool,
}

impl Link {
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Idle { .. } => None,
            Self::Greeting { stream, .. } => Some(*stream),
            Self::Clearing { welcome, .. } => Some(welcome.stream),
            Self::Bound(bound) => Some(bound.stream),
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        matches!(self, Self::Bound(_))
    }

    pub(super) fn next_deadline(&self) -> (Time, &'static str) {
        match self {
            Self::Idle { retry_at } => (*retry_at, "greet an arbitrator"),
            Self::Greeting { until, .. } => (*until, "the greeting is not answered"),
            Self::Clearing { until, .. } => (*until, "the old registration's processes do not end"),
            Self::Bound(bound) => (bound.next_heartbeat, "send a heartbeat"),
        }
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        match self {
            Self::Idle { retry_at } => f(retry_at),
            Self::Greeting { until, .. } | Self::Clearing { until, .. } => f(until),
            Self::Bound(bound) => {
                f(&mut bound.next_heartbeat);
                f(&mut bound.answered_to);
            }
        }
    }
}

impl Session {
    /// What is due on the link.
    pub(super) fn keep_link(&mut self, now: Time) {
        match &self.link {
            Link::Idle { retry_at } if now >= *retry_at => self.greet(now),
            Link::Greeting { until, .. } | Link::Clearing { until, .. } if now >= *until => self.try_another(now, None),
            Link::Bound(bound) if now >= bound.answered_to + self.heartbeat * MISSED_HEARTBEATS => {
                self.try_another(now, None);
            }
            Link::Bound(bound) if now >= bound.next_heartbeat => self.send_heartbeat(now, None),
            Link::Idle { .. } | Link::Greeting { .. } | Link::Clearing { .. } | Link::Bound(_) => {}
        }
    }

    fn greet(&mut self, now: Time) {
        let arbitrators = &self.config.arbitrators;
        // Also one that is not in the list: whoever named it is, or was found by one that is.
        let named = self.named_leader.take();
        let turn = self.next_arbitrator % arbitrators.len().max(1);
        if named.is_none() {
            self.next_arbitrator = turn + 1;
        }
        let Some(to) = named.or_else(|| arbitrators.get(turn).cloned()) else { return };
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.link = Link::Greeting { stream, until: now + self.heartbeat * 2 };
        self.outbox.push(Command::Connect { stream, to });
    }

    pub(super) fn on_stream_opened(&mut self, now: Time, stream: StreamId) {
        if !matches!(&self.link, Link::Greeting { stream: own, .. } if *own == stream) {
            self.outbox.push(Command::Close(stream));
            return;
        }
        self.link = Link::Greeting { stream, until: now + self.heartbeat * 2 };
        let hello = Hello {
            name: self.config.name.clone(),
            incarnation: self.incarnation,
            machine: self.config.machine,
            registration: self.registration,
            highest: self.highest.clone(),
            succeeds: self.succeeds,
            labels: self.config.labels.clone(),
            capacity: self.config.capacity,
        };
        self.outbox.push(Command::Send { stream, message: ToArbitrator::Hello(Box::new(hello)) });
    }

    pub(super) fn on_stream_closed(&mut self, now: Time, stream: StreamId) {
        if self.link.stream() == Some(stream) {
            self.lose_link(now);
        }
    }

    /// Gives the stream up and greets another arbitrator, `leader` first.
    pub(super) fn try_another(&mut self, now: Time, leader: Option<ArbitratorId>) {
        if let Some(stream) = self.link.stream() {
            self.outbox.push(Command::Close(stream));
        }
        if leader.is_some() {
            self.named_leader = leader;
        }
        self.lose_link(now);
    }

    pub(super) fn name_taken(&mut self, now: Time) {
        // Another incarnation stands in the register: what was held under an own registration is void.
        if self.registration.is_some() {
            for instance in self.instances.values_mut() {
                instance.stop_now(StopCause::Asked);
            }
        }
        self.try_another(now, None);
        self.link = Link::Idle { retry_at: now + self.heartbeat };
    }

    fn lose_link(&mut self, now: Time) {
        for instance in self.instances.values_mut() {
            instance.unsend();
        }
        self.reports.extend(self.unheard.drain(..).map(|(_, report)| report));
        self.link = Link::Idle { retry_at: now + self.back_off() };
    }

    /// 50 to 250 ms, different for each container and try: a new leader is not greeted by all at once,
    /// and the lease outlasts several tries.
    fn back_off(&self) -> Span {
        let seed = (self.incarnation.0 ^ self.streams).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Span::from_millis(50 + (seed >> 32) % 200)
    }

    pub(super) fn on_welcome(&mut self, now: Time, term: Term, leadership: Token, welcome: Welcomed) {
        if !matches!(self.link, Link::Greeting { .. }) {
            return;
        }
        if let Some((highest, whose)) = &self.highest {
            let lower = guard!(LowerTermRefused, term < *highest, else false);
            let twice = guard!(SameTermOneLeader, term == *highest && *whose != leadership, else false);
            if lower || twice {
                self.try_another(now, None);
                return;
            }
        }
        self.highest = Some((term, leadership));
        self.session_ttl = welcome.session_ttl;
        self.heartbeat = welcome.heartbeat;
        if self.registration != Some(welcome.registration) && guard!(NewRegistrationKills, true, else false) {
            for instance in self.instances.values_mut() {
                instance.stop_now(StopCause::Asked);
            }
        }
        let until = now + self.session_ttl * 2;
        self.link = Link::Clearing { welcome, until };
    }

    /// Binds as soon as nothing is left of an older registration.
    pub(super) fn bind_when_clear(&mut self, now: Time) {
        let Link::Clearing { welcome, .. } = &self.link else { return };
        let welcome = welcome.clone();
        let renewed = self.registration != Some(welcome.registration);
        if renewed && guard!(NewRegistrationKills, true, else false) {
            if self.instances.values().any(|instance| instance.grant.is_some()) {
                return;
            }
            self.lease_end = Time::default();
            self.enforce_lease(now);
        }
        self.registration = Some(welcome.registration);
        // A leader with a shorter ttl counts with that one from here on.
        let end = now + welcome.session_ttl;
        self.lease_end = guard!(BindingCapsLease, self.lease_end.min(end), else self.lease_end);
        self.revive_from = None;
        self.link = Link::Bound(Bound {
            stream: welcome.stream,
            session: welcome.session,
            sequence: 0,
            next_heartbeat: now,
            answered_to: now,
            left: false,
        });
        // Before the leader can count on it.
        self.publish_lease();
        let holds = self.instances.iter().filter_map(|(sensor, instance)| instance.claim(now, sensor)).collect();
        let memory = self.config.failure_memory;
        let mark = |sensor: &SensorRef, at: Time| (now < at + memory).then(|| (sensor.clone(), now.since(at)));
        let failed = self.instances.iter().filter_map(|(sensor, instance)| mark(sensor, instance.failed_at?));
        let failed = failed.collect();
        self.send_heartbeat(now, Some(Binding { holds, failed }));
        // Nothing is said while the packs are still being loaded: the leader waits for that.
        if self.has_offered {
            let offers = self.instances.values().filter(|instance| instance.offered);
            let offers = offers.map(|instance| instance.offer.clone()).collect();
            self.tell(ToArbitrator::Offers(offers));
        }
        for (entry, sensor) in self.marks.clone() {
            self.tell(ToArbitrator::Mark { sensor, entry });
        }
    }

    fn send_heartbeat(&mut self, now: Time, binds: Option<Binding>) {
        let lapsed = now >= self.lease_end;
        let polled = self
            .instances
            .iter_mut()
            .filter_map(|(sensor, instance)| Some((sensor.clone(), now.since(instance.begun_untold()?))));
        let polled = polled.collect();
        let Link::Bound(bound) = &mut self.link else { return };
        bound.sequence += 1;
        bound.next_heartbeat = now + self.heartbeat;
        if lapsed && self.revive_from.is_none() {
            self.revive_from = Some(bound.sequence);
        }
        let heartbeat = Heartbeat {
            session: bound.session,
            sequence: bound.sequence,
            sent_at: now,
            lapsed,
            draining: self.leaving.is_some(),
            binds,
            polled,
            reports: std::mem::take(&mut self.reports),
        };
        self.unheard.extend(heartbeat.reports.iter().map(|report| (heartbeat.sequence, report.clone())));
        self.tell(ToArbitrator::Heartbeat(Box::new(heartbeat)));
    }

    /// The leader hears, and has reasons not to acknowledge yet: another stream would be no better.
    pub(super) fn on_not_yet(&mut self, now: Time, session: SessionId, sent_at: Time) {
        if let Link::Bound(bound) = &mut self.link
            && bound.session == session
        {
            bound.answered_to = bound.answered_to.max(sent_at.min(now));
        }
    }

    pub(super) fn on_ack(&mut self, now: Time, session: SessionId, sequence: u64, sent_at: Time) {
        let Link::Bound(bound) = &mut self.link else { return };
        if bound.session != session {
            return;
        }
        // Counted from sending: a stream whose answers come, but late, is given up too.
        bound.answered_to = bound.answered_to.max(sent_at.min(now));
        self.unheard.retain(|(sent, _)| *sent > sequence);
        // A lapsed lease is revived only by the answer to a heartbeat that said so.
        if now >= self.lease_end && self.revive_from.is_none_or(|from| sequence < from) {
            return;
        }
        let counted_from = guard!(LeaseCountsFromSending, sent_at, else now);
        self.extend_lease(now, counted_from + self.session_ttl);
    }
}
