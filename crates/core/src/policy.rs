//! What operators set for sensors: the policy file's entries, with its globs already resolved by the shell.

use std::collections::BTreeMap;

use crate::message::{Effects, Kind, Offer};
use crate::names::SensorRef;
use crate::placement::Labels;
use crate::time::Span;

/// Raising polls in a row that are a failure, where the policy says nothing else: one is an accident.
pub const MAX_ERRORS: u32 = 3;

/// The policy of one arbitrator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// For sensors that are not named.
    pub default: SensorPolicy,
    /// For those that are.
    pub sensors: BTreeMap<SensorRef, SensorPolicy>,
}

impl Policy {
    /// What holds for `sensor`.
    pub fn of(&self, sensor: &SensorRef) -> &SensorPolicy {
        self.sensors.get(sensor).unwrap_or(&self.default)
    }
}

/// The policy for one sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SensorPolicy {
    /// How much of a container it takes; at least 1.
    pub weight: u32,
    /// Labels that its container must have.
    pub require: Labels,
    /// Labels that its container should have.
    pub prefer: Labels,
    /// Overrides how its effects go out.
    pub effects: Option<Effects>,
    /// Overrides when a poll counts as hung.
    pub poll_timeout: Option<Span>,
    /// So many raising polls in a row are a failure; at least 1.
    pub max_errors: u32,
}

impl Default for SensorPolicy {
    fn default() -> Self {
        Self {
            weight: 1,
            require: Labels::new(),
            prefer: Labels::new(),
            effects: None,
            poll_timeout: None,
            max_errors: MAX_ERRORS,
        }
    }
}

/// Why a sensor's effects go out as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Because {
    /// It has no polls that could be committed.
    Passive,
    /// The policy says so.
    Policy,
    /// Its code keeps a cursor where it can be committed with the rest, or does not.
    Code,
}

impl SensorPolicy {
    /// How the effects of the sensor offered go out.
    pub fn effects(&self, offer: &Offer) -> Effects {
        self.chosen(offer).0
    }

    /// The same, and why.
    pub fn chosen(&self, offer: &Offer) -> (Effects, Because) {
        match (offer.kind, self.effects) {
            (Kind::Passive, _) => (Effects::Direct, Because::Passive),
            (Kind::Polling { .. }, Some(effects)) => (effects, Because::Policy),
            (Kind::Polling { .. }, None) => (offer.effects, Because::Code),
        }
    }

    /// When one of its polls counts as hung: ten intervals, and at least 5 min, so that a slow source
    /// is not taken for a dead process.
    pub fn poll_timeout(&self, kind: Kind) -> Span {
        const LEAST: Span = Span::from_secs(300);
        self.poll_timeout.unwrap_or(match kind {
            Kind::Polling { interval } => (interval * 10).max(LEAST),
            Kind::Passive => LEAST,
        })
    }
}
