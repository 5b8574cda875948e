//! The contract with the engine, the store that arbitrators share: what is asked, what may come back.
//!
//! One fenced transaction carries every write: it is applied whole or not at all, and only while the
//! leadership that it names is the one in force. A request may also get no answer, or land after the
//! asker gave it up: [`Reply::Unknown`] is never taken for success or for failure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, SensorRef, Term,
};
use crate::time::Span;

/// Unique for each leadership that is ever tried for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Who tries.
    pub arbitrator: ArbitratorId,
    /// Which run of that arbitrator's process: random, from its shell.
    pub incarnation: Incarnation,
    /// Which try of that run.
    pub attempt: u64,
}

/// What an arbitrator asks of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Take the leadership if nobody holds it and this arbitrator is an elector (or nobody is: then it
    /// becomes the first). The new term is above the stored one and above `above`.
    Campaign {
        /// The leadership tried for.
        token: Token,
        /// The highest term that the arbitrator knows of.
        above: Term,
        /// Its own `session_ttl`: the term's record keeps the longest still running.
        session_ttl: Span,
        /// Win only where the store has no electors yet (rule 11: an arbitrator that has just started).
        only_as_first: bool,
    },
    /// Keep the leadership for another `leader_ttl`.
    Renew {
        /// The leadership to keep.
        token: Token,
    },
    /// Take the leader's key again in the same term, if no other term began (rule 11).
    Retake {
        /// The leadership that was extended by its electors' word.
        token: Token,
        /// Its term.
        term: Term,
    },
    /// Give the leadership up.
    Resign {
        /// The leadership to give up.
        token: Token,
    },
    /// Who leads?
    Observe,
    /// Everything that a new leader needs, read after its election.
    ReadAll,
    /// A sensor's journal record and its unapplied entries.
    ReadJournal {
        /// The sensor.
        sensor: SensorRef,
    },
    /// One fenced transaction.
    Transact(Transaction),
}

/// Writes that are applied together if the leadership is in force and every check holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The leadership in whose name this is written.
    pub token: Token,
    /// What must not have changed.
    pub checks: Vec<Check>,
    /// What to write.
    pub writes: Vec<Write>,
}

/// A key must be at this version; version 0 is a key that is absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// The key.
    pub key: Key,
    /// The version it must have.
    pub version: u64,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Sets a key.
    Put(Key, Value),
    /// Removes a key.
    Delete(Key),
}

/// The durable keys (all under one prefix of the store).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The longest `session_ttl` that may still be running; part of the term's record.
    LongestTtl,
    /// Who may campaign, and whether fail-safe is on.
    Electors,
    /// A container's entry in the register.
    Register(ContainerName),
    /// An operator's intent: this sensor is paused.
    Pause(SensorRef),
    /// An operator's intent: this container is drained.
    Drain(ContainerName),
    /// A sensor's newest digest.
    Code(SensorRef),
    /// A sensor's journal record.
    Record(SensorRef),
    /// One unapplied journal entry.
    Entry(SensorRef, u64),
}

/// What the keys hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Of [`Key::LongestTtl`].
    Ttl(Span),
    /// Of [`Key::Electors`].
    Electors(Electors),
    /// Of [`Key::Register`].
    Registered(Registered),
    /// Of [`Key::Pause`] and [`Key::Drain`].
    Intent(Intent),
    /// Of [`Key::Code`].
    Digest(Digest),
    /// Of [`Key::Record`].
    Record(Record),
    /// Of [`Key::Entry`].
    Entry(Entry),
}

/// The arbitrators that may campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Electors {
    /// Their ids; the leader alone changes the list.
    pub members: BTreeSet<ArbitratorId>,
    /// Whether a leadership may be extended by their word while the store is away.
    pub fail_safe: bool,
}

/// A container incarnation's entry in the register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registered {
    /// Which run of the container.
    pub incarnation: Incarnation,
    /// Its number.
    pub registration: Registration,
    /// Where it runs.
    pub machine: Machine,
}

/// Who wants it so, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    /// The operator.
    pub who: String,
    /// When, in milliseconds since 1970 by the clock of the arbitrator that was asked; no decision uses it.
    pub at: u64,
}

/// A sensor's journal record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// The number of the last committed entry; zero before the first.
    pub sequence: u64,
    /// The last committed entry.
    pub last: Option<EntryId>,
    /// The fence under which the record was last sealed.
    pub sealed: Fence,
    /// The sensor's own values.
    pub values: Body,
}

/// One poll's effects, committed whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Drawn by the container when the poll began; the same at every retry.
    pub id: EntryId,
    /// The entry it follows: the sensor's last one when the poll began.
    pub follows: Option<EntryId>,
    /// Its number: one above that of the entry it follows.
    pub sequence: u64,
    /// The newest fence when its poll returned.
    pub fence: Fence,
    /// The sensor's own values after it; on the way to the record alone, which keeps them.
    pub values: Body,
    /// What is to be dispatched and written elsewhere.
    pub effects: Body,
    /// The entry that this is only a part of: nothing of it goes out before that one is committed, and where that one never
    /// is, nothing at all. What a large poll did is its parts' effects one after another, and then its own.
    pub part_of: Option<EntryId>,
}

/// Bytes that core carries and never looks into.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Body(std::sync::Arc<[u8]>);

impl Body {
    /// Wraps bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A leader as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderSeen {
    /// Who leads.
    pub arbitrator: ArbitratorId,
    /// In which term.
    pub term: Term,
}

/// Everything that a new leader reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Snapshot {
    /// The electors, and their key's version.
    pub electors: (Electors, u64),
    /// The register, each entry with its key's version.
    pub register: BTreeMap<ContainerName, (Registered, u64)>,
    /// Paused sensors.
    pub paused: BTreeMap<SensorRef, Intent>,
    /// Drained containers.
    pub drained: BTreeMap<ContainerName, Intent>,
    /// Newest digests.
    pub code: BTreeMap<SensorRef, Digest>,
}

/// A journal as read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Journal {
    /// The record; the default one where none is stored.
    pub record: Record,
    /// Its key's version.
    pub version: u64,
    /// Entries not yet marked applied, oldest first.
    pub unapplied: Vec<Entry>,
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The campaign was won.
    Won {
        /// The new term.
        term: Term,
        /// The longest `session_ttl` that may still be running, this arbitrator's own included.
        longest_ttl: Span,
    },
    /// Somebody else leads, or this arbitrator is no elector.
    NotWon {
        /// Who leads, if anybody.
        leader: Option<LeaderSeen>,
        /// Whether this arbitrator may campaign at all.
        elector: bool,
    },
    /// The leadership is kept, retaken or given up, as asked.
    Done,
    /// It is not this arbitrator's any more.
    NotLeader,
    /// To [`Request::Observe`].
    Observed {
        /// Who leads, if anybody.
        leader: Option<LeaderSeen>,
    },
    /// To [`Request::ReadAll`].
    All(Box<Snapshot>),
    /// To [`Request::ReadJournal`].
    Journal(Box<Journal>),
    /// The transaction is applied; its writes have this version.
    Applied {
        /// The version of every key that it put.
        version: u64,
    },
    /// A check did not hold; nothing was written.
    CheckFailed,
    /// No answer: it may have been applied, may be applied later, or never.
    Unknown,
}
