//! The operators' policy at work: resolved for every sensor that is offered, and told to those who need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use st2sa_core::message::Offer;
use st2sa_core::names::{SensorRef, StreamId};
use st2sa_core::policy::{Policy, SensorPolicy};
use st2sa_proto::FromArbitrator;

use crate::policy::{PolicyError, PolicyFile};

/// The policy, and whom it concerns.
#[derive(Debug)]
pub(crate) struct Policies {
    path: Option<PathBuf>,
    file: PolicyFile,
    /// Every sensor that was ever offered, for which the policy's globs are resolved.
    known: BTreeSet<SensorRef>,
    /// What each container offers.
    offered: BTreeMap<StreamId, Vec<SensorRef>>,
}

impl Policies {
    /// Reads the file, if there is one.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, PolicyError> {
        let file = path.as_deref().map(PolicyFile::read).transpose()?.unwrap_or_default();
        Ok(Self { path, file, known: BTreeSet::new(), offered: BTreeMap::new() })
    }

    /// A container offers these: the policy for the arbiter, if there are new ones among them, and for the container.
    pub(crate) fn offers(&mut self, stream: StreamId, offers: &[Offer]) -> (Option<Policy>, FromArbitrator) {
        let before = self.known.len();
        self.known.extend(offers.iter().map(|offer| offer.sensor.clone()));
        self.offered.insert(stream, offers.iter().map(|offer| offer.sensor.clone()).collect());
        ((self.known.len() > before).then(|| self.resolved()), self.of(stream))
    }

    /// A container is gone.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.offered.remove(&stream);
    }

    /// Reads the file again: the policy for the arbiter, and for each container. Where it is wrong, the old one stays.
    pub(crate) fn reload(&mut self) -> Option<(Policy, Vec<(StreamId, FromArbitrator)>)> {
        let Some(path) = &self.path else {
            tracing::info!("asked to read the policy again: there is no policy file (`policy` of [sensorarbitrator])");
            return None;
        };
        match PolicyFile::read(path) {
            Ok(file) => {
                tracing::info!(changed = file != self.file, path = %path.display(), "the policy was read again");
                self.file = file;
            }
            Err(error) => {
                tracing::error!("the policy stays as it was: {error}");
                return None;
            }
        }
        let told = self.offered.keys().map(|stream| (*stream, self.of(*stream))).collect();
        Some((self.resolved(), told))
    }

    fn resolved(&self) -> Policy {
        let sensors = self.known.iter().map(|sensor| (sensor.clone(), self.file.of(sensor)));
        let default = SensorPolicy::default();
        // Most sensors have no policy of their own.
        Policy { sensors: sensors.filter(|(_, policy)| *policy != default).collect(), default }
    }

    fn of(&self, stream: StreamId) -> FromArbitrator {
        let sensors = self.offered.get(&stream).into_iter().flatten();
        FromArbitrator::Policies(sensors.map(|sensor| self.file.instance(sensor)).collect())
    }
}

#[cfg(test)]
mod tests {
    use st2sa_core::message::{Effects, Kind};
    use st2sa_core::names::Digest;
    use st2sa_proto::InstancePolicy;

    use super::*;

    fn offer(sensor: &str) -> Offer {
        let sensor = SensorRef::new(sensor);
        Offer { sensor, digest: Digest(1), previous: None, kind: Kind::Passive, effects: Effects::Direct }
    }

    #[test]
    fn the_policy_is_told_for_what_is_offered_and_a_wrong_change_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, "sensors: {\"a.*\": {weight: 4, standby: cold}}\n").unwrap();
        let mut policies = Policies::open(Some(path.clone())).unwrap();
        let (policy, told) = policies.offers(StreamId(1), &[offer("a.B"), offer("c.D")]);
        let policy = policy.unwrap();
        assert_eq!((policy.of(&SensorRef::new("a.B")).weight, policy.sensors.len()), (4, 1));
        let FromArbitrator::Policies(told) = told else { panic!("{told:?}") };
        let cold = |policy: &InstancePolicy| (policy.sensor.to_string(), policy.cold_standby);
        assert_eq!(told.iter().map(cold).collect::<Vec<_>>(), [("a.B".to_owned(), true), ("c.D".to_owned(), false)]);
        assert!(policies.offers(StreamId(1), &[offer("a.B")]).0.is_none());
        std::fs::write(&path, "sensors: {\"a.*\": {weight: none}}\n").unwrap();
        assert!(policies.reload().is_none());
        std::fs::write(&path, "sensors: {\"c.*\": {weight: 2}}\n").unwrap();
        let (policy, told) = policies.reload().unwrap();
        assert_eq!((policy.of(&SensorRef::new("a.B")).weight, policy.of(&SensorRef::new("c.D")).weight), (1, 2));
        assert_eq!(told.len(), 1);
    }
}
