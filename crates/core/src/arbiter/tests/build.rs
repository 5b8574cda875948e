//! Builders: an arbiter driven by events to a known state, beside a store that answers at once.

use std::collections::{BTreeMap, VecDeque};

use crate::arbiter::{Arbiter, Command, Config, Event};
use crate::engine::{Electors, Journal, Key, Registered, Reply, Request, Snapshot, Token, Value, Write};
use crate::message::{
    Activation, Binding, Claim, Effects, Heartbeat, Hello, Kind, Offer, State, Status, StopCause, ToArbitrator,
    ToContainer,
};
use crate::names::{
    ArbitratorId, ContainerName, Digest, Fence, Incarnation, Machine, Registration, RequestId, SensorRef, SessionId,
    StreamId, Term,
};
use crate::placement::Labels;
use crate::policy::Policy;
use crate::time::{Span, Time};
use crate::timing::Timing;

/// The streams on which containers a and b are bound in the states built here.
pub(super) const A: StreamId = StreamId(1);
pub(super) const B: StreamId = StreamId(2);

pub(super) fn id(name: &str) -> ArbitratorId {
    ArbitratorId::new(name)
}

pub(super) fn name(name: &str) -> ContainerName {
    ContainerName::new(name)
}

/// The one sensor of most tests.
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
        me: id("l1"),
        peers: vec![id("l2"), id("l3")],
        timing: Timing::default(),
        policy: Policy::default(),
        forgetful: false,
        fail_safe: true,
        exclusive: false,
    }
}

pub(super) fn token(attempt: u64) -> Token {
    Token { arbitrator: id("l1"), incarnation: Incarnation(7), attempt }
}

pub(super) fn send(stream: StreamId, message: ToContainer) -> Command {
    Command::Send { stream, message }
}

pub(super) fn ask(request: RequestId, ask: Request) -> Command {
    Command::Engine { request, ask }
}

pub(super) fn from(stream: StreamId, message: ToArbitrator) -> Event {
    Event::Container { stream, message }
}

/// The greeting of a container's first incarnation, on a machine of its own.
pub(super) fn hello(of: &str) -> Hello {
    Hello {
        name: name(of),
        incarnation: Incarnation(1),
        machine: machine(of),
        registration: None,
        highest: None,
        succeeds: None,
        labels: Labels::new(),
        capacity: None,
    }
}

pub(super) fn greet(hello: Hello) -> ToArbitrator {
    ToArbitrator::Hello(Box::new(hello))
}

pub(super) fn machine(of: &str) -> Machine {
    Machine(of.bytes().map(u64::from).sum())
}

/// The register's entry of a container's first incarnation.
pub(super) fn entry_of(of: &str, registration: Fence) -> Registered {
    Registered { incarnation: Incarnation(1), registration: Registration(registration), machine: machine(of) }
}

pub(super) fn offer(sensor: SensorRef, effects: Effects) -> Offer {
    Offer { sensor, digest: Digest(1), previous: None, kind: Kind::Polling { interval: Span::from_secs(1) }, effects }
}

pub(super) fn claim(fence: Fence) -> Claim {
    Claim { sensor: x(), fence, polled_ago: None }
}

/// The word for x.
pub(super) fn stopped(fence: Fence, cause: StopCause) -> ToArbitrator {
    ToArbitrator::Stopped { sensor: x(), fence, cause, polled_ago: None }
}

/// What an instance starts from; ten intervals of x are less than the least timeout, of 5 min.
pub(super) fn activation(journal: Option<Journal>, polled_ago: Option<Span>) -> Status {
    Status::Active(Some(Box::new(Activation { journal, polled_ago, timeout: Span::from_secs(300), max_errors: 3 })))
}

/// A plain heartbeat; its container's clock is not the arbitrator's.
pub(super) fn heartbeat(session: u64, sequence: u64) -> Heartbeat {
    Heartbeat {
        session: SessionId(session),
        sequence,
        sent_at: Time(sequence),
        lapsed: false,
        draining: false,
        binds: None,
        polled: Vec::new(),
        reports: Vec::new(),
    }
}

/// The first heartbeat of a session, with what is held.
pub(super) fn binding(session: u64, holds: Vec<Claim>) -> Heartbeat {
    Heartbeat { binds: Some(Binding { holds, failed: Vec::new() }), ..heartbeat(session, 1) }
}

pub(super) fn beat(heartbeat: Heartbeat) -> ToArbitrator {
    ToArbitrator::Heartbeat(Box::new(heartbeat))
}

pub(super) fn ack(session: u64, sequence: u64) -> ToContainer {
    ToContainer::Ack { session: SessionId(session), sequence, sent_at: Time(sequence) }
}

pub(super) fn welcome(session: u64, registration: Fence) -> ToContainer {
    ToContainer::Welcome {
        term: Term(1),
        leadership: token(1),
        session: SessionId(session),
        registration: Registration(registration),
        session_ttl: Span::from_secs(2),
        heartbeat: millis(400),
    }
}

pub(super) fn electors(members: &[&str]) -> Electors {
    Electors { members: members.iter().map(ArbitratorId::new).collect(), fail_safe: true }
}

/// An arbiter, its clock, and a store.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) arbiter: Arbiter,
    pub(super) now: Time,
    /// What a read of everything finds, and a read of sensor x's journal.
    pub(super) stored: Snapshot,
    pub(super) journal: Journal,
    versions: BTreeMap<Key, u64>,
    version: u64,
    asked: u64,
    welcomed: BTreeMap<StreamId, u64>,
    /// All that was handled, and when.
    pub(super) log: Vec<(Time, Event)>,
}

impl Rig {
    /// An arbitrator that started at `now`.
    pub(super) fn started(config: Config, now: Time) -> Self {
        Self {
            arbiter: Arbiter::new(config, Incarnation(7), Term(0), now),
            now,
            stored: Snapshot::default(),
            journal: Journal::default(),
            versions: BTreeMap::new(),
            version: 100,
            asked: 0,
            welcomed: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// A follower that has kept still for long enough, and found nobody to lead.
    pub(super) fn follower() -> Self {
        let mut rig = Self::started(config(), at(0));
        let first = rig.request();
        rig.take(Event::Wake);
        rig.answer(first, Reply::NotWon { leader: None, elector: true });
        rig.now = at(3_000);
        rig
    }

    /// A leader just elected; the returned request is its read of everything.
    pub(super) fn elected(config: Config) -> (Self, RequestId) {
        let mut rig = Self::started(config, at(0));
        let campaign = rig.request();
        rig.take(Event::Wake);
        let read = rig.request();
        rig.answer(campaign, Reply::Won { term: Term(1), longest_ttl: Span::from_secs(2) });
        (rig, read)
    }

    /// A leader of term 1 with an empty register.
    pub(super) fn settled(config: Config) -> Self {
        let (mut rig, read) = Self::elected(config);
        rig.stored.electors = (electors(&["l1", "l2", "l3"]), 1);
        let reply = rig.everything();
        rig.drive(Event::Engine { request: read, reply });
        rig
    }

    /// A leader just elected that has found containers a and b in the register, as 0.1 and 0.2, and has
    /// welcomed a in session 1.
    pub(super) fn waiting(config: Config) -> Self {
        let (mut rig, read) = Self::elected(config);
        rig.stored.electors = (electors(&["l1", "l2", "l3"]), 1);
        rig.registered("a", fence(0, 1), 11);
        rig.registered("b", fence(0, 2), 12);
        let reply = rig.everything();
        rig.drive(Event::Engine { request: read, reply });
        rig.drive(from(A, greet(hello("a"))));
        rig
    }

    /// The same with a and b bound in sessions 1 and 2, so that nobody is waited for any more.
    pub(super) fn bound() -> Self {
        let mut rig = Self::waiting(config());
        rig.drive(from(A, beat(binding(1, Vec::new()))));
        rig.drive(from(A, ToArbitrator::Offers(Vec::new())));
        rig.bind("b", B, 2);
        rig
    }

    /// The same; both offer sensor x, a holds it under fence 1.1 and has applied that.
    pub(super) fn holding(effects: Effects) -> Self {
        let mut rig = Self::bound();
        rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), effects)])));
        let fence = rig.held();
        rig.drive(from(A, ToArbitrator::Applied { sensor: x(), fence, state: State::Running }));
        rig.drive(from(B, ToArbitrator::Offers(vec![offer(x(), effects)])));
        rig
    }

    /// An entry that the store's register has.
    pub(super) fn registered(&mut self, of: &str, registration: Fence, version: u64) {
        self.stored.register.insert(name(of), (entry_of(of, registration), version));
        self.versions.insert(Key::Register(name(of)), version);
    }

    /// Greets, joins and binds with nothing held and nothing to offer yet.
    pub(super) fn bind(&mut self, of: &str, stream: StreamId, session: u64) {
        self.drive(from(stream, greet(hello(of))));
        self.drive(from(stream, beat(binding(session, Vec::new()))));
        self.drive(from(stream, ToArbitrator::Offers(Vec::new())));
    }

    /// The fence under which x is held.
    pub(super) fn held(&self) -> Fence {
        let sensors = self.arbiter.sensors();
        sensors.iter().find(|view| view.sensor == x()).and_then(|view| view.active.clone()).unwrap().fence
    }

    /// Takes one event, now.
    pub(super) fn take(&mut self, event: Event) -> Vec<Command> {
        self.log.push((self.now, event.clone()));
        let commands = self.arbiter.handle(self.now, event);
        for command in &commands {
            match command {
                Command::Engine { request, .. } => self.asked = request.0,
                Command::Send { stream, message: ToContainer::Welcome { session, .. } } => {
                    self.welcomed.insert(*stream, session.0);
                }
                _ => {}
            }
        }
        commands
    }

    /// The session that was last offered on a stream.
    pub(super) fn session_on(&self, stream: StreamId) -> u64 {
        self.welcomed.get(&stream).copied().unwrap_or_default()
    }

    /// Takes a container's message.
    pub(super) fn hear(&mut self, stream: StreamId, message: ToArbitrator) -> Vec<Command> {
        self.take(from(stream, message))
    }

    /// Takes the store's answer.
    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) -> Vec<Command> {
        self.take(Event::Engine { request, reply })
    }

    /// Takes one event, and has the store answer all that comes of it.
    pub(super) fn drive(&mut self, event: Event) {
        let mut commands = VecDeque::from(self.take(event));
        while let Some(command) = commands.pop_front() {
            if let Command::Engine { request, ask } = command {
                let reply = self.reply(&ask);
                commands.extend(self.answer(request, reply));
            }
        }
    }

    /// Lets time pass while the store answers and these sessions send heartbeats.
    pub(super) fn pass(&mut self, until: Time, alive: &[(StreamId, u64)]) {
        const STEP: Span = Span::from_millis(200);
        while self.now + STEP <= until {
            self.now += STEP;
            for (stream, session) in alive {
                self.drive(from(*stream, beat(heartbeat(*session, 9))));
            }
            self.drive(Event::Wake);
        }
        self.now = until;
    }

    /// The number of the next request to the store.
    pub(super) fn request(&self) -> RequestId {
        RequestId(self.asked + 1)
    }

    /// The version of a key in the store; zero where it is absent.
    pub(super) fn version(&self, key: &Key) -> u64 {
        self.versions.get(key).copied().unwrap_or_default()
    }

    /// What a read of everything finds.
    pub(super) fn everything(&self) -> Reply {
        Reply::All(Box::new(self.stored.clone()))
    }

    /// The store's answer.
    pub(super) fn reply(&mut self, ask: &Request) -> Reply {
        match ask {
            Request::Campaign { .. } => Reply::Won { term: Term(1), longest_ttl: Span::from_secs(2) },
            Request::Renew { .. } | Request::Retake { .. } | Request::Resign { .. } => Reply::Done,
            Request::Observe => Reply::Observed { leader: None },
            Request::ReadAll => self.everything(),
            Request::ReadJournal { .. } => Reply::Journal(Box::new(self.journal.clone())),
            Request::Transact(transaction) => {
                self.version += 1;
                for write in &transaction.writes {
                    self.write(write);
                }
                Reply::Applied { version: self.version }
            }
        }
    }

    fn write(&mut self, write: &Write) {
        let version = self.version;
        match write {
            Write::Put(key, value) => {
                self.versions.insert(key.clone(), version);
                match (key, value) {
                    (Key::Register(name), Value::Registered(entry)) => {
                        self.stored.register.insert(name.clone(), (entry.clone(), version));
                    }
                    (Key::Electors, Value::Electors(electors)) => self.stored.electors = (electors.clone(), version),
                    (Key::Record(_), Value::Record(record)) => {
                        self.journal.record = record.clone();
                        self.journal.version = version;
                    }
                    (Key::Entry(..), Value::Entry(entry)) => self.journal.unapplied.push(entry.clone()),
                    _ => {}
                }
            }
            Write::Delete(key) => {
                self.versions.remove(key);
                match key {
                    Key::Register(name) => drop(self.stored.register.remove(name)),
                    Key::Entry(_, sequence) => self.journal.unapplied.retain(|entry| entry.sequence != *sequence),
                    _ => {}
                }
            }
        }
    }
}
