//! One sensor, as the leader knows it.

use std::collections::{BTreeMap, VecDeque};

use super::leadership::{Leadership, Phase};
use crate::engine::{Entry, Journal};
use crate::history::Cause;
use crate::message::Status;
use crate::names::{ContainerName, Digest, EntryId, Fence, RequestId, SensorRef, StreamId};
use crate::time::{Span, Time};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sensor {
    pub(super) holder: Holder,
    /// Where it last was: it stays there unless something speaks against it.
    pub(super) last_on: Option<ContainerName>,
    /// Why it was freed, and who wanted that: told again where it goes next.
    pub(super) freed: Option<(Cause, String)>,
    /// When it was last moved without need.
    pub(super) moved_at: Option<Time>,
    pub(super) polled_at: Option<Time>,
    /// Where it failed, and when.
    pub(super) failed: BTreeMap<ContainerName, Time>,
    /// It has been well since it last failed: should it fail again, the marks of before say nothing.
    pub(super) recovered: bool,
    /// It raises where it is, and that was not acted upon yet: it is moved, or started again in place.
    pub(super) ailing: bool,
    /// Failed tries in one place since it last was well, and the earliest next one.
    pub(super) tries: u32,
    pub(super) not_before: Time,
    /// A container offers it, as far as is known; once nobody does, it is over.
    pub(super) offered: bool,
    /// An operator's move, and who wants it.
    pub(super) wanted: Option<(ContainerName, String)>,
    pub(super) log: Log,
    /// Claims that wait for the end of the wait (rule 9), and how long ago each polled.
    pub(super) claims: BTreeMap<Fence, (ContainerName, Option<Time>)>,
}

/// Who may act as the sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Somebody may: the wait of rule 8 is not over.
    Unknown,
    /// Nobody.
    Free,
    /// Nobody yet: its journal is being read for the next holder.
    Preparing(Box<Preparing>),
    /// This container.
    Held(Box<Held>),
}

impl Holder {
    pub(super) fn is_held_by(&self, name: &ContainerName) -> bool {
        matches!(self, Self::Held(held) if held.by == *name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Preparing {
    pub(super) to: ContainerName,
    pub(super) cause: Cause,
    pub(super) who: String,
    /// The read or the seal that is awaited; answers to earlier ones are stale.
    pub(super) request: RequestId,
    /// A commit of this sensor may still land: the record is sealed first.
    pub(super) seal: bool,
    /// Read, and being sealed.
    pub(super) sealing: Option<Journal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) by: ContainerName,
    pub(super) fence: Fence,
    pub(super) cause: Cause,
    /// What the container was told, until it has applied that.
    pub(super) unapplied: Option<Status>,
    pub(super) told_at: Time,
    /// The code that it runs, where known.
    pub(super) digest: Option<Digest>,
    pub(super) revoked: Option<Revoked>,
}

impl Held {
    /// Its container has not said yet that it does what it was told.
    pub(super) fn is_open(&self) -> bool {
        self.unapplied.is_some() || self.revoked.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Revoked {
    pub(super) at: Time,
    pub(super) cause: Cause,
    pub(super) who: String,
}

/// The leader's side of a sensor's journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Log {
    /// What is stored; `None` where a write of unknown outcome, or a new term, makes that unknown.
    pub(super) stored: Option<Journal>,
    pub(super) reading: bool,
    pub(super) commits: VecDeque<Entry>,
    /// The entry that is being written.
    pub(super) writing: Option<EntryId>,
    /// A commit got no answer: it may land at any time until the record changes.
    pub(super) unanswered: bool,
    /// Marks to be stored, and who said them.
    pub(super) marks: BTreeMap<EntryId, StreamId>,
    /// Some of them are being stored.
    pub(super) marking: bool,
    /// Entries that an operator has discarded, and whom to answer.
    pub(super) discards: BTreeMap<EntryId, u64>,
}

impl Sensor {
    pub(super) fn new(settled: bool) -> Self {
        Self {
            holder: if settled { Holder::Free } else { Holder::Unknown },
            last_on: None,
            freed: None,
            moved_at: None,
            polled_at: None,
            failed: BTreeMap::new(),
            recovered: false,
            ailing: false,
            tries: 0,
            not_before: Time::default(),
            offered: false,
            wanted: None,
            log: Log::default(),
            claims: BTreeMap::new(),
        }
    }

    /// How long ago its last poll began.
    pub(super) fn polled_ago(&self, now: Time) -> Option<Span> {
        self.polled_at.map(|at| now.since(at))
    }

    /// It runs other code at `name` from now on: how it did there before says nothing.
    pub(super) fn forgive(&mut self, name: &ContainerName) {
        self.failed.remove(name);
        self.ailing = false;
        self.tries = 0;
        self.not_before = Time::default();
    }

    /// Nobody runs it, and nothing of it is on its way to the engine.
    pub(super) fn is_quiet(&self) -> bool {
        self.holder == Holder::Free && self.log.commits.is_empty() && self.log.writing.is_none() && !self.log.unanswered
    }

    pub(super) fn failed_at(&self, name: &ContainerName, now: Time, memory: Span) -> bool {
        self.failed.get(name).is_some_and(|at| now < *at + memory)
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        self.moved_at.iter_mut().for_each(&mut *f);
        self.polled_at.iter_mut().for_each(&mut *f);
        self.failed.values_mut().for_each(&mut *f);
        f(&mut self.not_before);
        self.claims.values_mut().for_each(|(_, polled)| polled.iter_mut().for_each(&mut *f));
        if let Holder::Held(held) = &mut self.holder {
            f(&mut held.told_at);
            held.revoked.iter_mut().for_each(|revoked| f(&mut revoked.at));
        }
    }
}

impl Leadership {
    /// The sensor's state; one that was not known yet may be held by somebody until the wait is over.
    pub(super) fn sensor(&mut self, sensor: &SensorRef) -> &mut Sensor {
        let settled = self.phase == Phase::Settled;
        self.sensors.entry(sensor.clone()).or_insert_with(|| Sensor::new(settled))
    }
}
