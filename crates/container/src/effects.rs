//! What sensors do to the outside, and the way of each effect through the gate to where it goes.

use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use st2sa_core::names::{EntryId, SensorRef};
use st2sa_machine::crash::{self, Point};

use crate::datastore::Datastore;
use crate::input::Input;
use crate::sinks::SinkHandle;

/// One effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Hands a trigger on; [`Input::Published`] says when it is confirmed, [`Input::NotPublished`] that it might not go out.
    pub(crate) fn dispatch(&self, sensor: SensorRef, id: EntryId, dispatch: Dispatch) {
        self.sink.put(sensor, id, dispatch);
    }

    /// Stores values; the answer comes in the same way, or as [`Input::Refused`].
    pub(crate) fn write(&self, sensor: SensorRef, id: EntryId, writes: Vec<ValueWrite>) {
        let (datastore, inputs) = (self.datastore.clone(), self.inputs.clone());
        self.runtime.spawn(async move {
            crash::point(Point::WritesUnsent);
            let applied = datastore.apply(&sensor, id, writes).await;
            crash::point(Point::WritesStored);
            let done = match applied {
                Some(Ok(())) => Input::Published(sensor, id),
                Some(Err(problem)) => Input::Refused(sensor, id, problem),
                None => Input::NotPublished(sensor, id),
            };
            // Nobody listens any more when the container stops.
            let _ = inputs.send(done);
        });
    }
}
