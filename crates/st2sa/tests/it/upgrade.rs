//! A rolling upgrade on one machine: container by container is drained, ended, started anew and used again,
//! then each arbitrator is; sensors poll all the while.

use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{Pack, Signal, longest_gap};

use crate::engines::{Engine, on_every_engine};
use crate::scene::{SETTLES, SLACK, Scene};

/// Two intervals of a ticker: one tick would be missing.
const MISSED: Duration = Duration::from_millis(400);

impl Scene {
    fn ordered(&self, order: &[&str]) {
        let arbitrator = format!("--arbitrator={}", self.bed.listen());
        let mut program = self.bed.program("order", &[order, &["--yes", &arbitrator]].concat());
        assert!(program.wait(SETTLES * 2).success(), "{order:?}: {}", program.log());
    }

    fn until_back(&self, name: &str) {
        self.bed.eventually(SETTLES, &format!("{name} is back"), || {
            let containers = self.bed.containers()?;
            containers.iter().find(|container| container.name == name && container.state == word::DRAINING).map(drop)
        });
        self.until_ready(name);
    }
}

on_every_engine!(a_rolling_upgrade_misses_no_tick_and_never_overlaps);

fn a_rolling_upgrade_misses_no_tick_and_never_overlaps(engine: Engine) {
    let mut scene = Scene::on(engine, &[Pack::Ticker(8), Pack::Cursor]);
    let since = Instant::now();
    for name in ["a", "b"] {
        scene.ordered(&["drain", name]);
        let container = if name == "a" { &mut scene.a } else { &mut scene.b };
        container.kill(Signal::TERM);
        assert_eq!(container.wait(SETTLES).code(), Some(0), "{}", container.log());
        container.restart();
        scene.until_back(name);
        let arbitrator = format!("--arbitrator={}", scene.bed.listen());
        let mut undrain = scene.bed.program("undrain", &["undrain", name, &arbitrator]);
        assert!(undrain.wait(SETTLES).success(), "{}", undrain.log());
    }
    scene.replace_arbitrators();
    scene.settled(SETTLES);
    let until = Instant::now();
    let polls = scene.source.polls();
    for sensor in &scene.sensors {
        let gap = longest_gap(&polls, sensor, since, until);
        assert!(gap < MISSED + SLACK, "{sensor} was not polled for {gap:?}");
    }
    scene.source.assert_no_overlap();
    // Handed over in good order, nothing is dispatched twice or left out, journal or not.
    let numbers: Vec<u64> =
        scene.bed.triggers().into_iter().filter_map(|trigger| trigger.payload["number"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}
