//! Where each sensor is ACTIVE, for those who act outside the loop: a value is stored only while its sensor's fence
//! is the newest, looked at where it lands.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use st2sa_core::history::{Cause, Record};
use st2sa_core::names::{ContainerName, Fence, SensorRef};

/// The newest fence of each sensor that is ACTIVE, as the loop has given them, and to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    newest: Arc<RwLock<BTreeMap<SensorRef, (Fence, ContainerName)>>>,
}

impl Grants {
    /// Takes note of a change, before anybody is told of it.
    pub(crate) fn note(&self, record: &Record) {
        // A container says so of what it held, which may be elsewhere by now.
        if record.cause == Cause::PossibleOverlap {
            return;
        }
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        match &record.to {
            Some(to) => drop(newest.insert(record.sensor.clone(), (record.fence, to.clone()))),
            None => drop(newest.remove(&record.sensor)),
        }
    }

    /// Nothing is given by this arbitrator any more.
    pub(crate) fn clear(&self) {
        self.newest.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether a sensor is ACTIVE under this fence, or asked under it to stop, on a container that whoever asks may be.
    pub(crate) fn allow(&self, sensor: &SensorRef, fence: Fence, may_be: impl Fn(&ContainerName) -> bool) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(sensor).is_some_and(|(newest, holder)| fence == *newest && may_be(holder))
    }
}

#[cfg(test)]
mod tests {
    use st2sa_core::names::Term;
    use st2sa_core::time::Time;

    use super::*;

    #[test]
    fn only_the_newest_fence_is_allowed_and_nothing_after_the_end() {
        let grants = Grants::default();
        let sensor = SensorRef::new("p.X");
        let fence = |n| Fence { term: Term(1), n };
        let record = |to: Option<&str>, n| Record {
            at: Time(0),
            sensor: sensor.clone(),
            from: None,
            to: to.map(ContainerName::new),
            fence: fence(n),
            cause: Cause::Placed,
            who: String::new(),
        };
        grants.note(&record(Some("a"), 2));
        let allowed = |n| grants.allow(&sensor, fence(n), |holder| holder.as_str() == "a");
        assert!(!allowed(1) && allowed(2) && !allowed(3));
        assert!(!grants.allow(&sensor, fence(2), |holder| holder.as_str() == "b"));
        grants.note(&Record { cause: Cause::PossibleOverlap, ..record(Some("b"), 1) });
        assert!(allowed(2));
        grants.note(&record(None, 2));
        assert!(!allowed(2));
    }
}
