//! Entries of the journal on their way out: each is many effects, and is applied when the last of them is confirmed.
//!
//! First its writes, in one go, then its triggers. A trigger's id is the entry's id plus its number: the same however often it
//! is handed on, by whomever.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use st2sa_core::engine::Body;
use st2sa_core::names::{EntryId, SensorRef};

use crate::effects::{Dispatch, Effect, Publisher, ValueWrite};
use crate::gate::Gate;
use crate::notebook;

/// The entries of a container that are being applied.
#[derive(Default)]
pub(crate) struct Applying {
    entries: BTreeMap<EntryId, Entry>,
    /// Which entry each effect under way belongs to.
    of: BTreeMap<EntryId, EntryId>,
}

struct Entry {
    sensor: SensorRef,
    writes: Vec<ValueWrite>,
    triggers: Vec<Dispatch>,
    /// Confirmed effects, by their ids.
    done: BTreeSet<EntryId>,
    /// Effects that were handed on, and not answered.
    under_way: BTreeSet<EntryId>,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is no effect of an entry.
    NotOurs,
    /// Others are still under way.
    Waits,
    /// All of the entry is confirmed.
    Applied(EntryId),
    /// Nothing of the entry is under way any more, and not all of it is confirmed.
    Held(EntryId),
}

impl Applying {
    /// Hands on what an entry did and is not confirmed.
    pub(crate) fn begin(
        &mut self,
        sensor: &SensorRef,
        id: EntryId,
        body: &Body,
        gate: &Gate,
        publisher: &Publisher,
    ) -> Step {
        if let btree_map::Entry::Vacant(place) = self.entries.entry(id) {
            let Some(read) = notebook::read(body) else { return Step::NotOurs };
            let effects = read.unwrap_or_else(|error| {
                // The journal gives back what was put into it.
                tracing::error!(%sensor, %error, "an entry of the journal cannot be read: it is passed over");
                Vec::new()
            });
            place.insert(Entry::new(sensor.clone(), effects));
        }
        self.go_on(id, gate, publisher);
        if self.entries.get(&id).is_some_and(Entry::is_done) { self.step(id) } else { Step::Waits }
    }

    /// An effect is confirmed, or refused for good.
    pub(crate) fn confirmed(&mut self, id: EntryId, gate: &Gate, publisher: &Publisher) -> Step {
        let Some(of) = self.of.remove(&id) else { return Step::NotOurs };
        gate.forget(id);
        if let Some(entry) = self.entries.get_mut(&of) {
            entry.under_way.remove(&id);
            entry.done.insert(id);
            // The triggers come after the writes.
            if id == writes_id(of) {
                self.go_on(of, gate, publisher);
            }
        }
        self.step(of)
    }

    /// An effect might not go out.
    pub(crate) fn held(&mut self, id: EntryId) -> Step {
        let Some(of) = self.of.remove(&id) else { return Step::NotOurs };
        if let Some(entry) = self.entries.get_mut(&of) {
            entry.under_way.remove(&id);
        }
        self.step(of)
    }

    /// Forgets the entries of sensors that are not ACTIVE here any more: they are others' to apply.
    pub(crate) fn retain(&mut self, active: impl Fn(&SensorRef) -> bool, gate: &Gate) {
        self.entries.retain(|_, entry| active(&entry.sensor));
        let entries = &self.entries;
        self.of.retain(|id, of| {
            let kept = entries.contains_key(of);
            if !kept {
                gate.forget(*id);
            }
            kept
        });
    }

    /// Whether anything of a sensor waits.
    pub(crate) fn waits(&self, sensor: &SensorRef) -> bool {
        self.entries.values().any(|entry| entry.sensor == *sensor)
    }

    fn go_on(&mut self, id: EntryId, gate: &Gate, publisher: &Publisher) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let mut hand_on = |entry: &mut Entry, effect: EntryId| {
            let is_new = !entry.done.contains(&effect) && entry.under_way.insert(effect);
            if is_new {
                gate.admit(effect);
                self.of.insert(effect, id);
            }
            is_new
        };
        let writes = writes_id(id);
        if !entry.writes.is_empty() && !entry.done.contains(&writes) {
            if hand_on(entry, writes) {
                publisher.write(entry.sensor.clone(), writes, entry.writes.clone());
            }
            return;
        }
        for number in 0..entry.triggers.len() {
            let effect = trigger_id(id, number);
            if hand_on(entry, effect) {
                publisher.dispatch(entry.sensor.clone(), effect, entry.triggers[number].clone());
            }
        }
    }

    fn step(&mut self, id: EntryId) -> Step {
        let Some(entry) = self.entries.get(&id) else { return Step::Waits };
        if entry.is_done() {
            self.entries.remove(&id);
            return Step::Applied(id);
        }
        if entry.under_way.is_empty() { Step::Held(id) } else { Step::Waits }
    }
}

impl Entry {
    fn new(sensor: SensorRef, effects: Vec<Effect>) -> Self {
        let (mut writes, mut triggers) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => triggers.push(dispatch),
                Effect::Write(write) => writes.push(write),
            }
        }
        Self { sensor, writes, triggers, done: BTreeSet::new(), under_way: BTreeSet::new() }
    }

    fn is_done(&self) -> bool {
        self.done.len() == self.triggers.len() + usize::from(!self.writes.is_empty())
    }
}

/// The id of an entry's writes, all together.
fn writes_id(of: EntryId) -> EntryId {
    EntryId(of.0.wrapping_sub(1))
}

/// The id of one of an entry's triggers.
fn trigger_id(of: EntryId, number: usize) -> EntryId {
    EntryId(of.0.wrapping_add(number as u128))
}
