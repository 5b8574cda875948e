//! Draws messages of every kind.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use st2sa_core::engine::{Body, Entry, Journal, Record, Token};
use st2sa_core::message::{
    Activation, Binding, Claim, Effects, Heartbeat, Hello, Kind, Offer, Report, State, Status, StopCause, ToArbitrator,
    ToContainer,
};
use st2sa_core::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, SensorRef, SessionId, Term,
};
use st2sa_core::time::{Span, Time};
use st2sa_proto::{About, FromArbitrator, FromContainer, InstancePolicy, InstanceReport};

/// How many kinds of messages a container sends.
pub(crate) const CONTAINER_KINDS: usize = 9;

/// How many kinds of messages an arbitrator sends.
pub(crate) const ARBITRATOR_KINDS: usize = 14;

pub(crate) const STATES: [State; 8] = [
    State::Starting,
    State::Ready,
    State::Running,
    State::Draining,
    State::Frozen,
    State::Backoff,
    State::Failed,
    State::Stopped,
];

pub(crate) const CAUSES: [StopCause; 5] =
    [StopCause::Asked, StopCause::Died, StopCause::Hung, StopCause::Refused, StopCause::FrozenTooLong];

/// A source of messages: one seed, one sequence.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn container_message(&mut self, kind: usize) -> FromContainer {
        FromContainer::Message(match kind {
            0 => return FromContainer::Hello(Box::new(self.hello()), self.about()),
            1 => return FromContainer::Instances(self.some(Self::instance_report)),
            2 => ToArbitrator::Offers(self.some(Self::offer)),
            3 => ToArbitrator::Heartbeat(Box::new(self.heartbeat())),
            4 => ToArbitrator::Applied { sensor: self.sensor(), fence: self.fence(), state: self.one_of(&STATES) },
            5 => ToArbitrator::Stopped {
                sensor: self.sensor(),
                fence: self.fence(),
                cause: self.one_of(&CAUSES),
                polled_ago: self.maybe(Self::span),
            },
            6 => ToArbitrator::Commit { sensor: self.sensor(), entry: self.entry() },
            7 => ToArbitrator::Mark { sensor: self.sensor(), entry: self.entry_id() },
            8 => ToArbitrator::Leaving,
            _ => panic!("a container sends {CONTAINER_KINDS} kinds of messages"),
        })
    }

    pub(crate) fn arbitrator_message(&mut self, kind: usize) -> FromArbitrator {
        FromArbitrator::Message(match kind {
            0 => {
                let (machine, host, pid) = (Machine(self.number()), self.word(), self.0.random());
                return FromArbitrator::NameTaken { machine, host, pid };
            }
            1 => ToContainer::NotLeader { leader: self.maybe(Self::arbitrator) },
            2 => ToContainer::Welcome {
                term: Term(self.number()),
                leadership: self.token(),
                session: SessionId(self.number()),
                registration: Registration(self.fence()),
                session_ttl: self.span(),
                heartbeat: self.span(),
            },
            3 => ToContainer::Ack {
                session: SessionId(self.number()),
                sequence: self.number(),
                sent_at: Time(self.number()),
            },
            4 => {
                let activation = self.maybe(Self::activation).map(Box::new);
                self.set_status(Status::Active(activation))
            }
            5 => self.set_status(Status::Standby),
            6 => ToContainer::Committed { sensor: self.sensor(), entry: self.entry_id() },
            7 => ToContainer::CommitRefused { sensor: self.sensor(), entry: self.entry_id() },
            8 => ToContainer::Marked { sensor: self.sensor(), entry: self.entry_id() },
            9 => ToContainer::Resigning,
            10 => ToContainer::Left,
            11 => ToContainer::PollNow { sensor: self.sensor(), fence: self.fence() },
            12 => return FromArbitrator::Policies(self.some(Self::instance_policy)),
            13 => ToContainer::NotYet { session: SessionId(self.number()), sent_at: Time(self.number()) },
            _ => panic!("an arbitrator sends {ARBITRATOR_KINDS} kinds of messages"),
        })
    }

    pub(crate) fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.0.random_range(0..=at_most)];
        self.0.fill(bytes.as_mut_slice());
        bytes
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    fn hello(&mut self) -> Hello {
        Hello {
            name: ContainerName::new(self.word()),
            incarnation: Incarnation(self.number()),
            machine: Machine(self.number()),
            registration: self.maybe(|draw| Registration(draw.fence())),
            highest: self.maybe(|draw| (Term(draw.number()), draw.token())),
            succeeds: self.maybe(|draw| Incarnation(draw.number())),
            labels: self.some(|draw| (draw.word(), draw.word())).into_iter().collect(),
            capacity: self.maybe(|draw| draw.0.random()),
        }
    }

    fn about(&mut self) -> About {
        let (version, host, address) = (self.word(), self.word(), self.word());
        About { protocol: self.0.random(), version, host, pid: self.0.random(), address }
    }

    fn instance_policy(&mut self) -> InstancePolicy {
        InstancePolicy { sensor: self.sensor(), cold_standby: self.0.random(), memory_bytes: self.maybe(Self::number) }
    }

    fn instance_report(&mut self) -> InstanceReport {
        InstanceReport {
            sensor: self.sensor(),
            kind: self.maybe(Self::kind),
            state: self.one_of(&STATES),
            pid: self.maybe(|draw| draw.0.random()),
            polls: self.number(),
            errors: self.number(),
            triggers: self.number(),
            dropped: self.number(),
            last_poll_ago: self.maybe(Self::span),
            last_poll_duration: self.maybe(Self::span),
            last_error: self.maybe(|draw| format!("Traceback:\n  {}", draw.word())),
            removed: self.0.random(),
        }
    }

    fn offer(&mut self) -> Offer {
        Offer {
            sensor: self.sensor(),
            digest: Digest(self.number()),
            previous: self.maybe(|draw| Digest(draw.number())),
            kind: self.kind(),
            effects: self.one_of(&[Effects::Journal, Effects::Direct]),
        }
    }

    fn heartbeat(&mut self) -> Heartbeat {
        Heartbeat {
            session: SessionId(self.number()),
            sequence: self.number(),
            sent_at: Time(self.number()),
            lapsed: self.0.random(),
            draining: self.0.random(),
            binds: self.maybe(|draw| Binding { holds: draw.some(Self::claim), failed: draw.some(Self::age) }),
            polled: self.some(Self::age),
            reports: self.some(Self::report),
        }
    }

    fn claim(&mut self) -> Claim {
        Claim { sensor: self.sensor(), fence: self.fence(), polled_ago: self.maybe(Self::span) }
    }

    fn age(&mut self) -> (SensorRef, Span) {
        (self.sensor(), self.span())
    }

    fn report(&mut self) -> Report {
        let (sensor, fence) = (self.sensor(), self.fence());
        match self.below(3) {
            0 => Report::Failing { sensor, fence },
            1 => Report::Recovered { sensor },
            _ => Report::PossibleOverlap { sensor, fence, late_by: self.span() },
        }
    }

    fn set_status(&mut self, status: Status) -> ToContainer {
        ToContainer::SetStatus { sensor: self.sensor(), fence: self.fence(), status }
    }

    fn activation(&mut self) -> Activation {
        Activation {
            journal: self.maybe(Self::journal),
            polled_ago: self.maybe(Self::span),
            timeout: self.span(),
            max_errors: 3,
        }
    }

    fn journal(&mut self) -> Journal {
        let record = Record {
            sequence: self.number(),
            last: self.maybe(Self::entry_id),
            sealed: self.fence(),
            values: self.body(),
        };
        Journal { record, version: self.number(), unapplied: self.some(Self::entry) }
    }

    fn entry(&mut self) -> Entry {
        Entry {
            id: self.entry_id(),
            follows: self.maybe(Self::entry_id),
            sequence: self.number(),
            fence: self.fence(),
            values: self.body(),
            effects: self.body(),
            part_of: self.maybe(Self::entry_id),
        }
    }

    fn kind(&mut self) -> Kind {
        self.maybe(Self::span).map_or(Kind::Passive, |interval| Kind::Polling { interval })
    }

    fn token(&mut self) -> Token {
        Token { arbitrator: self.arbitrator(), incarnation: Incarnation(self.number()), attempt: self.number() }
    }

    fn arbitrator(&mut self) -> ArbitratorId {
        ArbitratorId::new(self.word())
    }

    fn sensor(&mut self) -> SensorRef {
        SensorRef::new(format!("{}.{}", self.word(), self.word()))
    }

    fn fence(&mut self) -> Fence {
        Fence { term: Term(self.number()), n: self.number() }
    }

    fn entry_id(&mut self) -> EntryId {
        EntryId(self.0.random())
    }

    fn body(&mut self) -> Body {
        Body::new(&self.bytes(40))
    }

    fn span(&mut self) -> Span {
        Span(self.number())
    }

    fn word(&mut self) -> String {
        const LETTERS: [char; 6] = ['a', 'Z', '0', '_', '-', 'é'];
        (0..=self.below(12)).map(|_| self.one_of(&LETTERS)).collect()
    }

    /// Small ones, zero and the highest too: protobuf leaves zeros out.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => u64::MAX,
            2 => self.0.random_range(1..100),
            _ => self.0.random(),
        }
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.0.random() { Some(draw(self)) } else { None }
    }

    fn some<T>(&mut self, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| draw(self)).collect()
    }
}
