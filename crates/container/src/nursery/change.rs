//! Packs that were read again: what has come, gone or changed is loaded, withdrawn or replaced, and nothing else touched.
//!
//! New code is loaded beside the old. Only once it is ready is it offered: then the session replaces the standby and the
//! leader restarts the ACTIVE instance, so a change that cannot be loaded stops nothing that runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use st2sa_core::names::SensorRef;
use st2sa_core::time::Time;
use st2sa_stackstorm::packs::{Packs, Sensor};

use super::child::Phase;
use super::{Known, Nursery, enabled};
use crate::keeper::Keeper;
use crate::wire::Do;

impl Nursery {
    /// The packs were read again.
    pub(crate) fn repack(&mut self, now: Time, packs: &Arc<Packs>, keeper: &mut Keeper) {
        let before = std::mem::replace(&mut self.packs, Arc::clone(packs));
        let named = |packs: &Packs| enabled(packs).map(|sensor| sensor.reference.clone()).collect::<BTreeSet<_>>();
        let (old, new) = (named(&before), named(packs));
        let (mut added, mut changed, mut withdrawn) = (0, 0, 0);
        for sensor in old.union(&new) {
            match (old.contains(sensor), new.contains(sensor)) {
                (false, _) => {
                    added += 1;
                    self.logbook.begin(sensor);
                    // It may have been withdrawn a moment ago.
                    self.sensors.insert(sensor.clone(), Known::default());
                    self.raise(now, sensor, None);
                }
                (true, false) => {
                    withdrawn += 1;
                    self.withdraw(sensor, keeper);
                }
                (true, true) if before.sensors.get(sensor) == packs.sensors.get(sensor) => {}
                (true, true) => {
                    changed += 1;
                    self.replace(now, sensor, keeper);
                }
            }
        }
        for disabled in &packs.disabled {
            if let Some(reference) = disabled.reference.as_ref().filter(|reference| !new.contains(*reference)) {
                let problem = Some(disabled.to_string());
                let known = self.sensors.entry(reference.clone()).or_default();
                (known.disabled, known.last_error) = (problem.clone(), problem);
                known.withdrawn = false;
            }
            if !before.disabled.contains(disabled) {
                tracing::error!("{disabled}");
            }
        }
        tracing::info!(added, changed, withdrawn, "the packs were read again");
        self.tell_triggers();
    }

    /// Nothing of it is to run here any more; what is ACTIVE runs until the leader has revoked it.
    fn withdraw(&mut self, sensor: &SensorRef, keeper: &mut Keeper) {
        let Some(known) = self.sensors.get_mut(sensor) else { return };
        known.kind = None;
        known.retry_at = None;
        known.withdrawn = true;
        known.last_error = Some("it is not in the packs any more, or is disabled there".to_owned());
        self.offers_changed = true;
        self.end_spares(sensor, keeper);
    }

    /// Loads it as it is now, beside what runs.
    fn replace(&mut self, now: Time, sensor: &SensorRef, keeper: &mut Keeper) {
        self.end_spares(sensor, keeper);
        if let Some(known) = self.sensors.get_mut(sensor) {
            known.retry_at = None;
        }
        self.raise(now, sensor, None);
    }

    fn end_spares(&mut self, sensor: &SensorRef, keeper: &mut Keeper) {
        let spare = |child: &&super::Child| child.sensor == *sensor && child.process.is_none() && !child.ends();
        let spares: Vec<u64> = self.children.values().filter(spare).map(|child| child.number).collect();
        for spare in spares {
            self.end(spare, keeper);
        }
    }

    /// What is loaded is ready: processes of the same code that started from another configuration are replaced by it.
    pub(super) fn renew_others(&mut self, sensor: &SensorRef, keeper: &mut Keeper) {
        let Some(now) = self.packs.sensors.get(sensor) else { return };
        let mut at_once = Vec::new();
        for child in self.children.values_mut().filter(|child| child.sensor == *sensor && child.process.is_some()) {
            let then = child.packs.sensors.get(sensor);
            if child.ends() || then.is_none_or(|then| then == now || then.digest != now.digest) {
                continue;
            }
            match child.phase {
                Phase::Ready | Phase::Idle => at_once.push(child.number),
                // After what it is doing.
                _ => child.renew = true,
            }
        }
        for number in at_once {
            self.renew(number, keeper);
        }
    }

    /// Ends a process so that another takes its place: it is no death of the sensor.
    pub(super) fn renew(&mut self, number: u64, keeper: &mut Keeper) {
        if let Some(child) = self.children.get_mut(&number) {
            child.is_lost = true;
            tracing::info!(sensor = %child.sensor, "its configuration has changed: it is started again in place");
            self.end(number, keeper);
        }
    }

    /// Rules have come or gone: sensors that run are told, as StackStorm tells them.
    fn tell_triggers(&mut self) {
        for child in self.children.values_mut().filter(|child| !child.ends()) {
            let now: Option<&Sensor> = self.packs.sensors.get(&child.sensor);
            let then = child.packs.sensors.get(&child.sensor);
            let (Some(now), Some(then)) = (now, then) else { continue };
            let Some(told) = child.activation.clone().filter(|_| now.digest == then.digest) else { continue };
            let triggers = self.packs.triggers_of(now);
            let reference = |trigger: &Value| trigger.get("ref").cloned();
            let find = |all: &[Value], trigger: &Value| {
                all.iter().find(|other| reference(other) == reference(trigger)).cloned()
            };
            for trigger in told.iter().filter(|trigger| find(&triggers, trigger).is_none()) {
                child.tell(Do::RemoveTrigger { trigger: trigger.clone() });
            }
            for trigger in &triggers {
                match find(&told, trigger) {
                    None => child.tell(Do::AddTrigger { trigger: trigger.clone() }),
                    Some(before) if before != *trigger => child.tell(Do::UpdateTrigger { trigger: trigger.clone() }),
                    Some(_) => {}
                }
            }
            child.activation = Some(triggers);
        }
    }
}
