//! One sensor process.

use std::path::Path;
use std::sync::Arc;

use st2sa_core::names::{ProcessId, SensorRef};
use st2sa_core::session::Event;
use st2sa_core::time::{Span, Time};
use st2sa_stackstorm::packs::{Packs, Sensor};
use tokio::sync::mpsc;

use super::host::Host;
use super::{LOADED_WITHIN, Triggers};
use crate::wire::{Do, Load, Operation};

/// The shortest and the longest interval that a sensor may set itself.
const INTERVAL_AT_LEAST: f64 = 0.1;
const INTERVAL_AT_MOST: f64 = 31_536_000.0;

/// A sensor process.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) number: u64,
    pub(super) sensor: SensorRef,
    /// The packs that it was loaded from.
    pub(super) packs: Arc<Packs>,
    /// The session's name for it; none as long as the session has not asked for one.
    pub(super) process: Option<ProcessId>,
    pub(super) host: u64,
    pub(super) token: String,
    pub(super) pid: Option<i32>,
    pub(super) phase: Phase,
    pub(super) connection: Option<(u64, mpsc::UnboundedSender<Operation>)>,
    /// What it was activated with: a second process of the same sensor is told, too.
    pub(super) activation: Option<Triggers>,
    /// What ends it is no fault of the sensor: its host has ended, or it is replaced.
    pub(super) is_lost: bool,
    /// It is to be set up as soon as it is ready: the session takes it for that already.
    pub(super) overdue: bool,
    /// It is to be replaced once it has done what it is doing.
    pub(super) renew: bool,
}

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its host is not there yet.
    Unborn,
    /// Being forked and loaded.
    Loading { until: Time },
    /// Loaded: warm.
    Ready,
    /// Being set up.
    Activating,
    /// Between polls, or a passive sensor at its work.
    Idle,
    /// In a poll.
    Polling { number: u64, since: Time },
    /// Cleaning up.
    Stopping { until: Time },
    /// Being killed; where its number is not known yet, until then.
    Ending { until: Option<Time> },
}

impl Child {
    pub(super) fn new(
        number: u64,
        sensor: SensorRef,
        packs: Arc<Packs>,
        process: Option<ProcessId>,
        host: u64,
        token: String,
    ) -> Self {
        let phase = Phase::Unborn;
        Self {
            number,
            sensor,
            packs,
            process,
            host,
            token,
            pid: None,
            phase,
            connection: None,
            activation: None,
            is_lost: false,
            overdue: false,
            renew: false,
        }
    }

    /// Has it forked, if it is not yet and its host is there.
    pub(super) fn fork(&mut self, now: Time, host: &Host) {
        if self.phase == Phase::Unborn && host.fork(self.number, &self.token) {
            self.phase = Phase::Loading { until: now + LOADED_WITHIN };
        }
    }

    pub(super) fn tell(&self, operation: Do) {
        if let Some((_, sender)) = &self.connection {
            // The other end may be gone: its end is noticed there.
            let _ = sender.send(Operation::Do(operation));
        }
    }

    pub(super) fn ends(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Stopping { .. })
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading { .. })
    }

    /// It was frozen for so long.
    pub(super) fn shift(&mut self, frozen: Span) {
        match &mut self.phase {
            Phase::Loading { until } | Phase::Stopping { until } => *until += frozen,
            Phase::Ending { until } => until.iter_mut().for_each(|until| *until += frozen),
            Phase::Unborn | Phase::Ready | Phase::Activating | Phase::Idle | Phase::Polling { .. } => {}
        }
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Loading { until } | Phase::Stopping { until } => Some(until),
            Phase::Ending { until } => until,
            Phase::Unborn | Phase::Ready | Phase::Activating | Phase::Idle | Phase::Polling { .. } => None,
        }
    }

    /// It says how often it wants to poll.
    pub(super) fn paced(&self, seconds: Option<f64>) -> Option<Event> {
        let (process, interval) = (self.process?, interval(seconds?)?);
        Some(Event::Paced { process, interval })
    }
}

/// An interval in seconds, as sensors give it; none where it is no number to wait for.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between the two bounds")]
pub(super) fn interval(seconds: f64) -> Option<Span> {
    let bounded = seconds.clamp(INTERVAL_AT_LEAST, INTERVAL_AT_MOST);
    seconds.is_finite().then_some(Span::from_millis((bounded * 1_000.0) as u64))
}

/// What a process is told to load.
pub(super) fn load(sensor: &Sensor, common_libraries: bool) -> Load {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let library_path = sensor.library_path.as_deref().filter(|_| common_libraries);
    // `VIRTUALENV/bin/python`; the one that is searched for is nobody's own.
    let virtualenv = sensor.python.parent().and_then(Path::parent).filter(|_| sensor.python.is_absolute());
    Load {
        reference: sensor.reference.as_str().to_owned(),
        pack: sensor.pack.clone(),
        class_name: sensor.class_name.clone(),
        entry_point: text(&sensor.entry_point),
        poll_interval: sensor.poll_interval,
        trigger_types: sensor.trigger_types.iter().map(|kind| kind.reference.clone()).collect(),
        config: sensor.config.values().clone(),
        library_path: library_path.map(text),
        virtualenv: virtualenv.map(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_stay_within_reason() {
        assert_eq!(interval(5.0), Some(Span::from_secs(5)));
        assert_eq!(interval(0.0), Some(Span::from_millis(100)));
        assert_eq!(interval(-3.0), Some(Span::from_millis(100)));
        assert_eq!(interval(f64::NAN), None);
        assert_eq!(interval(f64::MAX), Some(Span::from_secs(31_536_000)));
    }
}
