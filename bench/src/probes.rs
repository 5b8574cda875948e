//! The scene: an arbitrator, two containers, and probes that show when they are set up and when they poll.

use std::path::Path;
use std::time::{Duration, Instant};

use st2sa_proto::rest::{Status, word};
use st2sa_testbed::{Poll, Program, Source, Testbed};

/// How often the probes poll.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);
/// Whatever is waited for comes within this, or the measurement is given up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Arbitrators that share a store.
pub(crate) const ARBITRATORS: usize = 3;

/// Everything that runs.
pub(crate) struct Scene {
    pub(crate) testbed: Testbed,
    pub(crate) source: Source,
    /// The only one; none where several share a store.
    arbitrator: Option<Program>,
    pub(crate) containers: [Program; 2],
    pub(crate) probes: Vec<String>,
}

impl Scene {
    /// Starts everything; returns once every probe polls and has a standby.
    pub(crate) fn start(binary: &Path, probes: u32) -> Self {
        let testbed = Testbed::new(binary);
        let arbitrator = testbed.arbitrator(&["--log=warn"]);
        Self::around(testbed, Some(arbitrator), probes)
    }

    /// The same with several arbitrators on the store of this url.
    pub(crate) fn shared(binary: &Path, probes: u32, url: &str) -> (Self, Vec<Program>) {
        let testbed = Testbed::for_arbitrators(binary, ARBITRATORS);
        let start = |number| testbed.arbitrator_on(number, url, &[]);
        let arbitrators = (0..ARBITRATORS).map(start).collect();
        (Self::around(testbed, None, probes), arbitrators)
    }

    /// The only arbitrator.
    pub(crate) fn arbitrator(&mut self) -> &mut Program {
        self.arbitrator.as_mut().unwrap_or_else(|| unreachable!("several arbitrators are asked for one by one"))
    }

    fn around(testbed: Testbed, arbitrator: Option<Program>, probes: u32) -> Self {
        let source = Source::start();
        write_pack(testbed.folder(), &source.url(), probes).unwrap_or_else(|error| {
            eprintln!("error: the probes cannot be written: {error}");
            std::process::exit(1);
        });
        let containers = ["a", "b"].map(|name| testbed.container_in(name, name, &[]));
        let probes = (1..=probes).map(|number| format!("probe.Probe{number:02}")).collect();
        let scene = Self { testbed, source, arbitrator, containers, probes };
        scene.wait_until_whole();
        scene
    }

    /// Waits until every probe is ACTIVE, polls, and has a standby that is ready.
    pub(crate) fn wait_until_whole(&self) {
        self.testbed.eventually(PATIENCE, "every probe runs and has a standby", || {
            self.testbed.placement(&self.probes)?;
            let sensors = self.testbed.sensors()?;
            let mut probes = sensors.iter().filter(|sensor| self.probes.contains(&sensor.reference));
            let ready = probes.all(|sensor| {
                sensor.instances.len() == 2 && sensor.instances.iter().any(|instance| instance.state == "ready")
            });
            ready.then_some(())
        });
        let since = Instant::now();
        for probe in &self.probes {
            self.next(probe, since);
        }
    }

    /// Which of several arbitrators leads, and in which term, once every other one may follow it.
    pub(crate) fn leader(&self) -> (usize, u64) {
        self.testbed.eventually(PATIENCE, "somebody leads whom every other one may follow", || {
            (0..ARBITRATORS).find_map(|number| {
                let status = self.testbed.status_of(number).filter(leads)?;
                (status.electors.len() == ARBITRATORS).then_some((number, status.term))
            })
        })
    }

    /// Waits until another arbitrator leads, in a later term.
    pub(crate) fn until_another_leads(&self, than: usize, term: u64) {
        self.testbed.eventually(PATIENCE, "another one leads", || {
            let others = (0..ARBITRATORS).filter(|number| *number != than);
            let mut others = others.filter_map(|number| self.testbed.status_of(number));
            others.find(|status| leads(status) && status.term > term)
        });
    }

    /// Gives an order as an operator would.
    pub(crate) fn order(&self, order: &[&str]) {
        let arbitrator = format!("--arbitrator={}", self.testbed.listen());
        let yes = if order[0] == "undrain" { None } else { Some("--yes") };
        let arguments: Vec<&str> = order.iter().copied().chain([arbitrator.as_str()]).chain(yes).collect();
        let mut program = self.testbed.program("order", &arguments);
        let status = program.wait(PATIENCE);
        assert!(status.success(), "{order:?}: {status}: {}", program.log());
    }

    /// Waits for so many good polls of a probe: a failure is forgotten after ten.
    pub(crate) fn wait_for_polls(&self, probe: &str, polls: usize) {
        let since = Instant::now();
        self.testbed.eventually(PATIENCE, "a probe polls on", || {
            let begun = self.source.polls().iter().filter(|poll| poll.sensor == probe && poll.begun >= since).count();
            (begun > polls).then_some(())
        });
    }

    /// The first poll of a probe after a moment.
    pub(crate) fn next(&self, probe: &str, since: Instant) -> Poll {
        self.testbed.eventually(PATIENCE, "a probe polls", || self.source.first_since(probe, since))
    }

    /// When a probe was first set up, or polled, after a moment.
    pub(crate) fn next_sign(&self, probe: &str, since: Instant) -> Instant {
        let setup = probe.replacen("probe.", "setup.", 1);
        self.testbed.eventually(PATIENCE, "a probe is set up or polls", || {
            let signs = [self.source.first_since(&setup, since), self.source.first_since(probe, since)];
            signs.into_iter().flatten().map(|poll| poll.begun).min()
        })
    }

    /// Which of the containers runs the probe.
    pub(crate) fn holder(&self, probe: &str) -> usize {
        let name = self
            .testbed
            .eventually(PATIENCE, "a probe is ACTIVE", || self.testbed.placement(&self.probes)?.remove(probe));
        usize::from(name == self.containers[1].name())
    }
}

fn leads(status: &Status) -> bool {
    status.role == word::LEADER
}

fn write_pack(folder: &Path, url: &str, probes: u32) -> std::io::Result<()> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sensors = folder.join("packs/probe/sensors");
    std::fs::create_dir_all(&sensors)?;
    std::fs::copy(kept.join("packs/probe/pack.yaml"), folder.join("packs/probe/pack.yaml"))?;
    std::fs::copy(kept.join("packs/probe/sensors/probe.py"), sensors.join("probe.py"))?;
    std::fs::copy(kept.join("../crates/testbed/packs/at_source.py"), sensors.join("at_source.py"))?;
    for number in 1..=probes {
        let metadata = format!(
            "---\nclass_name: Probe{number:02}\nentry_point: probe.py\ndescription: A probe.\npoll_interval: {}\n",
            INTERVAL.as_secs_f64()
        );
        std::fs::write(sensors.join(format!("probe_{number:02}.yaml")), metadata)?;
    }
    std::fs::create_dir_all(folder.join("configs"))?;
    std::fs::write(folder.join("configs/probe.yaml"), format!("---\nsource: {url}\n"))
}
