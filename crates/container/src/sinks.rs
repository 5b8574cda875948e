//! Sinks: where triggers go, behind the gate. Those on this machine have one thread that writes batches (`local`), those
//! over the network a lane a sensor (`lanes`).

mod amqp;
mod dead;
mod file;
mod http;
mod lanes;
mod line;
mod local;
mod stdout;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use st2sa_core::names::{ContainerName, EntryId, Fence, SensorRef};
use tokio::sync::{Notify, Semaphore};

use crate::effects::Dispatch;
use crate::gate::Gate;
use crate::input::Input;
use dead::DeadLetters;
use lanes::{HANDED_ON_AT_ONCE, Lanes, Remote, Shared, Trouble};
use line::Lines;
pub use targets::{AmqpTarget, HttpTarget, TlsFiles};

/// A sink that fails is tried again after this long, doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Which sink, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatching {
    /// A line of JSON a trigger on the standard output.
    Stdout,
    /// A line of JSON a trigger, appended to a file that several containers may share.
    File(PathBuf),
    /// A `CloudEvent` a trigger, posted.
    Http(HttpTarget),
    /// StackStorm's own message a trigger, for its rules engine.
    Amqp(AmqpTarget),
}

/// Why a sink could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub struct SinkError {
    what: String,
    #[source]
    source: std::io::Error,
}

impl SinkError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self { what, source }
    }
}

/// One trigger as sinks write it. `README.md` promises these fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Record {
    /// RFC 3339, UTC, milliseconds.
    pub(crate) at: String,
    pub(crate) sensor: String,
    pub(crate) container: String,
    pub(crate) fence: String,
    /// The event's id: the same however often it is tried.
    pub(crate) id: String,
    pub(crate) trigger: Value,
    pub(crate) payload: Value,
    pub(crate) trace_context: Value,
}

impl Record {
    fn of(item: &Item, container: &ContainerName, fence: Fence) -> Self {
        Self {
            at: item.at.clone(),
            sensor: item.sensor.as_str().to_owned(),
            container: container.as_str().to_owned(),
            fence: fence.to_string(),
            id: format!("{:032x}", item.id.0),
            trigger: item.dispatch.trigger.clone(),
            payload: item.dispatch.payload.clone(),
            trace_context: item.dispatch.trace_context.clone(),
        }
    }

    /// As one line.
    fn line(&self) -> Vec<u8> {
        // A record of strings and JSON values can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// One trigger on its way to a sink.
pub(crate) struct Item {
    sensor: SensorRef,
    id: EntryId,
    dispatch: Dispatch,
    /// When it was dispatched: the same however often it is tried.
    at: String,
}

impl Item {
    fn new(sensor: SensorRef, id: EntryId, dispatch: Dispatch) -> Self {
        Self { sensor, id, dispatch, at: format!("{:.3}", jiff::Timestamp::now()) }
    }
}

/// Hands triggers on to their sink.
#[derive(Clone, Debug)]
pub(crate) enum SinkHandle {
    Local(Sender<Item>),
    Remote(Lanes),
}

impl SinkHandle {
    /// Hands a trigger on.
    pub(crate) fn put(&self, sensor: SensorRef, id: EntryId, dispatch: Dispatch) {
        let item = Item::new(sensor, id, dispatch);
        match self {
            Self::Local(items) => {
                // The thread ends with the container.
                let _ = items.send(item);
            }
            Self::Remote(lanes) => lanes.put(item),
        }
    }

    /// The lease has ended: connections are reset, so that what is not sent by now goes nowhere.
    pub(crate) fn reset(&self) {
        match self {
            // What is written to is on this machine: nothing is under way.
            Self::Local(_) => {}
            Self::Remote(lanes) => lanes.reset(),
        }
    }
}

/// What a sink is started with.
pub(crate) struct Start<'a> {
    pub(crate) container: ContainerName,
    pub(crate) gate: Gate,
    pub(crate) inputs: Sender<Input>,
    pub(crate) runtime: &'a tokio::runtime::Handle,
    /// Where dead letters are kept.
    pub(crate) folder: &'a Path,
}

/// Opens a sink and starts what writes to it.
///
/// # Errors
/// When it cannot be opened: better said at the start than at the first trigger.
pub(crate) fn start(dispatching: &Dispatching, start: Start<'_>) -> Result<SinkHandle, SinkError> {
    let lines = |tls| {
        let failed = SinkError::io("prepare TLS for the sink");
        Lines::new(start.gate.clone(), tls).map_err(|problem| failed(std::io::Error::other(problem)))
    };
    let sink: Box<dyn local::Sink> = match dispatching {
        Dispatching::Stdout => Box::new(stdout::Stdout),
        Dispatching::File(path) => Box::new(file::File::open(path)?),
        Dispatching::Http(target) => {
            let own = TlsFiles::default();
            let lines = lines(target.secure.then_some(&own))?;
            return Ok(remote(http::Http::new(target.clone(), lines.clone()), target.to_string(), lines, start));
        }
        Dispatching::Amqp(target) => {
            let secure = target.servers.iter().any(|server| server.secure);
            let lines = lines(secure.then_some(&target.tls))?;
            let container = start.container.as_str();
            let amqp = amqp::Amqp::new(target.clone(), container, lines.clone(), start.runtime.clone());
            return Ok(remote(amqp, target.to_string(), lines, start));
        }
    };
    Ok(SinkHandle::Local(local::start(sink, start.container, start.gate, start.inputs)?))
}

fn remote<R: Remote>(remote: R, name: String, lines: Lines, start: Start<'_>) -> SinkHandle {
    let shared = Shared {
        remote,
        name,
        container: start.container,
        gate: start.gate,
        inputs: start.inputs,
        dead_letters: DeadLetters::new(start.folder),
        places: Semaphore::new(HANDED_ON_AT_ONCE),
        back: Notify::new(),
        trouble: Mutex::new(Trouble::default()),
    };
    SinkHandle::Remote(Lanes::new(shared, lines, start.runtime.clone()))
}

#[cfg(test)]
impl Record {
    pub(crate) fn for_test() -> Self {
        Self {
            at: "2026-11-23T00:00:00.000Z".to_owned(),
            sensor: "p.X".to_owned(),
            container: "a".to_owned(),
            fence: "1.2".to_owned(),
            id: "1".to_owned(),
            trigger: serde_json::json!("p.t"),
            payload: serde_json::json!({"text": "two\nlines"}),
            trace_context: Value::Null,
        }
    }
}
