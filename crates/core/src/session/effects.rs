//! What an instance does to the outside: committed and applied in order, or held and handed on, behind the gate.

use std::collections::{BTreeSet, VecDeque};

use super::Command;
use super::Work;
use super::instance::{Instance, Parts};
use crate::engine::{Body, Entry, Journal};
use crate::guard;
use crate::message::{StopCause, ToArbitrator};
use crate::names::{EntryId, Fence, SensorRef, StreamId};
use crate::time::Time;

/// Entries that wait to be committed or applied; then the sensor's next poll waits. Enough to poll on
/// through a leader change at a poll a second, few enough that what they hold stays small.
const ENTRIES_AT_MOST: usize = 8;
/// Bytes of effects that wait; then the sensor's next poll waits. All of them are read, and handed over, in one go at an activation.
const WAITING_BYTES_AT_MOST: usize = 4 << 20;
/// Entries sent to the leader and not answered: it takes more, but has to keep them.
const SENT_AT_MOST: usize = 16;

/// The journal of one activation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    /// The last entry, committed or waiting, and its number: the next one follows it.
    last: Option<EntryId>,
    sequence: u64,
    /// The sensor's own values as its next poll sees them.
    values: Body,
    /// Entries that are not marked applied yet, oldest first.
    queue: VecDeque<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    entry: Entry,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// Not sent to the leader, or sent on a stream that is lost.
    Unsent,
    /// Sent to the leader.
    Sent,
    /// In the journal.
    Committed,
    /// Handed to the sink.
    Published,
    /// Confirmed by the sink; the mark is to be sent, or to be sent again.
    Applied,
    /// The mark was sent.
    MarkSent,
}

/// The effects of a direct sensor that the sink has not confirmed, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Direct {
    queue: VecDeque<(EntryId, Body, bool)>,
    /// Since when there is one and none was confirmed.
    since: Option<Time>,
}

impl Log {
    pub(super) fn from_journal(journal: Journal) -> Self {
        let unapplied = guard!(UnappliedFirst, journal.unapplied, else Vec::new());
        let whole: BTreeSet<EntryId> = unapplied.iter().map(|entry| entry.id).collect();
        // Parts of what was never finished, or is marked already, go nowhere: they are marked, too.
        let step = |entry: &Entry| match entry.part_of {
            Some(of) if !whole.contains(&of) => Step::Applied,
            _ => Step::Committed,
        };
        Self {
            last: journal.record.last,
            sequence: journal.record.sequence,
            values: journal.record.values,
            queue: unapplied.into_iter().map(|entry| Waiting { step: step(&entry), entry }).collect(),
        }
    }

    /// A poll's work becomes the next entry, after its parts if it is large.
    pub(super) fn push(&mut self, work: Work, fence: Fence, part_bytes: usize) {
        let Work { id, values, effects } = work;
        let mut pieces: Vec<Body> = effects.bytes().chunks(part_bytes.max(1)).map(Body::new).collect();
        let own = pieces.pop().unwrap_or_default();
        for (number, effects) in (1..).zip(pieces) {
            let values = self.values.clone();
            self.add(Entry { id: part(id, number), effects, part_of: Some(id), ..self.next(id, fence, values) });
        }
        self.values = values.clone();
        self.add(Entry { effects: own, ..self.next(id, fence, values) });
    }

    fn next(&self, id: EntryId, fence: Fence, values: Body) -> Entry {
        let sequence = self.sequence + 1;
        Entry { id, follows: self.last, sequence, fence, values, effects: Body::default(), part_of: None }
    }

    fn add(&mut self, entry: Entry) {
        (self.last, self.sequence) = (Some(entry.id), entry.sequence);
        self.queue.push_back(Waiting { entry, step: Step::Unsent });
    }

    /// All that an entry did, its parts' effects included.
    fn effects(&self, id: EntryId) -> Body {
        let of = |waiting: &&Waiting| waiting.entry.id == id || waiting.entry.part_of == Some(id);
        let mut pieces = self.queue.iter().filter(of).map(|waiting| &waiting.entry.effects);
        match (pieces.next(), pieces.next()) {
            (Some(only), None) => only.clone(),
            (first, second) => {
                let all = first.into_iter().chain(second).chain(pieces);
                Body::new(&all.flat_map(Body::bytes).copied().collect::<Vec<u8>>())
            }
        }
    }

    pub(super) fn values(&self) -> &Body {
        &self.values
    }

    /// Nothing waits for the sink.
    pub(super) fn is_applied(&self) -> bool {
        self.queue.iter().all(|waiting| waiting.is_part() || waiting.step >= Step::Applied)
    }

    /// Nothing waits at all.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        let bytes = || self.queue.iter().map(|waiting| waiting.entry.effects.bytes().len()).sum::<usize>();
        self.queue.len() >= ENTRIES_AT_MOST || bytes() >= WAITING_BYTES_AT_MOST
    }

    /// Nothing of it goes out from here any more; what was committed is the next holder's. What was
    /// applied is still to be marked.
    pub(super) fn discarded(mut self) -> Self {
        self.queue.retain(|waiting| waiting.step >= Step::Applied);
        self
    }

    /// What is applied, and not known to be marked.
    pub(super) fn unmarked(&self) -> Vec<EntryId> {
        self.queue.iter().filter(|waiting| waiting.step >= Step::Applied).map(|waiting| waiting.entry.id).collect()
    }
}

impl Waiting {
    fn is_part(&self) -> bool {
        self.entry.part_of.is_some()
    }
}

/// A part's id: those of triggers are counted from the entry's at the other end.
fn part(of: EntryId, number: u128) -> EntryId {
    EntryId(of.0.wrapping_add(number << 96))
}

impl Direct {
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Since when something waits, and the sink confirms nothing.
    pub(super) fn waits_since(&self) -> Option<Time> {
        self.since
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        self.since.iter_mut().for_each(f);
    }
}

impl Instance {
    pub(super) fn log_mut(&mut self) -> Option<&mut Log> {
        self.parts()?.log
    }

    /// What was done outside a poll is an entry of its own.
    pub(super) fn wrote(&mut self, work: Work, part_bytes: usize) {
        // What it knows is to be thrown away with it.
        if self.process.as_ref().is_none_or(|process| process.discarded || process.killed) {
            return;
        }
        if let Some(Parts { log: Some(log), fence, ended: false, .. }) = self.parts() {
            log.push(work, fence, part_bytes);
        }
    }

    pub(super) fn emitted(&mut self, now: Time, id: EntryId, effect: Body) {
        if let Some(parts) = self.parts()
            && parts.log.is_none()
            && !parts.ended
        {
            parts.direct.queue.push_back((id, effect, false));
            parts.direct.since.get_or_insert(now);
        }
    }

    /// Sends what waits to be committed, and hands on what may go out (rule 4).
    pub(super) fn apply(
        &mut self,
        sensor: &SensorRef,
        may_pass: bool,
        leader: Option<StreamId>,
        outbox: &mut Vec<Command>,
    ) {
        let Some(parts) = self.parts() else { return };
        if may_pass {
            for (id, effects, handed) in parts.direct.queue.iter_mut().filter(|(_, _, handed)| !handed) {
                *handed = true;
                outbox.push(Command::Publish {
                    sensor: sensor.clone(),
                    fence: parts.fence,
                    id: *id,
                    effects: effects.clone(),
                });
            }
        }
        let Some(log) = parts.log else { return };
        let next = |waiting: &Waiting| !waiting.is_part() && waiting.step < Step::Applied;
        if let Some(first) = log.queue.iter().position(next)
            && log.queue[first].step == Step::Committed
            && may_pass
        {
            log.queue[first].step = Step::Published;
            let id = log.queue[first].entry.id;
            let effects = log.effects(id);
            outbox.push(Command::Publish { sensor: sensor.clone(), fence: parts.fence, id, effects });
        }
        let Some(stream) = leader else { return };
        let mut sent = log.queue.iter().filter(|waiting| waiting.step == Step::Sent).count();
        for waiting in &mut log.queue {
            if waiting.step == Step::Unsent {
                sent += 1;
                if sent > SENT_AT_MOST {
                    continue;
                }
            }
            let sensor = sensor.clone();
            let message = match waiting.step {
                Step::Unsent => ToArbitrator::Commit { sensor, entry: waiting.entry.clone() },
                Step::Applied => ToArbitrator::Mark { sensor, entry: waiting.entry.id },
                Step::Sent | Step::Committed | Step::Published | Step::MarkSent => continue,
            };
            waiting.step = if waiting.step == Step::Unsent { Step::Sent } else { Step::MarkSent };
            outbox.push(Command::Send { stream, message });
        }
    }

    /// The stream to the leader is lost: what it has not answered is sent again, on the next one.
    pub(super) fn unsend(&mut self) {
        for waiting in self.log_mut().into_iter().flat_map(|log| &mut log.queue) {
            match waiting.step {
                Step::Sent => waiting.step = Step::Unsent,
                Step::MarkSent => waiting.step = Step::Applied,
                Step::Unsent | Step::Committed | Step::Published | Step::Applied => {}
            }
        }
    }

    /// Connections to the sink are reset: what it has not confirmed goes again, under the same id.
    pub(super) fn sink_reset(&mut self) {
        let Some(parts) = self.parts() else { return };
        for (_, _, handed) in &mut parts.direct.queue {
            *handed = false;
        }
        for waiting in parts.log.into_iter().flat_map(|log| &mut log.queue) {
            if waiting.step == Step::Published {
                waiting.step = Step::Committed;
            }
        }
    }

    pub(super) fn committed(&mut self, id: EntryId) {
        for waiting in self.log_mut().into_iter().flat_map(|log| &mut log.queue) {
            if waiting.entry.id == id {
                waiting.step = waiting.step.max(Step::Committed);
            }
        }
    }

    /// The journal went on without this instance: nothing that it knows holds.
    pub(super) fn refused(&mut self, id: EntryId) {
        let waits = |waiting: &Waiting| waiting.entry.id == id && waiting.step < Step::Committed;
        if self.log_mut().is_some_and(|log| log.queue.iter().any(waits)) {
            self.stop_now(StopCause::Refused);
        }
    }

    /// The sink confirmed it.
    pub(super) fn published(&mut self, now: Time, id: EntryId) {
        let Some(parts) = self.parts() else { return };
        parts.direct.queue.retain(|(waiting, _, _)| *waiting != id);
        let waited = parts.direct.since.take();
        parts.direct.since = Some(now).filter(|_| parts.direct.is_open());
        for waiting in parts.log.into_iter().flat_map(|log| &mut log.queue) {
            if waiting.entry.id == id && waiting.step >= Step::Committed {
                waiting.step = waiting.step.max(Step::Applied);
            }
        }
        if let Some(since) = waited {
            self.has_waited(now, since);
        }
    }

    /// It did not go out after all.
    pub(super) fn not_published(&mut self, id: EntryId) {
        let Some(parts) = self.parts() else { return };
        for (_, _, handed) in parts.direct.queue.iter_mut().filter(|(waiting, _, _)| *waiting == id) {
            *handed = false;
        }
        for waiting in parts.log.into_iter().flat_map(|log| &mut log.queue) {
            if waiting.entry.id == id && waiting.step == Step::Published {
                waiting.step = Step::Committed;
            }
        }
    }

    /// Its mark is stored.
    pub(super) fn marked(&mut self, id: EntryId) {
        let Some(log) = self.log_mut() else { return };
        // Also where it was not applied here: it was by whoever held it before, or it is discarded.
        log.queue.retain(|waiting| waiting.entry.id != id || waiting.step < Step::Committed);
        // Its parts after it: found without it they are worth nothing, and it would be without them.
        for waiting in log.queue.iter_mut().filter(|waiting| waiting.entry.part_of == Some(id)) {
            waiting.step = waiting.step.max(Step::Applied);
        }
    }
}
