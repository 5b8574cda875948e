//! The roster: what containers say of themselves and of their instances, for people. Nothing decides by it.

use std::collections::BTreeMap;

use st2sa_core::message::{Kind, State};
use st2sa_core::names::{ContainerName, Incarnation, SensorRef, StreamId};
use st2sa_core::time::Time;
use st2sa_proto::{About, InstanceReport};

/// Containers that are not registered any more are remembered, as lost, up to so many.
const LOST_AT_MOST: usize = 1_000;

/// Sensors of one container whose reports are kept: more than any node runs.
const INSTANCES_AT_MOST: usize = 20_000;

/// Every container that is, or was lately, registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    greeted: BTreeMap<StreamId, Entry>,
    entries: BTreeMap<ContainerName, Entry>,
}

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: ContainerName,
    pub(crate) incarnation: Incarnation,
    pub(crate) about: About,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stream: StreamId,
    /// It has said that it leaves.
    pub(crate) leaves: bool,
    pub(crate) heard_at: Time,
    /// What it reported last of each.
    pub(crate) instances: BTreeMap<SensorRef, Reported>,
}

/// The last report of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    /// When it came.
    pub(crate) at: Time,
    pub(crate) report: InstanceReport,
    pub(crate) trouble: Trouble,
}

/// How an instance's last error stands, made out from one report to the next: a report says what it was, not when, and
/// not whether it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// When it was told first; not known of what was there already in the first report.
    pub(crate) since: Option<Time>,
    /// Whether it lasts; not known until something has happened since.
    pub(crate) lasts: Option<bool>,
    /// The error that this one stands before, and comes back to: that triggers wait is told for as long as they do.
    before: Option<(String, Box<Trouble>)>,
}

impl Roster {
    /// A greeting came: it counts once it is welcomed.
    pub(crate) fn greeted(&mut self, entry: Entry) {
        self.greeted.insert(entry.stream, entry);
    }

    /// The greeting on this stream was welcomed.
    pub(crate) fn welcomed(&mut self, stream: StreamId) {
        let Some(mut entry) = self.greeted.remove(&stream) else { return };
        if let Some(before) = self.entries.remove(&entry.name)
            && before.incarnation == entry.incarnation
        {
            entry.instances = before.instances;
        }
        self.entries.insert(entry.name.clone(), entry);
        if self.entries.len() > LOST_AT_MOST {
            let oldest = self.entries.values().min_by_key(|entry| entry.heard_at).map(|entry| entry.name.clone());
            self.entries.retain(|name, _| Some(name) != oldest.as_ref());
        }
    }

    /// Whoever greeted on this stream asks for a name that is taken: by whom?
    pub(crate) fn holder(&self, stream: StreamId) -> Option<&Entry> {
        self.entries.get(&self.greeted.get(&stream)?.name)
    }

    /// A sign of life.
    pub(crate) fn heard(&mut self, now: Time, stream: StreamId) {
        if let Some(entry) = self.of(stream) {
            entry.heard_at = now;
        }
    }

    /// What its instances are doing.
    pub(crate) fn reported(&mut self, now: Time, stream: StreamId, reports: Vec<InstanceReport>) {
        let Some(entry) = self.of(stream) else { return };
        for report in reports {
            if report.removed {
                entry.instances.remove(&report.sensor);
                continue;
            }
            if entry.instances.len() >= INSTANCES_AT_MOST && !entry.instances.contains_key(&report.sensor) {
                continue;
            }
            let before = entry.instances.get(&report.sensor);
            let trouble = before.map_or_else(Trouble::default, |before| before.trouble_after(now, &report));
            entry.instances.insert(report.sensor.clone(), Reported { at: now, report, trouble });
        }
    }

    /// It says that everything there has stopped for good.
    pub(crate) fn leaves(&mut self, stream: StreamId) {
        if let Some(entry) = self.of(stream) {
            entry.leaves = true;
        }
    }

    /// It is not registered any more: one that has not said that it leaves stays, as lost.
    pub(crate) fn left(&mut self, stream: StreamId) {
        self.entries.retain(|_, entry| entry.stream != stream || !entry.leaves);
    }

    /// It is not shown any more; `false` where it was not.
    pub(crate) fn forget(&mut self, name: &ContainerName) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Its stream has ended.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.greeted.remove(&stream);
    }

    /// Every container.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// One container.
    pub(crate) fn entry(&self, name: &ContainerName) -> Option<&Entry> {
        self.entries.get(name)
    }

    fn of(&mut self, stream: StreamId) -> Option<&mut Entry> {
        self.entries.values_mut().find(|entry| entry.stream == stream)
    }
}

impl Reported {
    /// How its last error stands once the next report has come.
    fn trouble_after(&self, now: Time, next: &InstanceReport) -> Trouble {
        let (last, failed_again) = (&self.report, next.errors > self.report.errors);
        let mut trouble = self.trouble.clone();
        if failed_again || next.last_error != last.last_error {
            let before = last.last_error.clone().map(|text| (text, Box::new(self.trouble.without_before())));
            let back =
                trouble.before.take().filter(|(text, _)| !failed_again && Some(text) == next.last_error.as_ref());
            trouble = match back {
                Some((_, back)) => *back,
                None if next.last_error.is_none() && !failed_again => {
                    Trouble { lasts: Some(false), ..Trouble::default() }
                }
                None => Trouble { since: Some(now), lasts: Some(true), before },
            };
        }
        let polled_well = !failed_again && next.last_poll_duration != last.last_poll_duration;
        let runs_again =
            next.kind == Some(Kind::Passive) && next.state == State::Running && last.state != State::Running;
        if polled_well || runs_again {
            trouble.lasts = Some(false);
        }
        trouble
    }
}

impl Trouble {
    fn without_before(&self) -> Self {
        Self { before: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use st2sa_core::time::Span;

    use super::*;

    /// After so many polls and errors, with such an error.
    fn report(polls: u64, errors: u64, last_error: Option<&str>) -> InstanceReport {
        InstanceReport {
            sensor: SensorRef::new("p.A"),
            kind: Some(Kind::Polling { interval: Span::from_secs(1) }),
            state: State::Running,
            pid: Some(7),
            polls,
            errors,
            triggers: 0,
            dropped: 0,
            last_poll_ago: None,
            // No two polls take the same time.
            last_poll_duration: Some(Span(polls)),
            last_error: last_error.map(str::to_owned),
            removed: false,
        }
    }

    fn second(number: u64) -> Time {
        Time::default() + Span::from_secs(number)
    }

    /// What is known after reports that came a second apart, the first at second 0.
    fn after(reports: &[InstanceReport]) -> (Option<Time>, Option<bool>) {
        let mut reports = (0..).map(second).zip(reports);
        let (at, first) = reports.next().unwrap();
        let mut reported = Reported { at, report: first.clone(), trouble: Trouble::default() };
        for (at, report) in reports {
            let trouble = reported.trouble_after(at, report);
            reported = Reported { at, report: report.clone(), trouble };
        }
        (reported.trouble.since, reported.trouble.lasts)
    }

    #[test]
    fn of_an_error_that_was_there_before_nothing_is_known_until_a_poll_goes_well() {
        let first = report(5, 3, Some("ValueError"));
        assert_eq!(after(std::slice::from_ref(&first)), (None, None));
        assert_eq!(after(&[first, report(6, 3, Some("ValueError"))]), (None, Some(false)));
    }

    #[test]
    fn an_error_lasts_until_a_poll_has_gone_well_and_keeps_its_time() {
        let reports = [report(5, 0, None), report(6, 1, Some("ValueError")), report(7, 2, Some("ValueError"))];
        assert_eq!(after(&reports), (Some(second(2)), Some(true)));
        let begun = InstanceReport { polls: 8, ..report(7, 2, Some("ValueError")) };
        let [first, second_, third] = reports;
        assert_eq!(after(&[first.clone(), second_.clone(), third.clone(), begun.clone()]).1, Some(true));
        let well = report(8, 2, Some("ValueError"));
        assert_eq!(after(&[first, second_, third, begun, well]), (Some(second(2)), Some(false)));
    }

    #[test]
    fn triggers_that_wait_are_an_error_for_as_long_as_they_do() {
        let (raised, well) = (report(5, 1, Some("ValueError")), report(6, 1, Some("ValueError")));
        let waits = InstanceReport { last_error: Some("triggers wait".to_owned()), ..well.clone() };
        let reports = [report(4, 0, None), raised, well.clone(), waits, well];
        assert_eq!(after(&reports[..4]), (Some(second(3)), Some(true)));
        assert_eq!(after(&reports), (Some(second(1)), Some(false)));
    }

    #[test]
    fn a_passive_sensor_that_runs_again_is_well() {
        let passive = |state, errors, error| InstanceReport {
            kind: Some(Kind::Passive),
            state,
            last_poll_duration: None,
            ..report(0, errors, error)
        };
        let died = passive(State::Starting, 1, Some("exit code 1"));
        let reports = [passive(State::Running, 0, None), died, passive(State::Running, 1, Some("exit code 1"))];
        assert_eq!(after(&reports[..2]), (Some(second(1)), Some(true)));
        assert_eq!(after(&reports), (Some(second(1)), Some(false)));
    }
}
