//! Sinks: where triggers go. One thread a container writes them, in batches, behind the gate.

mod file;
mod stdout;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use st2sa_core::names::{ContainerName, EntryId, SensorRef};

use crate::effects::Dispatch;
use crate::gate::Gate;
use crate::input::Input;

/// Triggers written at once.
const BATCH_AT_MOST: usize = 256;
/// A sink that fails is tried again after this long, doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Ids remembered, so that what was written, and is handed on again since its confirmation crossed a lapse of
/// the lease, is not written twice.
const REMEMBERED: usize = 4_096;

/// Where triggers go.
pub(crate) trait Sink: Send {
    /// Does what may take time before anything can be written: the gate is asked after that.
    fn ready(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Writes all of the batch, each trigger whole or not at all, and returns when they are safe there.
    fn put(&mut self, batch: &[Record]) -> Result<(), SinkError>;

    /// Nothing more is written for now.
    fn rest(&mut self) {}

    /// What it is, for people.
    fn describe(&self) -> String;
}

/// Which sink, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatching {
    /// A line of JSON a trigger on the standard output.
    Stdout,
    /// A line of JSON a trigger, appended to a file that several containers may share.
    File(PathBuf),
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
    /// As one line.
    fn line(&self) -> Vec<u8> {
        // A record of strings and JSON values can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What a sink's thread is handed.
struct Item {
    sensor: SensorRef,
    id: EntryId,
    dispatch: Dispatch,
}

/// Hands triggers to the sink's thread.
#[derive(Clone)]
pub(crate) struct SinkHandle {
    items: Sender<Item>,
}

impl SinkHandle {
    /// Hands a trigger on.
    pub(crate) fn put(&self, sensor: SensorRef, id: EntryId, dispatch: Dispatch) {
        // The thread ends with the container.
        let _ = self.items.send(Item { sensor, id, dispatch });
    }
}

/// Opens a sink and starts its thread.
///
/// # Errors
/// When it cannot be opened: better said at the start than at the first trigger.
pub(crate) fn start(
    dispatching: &Dispatching,
    container: ContainerName,
    gate: Gate,
    inputs: Sender<Input>,
) -> Result<SinkHandle, SinkError> {
    let sink: Box<dyn Sink> = match dispatching {
        Dispatching::Stdout => Box::new(stdout::Stdout),
        Dispatching::File(path) => Box::new(file::File::open(path)?),
    };
    let (items, received) = channel();
    let worker = Worker { sink, container, gate, inputs, written: VecDeque::new() };
    std::thread::Builder::new()
        .name("sink".to_owned())
        .spawn(move || worker.run(&received))
        .map_err(SinkError::io("start the sink's thread"))?;
    Ok(SinkHandle { items })
}

struct Worker {
    sink: Box<dyn Sink>,
    container: ContainerName,
    gate: Gate,
    inputs: Sender<Input>,
    written: VecDeque<EntryId>,
}

impl Worker {
    fn run(mut self, items: &Receiver<Item>) {
        let mut waiting: VecDeque<Item> = VecDeque::new();
        let mut retry = RETRY_FIRST;
        loop {
            if waiting.is_empty() {
                let Ok(item) = items.recv() else { return };
                waiting.push_back(item);
            }
            while waiting.len() < BATCH_AT_MOST
                && let Ok(item) = items.try_recv()
            {
                waiting.push_back(item);
            }
            match self.write(&mut waiting) {
                Ok(()) => {
                    if std::mem::replace(&mut retry, RETRY_FIRST) != RETRY_FIRST {
                        let _ = self.inputs.send(Input::Sink(None));
                    }
                }
                Err(error) => {
                    let why = std::error::Error::source(&error).map(|source| format!(": {source}"));
                    let _ = self.inputs.send(Input::Sink(Some(format!("{error}{}", why.unwrap_or_default()))));
                    let (error, sink): (&dyn std::error::Error, _) = (&error, self.sink.describe());
                    tracing::warn!(error, sink, waiting = waiting.len(), "triggers wait: the sink fails");
                    match items.recv_timeout(retry) {
                        Ok(item) => waiting.push_back(item),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    retry = (retry * 2).min(RETRY_LONGEST);
                }
            }
        }
    }

    /// Writes what may pass, drops what may not: the session hands that on again if it is to go out at all.
    fn write(&mut self, waiting: &mut VecDeque<Item>) -> Result<(), SinkError> {
        self.sink.ready()?;
        let mut passes = Vec::new();
        let mut batch = Vec::with_capacity(waiting.len().min(BATCH_AT_MOST));
        let (mut done, mut withheld) = (Vec::new(), Vec::new());
        for item in waiting.iter().take(BATCH_AT_MOST) {
            let own = (item.sensor.clone(), item.id);
            if self.written.contains(&item.id) || done.contains(&own) {
                done.push(own);
                continue;
            }
            // The look right before the act (rule 4).
            let Some(pass) = self.gate.pass(&item.sensor, item.id) else {
                withheld.push(own);
                continue;
            };
            done.push((item.sensor.clone(), item.id));
            batch.push(Record {
                at: format!("{:.3}", jiff::Timestamp::now()),
                sensor: item.sensor.as_str().to_owned(),
                container: self.container.as_str().to_owned(),
                fence: pass.fence.to_string(),
                id: format!("{:032x}", item.id.0),
                trigger: item.dispatch.trigger.clone(),
                payload: item.dispatch.payload.clone(),
                trace_context: item.dispatch.trace_context.clone(),
            });
            passes.push(pass);
        }
        let put = if batch.is_empty() { Ok(()) } else { self.sink.put(&batch) };
        self.sink.rest();
        put?;
        let looked_at = waiting.len().min(BATCH_AT_MOST);
        waiting.drain(..looked_at);
        for (sensor, id) in done {
            if !self.written.contains(&id) {
                self.written.push_back(id);
            }
            // Nobody listens any more when the container stops.
            let _ = self.inputs.send(Input::Published(sensor, id));
        }
        for (sensor, id) in withheld {
            let _ = self.inputs.send(Input::NotPublished(sensor, id));
        }
        while self.written.len() > REMEMBERED {
            self.written.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use st2sa_core::time::{Span, Time};
    use st2sa_machine::clock;

    use super::*;

    /// Fails as often as told, then keeps what it is given.
    struct Kept {
        failures: u32,
        lines: Sender<String>,
    }

    impl Sink for Kept {
        fn put(&mut self, batch: &[Record]) -> Result<(), SinkError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(SinkError::io("write")(std::io::Error::other("full")));
            }
            for record in batch {
                self.lines.send(record.id.clone()).unwrap();
            }
            Ok(())
        }

        fn describe(&self) -> String {
            "kept".to_owned()
        }
    }

    fn item(id: u128) -> Item {
        let dispatch = Dispatch { trigger: json!("p.t"), payload: json!({}), trace_context: Value::Null };
        Item { sensor: SensorRef::new("p.X"), id: EntryId(id), dispatch }
    }

    fn worker(end: Time, failures: u32) -> (Worker, Receiver<String>, Receiver<Input>) {
        let (lines, written) = channel();
        let (inputs, told) = channel();
        let sink = Box::new(Kept { failures, lines });
        let gate = Gate::for_test(end, &SensorRef::new("p.X"), &[EntryId(1), EntryId(2)]);
        let container = ContainerName::new("a");
        (Worker { sink, container, gate, inputs, written: VecDeque::new() }, written, told)
    }

    #[test]
    fn what_is_handed_on_again_is_confirmed_and_not_written_twice() {
        let (mut worker, written, told) = worker(clock::now() + Span::from_secs(60), 0);
        worker.write(&mut VecDeque::from([item(1)])).unwrap();
        worker.write(&mut VecDeque::from([item(1), item(2)])).unwrap();
        assert_eq!(written.try_iter().count(), 2);
        assert_eq!(told.try_iter().count(), 3);
    }

    #[test]
    fn after_the_leases_end_nothing_is_written_or_confirmed() {
        let (mut worker, written, told) = worker(clock::now(), 0);
        worker.write(&mut VecDeque::from([item(1)])).unwrap();
        assert_eq!(written.try_iter().count(), 0);
        assert!(matches!(told.try_recv(), Ok(Input::NotPublished(..))));
    }

    #[test]
    fn what_a_failing_sink_did_not_take_waits() {
        let (mut worker, written, told) = worker(clock::now() + Span::from_secs(60), 1);
        let mut waiting = VecDeque::from([item(1)]);
        assert!(worker.write(&mut waiting).is_err());
        assert_eq!((waiting.len(), told.try_iter().count()), (1, 0));
        worker.write(&mut waiting).unwrap();
        assert_eq!((waiting.len(), written.try_iter().count(), told.try_iter().count()), (0, 1, 1));
    }
}
