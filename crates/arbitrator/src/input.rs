//! What the arbitrator's loop is told, by every task around it.

use st2sa_core::arbiter::{Answer, ContainerView, Phase, SensorView, StoreSeen, Verb};
use st2sa_core::engine::{Electors, Intent, Journal, LeaderSeen, Reply, Token};
use st2sa_core::names::{ArbitratorId, ContainerName, RequestId, SensorRef, StreamId, Term};
use st2sa_core::time::Time;
use st2sa_proto::{FromArbitrator, FromContainer, FromPeer};
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
    /// The engine's watch has seen the leadership change.
    LeaderSeen(Option<LeaderSeen>),
    /// Another arbitrator has said something.
    Peer(FromPeer),
    /// Does this arbitrator lead, and if not, who does?
    WhoLeads(oneshot::Sender<Leads>),
    /// Somebody wants to know how things are.
    Look(oneshot::Sender<View>),
    /// Under which leadership may values be stored, if any is in force here?
    MayStore(oneshot::Sender<Option<Token>>),
    /// May this arbitrator answer for the datastore?
    MayRead(oneshot::Sender<bool>),
    /// What is in a sensor's journal; none where the store does not answer.
    Journal(SensorRef, oneshot::Sender<Option<Journal>>),
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

/// Who leads, as one arbitrator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Leads {
    /// This one does, and its leadership is in force.
    pub(crate) here: bool,
    /// Whom the store named last.
    pub(crate) seen: Option<ArbitratorId>,
}

impl Leads {
    /// Another one that leads.
    pub(crate) fn other(&self, me: &ArbitratorId) -> Option<&ArbitratorId> {
        self.seen.as_ref().filter(|seen| !self.here && *seen != me)
    }
}

/// How things are at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) term: Option<Term>,
    pub(crate) phase: Option<Phase>,
    pub(crate) leader: Option<LeaderSeen>,
    /// Whether it may lead, as far as it knows.
    pub(crate) is_elector: bool,
    /// Until when it does not even try.
    pub(crate) keeps_still: Option<Time>,
    /// The store, for people.
    pub(crate) engine: String,
    /// Who may campaign, and how the leadership stands with the store: as the leader knows it.
    pub(crate) electors: Option<(Electors, StoreSeen)>,
    pub(crate) sensors: Vec<SensorView>,
    pub(crate) containers: Vec<ContainerView>,
    /// Nobody is to take over from anybody.
    pub(crate) alone: bool,
    /// Every intent, also for what is not here.
    pub(crate) paused: Vec<(SensorRef, Intent)>,
    pub(crate) drained: Vec<ContainerName>,
    pub(crate) roster: Roster,
    pub(crate) alarms: Vec<String>,
}

impl View {
    /// Whether there is such a sensor: placed, or in the packs of some container that could not load it (yet).
    pub(crate) fn knows(&self, sensor: &SensorRef) -> bool {
        self.sensors.iter().any(|view| view.sensor == *sensor)
            || self.roster.entries().any(|entry| entry.instances.contains_key(sensor))
    }
}
