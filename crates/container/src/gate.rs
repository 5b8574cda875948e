//! The gate: whether a sensor may act now, and under which fence (rule 4). Asked right before each act.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use st2sa_core::names::{Fence, SensorRef};
use st2sa_core::session::Session;
use st2sa_machine::clock;

use crate::lease::Lease;

/// Shared by everything that acts for a sensor. The lease's end is the one that the session publishes to its
/// guardian, so that the two never differ.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    lease: Arc<Lease>,
    fences: Arc<RwLock<BTreeMap<SensorRef, Fence>>>,
}

impl Gate {
    pub(crate) fn new(lease: Arc<Lease>) -> Self {
        Self { lease, fences: Arc::default() }
    }

    /// Whether the lease holds, at this very moment.
    pub(crate) fn is_open(&self) -> bool {
        clock::now() < self.lease.end()
    }

    /// The newest fence of a sensor that is ACTIVE here, while the lease holds.
    pub(crate) fn pass(&self, sensor: &SensorRef) -> Option<Fence> {
        let fence = self.fence(sensor);
        self.is_open().then_some(fence).flatten()
    }

    /// Whether a sensor is ACTIVE here: the lease may have ended.
    pub(crate) fn fence(&self, sensor: &SensorRef) -> Option<Fence> {
        self.fences.read().unwrap_or_else(PoisonError::into_inner).get(sensor).copied()
    }

    /// Takes the fences from the session, after each of its steps.
    pub(crate) fn update(&self, session: &Session) {
        let fences = session.instances().filter_map(|view| Some((view.sensor.clone(), view.fence?))).collect();
        *self.fences.write().unwrap_or_else(PoisonError::into_inner) = fences;
    }
}

#[cfg(test)]
impl Gate {
    /// Has a sensor be ACTIVE under fence 1.1.
    pub(crate) fn set_for_test(&self, sensor: &SensorRef) {
        let fence = Fence { term: st2sa_core::names::Term(1), n: 1 };
        self.fences.write().unwrap().insert(sensor.clone(), fence);
    }
}
