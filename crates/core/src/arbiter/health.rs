//! Failures: moved once, then retried with back-off, braked when a whole pack fails.

use super::sensor::Holder;
use super::{Alarm, Arbiter, Command};
use crate::history::{Cause, Record};
use crate::message::Report;
use crate::names::{ContainerName, SensorRef};
use crate::time::{Span, Time};

/// The first wait before a sensor is tried again where it failed; doubled at each failure.
const BACK_OFF_FIRST: Span = Span::from_secs(1);
/// The longest: a source that is down is asked at least this often.
const BACK_OFF_LONGEST: Span = Span::from_secs(300);
/// The window of the brake on a pack's mass failure.
const BRAKE_WINDOW: Span = Span::from_secs(60);
/// Fewer failing sensors than this are no mass failure, however small the pack is: a pack of one
/// sensor must be able to move it.
const BRAKE_LEAST: usize = 3;
/// The brake holds when more than one in so many of a pack's ACTIVE sensors fail within the window.
const BRAKE_ONE_IN: usize = 5;

impl Arbiter {
    /// A sensor failed at `name`: it is moved once; where it fails everywhere its source is at fault.
    pub(super) fn on_failure(&mut self, now: Time, name: &ContainerName, sensor: &SensorRef) {
        let memory = self.config.timing.failure_memory;
        let Some(leadership) = self.leader() else { return };
        leadership.failures.retain(|(at, _)| now < *at + BRAKE_WINDOW);
        leadership.failures.push((now, sensor.clone()));
        leadership.dirty = true;
        let braked = self.braked(now, sensor.pack());
        let Some(leadership) = self.leader() else { return };
        let state = leadership.sensor(sensor);
        if std::mem::take(&mut state.recovered) {
            state.failed.clear();
        }
        if state.failed.values().all(|at| now >= *at + memory) && now >= state.not_before + memory {
            state.tries = 0;
        }
        // Waited for where it is tried again; elsewhere it is tried at once.
        let doubled = BACK_OFF_FIRST * (1_u64 << state.tries.min(16));
        state.not_before = now + doubled.min(BACK_OFF_LONGEST);
        state.ailing = !braked;
        if !braked {
            state.failed.insert(name.clone(), now);
        }
    }

    /// Whether so much of the pack fails at once that its source, not the nodes, is suspected.
    fn braked(&mut self, now: Time, pack: &str) -> bool {
        let Some(leadership) = self.leader() else { return false };
        let failing: std::collections::BTreeSet<_> =
            leadership.failures.iter().map(|(_, sensor)| sensor).filter(|sensor| sensor.pack() == pack).collect();
        let active = leadership
            .sensors
            .iter()
            .filter(|(sensor, state)| sensor.pack() == pack && matches!(state.holder, Holder::Held(_)))
            .count();
        let braked = failing.len() >= BRAKE_LEAST && failing.len() * BRAKE_ONE_IN > active;
        let alarmed = leadership.alarmed.get(pack).is_some_and(|at| now < *at + BRAKE_WINDOW);
        if braked && !alarmed {
            leadership.alarmed.insert(pack.to_owned(), now);
            self.outbox.push(Command::Alarm(Alarm::PackFails(pack.to_owned())));
        }
        braked
    }

    pub(super) fn on_report(&mut self, now: Time, name: &ContainerName, report: &Report) {
        let Some(leadership) = self.leader() else { return };
        match report {
            Report::Failing { sensor, fence } => {
                let current = |holder: &Holder| matches!(holder, Holder::Held(held) if held.by == *name && held.fence == *fence && held.revoked.is_none());
                if current(&leadership.sensor(sensor).holder) {
                    self.on_failure(now, name, sensor);
                }
            }
            Report::Recovered { sensor } => {
                let state = leadership.sensor(sensor);
                if state.holder.is_held_by(name) {
                    state.failed.remove(name);
                    state.recovered = true;
                    state.ailing = false;
                    state.tries = 0;
                    state.not_before = Time::default();
                }
            }
            Report::PossibleOverlap { sensor, fence, late_by: _ } => {
                self.outbox.push(Command::Record(Record {
                    at: now,
                    sensor: sensor.clone(),
                    from: Some(name.clone()),
                    to: Some(name.clone()),
                    fence: *fence,
                    cause: Cause::PossibleOverlap,
                    who: name.to_string(),
                }));
            }
        }
    }

    /// A container tells a new leader where it failed.
    pub(super) fn take_failed_marks(&mut self, now: Time, name: &ContainerName, marks: &[(SensorRef, Span)]) {
        let Some(leadership) = self.leader() else { return };
        for (sensor, ago) in marks {
            leadership.sensor(sensor).failed.entry(name.clone()).or_insert(now - *ago);
        }
    }
}
