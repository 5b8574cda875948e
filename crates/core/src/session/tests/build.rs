//! Builders: a session driven by events to a known state.

use crate::engine::{Body, Entry, Journal, Record, Token};
use crate::message::{
    Activation, Effects, Heartbeat, Hello, Kind, Offer, State, Status, StopCause, ToArbitrator, ToContainer,
};
use crate::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, ProcessId, Registration, SensorRef,
    SessionId, StreamId, Term,
};
use crate::placement::Labels;
use crate::session::{Command, Config, Event, Outcome, Session, Work};
use crate::time::{Span, Time};

/// The stream of the session in the states built here, and the next one that is opened.
pub(super) const FIRST: StreamId = StreamId(1);
pub(super) const NEXT: StreamId = StreamId(2);
/// The process of sensor x in the states built here, and the one that replaces it.
pub(super) const PROCESS: ProcessId = ProcessId(1);
pub(super) const FRESH: ProcessId = ProcessId(2);

pub(super) fn id(name: &str) -> ArbitratorId {
    ArbitratorId::new(name)
}

/// The one sensor of the tests.
pub(super) fn x() -> SensorRef {
    SensorRef::new("p.X")
}

pub(super) fn fence(term: u64, n: u64) -> Fence {
    Fence { term: Term(term), n }
}

pub(super) fn millis(millis: u64) -> Span {
    Span::from_millis(millis)
}

/// So many milliseconds after a moment that is far from the clock's beginning.
pub(super) fn at(after: u64) -> Time {
    Time(0) + Span::from_secs(100_000) + millis(after)
}

pub(super) fn config() -> Config {
    Config {
        name: ContainerName::new("a"),
        machine: Machine(5),
        labels: Labels::new(),
        capacity: None,
        arbitrators: vec![id("l1"), id("l2"), id("l3")],
        margin: millis(200),
        part_bytes: 16,
        heartbeat: millis(400),
        freeze_limit: Span::from_secs(30),
        drain_timeout: Span::from_secs(60),
        failure_memory: Span::from_secs(600),
    }
}

/// Sensor x, polled every second.
pub(super) fn offer(effects: Effects) -> Offer {
    Offer { sensor: x(), digest: Digest(1), previous: None, kind: Kind::Polling { interval: millis(1_000) }, effects }
}

pub(super) fn hello() -> Hello {
    Hello {
        name: ContainerName::new("a"),
        incarnation: Incarnation(1),
        machine: Machine(5),
        registration: None,
        highest: None,
        succeeds: None,
        labels: Labels::new(),
        capacity: None,
    }
}

/// A leadership of arbitrator `leader`.
pub(super) fn token(leader: &str) -> Token {
    Token { arbitrator: id(leader), incarnation: Incarnation(7), attempt: 1 }
}

/// An invitation by arbitrator `leader`, under registration `registration`.
pub(super) fn welcome(leader: &str, term: u64, session: u64, registration: Fence) -> ToContainer {
    ToContainer::Welcome {
        term: Term(term),
        leadership: token(leader),
        session: SessionId(session),
        registration: Registration(registration),
        session_ttl: millis(2_000),
        heartbeat: millis(400),
    }
}

/// A heartbeat that says nothing but that the container lives.
pub(super) fn heartbeat(session: u64, sequence: u64, sent_at: Time) -> Heartbeat {
    Heartbeat {
        session: SessionId(session),
        sequence,
        sent_at,
        lapsed: false,
        draining: false,
        binds: None,
        polled: Vec::new(),
        reports: Vec::new(),
    }
}

pub(super) fn beat(heartbeat: Heartbeat) -> ToArbitrator {
    ToArbitrator::Heartbeat(Box::new(heartbeat))
}

pub(super) fn ack(session: u64, sequence: u64, sent_at: Time) -> ToContainer {
    ToContainer::Ack { session: SessionId(session), sequence, sent_at }
}

pub(super) fn active(fence: Fence, activation: Activation) -> ToContainer {
    ToContainer::SetStatus { sensor: x(), fence, status: Status::Active(Some(Box::new(activation))) }
}

/// A newer fence for what is held already.
pub(super) fn adopted(fence: Fence) -> ToContainer {
    ToContainer::SetStatus { sensor: x(), fence, status: Status::Active(None) }
}

pub(super) fn standby(fence: Fence) -> ToContainer {
    ToContainer::SetStatus { sensor: x(), fence, status: Status::Standby }
}

pub(super) fn applied(fence: Fence, state: State) -> ToArbitrator {
    ToArbitrator::Applied { sensor: x(), fence, state }
}

/// The word for x, whose last poll began so many milliseconds ago, if it ever did.
pub(super) fn stopped(fence: Fence, cause: StopCause, polled_ago: Option<u64>) -> ToArbitrator {
    ToArbitrator::Stopped { sensor: x(), fence, cause, polled_ago: polled_ago.map(millis) }
}

/// What the guardian reads, after so many freezes by the container itself.
pub(super) fn lease(end: Time, freezes: u64) -> Command {
    Command::PublishLease { end, freezes }
}

pub(super) fn send(stream: StreamId, message: ToArbitrator) -> Command {
    Command::Send { stream, message }
}

pub(super) fn spawn(process: ProcessId) -> Command {
    Command::Spawn { sensor: x(), process }
}

pub(super) fn publish(fence: Fence, id: u128) -> Command {
    Command::Publish { sensor: x(), fence, id: EntryId(id), effects: effects() }
}

pub(super) fn values() -> Body {
    Body::new(b"cursor")
}

pub(super) fn effects() -> Body {
    Body::new(b"trigger")
}

/// What a poll with effects did.
pub(super) fn work(id: u128) -> Outcome {
    Outcome::Good(Some(Work { id: EntryId(id), values: values(), effects: effects() }))
}

/// The entry that comes of [`work`].
pub(super) fn entry(id: u128, follows: Option<u128>, sequence: u64, fence: Fence) -> Entry {
    Entry {
        id: EntryId(id),
        follows: follows.map(EntryId),
        sequence,
        fence,
        values: values(),
        effects: effects(),
        part_of: None,
    }
}

pub(super) fn commit(entry: Entry) -> ToArbitrator {
    ToArbitrator::Commit { sensor: x(), entry }
}

pub(super) fn activation(journal: Option<Journal>, polled_ago: Option<Span>) -> Activation {
    Activation { journal, polled_ago, timeout: Span::from_secs(300), max_errors: 3 }
}

/// An activation a moment after the last poll began.
pub(super) fn just_polled(effects: Effects) -> Activation {
    let journal = Journal { record: Record { values: values(), ..Record::default() }, ..Journal::default() };
    activation((effects == Effects::Journal).then_some(journal), Some(Span::ZERO))
}

/// A session and its clock.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) now: Time,
    /// All that was handled, and when.
    pub(super) log: Vec<(Time, Event)>,
}

impl Rig {
    /// A container that started at `now` and offers nothing yet.
    pub(super) fn started(config: Config, now: Time) -> Self {
        Self { session: Session::new(config, Incarnation(1), None, now), now, log: Vec::new() }
    }

    /// One that offers x, whose process is loaded, and has greeted arbitrator l1 on the first stream.
    pub(super) fn greeting(effects: Effects) -> Self {
        let mut rig = Self::started(config(), at(0));
        rig.take(Event::Offers(vec![offer(effects)]));
        rig.take(Event::StreamOpened(FIRST));
        rig.take(Event::Ready(PROCESS));
        rig
    }

    /// Bound to l1 in session 1 of term 1, under registration 1.1; its lease has never held.
    pub(super) fn bound(effects: Effects) -> Self {
        let mut rig = Self::greeting(effects);
        rig.hear(welcome("l1", 1, 1, fence(1, 1)));
        rig
    }

    /// The same with a lease that ends at 2,000 ms.
    pub(super) fn leased(effects: Effects) -> Self {
        let mut rig = Self::bound(effects);
        rig.hear(ack(1, 1, at(0)));
        rig
    }

    /// The same with x ACTIVE under fence 1.2 and set up; its next poll is due at 1,000 ms.
    pub(super) fn active(effects: Effects) -> Self {
        let mut rig = Self::leased(effects);
        rig.hear(active(fence(1, 2), just_polled(effects)));
        rig.take(Event::Activated(PROCESS));
        rig
    }

    /// The same at 1,000 ms, in a poll, with a lease that ends at 2,800 ms.
    pub(super) fn polling(effects: Effects) -> Self {
        let mut rig = Self::active(effects);
        rig.live(at(1_000));
        rig
    }

    /// The same at 2,800 ms, its lease over, everything frozen in time, and its leader given up.
    pub(super) fn lapsed(effects: Effects) -> Self {
        let mut rig = Self::polling(effects);
        rig.now = at(2_800);
        rig.take(Event::Wake);
        rig.take(Event::Frozen);
        rig.take(Event::Froze { late_by: Span::ZERO });
        rig
    }

    /// Takes one event, now.
    pub(super) fn take(&mut self, event: Event) -> Vec<Command> {
        self.log.push((self.now, event.clone()));
        self.session.handle(self.now, event)
    }

    /// Takes a message on the first stream.
    pub(super) fn hear(&mut self, message: ToContainer) -> Vec<Command> {
        self.hear_on(FIRST, message)
    }

    pub(super) fn hear_on(&mut self, stream: StreamId, message: ToContainer) -> Vec<Command> {
        self.take(Event::Message { stream, message })
    }

    /// Lets time pass while every heartbeat is acknowledged at once.
    pub(super) fn live(&mut self, until: Time) {
        const STEP: Span = Span::from_millis(200);
        while self.now < until {
            self.now = (self.now + STEP).min(until);
            for command in self.take(Event::Wake) {
                if let Command::Send { stream, message: ToArbitrator::Heartbeat(beat) } = command {
                    self.hear_on(
                        stream,
                        ToContainer::Ack { session: beat.session, sequence: beat.sequence, sent_at: beat.sent_at },
                    );
                }
            }
        }
    }
}
