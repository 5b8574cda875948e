//! What the container's loop is told, by every task and thread around it.

use std::sync::Arc;

use st2sa_core::engine::Body;
use st2sa_core::names::{EntryId, ProcessId, SensorRef, StreamId};
use st2sa_proto::FromArbitrator;
use st2sa_stackstorm::packs::Packs;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::datastore::Stored;
use crate::effects::Effect;
use crate::guardian::Told;
use crate::wire::{Event, Operation};

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A stream to an arbitrator is open.
    StreamOpened(StreamId),
    /// A stream could not be opened, or has ended.
    StreamClosed(StreamId, String),
    /// An arbitrator said something.
    Heard(StreamId, FromArbitrator),
    /// A process has opened a control connection.
    Connected {
        /// The connection's number.
        connection: u64,
        /// Whose it is.
        whose: Whose,
        /// Its process.
        pid: i32,
        /// What is sent to it.
        sender: mpsc::UnboundedSender<Operation>,
    },
    /// A process said something on a control connection.
    Said {
        /// On which.
        connection: u64,
        /// Whose it is.
        whose: Whose,
        /// What.
        event: Event,
        /// Given back when it has been heard.
        place: OwnedSemaphorePermit,
    },
    /// A control connection has ended.
    Disconnected {
        /// Which.
        connection: u64,
        /// Whose it was.
        whose: Whose,
    },
    /// A poll was not begun: the lease had ended.
    NotPolled(Whose),
    /// A sensor acts: the answer comes when that is done.
    Effect {
        /// Whose process.
        whose: Whose,
        /// What it does.
        body: Body,
        /// Told when it is confirmed, or why it is refused.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// A journaled sensor did something outside its polls: the answer comes when that is committed.
    Wrote {
        /// Whose process.
        whose: Whose,
        /// What it did.
        effect: Effect,
        /// Told then.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// What the datastore has of a sensor's own values; none where it cannot be read.
    Copied {
        /// The process that is to be set up.
        process: ProcessId,
        /// The values as the journal has them.
        values: Body,
        /// The copy.
        copy: Option<Vec<Stored>>,
    },
    /// An effect is confirmed.
    Published(SensorRef, EntryId),
    /// The sink fails, and why, or works again: for one sensor, or for all.
    Sink(Option<SensorRef>, Option<String>),
    /// The sink has refused a trigger for good: what is said of that.
    DeadLetter(SensorRef, String),
    /// An effect was not handed on: it might not, right then.
    NotPublished(SensorRef, EntryId),
    /// An effect is refused for good, and why.
    Refused(SensorRef, EntryId, String),
    /// The guardian of this generation said something.
    Guardian(u64, Told),
    /// The guardian of this generation is gone.
    GuardianGone(u64),
    /// The packs were read again.
    Packs(Arc<Packs>),
    /// Asked to stop.
    Terminate,
}

/// Which process a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// A host, by the container's number for it.
    Host(u64),
    /// A sensor process.
    Sensor(u64),
}
