//! What hosts and sensor processes say, and what the nursery makes of it.

use std::collections::BTreeMap;

use st2sa_core::message::Kind;
use st2sa_core::names::SensorRef;
use st2sa_core::session::{Event, Outcome};
use st2sa_core::time::Time;

use st2sa_machine::crash::{self, Point};

use super::child::{self, Child, Phase};
use super::host;
use super::{Nursery, RETRY_FIRST, RETRY_LONGEST};
use crate::input::Whose;
use crate::keeper::Keeper;
use crate::logbook::Stream;
use crate::wire;

impl Nursery {
    pub(super) fn host_said(&mut self, host: u64, event: wire::Event, keeper: &mut Keeper) {
        if let wire::Event::Exited { process, status } = event {
            self.explain(process, status);
        }
        let own =
            |children: &BTreeMap<u64, Child>, process| children.get(&process).is_some_and(|child| child.host == host);
        match event {
            wire::Event::Forked { process, .. }
            | wire::Event::ForkFailed { process, .. }
            | wire::Event::Exited { process, .. }
                if !own(&self.children, process) =>
            {
                tracing::debug!(process, "a host speaks of a process that is not (or no longer) its own");
            }
            wire::Event::Forked { process, pid } => {
                if let Some(child) = self.children.get_mut(&process) {
                    child.pid = Some(pid);
                    if child.ends() {
                        keeper.kill(process, pid);
                    }
                }
            }
            wire::Event::ForkFailed { process, error } => {
                tracing::error!(process, error, "a sensor process could not be forked");
                self.end(process, keeper);
            }
            wire::Event::Exited { process, .. } => self.end(process, keeper),
            _ => {}
        }
    }

    /// A process that nobody ended has ended, and how.
    fn explain(&mut self, process: u64, status: i32) {
        let mut by_itself = self.children.get(&process).filter(|child| !child.ends()).map(|child| child.sensor.clone());
        self.ended.retain(|(number, sensor)| {
            let this = *number == process;
            if this {
                by_itself = Some(sensor.clone());
            }
            !this
        });
        let Some(sensor) = by_itself else { return };
        let Some(known) = self.sensors.get_mut(&sensor) else { return };
        known.errors += 1;
        // One that ends with 1 has said why.
        if status != 1 || known.last_error.is_none() {
            let how = format!("its process ended by itself: {}", ended(status));
            self.logbook.write(&sensor, Stream::Log, Some("ERROR"), &how);
            known.last_error = Some(how);
        }
    }

    pub(super) fn sensor_said(&mut self, now: Time, number: u64, event: wire::Event, keeper: &mut Keeper) {
        let Some(child) = self.children.get_mut(&number) else { return };
        let Some(known) = self.sensors.get_mut(&child.sensor) else { return };
        let (sensor, spare) = (child.sensor.clone(), child.process.is_none());
        let mut renew = false;
        match event {
            wire::Event::Ready { kind, poll_interval, keeps_cursor } if child.is_loading() => {
                let interval = poll_interval.and_then(child::interval);
                let kind = match (kind, interval) {
                    (wire::Kind::Polling, Some(interval)) => Kind::Polling { interval },
                    (wire::Kind::Polling | wire::Kind::Passive, _) => Kind::Passive,
                };
                child.phase = Phase::Ready;
                known.tries = 0;
                if known.disabled.take().is_some() {
                    known.last_error = None;
                    tracing::info!(sensor = %child.sensor, "it can be loaded now");
                }
                match (known.kind, kind) {
                    // Sensors set their interval themselves, some at random: that is no other sensor.
                    (Some(Kind::Polling { .. }), Kind::Polling { .. }) => {
                        self.events.extend(child.paced(poll_interval));
                    }
                    (before, kind) => {
                        self.offers_changed |= before != Some(kind);
                        known.kind = Some(kind);
                    }
                }
                self.offers_changed |= known.keeps_cursor != keeps_cursor;
                known.keeps_cursor = keeps_cursor;
                let digest = child.packs.sensors.get(&child.sensor).map(|sensor| sensor.digest);
                if known.digest != digest {
                    // Of an earlier run, where this is the first.
                    known.previous = known.digest.or(known.previous).filter(|previous| Some(*previous) != digest);
                    known.digest = digest;
                    self.offers_changed = true;
                }
                self.events.extend(child.process.map(Event::Ready));
                if child.overdue {
                    self.set_up(number);
                } else if known.cold_standby {
                    self.cool(&sensor, keeper);
                } else if spare {
                    self.renew_others(&sensor, keeper);
                }
            }
            wire::Event::Activated { poll_interval } if child.phase == Phase::Activating => {
                child.phase = Phase::Idle;
                renew = child.renew;
                self.events.extend(child.paced(poll_interval));
                self.events.extend(child.process.map(Event::Activated));
            }
            wire::Event::PollReturned { number, ok, error, traceback, poll_interval } => {
                let Phase::Polling { number: asked, since } = child.phase else { return };
                if asked != number {
                    return;
                }
                child.phase = Phase::Idle;
                renew = child.renew;
                known.last_poll_took = Some(now.since(since));
                if !ok {
                    known.errors += 1;
                    let error = wire::cut(error.unwrap_or_else(|| "poll() raised".to_owned()));
                    self.logbook.write(&child.sensor, Stream::Log, Some("ERROR"), &format!("poll() raised {error}"));
                    for line in wire::cut(traceback.unwrap_or_default()).lines() {
                        self.logbook.write(&child.sensor, Stream::Stderr, None, line);
                    }
                    known.last_error = Some(error);
                }
                self.events.extend(child.paced(poll_interval));
                crash::point(Point::PollReturned);
                let left = self.notebooks.end(Whose::Sensor(child.number), ok);
                let outcome = if ok { Outcome::Good(left.work) } else { Outcome::Raised { effects: left.withheld } };
                self.events.extend(child.process.map(|process| Event::PollReturned { process, outcome }));
            }
            wire::Event::RunReturned => {
                self.logbook.write(&child.sensor, Stream::Log, Some("INFO"), "run() returned: it is left at that");
            }
            wire::Event::Failed { phase, error, file, line, hint, traceback } => {
                let place = file.map(|file| line.map_or(file.clone(), |line| format!("{file}:{line}")));
                let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
                let hint = hint.map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                let problem = wire::cut(format!("{place}{error}{hint}"));
                for line in wire::cut(traceback.unwrap_or_default()).lines() {
                    self.logbook.write(&child.sensor, Stream::Stderr, None, line);
                }
                known.last_error = Some(problem.clone());
                let sensor = child.sensor.clone();
                if phase == "load" {
                    self.disable(now, &sensor, problem);
                } else {
                    self.logbook.write(&sensor, Stream::Log, Some("ERROR"), &format!("{phase}() failed: {problem}"));
                }
            }
            _ => {}
        }
        if renew {
            self.renew(number, keeper);
        }
    }

    /// The sensor cannot be loaded: it is not offered until it can.
    pub(super) fn disable(&mut self, now: Time, sensor: &SensorRef, problem: String) {
        let works =
            |child: &Child| child.sensor == *sensor && !child.ends() && !child.is_loading() && child.process.is_some();
        let goes_on = self.children.values().any(works) || self.cold.values().any(|cold| cold == sensor);
        let Some(known) = self.sensors.get_mut(sensor) else { return };
        let wait = (RETRY_FIRST * (1_u64 << known.tries.min(10))).min(RETRY_LONGEST);
        known.tries += 1;
        known.retry_at = Some(now + host::jittered(wait));
        if goes_on {
            tracing::error!(%sensor, problem, "the changed sensor cannot be loaded: it goes on as it was before");
            known.last_error = Some(format!("changed, and cannot be loaded as it is now: {problem}"));
            return;
        }
        self.offers_changed |= known.kind.take().is_some();
        tracing::error!(%sensor, problem, "the sensor cannot be loaded: it is disabled here, and no other");
        known.last_error = Some(problem.clone());
        known.disabled = Some(problem);
    }
}

/// How a process ended, for people.
fn ended(status: i32) -> String {
    if status < 0 { format!("signal {}", -status) } else { format!("exit code {status}") }
}
