//! Sinks on this machine: one thread writes all triggers, in batches, behind the gate.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use st2sa_core::names::{ContainerName, EntryId};
use st2sa_machine::crash::{self, Point};

use super::{Item, RETRY_FIRST, RETRY_LONGEST, Record, SinkError};
use crate::gate::Gate;
use crate::input::Input;

/// Triggers written at once.
const BATCH_AT_MOST: usize = 256;
/// Ids remembered, so that what was written, and is handed on again since its confirmation crossed a lapse of
/// the lease, is not written twice.
const REMEMBERED: usize = 4_096;

/// Where triggers go.
pub(super) trait Sink: Send {
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

/// Starts the thread.
pub(super) fn start(
    sink: Box<dyn Sink>,
    container: ContainerName,
    gate: Gate,
    inputs: Sender<Input>,
) -> Result<Sender<Item>, SinkError> {
    let (items, received) = channel();
    let worker = Worker { sink, container, gate, inputs, written: VecDeque::new() };
    std::thread::Builder::new()
        .name("sink".to_owned())
        .spawn(move || worker.run(&received))
        .map_err(SinkError::io("start the sink's thread"))?;
    Ok(items)
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
                        let _ = self.inputs.send(Input::Sink(None, None));
                    }
                }
                Err(error) => {
                    let why = std::error::Error::source(&error).map(|source| format!(": {source}"));
                    let _ = self.inputs.send(Input::Sink(None, Some(format!("{error}{}", why.unwrap_or_default()))));
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
            batch.push(Record::of(item, &self.container, pass.fence));
            passes.push(pass);
        }
        crash::point(Point::TriggersUnsent);
        let put = if batch.is_empty() { Ok(()) } else { self.sink.put(&batch) };
        crash::point(Point::TriggersSent);
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
    use serde_json::{Value, json};
    use st2sa_core::names::SensorRef;
    use st2sa_core::time::{Span, Time};
    use st2sa_machine::clock;

    use super::*;
    use crate::effects::Dispatch;

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
        Item::new(SensorRef::new("p.X"), EntryId(id), dispatch)
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
