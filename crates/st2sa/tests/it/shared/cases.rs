//! What holds on every store.

use std::time::{Duration, Instant};

use st2sa_proto::rest::{Status, word};
use st2sa_testbed::{
    FAILOVER, LoyalContainer, Pack, Placement, Program, SESSION_TTL, Signal, Source, Testbed, longest_gap,
};

use super::Store;
use crate::engines::ARBITRATORS;
use crate::scene::{SETTLES, SLACK, sensors_of};

/// How long a leadership lasts by default, on the store where it lasts longest.
const LEADER_TTL: Duration = Duration::from_secs(4);
/// So much is asked of a leader while it stands still.
const WRITES_TO_A_SLEEPER: usize = 10;

/// Three arbitrators on one store, and two containers.
pub(super) struct Shared<S> {
    arbitrators: Vec<Program>,
    containers: Vec<Program>,
    pub(super) source: Source,
    pub(super) bed: Testbed,
    sensors: Vec<String>,
    // The store goes last: arbitrators are to end without waiting for it.
    pub(super) store: S,
}

impl<S: Store> Shared<S> {
    pub(super) fn start(packs: &[Pack]) -> Self {
        let store = S::start();
        let bed = Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), ARBITRATORS);
        let source = Source::start();
        bed.add_packs(packs, &source);
        let arbitrators = (0..ARBITRATORS).map(|number| bed.arbitrator_on(number, &store.url(), &[])).collect();
        // One is told where arbitrators are, the other one finds the leader through the store.
        let containers = vec![bed.container("a"), bed.container_on("b", &store.url())];
        let shared = Self { arbitrators, containers, source, bed, sensors: sensors_of(packs), store };
        shared.settled();
        shared.until_all_are_electors();
        shared
    }

    /// Every sensor is ACTIVE somewhere and every container stands by for the others.
    pub(super) fn settled(&self) -> Placement {
        let ready = |sensor: &st2sa_proto::rest::Sensor| {
            let stands_by =
                |instance: &st2sa_proto::rest::Instance| instance.status == word::ACTIVE || instance.state == "ready";
            sensor.instances.len() == 2 && sensor.instances.iter().all(stands_by)
        };
        self.bed.eventually(SETTLES * 2, "every sensor runs and has a standby", || {
            let placement = self.bed.placement(&self.sensors)?;
            let sensors = self.bed.sensors()?;
            let mut ours = sensors.iter().filter(|sensor| self.sensors.contains(&sensor.reference));
            ours.all(ready).then_some(placement)
        })
    }

    fn until_all_are_electors(&self) {
        self.bed.eventually(SETTLES, "every arbitrator is an elector", || {
            (self.status()?.electors.len() == ARBITRATORS).then_some(())
        });
    }

    /// What the leader says of itself.
    fn status(&self) -> Option<Status> {
        (0..ARBITRATORS).filter_map(|number| self.bed.status_of(number)).find(|status| status.role == word::LEADER)
    }

    /// What both containers have logged.
    fn logs(&self) -> [String; 2] {
        [0, 1].map(|number: usize| self.containers[number].log())
    }

    /// Which of the arbitrators leads.
    fn leader(&self) -> usize {
        self.bed.eventually(SETTLES, "somebody leads", || {
            let leads = |number: &usize| self.bed.status_of(*number).is_some_and(|status| status.role == word::LEADER);
            (0..ARBITRATORS).find(leads)
        })
    }

    pub(super) fn polled_since(&self, since: Instant, bound: Duration) {
        for sensor in &self.sensors {
            let what = format!("{sensor} polls within {bound:?}");
            self.bed.eventually(bound, &what, || self.source.first_since(sensor, since));
        }
    }

    /// How long nobody polled, of the sensor that waited longest.
    fn longest_pause(&self, since: Instant) -> Duration {
        let (polls, until) = (self.source.polls(), Instant::now());
        self.sensors.iter().map(|sensor| longest_gap(&polls, sensor, since, until)).max().unwrap_or_default()
    }

    /// Somebody else leads, in a higher term.
    fn until_another_leads(&self, than: usize, above: u64, bound: Duration) {
        self.bed.eventually(bound, "another one leads", || {
            let others = (0..ARBITRATORS).filter(|number| *number != than);
            let leads = |status: &Status| status.role == word::LEADER && status.term > above;
            others.filter_map(|number| self.bed.status_of(number)).find(leads)
        });
    }

    fn ordered(&self, number: usize, order: &[&str]) -> String {
        let arbitrator = format!("--arbitrator={}", self.bed.listens()[number]);
        let mut program = self.bed.program("order", &[order, &[&arbitrator]].concat());
        let status = program.wait(SETTLES);
        assert!(status.success(), "{order:?}: {status}: {}", program.log());
        program.output()
    }
}

pub(super) fn a_killed_leader_is_followed_and_no_sensor_moves<S: Store>() {
    let mut shared = Shared::<S>::start(&[Pack::Ticker(6)]);
    for _ in 0..2 {
        let (before, leader) = (shared.settled(), shared.leader());
        let term = shared.status().unwrap().term;
        let since = Instant::now();
        shared.arbitrators[leader].end();
        shared.until_another_leads(leader, term, S::leads_within() + SLACK);
        shared.polled_since(Instant::now(), SETTLES);
        let pause = shared.longest_pause(since);
        assert!(pause < S::leads_within() + SESSION_TTL + SLACK, "{pause:?}");
        shared.arbitrators[leader].restart();
        assert_eq!(shared.settled(), before, "a sensor has moved");
        shared.until_all_are_electors();
        shared.source.assert_no_overlap();
    }
}

pub(super) fn a_leader_that_resigns_pauses_nobody<S: Store>() {
    let mut shared = Shared::<S>::start(&[Pack::Ticker(6)]);
    for _ in 0..2 {
        let (before, leader) = (shared.settled(), shared.leader());
        let term = shared.status().unwrap().term;
        let since = Instant::now();
        shared.arbitrators[leader].kill(Signal::TERM);
        assert_eq!(shared.arbitrators[leader].wait(SETTLES).code(), Some(0), "{}", shared.arbitrators[leader].log());
        shared.until_another_leads(leader, term, S::leads_within() + SLACK);
        shared.polled_since(Instant::now(), SETTLES);
        let pause = shared.longest_pause(since);
        assert!(pause < SESSION_TTL, "{pause:?}: the lease outlasts a hand-over");
        shared.arbitrators[leader].restart();
        assert_eq!(shared.settled(), before, "a sensor has moved");
        shared.source.assert_no_overlap();
    }
}

pub(super) fn a_leader_that_stands_still_is_followed_and_does_nothing_when_it_wakes<S: Store>() {
    let shared = Shared::<S>::start(&[Pack::Ticker(4)]);
    let (before, leader) = (shared.settled(), shared.leader());
    let term = shared.status().unwrap().term;
    // Whatever becomes of the leader, this one asks no other: what a deposed leader still says or does, it says to it.
    let loyal = LoyalContainer::bound_to(shared.bed.listens()[leader], "loyal");
    loyal.write("before");
    shared.bed.eventually(SETTLES, "a leader in force stores what it is given", || {
        let heard = loyal.heard();
        (heard.writes.iter().any(|(_, _, accepted)| accepted.is_ok()) && !heard.acknowledged.is_empty()).then_some(())
    });
    let since = Instant::now();
    shared.arbitrators[leader].kill(Signal::STOP);
    for number in 0..WRITES_TO_A_SLEEPER {
        loyal.write(&format!("asleep{number}"));
    }
    shared.until_another_leads(leader, term, S::leads_within() + SLACK);
    shared.polled_since(Instant::now(), SETTLES);
    // It sleeps three times as long as its leadership lasts.
    shared.bed.eventually(LEADER_TTL * 4, "it has slept for long", || (since.elapsed() > LEADER_TTL * 3).then_some(()));
    let newer = shared.status().unwrap().term;
    let logged = shared.logs().map(|log| log.len());
    let woken = Instant::now();
    shared.arbitrators[leader].kill(Signal::CONT);
    shared.bed.eventually(SETTLES, "it knows that it does not lead", || {
        shared.bed.status_of(leader).filter(|status| status.role == word::STANDS_BY && status.term == newer)
    });
    shared.bed.eventually(SETTLES, "everything that it was asked asleep is answered", || {
        (loyal.heard().writes.len() == WRITES_TO_A_SLEEPER + 1).then_some(())
    });
    assert_eq!(loyal.heard().since(woken), (0, 0, 0), "{:?}", loyal.heard());
    for number in 0..WRITES_TO_A_SLEEPER {
        let (status, value) = shared.bed.document(&format!("/v1/datastore/loyal.loyal:asleep{number}")).unwrap();
        assert_eq!(status, 404, "{value}");
    }
    assert_eq!(shared.settled(), before, "a sensor has moved");
    // Nor did any other container do what it says.
    for (log, length) in shared.logs().iter().zip(logged) {
        let of_old_term = |line: &&str| line.contains(&format!("fence={term}."));
        assert!(log[..length].lines().any(|line| of_old_term(&line)), "none was obeyed before: {log}");
        assert_eq!(log[length..].lines().find(of_old_term), None, "{log}");
    }
    shared.polled_since(Instant::now(), SETTLES);
    shared.source.assert_no_overlap();
}

pub(super) fn the_sensors_of_a_killed_container_go_on_elsewhere<S: Store>() {
    let mut shared = Shared::<S>::start(&[Pack::Ticker(4), Pack::Cursor]);
    shared.settled();
    let since = Instant::now();
    shared.containers[0].kill_with_everything();
    shared.containers[0].wait(SETTLES);
    shared.polled_since(since + Duration::from_millis(1), FAILOVER + SLACK);
    shared.containers[0].restart();
    shared.settled();
    shared.source.assert_no_overlap();
}

pub(super) fn any_arbitrator_answers_and_hands_orders_on<S: Store>() {
    let shared = Shared::<S>::start(&[Pack::Ticker(2), Pack::Cursor]);
    let leader = shared.leader();
    let standby = (0..ARBITRATORS).find(|number| *number != leader).unwrap();
    let sensor = "ticker.Ticker01";
    assert!(shared.ordered(standby, &["sensors"]).contains(sensor));
    assert!(shared.ordered(standby, &["pause", sensor, "--yes", "--who=anne"]).contains("done"));
    assert!(shared.ordered(leader, &["why", sensor]).contains("paused by anne"));
    assert!(shared.ordered(standby, &["resume", sensor]).contains("done"));
    let status = shared.bed.status_of(standby).unwrap();
    assert_eq!((status.role.as_str(), status.sensors.total), (word::STANDS_BY, 3), "{status:?}");
    // The history of before is known to every arbitrator.
    for number in 0..ARBITRATORS {
        shared.bed.eventually(SETTLES, "the history is there", || {
            let (_, history) = shared.bed.document_of(number, "/v1/history?limit=1000")?;
            history.as_array()?.iter().any(|record| record["cause"] == "resumed").then_some(())
        });
    }
    // What sensors keep is in the store.
    let value = "cursor.Cursor:after";
    shared.bed.eventually(SETTLES, "a cursor is stored", || {
        shared.bed.document_of(standby, &format!("/v1/datastore/{value}")).filter(|(status, _)| *status == 200)
    });
}

pub(super) fn a_store_that_is_away_stops_polling_which_resumes_by_itself<S: Store>() {
    let mut shared = Shared::<S>::start(&[Pack::Ticker(3)]);
    let before = shared.settled();
    shared.store.kill();
    let stops_within = LEADER_TTL + SESSION_TTL + SLACK;
    let killed = Instant::now();
    shared.bed.eventually(stops_within + SETTLES, "nobody polls any more", || {
        let last = shared.source.polls().iter().map(|poll| poll.begun).max()?;
        (last.elapsed() > SESSION_TTL).then_some(())
    });
    let last = shared.source.polls().iter().map(|poll| poll.begun).max().unwrap();
    assert!(last - killed < stops_within, "{:?}", last - killed);
    shared.store.start_again();
    shared.polled_since(Instant::now(), SETTLES * 2);
    let after = shared.settled();
    assert_eq!(after.len(), before.len());
    shared.source.assert_no_overlap();
}

pub(super) fn a_store_that_is_away_stops_nothing_with_fail_safe_on<S: Store>() {
    let mut shared = Shared::<S>::start(&[Pack::Ticker(3)]);
    let before = shared.settled();
    let status = shared.status().unwrap();
    if status.engine.starts_with("redis") {
        // A store that may forget cannot be gone without: it says so.
        let arbitrator = format!("--arbitrator={}", shared.bed.listens()[0]);
        let mut refused = shared.bed.program("order", &["fail-safe", "on", "--yes", &arbitrator]);
        assert_eq!(refused.wait(SETTLES).code(), Some(1), "{}", refused.output());
        assert!(refused.log().contains("may forget"), "{}", refused.log());
        return;
    }
    shared.ordered(0, &["fail-safe", "on", "--yes"]);
    assert!(shared.status().unwrap().fail_safe);
    let (since, term) = (Instant::now(), status.term);
    shared.store.kill();
    let extended = || shared.status().filter(|status| status.store == word::EXTENDED && status.term == term);
    shared.bed.eventually(SETTLES, "the leadership is extended", extended);
    let away = LEADER_TTL * 3;
    shared.bed.eventually(away * 2, "it was away for long", || (since.elapsed() > away).then_some(()));
    let pause = shared.longest_pause(since);
    assert!(pause < SESSION_TTL, "{pause:?}: polling never stops");
    assert!(extended().is_some(), "{:?}", shared.status());
    shared.store.start_again();
    let there = || shared.status().filter(|status| status.store == word::THERE && status.term == term);
    shared.bed.eventually(SETTLES * 2, "the leader has its key again, in the same term", there);
    assert_eq!(shared.settled(), before, "a sensor has moved");
    shared.source.assert_no_overlap();
}

pub(super) fn an_arbitrator_that_may_not_lead_says_why<S: Store>() {
    let store = S::start();
    let [old, new] = [(); 2].map(|()| Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), 1));
    let electors_of_old = |electors: usize| {
        old.eventually(SETTLES + LEADER_TTL, &format!("it leads, with {electors} electors"), || {
            let status = old.status_of(0)?;
            (status.role == word::LEADER && status.electors.len() == electors).then_some(())
        });
    };
    let mut listed = old.arbitrator_on(0, &store.url(), &[]);
    electors_of_old(1);
    listed.end();
    // Another one with a folder of its own is another arbitrator, which nobody has listed.
    let unlisted = new.arbitrator_on(0, &store.url(), &[]);
    new.eventually(SETTLES + LEADER_TTL, "it says why it does not lead", || {
        let status = new.status_of(0)?;
        assert_ne!(status.role, word::LEADER);
        status.phase.contains("list of electors").then_some(())
    });
    assert!(unlisted.log().contains("start one of those again"), "{}", unlisted.log());
    listed.restart();
    electors_of_old(2);
}
