//! What passes between a session and the shell of its container.

use crate::engine::Body;
use crate::message::{Offer, ToArbitrator, ToContainer};
use crate::names::{ArbitratorId, ContainerName, EntryId, Fence, Machine, ProcessId, SensorRef, StreamId};
use crate::placement::Labels;
use crate::time::{Span, Time};

/// What one container is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Its name.
    pub name: ContainerName,
    /// Where it runs.
    pub machine: Machine,
    /// Labels, for the policy.
    pub labels: Labels,
    /// How much weight it takes.
    pub capacity: Option<u32>,
    /// The arbitrators, in the order in which they are tried.
    pub arbitrators: Vec<ArbitratorId>,
    /// How late a freeze may be.
    pub margin: Span,
    /// Bytes of effects that one entry of the journal has at the most; more are several entries.
    pub part_bytes: usize,
    /// How often heartbeats are sent before a leader has said.
    pub heartbeat: Span,
    /// An instance frozen for longer is killed: others wait for what it holds.
    pub freeze_limit: Span,
    /// When it leaves: how long the leader has to move what runs here; then it stops by itself.
    pub drain_timeout: Span,
    /// How long a failed-there mark is told to new leaders.
    pub failure_memory: Span,
}

/// What the session is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A deadline has come.
    Wake,
    /// The packs were read (again): what this container could run.
    Offers(Vec<Offer>),
    /// A stream that was asked for is open.
    StreamOpened(StreamId),
    /// A stream could not be opened, or has ended.
    StreamClosed(StreamId),
    /// An arbitrator's message.
    Message {
        /// On which stream.
        stream: StreamId,
        /// The message.
        message: ToContainer,
    },
    /// A process is loaded and can be activated.
    Ready(ProcessId),
    /// It has been set up.
    Activated(ProcessId),
    /// How often it wants to poll from now on: sensors set their interval themselves.
    Paced {
        /// Which process.
        process: ProcessId,
        /// From the beginning of one poll to the next.
        interval: Span,
    },
    /// A [`Command::Poll`] was not carried out: the lease had ended in between.
    NotPolled(ProcessId),
    /// A poll has returned.
    PollReturned {
        /// Of which process.
        process: ProcessId,
        /// How.
        outcome: Outcome,
    },
    /// A journaled sensor did something outside its polls: an entry of its own.
    Wrote {
        /// Which process.
        process: ProcessId,
        /// What it did.
        work: Work,
    },
    /// A direct effect was made.
    Emitted {
        /// By which process.
        process: ProcessId,
        /// Its id.
        id: EntryId,
        /// The effect.
        effect: Body,
    },
    /// The process and its whole group are dead.
    Gone(ProcessId),
    /// The same, for a reason that is not the sensor's own: no failure; it is started again in place.
    Lost(ProcessId),
    /// The sink has confirmed an entry, or a direct effect.
    Published {
        /// Whose.
        sensor: SensorRef,
        /// Its id.
        id: EntryId,
    },
    /// A [`Command::Publish`] was not carried out: the lease had ended in between. It is given again.
    NotPublished {
        /// Whose.
        sensor: SensorRef,
        /// Its id.
        id: EntryId,
    },
    /// [`Command::Freeze`] was carried out.
    Frozen,
    /// The guardian has frozen everything, so long after the lease's end.
    Froze {
        /// Zero when in time.
        late_by: Span,
    },
    /// The guardian is gone, and with it every process.
    GuardianGone,
    /// Hand everything over, then leave the register and stop.
    Leave,
}

/// How a poll returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Well; of a journaled sensor with what it did, if it did anything.
    Good(Option<Work>),
    /// It raised.
    Raised {
        /// It had already done something that is now withheld.
        effects: bool,
    },
}

/// What a poll did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Work {
    /// Drawn when the poll began.
    pub id: EntryId,
    /// The sensor's own values after it.
    pub values: Body,
    /// What is to be dispatched and written elsewhere.
    pub effects: Body,
}

/// What the shell does for the session, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Open a stream to an arbitrator; answered by [`Event::StreamOpened`] or [`Event::StreamClosed`].
    Connect {
        /// The stream's number.
        stream: StreamId,
        /// To whom.
        to: ArbitratorId,
    },
    /// Close a stream.
    Close(StreamId),
    /// Send on a stream.
    Send {
        /// On which.
        stream: StreamId,
        /// The message.
        message: ToArbitrator,
    },
    /// Start a process of a sensor, and load it.
    Spawn {
        /// Of which sensor.
        sensor: SensorRef,
        /// Its number.
        process: ProcessId,
    },
    /// Set it up, from these values of its own (none of a direct one).
    Activate {
        /// Which.
        process: ProcessId,
        /// The sensor's own values.
        values: Option<Body>,
    },
    /// Let it poll once.
    Poll {
        /// Which.
        process: ProcessId,
        /// Under which fence.
        fence: Fence,
    },
    /// Kill it and its group; answered by [`Event::Gone`].
    Kill(ProcessId),
    /// Stop every process: the lease has ended. Connections to sinks are reset. Answered by [`Event::Frozen`].
    Freeze,
    /// Write the lease's end where the guardian reads it, and how often [`Command::Freeze`] was given: the
    /// guardian lets go on what the container froze, too.
    PublishLease {
        /// The end.
        end: Time,
        /// The count.
        freezes: u64,
    },
    /// Hand effects to the sink; answered by [`Event::Published`] unless connections are reset first.
    Publish {
        /// Whose.
        sensor: SensorRef,
        /// Under which fence.
        fence: Fence,
        /// The entry's or the effect's id.
        id: EntryId,
        /// What.
        effects: Body,
    },
    /// Everything is handed over and the register is left: stop.
    Exit,
}
