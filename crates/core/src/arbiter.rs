//! The arbiter: the part of an arbitrator that decides which instance of each sensor is ACTIVE.
//!
//! `handle(now, event)` changes its state and returns commands in the order in which the shell carries
//! them out; `next_deadline()` names when to wake it, and why. The shell's side of the contract:
//!
//! - `now` is `CLOCK_BOOTTIME`, read after the message was read;
//! - every engine request is answered exactly once; with [`Reply::Unknown`] after about one heartbeat
//!   without an answer, and no sooner, so that what is tried again is not tried without pause;
//! - after a wait it hands over what is waiting before it wakes the arbiter for a deadline.

mod follower;
mod grants;
mod health;
mod journal;
mod leadership;
mod operator;
mod peers;
mod register;
mod sensor;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Intent, LeaderSeen, Reply, Request, Token};
use crate::history;
use crate::message::{ToArbitrator, ToContainer, ToPeer};
use crate::names::{ArbitratorId, ContainerName, Incarnation, RequestId, SensorRef, StreamId, Term};
use crate::policy::Policy;
use crate::time::{Span, Time};
use crate::timing::Timing;

use follower::Follower;
use leadership::Leadership;
pub use leadership::Phase;
pub use operator::{Answer, Planned, Suppose, Verb};
use register::Member;
use sensor::Sensor;
pub use view::{ContainerView, InstanceView, SensorView, StoreSeen};

/// What one arbitrator is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Its lasting id.
    pub me: ArbitratorId,
    /// The other arbitrators, as far as is known at the start; see [`Event::Peers`].
    pub peers: Vec<ArbitratorId>,
    /// Lengths of time; [`Timing::check`] has passed.
    pub timing: Timing,
    /// The operators' policy.
    pub policy: Policy,
    /// The engine may lose what it had confirmed (rule 9).
    pub forgetful: bool,
    /// Whether fail-safe is to be on, for the first leader of an empty store: from then on the store says.
    pub fail_safe: bool,
    /// The engine is this process's own and nobody else can open it: whoever led before is dead, and has
    /// promised nothing, so a start need not keep still (rule 11).
    pub exclusive: bool,
}

/// What the arbiter is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A deadline has come.
    Wake,
    /// A container's message.
    Container {
        /// On which stream.
        stream: StreamId,
        /// The message.
        message: ToArbitrator,
    },
    /// A container's stream has ended.
    StreamClosed(StreamId),
    /// The engine's answer.
    Engine {
        /// To which request.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// The engine's watch saw the leadership change.
    LeaderSeen(Option<LeaderSeen>),
    /// A peer's message.
    Peer {
        /// From whom.
        from: ArbitratorId,
        /// The message.
        message: ToPeer,
    },
    /// An operator's request, as the shell numbers it.
    Operator {
        /// Its number.
        request: u64,
        /// Who asks.
        who: String,
        /// When, in milliseconds since 1970, for people.
        at: u64,
        /// For what.
        verb: Verb,
    },
    /// The operators' policy was read again.
    Policy(Policy),
    /// Which other arbitrators there are, as far as is known by now.
    Peers(Vec<ArbitratorId>),
}

/// What the shell does for the arbiter, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Send to a container.
    Send {
        /// On which stream.
        stream: StreamId,
        /// The message.
        message: ToContainer,
    },
    /// Close a container's stream.
    Close(StreamId),
    /// Ask the engine; answered by [`Event::Engine`] exactly once.
    Engine {
        /// The request's number.
        request: RequestId,
        /// The request.
        ask: Request,
    },
    /// Send to a peer; may be lost.
    Peer {
        /// To whom.
        to: ArbitratorId,
        /// The message.
        message: ToPeer,
    },
    /// Write the highest term seen to the arbitrator's own disk, before anything that follows.
    Remember(Term),
    /// Add to the history.
    Record(history::Record),
    /// Tell people.
    Alarm(Alarm),
    /// Answer an operator.
    Answer {
        /// Which request.
        request: u64,
        /// The answer.
        answer: Answer,
    },
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// So many sensors of a pack fail at once that their source is suspected: none of them is moved.
    PackFails(String),
    /// A container does not apply what it is told: it is acknowledged no more.
    DoesNotApply(ContainerName, SensorRef),
    /// Two containers under standing registrations claim one sensor.
    ClaimedTwice(SensorRef),
}

/// The part of an arbitrator that decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arbiter {
    config: Arc<Config>,
    incarnation: Incarnation,
    /// The highest term known: from the own disk, the engine, containers and peers.
    highest: Term,
    /// Numbers given to engine requests and to tries for leadership.
    requests: u64,
    attempts: u64,
    /// Who leads, as last seen.
    seen: Option<LeaderSeen>,
    role: Role,
    /// Until when this elector keeps its promise (rule 11).
    promised_until: Time,
    /// Containers that greet this standby though it told them who leads: since when, and last.
    stranded: BTreeMap<ContainerName, (Time, Time)>,
    /// The deadline last named, by which a stall of the loop is noticed.
    expected: Option<Time>,
    outbox: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower(Follower),
    Leader(Box<Leadership>),
}

impl Arbiter {
    /// An arbitrator that has just started. `highest` is the highest term on its disk.
    pub fn new(config: Config, incarnation: Incarnation, highest: Term, now: Time) -> Self {
        let still = if config.exclusive { Span::ZERO } else { config.timing.outlast(config.timing.leader_ttl) };
        Self {
            role: Role::Follower(Follower::starting(now, now + still)),
            config: Arc::new(config),
            incarnation,
            highest,
            requests: 0,
            attempts: 0,
            seen: None,
            promised_until: Time::default(),
            stranded: BTreeMap::new(),
            expected: None,
            outbox: Vec::new(),
        }
    }

    /// Takes one event; returns what to do, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        self.note_stall(now);
        self.lapse(now);
        match event {
            Event::Wake => {}
            Event::Container { stream, message } => self.on_container(now, stream, message),
            Event::StreamClosed(stream) => self.on_stream_closed(now, stream),
            Event::Engine { request, reply } => self.on_engine(now, request, reply),
            Event::LeaderSeen(leader) => self.on_leader_seen(now, leader),
            Event::Peer { from, message } => self.on_peer(now, &from, &message),
            Event::Operator { request, who, at, verb } => self.on_operator(now, request, Intent { who, at }, verb),
            Event::Policy(policy) => self.on_policy(policy),
            Event::Peers(peers) => Arc::make_mut(&mut self.config).peers = peers,
        }
        self.on_time(now);
        self.expected = self.next_deadline().map(|(deadline, _)| deadline);
        std::mem::take(&mut self.outbox)
    }

    /// When to wake the arbiter if nothing else happens, and why.
    pub fn next_deadline(&self) -> Option<(Time, &'static str)> {
        match &self.role {
            Role::Follower(follower) => follower.next_deadline(self.promised_until),
            Role::Leader(leadership) => leadership.next_deadline(&self.config),
        }
    }

    /// The same with all times counted from `now`, for a model checker.
    #[must_use]
    pub fn normalised(&self, now: Time) -> Self {
        let mut same = self.clone();
        same.each_time(&mut |time| time.normalise(now));
        same
    }

    fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        f(&mut self.promised_until);
        self.expected.iter_mut().for_each(&mut *f);
        for (since, last) in self.stranded.values_mut() {
            f(since);
            f(last);
        }
        match &mut self.role {
            Role::Follower(follower) => follower.each_time(f),
            Role::Leader(leadership) => leadership.each_time(f),
        }
    }

    fn on_container(&mut self, now: Time, stream: StreamId, message: ToArbitrator) {
        if let ToArbitrator::Hello(hello) = message {
            self.on_hello(now, stream, *hello);
            return;
        }
        match message {
            ToArbitrator::Hello(_) => {}
            ToArbitrator::Offers(offers) => self.on_offers(now, stream, offers),
            ToArbitrator::Heartbeat(heartbeat) => self.on_heartbeat(now, stream, *heartbeat),
            ToArbitrator::Applied { sensor, fence, state: _ } => self.on_applied(stream, &sensor, fence),
            ToArbitrator::Stopped { sensor, fence, cause, polled_ago } => {
                self.on_stopped(now, stream, &sensor, fence, cause, polled_ago);
            }
            ToArbitrator::Commit { sensor, entry } => self.on_commit(stream, &sensor, entry),
            ToArbitrator::Mark { sensor, entry } => self.on_mark(stream, &sensor, entry),
            ToArbitrator::Leaving => self.on_leaving(stream),
        }
    }

    /// Time in which the loop stood still counts against nobody (rule 7).
    fn note_stall(&mut self, now: Time) {
        /// A timer is late by less than this without anything being wrong.
        const LATE: Span = Span::from_millis(50);
        let late = self.expected.map_or(Span::ZERO, |expected| now.since(expected));
        if late > LATE
            && crate::guard!(StallAddsTime, true, else false)
            && let Role::Leader(leadership) = &mut self.role
        {
            leadership.add_stall(late);
        }
    }

    fn leader(&mut self) -> Option<&mut Leadership> {
        match &mut self.role {
            Role::Leader(leadership) => Some(leadership),
            Role::Follower(_) => None,
        }
    }

    fn ask(&mut self, ask: Request) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.outbox.push(Command::Engine { request, ask });
        request
    }

    fn new_token(&mut self) -> Token {
        self.attempts += 1;
        Token { arbitrator: self.config.me.clone(), incarnation: self.incarnation, attempt: self.attempts }
    }

    fn send(&mut self, stream: StreamId, message: ToContainer) {
        self.outbox.push(Command::Send { stream, message });
    }
}
