//! The gate: whether a sensor may act now, and under which fence (rule 4). Asked right before each act.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use st2sa_core::names::{EntryId, Fence, SensorRef};
use st2sa_core::session::Session;
use st2sa_machine::clock;

use crate::lease::Lease;

/// Shared by everything that acts for a sensor. The lease's end is the one that the session publishes to its
/// guardian, so that the two never differ.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    lease: Arc<Lease>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest fence of each sensor that is ACTIVE here.
    fences: BTreeMap<SensorRef, Fence>,
    /// Effects that the session has not discarded.
    valid: BTreeSet<EntryId>,
    /// How many effects of each sensor are being handed to where they go.
    in_hand: BTreeMap<SensorRef, usize>,
}

/// Leave to hand one effect on, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) fence: Fence,
    sensor: SensorRef,
    inner: Arc<Mutex<Inner>>,
}

impl Gate {
    pub(crate) fn new(lease: Arc<Lease>) -> Self {
        Self { lease, inner: Arc::default() }
    }

    /// Whether the lease holds, at this very moment.
    pub(crate) fn is_open(&self) -> bool {
        clock::now() < self.lease.end()
    }

    /// Whether a sensor is ACTIVE here and may act, at this very moment.
    pub(crate) fn fence(&self, sensor: &SensorRef) -> Option<Fence> {
        let fence = self.inner().fences.get(sensor).copied();
        fence.filter(|_| self.is_open())
    }

    /// Leave to hand an effect on now, under the sensor's newest fence.
    pub(crate) fn pass(&self, sensor: &SensorRef, id: EntryId) -> Option<Pass> {
        let mut inner = self.inner();
        let fence = inner.fences.get(sensor).copied().filter(|_| inner.valid.contains(&id))?;
        if !self.is_open() {
            return None;
        }
        *inner.in_hand.entry(sensor.clone()).or_default() += 1;
        Some(Pass { fence, sensor: sensor.clone(), inner: Arc::clone(&self.inner) })
    }

    /// Whether an effect of a sensor is being handed on: until it is, nobody can say that all has stopped.
    pub(crate) fn is_in_hand(&self, sensor: &SensorRef) -> bool {
        self.inner().in_hand.contains_key(sensor)
    }

    /// A new effect, which the session takes.
    pub(crate) fn admit(&self, id: EntryId) {
        self.inner().valid.insert(id);
    }

    /// An effect that is confirmed, or that the session has discarded.
    pub(crate) fn forget(&self, id: EntryId) {
        self.inner().valid.remove(&id);
    }

    /// Takes the fences from the session, after each of its steps and before what follows from it is said; returns
    /// what has become ACTIVE (`true`) or is so no more.
    pub(crate) fn update(&self, session: &Session) -> Vec<(SensorRef, Fence, bool)> {
        let fences: BTreeMap<SensorRef, Fence> =
            session.instances().filter_map(|view| Some((view.sensor.clone(), view.fence?))).collect();
        let before = std::mem::replace(&mut self.inner().fences, fences.clone());
        let ended = before.iter().filter(|(sensor, _)| !fences.contains_key(*sensor));
        let ended = ended.map(|(sensor, fence)| (sensor.clone(), *fence, false));
        let begun = fences.iter().filter(|(sensor, _)| !before.contains_key(*sensor));
        ended.chain(begun.map(|(sensor, fence)| (sensor.clone(), *fence, true))).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inner.in_hand.get_mut(&self.sensor) {
            *count -= 1;
            if *count == 0 {
                inner.in_hand.remove(&self.sensor);
            }
        }
    }
}

#[cfg(test)]
impl Gate {
    /// One whose lease ends then, with a sensor ACTIVE under fence 1.1 and these effects of it.
    pub(crate) fn for_test(end: st2sa_core::time::Time, sensor: &SensorRef, effects: &[EntryId]) -> Self {
        let lease = Arc::new(Lease::create().unwrap());
        lease.publish(end, 0);
        let gate = Self::new(lease);
        let fence = Fence { term: st2sa_core::names::Term(1), n: 1 };
        gate.inner().fences.insert(sensor.clone(), fence);
        for id in effects {
            gate.admit(*id);
        }
        gate
    }

    /// Another sensor is ACTIVE, too.
    pub(crate) fn also_active(&self, sensor: &SensorRef) {
        let fence = Fence { term: st2sa_core::names::Term(1), n: 2 };
        self.inner().fences.insert(sensor.clone(), fence);
    }
}

#[cfg(test)]
mod tests {
    use st2sa_core::time::Span;

    use super::*;

    const ID: EntryId = EntryId(1);

    fn x() -> SensorRef {
        SensorRef::new("p.X")
    }

    #[test]
    fn an_effect_is_in_hand_for_as_long_as_its_pass_is_kept() {
        let gate = Gate::for_test(clock::now() + Span::from_secs(60), &x(), &[ID]);
        let pass = gate.pass(&x(), ID).unwrap();
        assert!(gate.is_in_hand(&x()) && pass.fence.n == 1);
        drop(pass);
        assert!(!gate.is_in_hand(&x()));
    }

    #[test]
    fn what_was_discarded_never_passes_though_its_sensor_is_active_again() {
        let gate = Gate::for_test(clock::now() + Span::from_secs(60), &x(), &[ID]);
        gate.forget(ID);
        assert!(gate.pass(&x(), ID).is_none() && gate.fence(&x()).is_some());
    }

    #[test]
    fn nothing_passes_after_the_leases_end() {
        let gate = Gate::for_test(clock::now(), &x(), &[ID]);
        assert!(gate.pass(&x(), ID).is_none() && gate.fence(&x()).is_none());
    }
}
