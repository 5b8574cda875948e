//! The roster: what containers say of themselves and of their instances, for people. Nothing decides by it.

use std::collections::BTreeMap;

use st2sa_core::names::{ContainerName, Incarnation, SensorRef, StreamId};
use st2sa_core::time::Time;
use st2sa_proto::{About, InstanceReport};

/// Containers that are not registered any more are remembered, as lost, up to so many.
const LOST_AT_MOST: usize = 1_000;

/// Sensors of one container whose reports are kept: more than any node runs.
const INSTANCES_AT_MOST: usize = 20_000;

/// Every container that is, or was lately, registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    greeted: BTreeMap<StreamId, Entry>,
    entries: BTreeMap<ContainerName, Entry>,
}

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: ContainerName,
    pub(crate) incarnation: Incarnation,
    pub(crate) about: About,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stream: StreamId,
    /// It has said that it leaves.
    pub(crate) leaves: bool,
    pub(crate) heard_at: Time,
    /// Each with when it came.
    pub(crate) instances: BTreeMap<SensorRef, (Time, InstanceReport)>,
}

impl Roster {
    /// A greeting came: it counts once it is welcomed.
    pub(crate) fn greeted(&mut self, entry: Entry) {
        self.greeted.insert(entry.stream, entry);
    }

    /// The greeting on this stream was welcomed.
    pub(crate) fn welcomed(&mut self, stream: StreamId) {
        let Some(mut entry) = self.greeted.remove(&stream) else { return };
        if let Some(before) = self.entries.remove(&entry.name)
            && before.incarnation == entry.incarnation
        {
            entry.instances = before.instances;
        }
        self.entries.insert(entry.name.clone(), entry);
        if self.entries.len() > LOST_AT_MOST {
            let oldest = self.entries.values().min_by_key(|entry| entry.heard_at).map(|entry| entry.name.clone());
            self.entries.retain(|name, _| Some(name) != oldest.as_ref());
        }
    }

    /// Whoever greeted on this stream asks for a name that is taken: by whom?
    pub(crate) fn holder(&self, stream: StreamId) -> Option<&Entry> {
        self.entries.get(&self.greeted.get(&stream)?.name)
    }

    /// A sign of life.
    pub(crate) fn heard(&mut self, now: Time, stream: StreamId) {
        if let Some(entry) = self.of(stream) {
            entry.heard_at = now;
        }
    }

    /// What its instances are doing.
    pub(crate) fn reported(&mut self, now: Time, stream: StreamId, reports: Vec<InstanceReport>) {
        let Some(entry) = self.of(stream) else { return };
        for report in reports {
            if report.removed {
                entry.instances.remove(&report.sensor);
                continue;
            }
            if entry.instances.len() >= INSTANCES_AT_MOST && !entry.instances.contains_key(&report.sensor) {
                continue;
            }
            entry.instances.insert(report.sensor.clone(), (now, report));
        }
    }

    /// It says that everything there has stopped for good.
    pub(crate) fn leaves(&mut self, stream: StreamId) {
        if let Some(entry) = self.of(stream) {
            entry.leaves = true;
        }
    }

    /// It is not registered any more: one that has not said that it leaves stays, as lost.
    pub(crate) fn left(&mut self, stream: StreamId) {
        self.entries.retain(|_, entry| entry.stream != stream || !entry.leaves);
    }

    /// It is not shown any more; `false` where it was not.
    pub(crate) fn forget(&mut self, name: &ContainerName) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Its stream has ended.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.greeted.remove(&stream);
    }

    /// Every container.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// One container.
    pub(crate) fn entry(&self, name: &ContainerName) -> Option<&Entry> {
        self.entries.get(name)
    }

    fn of(&mut self, stream: StreamId) -> Option<&mut Entry> {
        self.entries.values_mut().find(|entry| entry.stream == stream)
    }
}
