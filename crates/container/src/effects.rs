//! What sensors do to the outside, and the way of each effect through the gate to where it goes.

use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use st2sa_core::engine::Body;
use st2sa_core::names::{EntryId, SensorRef};

use crate::datastore::Datastore;
use crate::input::Input;
use crate::sinks::SinkHandle;

/// One effect, as core carries it: a body it does not look into.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    Dispatch(Dispatch),
    Write(ValueWrite),
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispatch {
    pub(crate) trigger: Value,
    pub(crate) payload: Value,
    pub(crate) trace_context: Value,
}

/// A write to the datastore, under its whole name; without a value it is a delete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ValueWrite {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) ttl_ms: Option<u64>,
}

/// Carries effects out; what may not pass the gate any more is dropped there, and handed on again by the
/// session when the lease is back.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) sink: SinkHandle,
    pub(crate) datastore: Datastore,
    pub(crate) inputs: Sender<Input>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Publisher {
    /// Hands an effect on; [`Input::Published`] says when it is confirmed.
    pub(crate) fn publish(&self, sensor: SensorRef, id: EntryId, body: &Body) {
        match serde_json::from_slice(body.bytes()) {
            Ok(Effect::Dispatch(dispatch)) => self.sink.put(sensor, id, dispatch),
            Ok(Effect::Write(write)) => {
                let (datastore, inputs) = (self.datastore.clone(), self.inputs.clone());
                self.runtime.spawn(async move {
                    let done = match datastore.apply(&sensor, id, write).await {
                        Some(Ok(())) => Input::Published(sensor, id),
                        Some(Err(problem)) => Input::Refused(sensor, id, problem),
                        None => Input::NotPublished(sensor, id),
                    };
                    // Nobody listens any more when the container stops.
                    let _ = inputs.send(done);
                });
            }
            // The container wrote it itself, a moment ago.
            Err(error) => tracing::error!(%sensor, %error, "an effect cannot be read back"),
        }
    }
}
