//! Where each sensor is ACTIVE, for those who act outside the loop: a value is stored only while its sensor's fence
//! is the newest, looked at where it lands.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use st2sa_core::history::Record;
use st2sa_core::names::{Fence, SensorRef};

/// The newest fence of each sensor that is ACTIVE, as the loop has given them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    newest: Arc<RwLock<BTreeMap<SensorRef, Fence>>>,
}

impl Grants {
    /// Takes note of a change, before anybody is told of it.
    pub(crate) fn note(&self, record: &Record) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        match record.to {
            Some(_) => drop(newest.insert(record.sensor.clone(), record.fence)),
            None => drop(newest.remove(&record.sensor)),
        }
    }

    /// Nothing is given by this arbitrator any more.
    pub(crate) fn clear(&self) {
        self.newest.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether a sensor is ACTIVE under this fence, or asked under it to stop.
    pub(crate) fn allow(&self, sensor: &SensorRef, fence: Fence) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(sensor).is_some_and(|newest| fence >= *newest)
    }
}

#[cfg(test)]
mod tests {
    use st2sa_core::history::Cause;
    use st2sa_core::names::{ContainerName, Term};
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
        assert!(!grants.allow(&sensor, fence(1)) && grants.allow(&sensor, fence(2)));
        grants.note(&record(None, 2));
        assert!(!grants.allow(&sensor, fence(2)));
    }
}
