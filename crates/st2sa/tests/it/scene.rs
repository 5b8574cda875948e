//! The scene of most tests: an arbitrator, or three that share a store, container `a` with every sensor ACTIVE on it, and container `b` standing by.

use std::any::Any;
use std::time::{Duration, Instant};

use st2sa_proto::rest::{HistoryRecord, word};
use st2sa_testbed::{Pack, Placement, Poll, Process, Program, Signal, Source, Testbed};

use crate::engines::{ARBITRATORS, Engine};

/// What a swamped machine may take on top of any bound.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// Pythons start, packs load and everything settles within this.
pub(crate) const SETTLES: Duration = Duration::from_secs(15);
/// The sensor whose poll outlasts every lease.
pub(crate) const SLOW: &str = "slow.Slow";
/// One of those that poll every 200 ms.
pub(crate) const TICKER: &str = "ticker.Ticker01";

/// An arbitrator that has just started leads nobody for so long: `leader_ttl` by any clock, and the margin.
const KEEPS_STILL_MILLIS: u64 = 2_600;

/// Everything that runs. Programs end before the testbed looks at what they leave.
pub(crate) struct Scene {
    /// The only one; the first of those that share a store.
    pub(crate) arbitrator: Program,
    /// The others that share it.
    others: Vec<Program>,
    pub(crate) a: Program,
    pub(crate) b: Program,
    pub(crate) source: Source,
    pub(crate) bed: Testbed,
    pub(crate) sensors: Vec<String>,
    // It goes last: arbitrators are to end without waiting for it.
    _store: Option<Box<dyn Any>>,
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
        Self::usual_on(Engine::Embedded)
    }

    /// The same on any engine.
    pub(crate) fn usual_on(engine: Engine) -> Self {
        let scene = Self::on(engine, &[Pack::Ticker(6), Pack::Slow]);
        scene.until_slow_is_inside();
        scene
    }

    /// Starts it. None of these sensors is ever moved for balance: a poller without a cursor stays where it is.
    pub(crate) fn of(packs: &[Pack]) -> Self {
        Self::on(Engine::Embedded, packs)
    }

    /// The same on any engine.
    pub(crate) fn on(engine: Engine, packs: &[Pack]) -> Self {
        Self::started(engine, packs, "")
    }

    /// The same under a policy: YAML below `sensors:`, an entry a line.
    pub(crate) fn under(packs: &[Pack], policy: &str) -> Self {
        Self::started(Engine::Embedded, packs, policy)
    }

    fn started(engine: Engine, packs: &[Pack], policy: &str) -> Self {
        let store = engine.start();
        let count = if store.is_some() { ARBITRATORS } else { 1 };
        let bed = Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), count);
        let (source, sensors) = (Source::start(), sensors_of(packs));
        bed.add_packs(packs, &source);
        let file = bed.folder().join("policy.yaml");
        // Journaled, a sensor may be moved for balance as soon as b is there: beside others it is direct.
        let stays = if packs.len() > 1 { "\"cursor.*\": {effects: direct}" } else { "" };
        let entries: Vec<String> = [stays]
            .into_iter()
            .filter(|line| !line.is_empty())
            .chain(policy.lines())
            .map(|line| format!("  {}\n", line.trim()))
            .collect();
        std::fs::write(&file, format!("sensors:\n{}", entries.concat())).unwrap();
        let policy = format!("--policy={}", file.display());
        let start = |number| match &store {
            None => bed.arbitrator(&[&policy]),
            Some((_, url)) => bed.arbitrator_on(number, url, &[&policy]),
        };
        let (arbitrator, others) = (start(0), (1..count).map(start).collect());
        let a = bed.container("a");
        bed.eventually(SETTLES, "every sensor is ACTIVE on a", || bed.placement(&sensors));
        let b = bed.container("b");
        let store = store.map(|(store, _)| store);
        let scene = Self { arbitrator, others, a, b, source, bed, sensors, _store: store };
        scene.until_ready("b");
        scene.until_all_may_lead();
        scene
    }

    /// Waits until every arbitrator may follow the leader.
    pub(crate) fn until_all_may_lead(&self) {
        let count = self.bed.listens().len();
        self.bed.eventually(SETTLES, "every arbitrator may lead", || {
            let mut all = (0..count).filter_map(|number| self.bed.status_of(number));
            all.find(|status| status.role == word::LEADER && (count == 1 || status.electors.len() == count))
        });
    }

    /// Kills every arbitrator, and starts all of them again.
    pub(crate) fn restart_arbitrators(&mut self) {
        self.every_arbitrator().for_each(Program::end);
        self.every_arbitrator().for_each(Program::restart);
    }

    /// Asks one arbitrator after the other to stop, and starts it again before the next.
    pub(crate) fn replace_arbitrators(&mut self) {
        for number in 0..self.bed.listens().len() {
            let Some(arbitrator) = self.every_arbitrator().nth(number) else { return };
            arbitrator.kill(Signal::TERM);
            assert_eq!(arbitrator.wait(SETTLES).code(), Some(0), "{}", arbitrator.log());
            arbitrator.restart();
            self.bed.eventually(SETTLES, "it may lead, should the next one be asked to stop", || {
                self.bed.status_of(number).filter(|status| status.uptime_ms >= KEEPS_STILL_MILLIS)
            });
            self.until_all_may_lead();
        }
    }

    fn every_arbitrator(&mut self) -> impl Iterator<Item = &mut Program> {
        std::iter::once(&mut self.arbitrator).chain(&mut self.others)
    }

    /// One that a test has started itself, with an arbitrator that shares no store.
    pub(crate) fn made_of(
        arbitrator: Program,
        containers: [Program; 2],
        source: Source,
        bed: Testbed,
        sensors: Vec<String>,
    ) -> Self {
        let [a, b] = containers;
        Self { arbitrator, others: Vec::new(), a, b, source, bed, sensors, _store: None }
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
