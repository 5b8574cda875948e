//! The scene of most tests: an arbitrator, container `a` with every sensor ACTIVE on it, and container `b` standing by.

use std::time::{Duration, Instant};

use st2sa_proto::rest::{HistoryRecord, word};
use st2sa_testbed::{Pack, Placement, Poll, Process, Program, Source, Testbed};

/// What a swamped machine may take on top of any bound.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// Pythons start, packs load and everything settles within this.
pub(crate) const SETTLES: Duration = Duration::from_secs(15);
/// The sensor whose poll outlasts every lease.
pub(crate) const SLOW: &str = "slow.Slow";
/// One of those that poll every 200 ms.
pub(crate) const TICKER: &str = "ticker.Ticker01";

/// Everything that runs. Programs end before the testbed looks at what they leave.
pub(crate) struct Scene {
    pub(crate) arbitrator: Program,
    pub(crate) a: Program,
    pub(crate) b: Program,
    pub(crate) source: Source,
    pub(crate) bed: Testbed,
    pub(crate) sensors: Vec<String>,
}

pub(crate) fn testbed() -> Testbed {
    Testbed::new(env!("CARGO_BIN_EXE_st2sa"))
}

pub(crate) fn sensors_of(packs: &[Pack]) -> Vec<String> {
    packs.iter().copied().flat_map(Pack::sensors).collect()
}

/// Fails unless every sensor is on this container.
pub(crate) fn all_are_on(container: &str, placement: &Placement) {
    assert!(placement.values().all(|found| found == container), "not all are on {container}: {placement:?}");
}

/// All but the slow one.
pub(crate) fn tickers(scene: &Scene) -> Vec<String> {
    scene.sensors.iter().filter(|sensor| *sensor != SLOW).cloned().collect()
}

impl Scene {
    /// Some tickers, and the slow sensor inside a poll.
    pub(crate) fn usual() -> Self {
        let scene = Self::of(&[Pack::Ticker(6), Pack::Slow]);
        scene.until_slow_is_inside();
        scene
    }

    /// Starts it. None of these sensors is ever moved for balance: a poller without a cursor stays where it is.
    pub(crate) fn of(packs: &[Pack]) -> Self {
        Self::under(packs, "")
    }

    /// The same under a policy: YAML below `sensors:`, an entry a line.
    pub(crate) fn under(packs: &[Pack], policy: &str) -> Self {
        let (bed, source, sensors) = (testbed(), Source::start(), sensors_of(packs));
        bed.add_packs(packs, &source);
        let file = bed.folder().join("policy.yaml");
        let entries: Vec<String> = policy.lines().map(|line| format!("  {}\n", line.trim())).collect();
        std::fs::write(&file, format!("sensors:\n{}", entries.concat())).unwrap();
        let arbitrator = bed.arbitrator(&[&format!("--policy={}", file.display())]);
        let a = bed.container("a");
        bed.eventually(SETTLES, "every sensor is ACTIVE on a", || bed.placement(&sensors));
        let b = bed.container("b");
        let scene = Self { arbitrator, a, b, source, bed, sensors };
        scene.until_ready("b");
        scene
    }

    /// Waits until a container stands by for every sensor that is not ACTIVE there.
    pub(crate) fn until_ready(&self, container: &str) {
        let ready = |sensor: &st2sa_proto::rest::Sensor| {
            let instance = sensor.instances.iter().find(|instance| instance.container == container);
            instance.is_some_and(|instance| instance.status == word::ACTIVE || instance.state == "ready")
        };
        self.bed.eventually(SETTLES, &format!("{container} stands by for every sensor"), || {
            let sensors = self.bed.sensors()?;
            (sensors.len() == self.sensors.len() && sensors.iter().all(ready)).then_some(())
        });
    }

    /// Waits until the slow sensor is inside a poll.
    pub(crate) fn until_slow_is_inside(&self) {
        self.bed.eventually(SETTLES, "the slow sensor is inside a poll", || self.source.open(SLOW).pop());
    }

    /// Waits until every sensor is ACTIVE exactly once.
    pub(crate) fn settled(&self, bound: Duration) -> Placement {
        self.bed.eventually(bound, "every sensor is ACTIVE exactly once", || self.bed.placement(&self.sensors))
    }

    /// Fails unless each of `sensors` has begun a poll within `bound` of `since`.
    pub(crate) fn polled_within(&self, sensors: &[String], since: Instant, bound: Duration) {
        for sensor in sensors {
            let left = (since + bound).saturating_duration_since(Instant::now());
            let what = format!("{sensor} polls within {bound:?}");
            let poll = self.bed.eventually(left, &what, || self.source.first_since(sensor, since));
            let took = poll.begun.duration_since(since);
            assert!(took <= bound, "{sensor} has polled after {took:?} only, not within {bound:?}");
        }
    }

    /// The processes of the ACTIVE instances.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.sensors.iter().filter_map(|sensor| self.bed.sensor_process(sensor)).collect()
    }

    /// Waits until every sensor has been polled by a process that is none of `held`.
    pub(crate) fn polled_by_others(&self, held: &[Process], since: Instant, bound: Duration) {
        for sensor in &self.sensors {
            let left = (since + bound).saturating_duration_since(Instant::now());
            let what = format!("{sensor} is polled elsewhere within {bound:?}");
            let elsewhere =
                |poll: &&Poll| poll.sensor == *sensor && poll.begun > since && !held.contains(&poll.process);
            self.bed.eventually(left, &what, || self.source.polls().iter().find(elsewhere).map(drop));
        }
    }

    /// Waits until none of `held` lives.
    pub(crate) fn dead_within(&self, held: &[Process], bound: Duration, what: &str) {
        self.bed.eventually(bound, what, || held.iter().all(|process| !process.lives()).then_some(()));
    }

    /// Waits until every sensor has dispatched something from now on; the slow one's polls are let go for that.
    pub(crate) fn all_dispatch(&self) {
        let before = self.bed.triggers().len();
        let mut last_release = None;
        self.bed.eventually(SETTLES, "every sensor dispatches", || {
            // Each poll of its own is let go once.
            let inside = self.source.open(SLOW).pop().map(|poll| poll.connection);
            if inside != last_release {
                self.source.release(SLOW);
                last_release = inside;
            }
            let triggers = self.bed.triggers();
            let dispatched = |sensor: &String| triggers[before..].iter().any(|trigger| trigger.sensor == *sensor);
            self.sensors.iter().all(dispatched).then_some(())
        });
    }

    /// The history from its `from`th record on.
    pub(crate) fn history_from(&self, from: usize) -> Vec<HistoryRecord> {
        let history = self.bed.eventually(SETTLES, "the history is told", || self.bed.history());
        history[from..].to_vec()
    }

    /// How many records the history has.
    pub(crate) fn history_length(&self) -> usize {
        self.history_from(0).len()
    }

    /// Everything is as it should be again: each sensor ACTIVE once and dispatching, and no two ever acted at once.
    pub(crate) fn is_well(&self) -> Placement {
        let placement = self.settled(SETTLES);
        self.all_dispatch();
        self.source.assert_no_overlap();
        placement
    }
}
