//! What containers, the leader and its peers say to each other.

use crate::engine::{Entry, Journal, Token};
use crate::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, SensorRef, SessionId, Term,
};
use crate::placement::Labels;
use crate::time::{Span, Time};

/// A container's greeting. It claims nothing (rule 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The container's name.
    pub name: ContainerName,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub machine: Machine,
    /// Its registration, if it has one.
    pub registration: Option<Registration>,
    /// The highest term seen, and which leadership it was: an engine that forgets may give a number twice,
    /// even to one arbitrator.
    pub highest: Option<(Term, Token)>,
    /// The run on the same machine that this one follows, and all that ran under it, has stopped: this one
    /// holds its lock.
    pub succeeds: Option<Incarnation>,
    /// Labels, for the policy.
    pub labels: Labels,
    /// How much weight it takes.
    pub capacity: Option<u32>,
}

/// "This container could run this sensor."
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// The sensor.
    pub sensor: SensorRef,
    /// The code it would run.
    pub digest: Digest,
    /// The code that this container offered before, if that was another one.
    pub previous: Option<Digest>,
    /// Polling or passive.
    pub kind: Kind,
    /// How its effects go out.
    pub effects: Effects,
}

/// How a sensor watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `poll()` at every interval.
    Polling {
        /// The interval.
        interval: Span,
    },
    /// `run()` once.
    Passive,
}

/// How a sensor's effects go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effects {
    /// Collected during a poll, committed whole, then applied.
    Journal,
    /// Handed on as they are made.
    Direct,
}

/// What an instance reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its process is being started, or it is being activated.
    Starting,
    /// On standby.
    Ready,
    /// Active.
    Running,
    /// Asked to stop; the current poll is ending.
    Draining,
    /// The lease has ended.
    Frozen,
    /// Waiting before another try.
    Backoff,
    /// Cannot run.
    Failed,
    /// Not running.
    Stopped,
}

/// What an instance holds when its container binds itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The sensor.
    pub sensor: SensorRef,
    /// The newest fence given under this registration.
    pub fence: Fence,
    /// How long ago its last poll began.
    pub polled_ago: Option<Span>,
}

/// Proves that the container lives, and says what changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// The session it keeps alive.
    pub session: SessionId,
    /// Counts up in each session.
    pub sequence: u64,
    /// The container's own clock, read before sending.
    pub sent_at: Time,
    /// The lease had ended by then.
    pub lapsed: bool,
    /// The container wants to hand everything over.
    pub draining: bool,
    /// In the first one of a session, which binds it: everything that is held, and where this
    /// container failed, with the age of each mark.
    pub binds: Option<Binding>,
    /// Polls begun since the last one, with their age.
    pub polled: Vec<(SensorRef, Span)>,
    /// What went wrong or right since the last one.
    pub reports: Vec<Report>,
}

/// The list that binds a container to a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Binding {
    /// What is held.
    pub holds: Vec<Claim>,
    /// Failed-there marks, with their age.
    pub failed: Vec<(SensorRef, Span)>,
}

/// What an instance tells of its work. Reports free nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// `max_errors` polls in a row raised.
    Failing {
        /// The sensor.
        sensor: SensorRef,
        /// Under which fence.
        fence: Fence,
    },
    /// Enough good polls: the failure is forgotten.
    Recovered {
        /// The sensor.
        sensor: SensorRef,
    },
    /// It was found unfrozen later than its lease allowed.
    PossibleOverlap {
        /// The sensor.
        sensor: SensorRef,
        /// Under which fence.
        fence: Fence,
        /// How late it was frozen.
        late_by: Span,
    },
}

/// Why an instance stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// The leader asked.
    Asked,
    /// Its process died.
    Died,
    /// Its poll did not return in time.
    Hung,
    /// Its commit was refused, or it cannot go on from what it knows.
    Refused,
    /// It was frozen for longer than `freeze_limit`.
    FrozenTooLong,
}

impl StopCause {
    /// Whether the sensor itself failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Died | Self::Hung)
    }
}

/// From a container to an arbitrator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToArbitrator {
    /// Greeting.
    Hello(Box<Hello>),
    /// Everything that the container could run.
    Offers(Vec<Offer>),
    /// Sign of life.
    Heartbeat(Box<Heartbeat>),
    /// A status was applied.
    Applied {
        /// The sensor.
        sensor: SensorRef,
        /// The fence of the status.
        fence: Fence,
        /// What it is doing.
        state: State,
    },
    /// The word (rule 6): nothing under this fence or an older one ever acts here again.
    Stopped {
        /// The sensor.
        sensor: SensorRef,
        /// The newest fence given here.
        fence: Fence,
        /// Why.
        cause: StopCause,
        /// How long ago its last poll began.
        polled_ago: Option<Span>,
    },
    /// Please commit this poll's effects.
    Commit {
        /// The sensor.
        sensor: SensorRef,
        /// The entry.
        entry: Entry,
    },
    /// These entries were applied.
    Mark {
        /// The sensor.
        sensor: SensorRef,
        /// Which.
        entry: EntryId,
    },
    /// Everything here has stopped for good.
    Leaving,
}

/// A status, as the leader programs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Act, under this message's fence. The journal is there when an instance starts; an instance
    /// that is adopted goes on with what it knows.
    Active(Option<Box<Activation>>),
    /// Do not act any more under this message's fence.
    Standby,
}

/// What an instance starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Activation {
    /// Record and unapplied entries, of a journaled sensor.
    pub journal: Option<Journal>,
    /// How long ago the sensor's last poll began, if known.
    pub polled_ago: Option<Span>,
    /// When loading it, setting it up or a poll counts as hung.
    pub timeout: Span,
    /// So many raising polls in a row are a failure.
    pub max_errors: u32,
}

/// From an arbitrator to a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToContainer {
    /// Somebody else leads.
    NotLeader {
        /// Who, if known.
        leader: Option<ArbitratorId>,
    },
    /// The name is taken.
    NameTaken {
        /// The machine of the incarnation that holds it.
        machine: Machine,
    },
    /// You may bind yourself.
    Welcome {
        /// The term.
        term: Term,
        /// Which leadership it is.
        leadership: Token,
        /// The session to bind.
        session: SessionId,
        /// Your registration.
        registration: Registration,
        /// How long a lease lasts.
        session_ttl: Span,
        /// How often to send a heartbeat.
        heartbeat: Span,
    },
    /// The lease now ends at `sent_at` plus the session's ttl.
    Ack {
        /// The session.
        session: SessionId,
        /// Of the heartbeat.
        sequence: u64,
        /// Echoed.
        sent_at: Time,
    },
    /// The heartbeat is heard, and will be acknowledged once that is safe: the lease does not change, and this stream is the
    /// right one (rule 9: an engine that may forget has claims wait).
    NotYet {
        /// The session.
        session: SessionId,
        /// Echoed.
        sent_at: Time,
    },
    /// What to be.
    SetStatus {
        /// The sensor.
        sensor: SensorRef,
        /// Of this grant.
        fence: Fence,
        /// The status.
        status: Status,
    },
    /// The entry is in the journal.
    Committed {
        /// The sensor.
        sensor: SensorRef,
        /// The entry.
        entry: EntryId,
    },
    /// The entry is not in the journal and never will be.
    CommitRefused {
        /// The sensor.
        sensor: SensorRef,
        /// The entry.
        entry: EntryId,
    },
    /// The entry is marked applied: it need not be said again.
    Marked {
        /// The sensor.
        sensor: SensorRef,
        /// The entry.
        entry: EntryId,
    },
    /// Poll now: an operator does not want to wait for the interval.
    PollNow {
        /// The sensor.
        sensor: SensorRef,
        /// Under which it is ACTIVE there.
        fence: Fence,
    },
    /// The leader resigns; greet another.
    Resigning,
    /// A word to leave was carried out.
    Left,
}

/// Between arbitrators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToPeer {
    /// The leader is there; the answer proves that an elector is too.
    Alive {
        /// The leader's term.
        term: Term,
    },
    /// An arbitrator asks to be an elector, or shows that it still is one.
    Elector,
    /// The store is away: may I go on leading? (rule 11)
    Extend {
        /// The asker's term.
        term: Term,
        /// Which asking this is.
        ask: u64,
    },
    /// The promise, given to one asking.
    Extended {
        /// The asker's term.
        term: Term,
        /// Which asking it answers.
        ask: u64,
    },
    /// A standby hears greetings of containers that cannot reach the leader.
    Stranded {
        /// How many containers.
        containers: usize,
    },
}
