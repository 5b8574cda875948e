//! What the arbitrator's loop is told, by every task around it.

use st2sa_core::arbiter::{Answer, ContainerView, Phase, SensorView, Verb};
use st2sa_core::engine::{LeaderSeen, Reply, Token};
use st2sa_core::names::{ContainerName, RequestId, SensorRef, StreamId, Term};
use st2sa_proto::{FromArbitrator, FromContainer};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::roster::Roster;

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A container has connected; what is sent to it goes here, and the stream ends when that is dropped.
    Opened(StreamId, mpsc::Sender<FromArbitrator>),
    /// It said something; the place is given back when it has been heard.
    Said(StreamId, FromContainer, OwnedSemaphorePermit),
    /// Its stream has ended.
    Closed(StreamId),
    /// The engine has answered, or has not for a heartbeat.
    Engine(RequestId, Reply),
    /// Somebody wants to know how things are.
    Look(oneshot::Sender<View>),
    /// Under which leadership may values be stored, if any is in force here?
    MayStore(oneshot::Sender<Option<Token>>),
    /// May this arbitrator answer for the datastore?
    MayRead(oneshot::Sender<bool>),
    /// Somebody orders something, or asks what would be.
    Order {
        /// Who, for the history.
        who: String,
        /// What.
        verb: Verb,
        /// Told once it is decided.
        answer: oneshot::Sender<Answer>,
    },
    /// A container that is lost will not come back; answered with why not, or nothing where there is none such.
    Forget(ContainerName, oneshot::Sender<Result<(), String>>),
    /// Asked to read the policy again.
    Reload,
    /// Asked to stop.
    Terminate,
}

/// How things are at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) term: Option<Term>,
    pub(crate) phase: Option<Phase>,
    pub(crate) leader: Option<LeaderSeen>,
    pub(crate) sensors: Vec<SensorView>,
    pub(crate) containers: Vec<ContainerView>,
    /// Nobody is to take over from anybody.
    pub(crate) alone: bool,
    /// Every intent, also for what is not here.
    pub(crate) paused: Vec<SensorRef>,
    pub(crate) drained: Vec<ContainerName>,
    pub(crate) roster: Roster,
    pub(crate) alarms: Vec<String>,
}
