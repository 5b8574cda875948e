//! Known ways in which earlier designs broke, each scripted, each with the windows that it must enter.
//!
//! A scenario is played in many variations: its moments and lengths are moved a little by the seed, so
//! that what needs an exact interleaving is met by some of them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use st2sa_core::arbiter::Verb;
use st2sa_core::message::Effects;
use st2sa_core::names::{ContainerName, SensorRef};

use crate::clock::{MILLI, Nanos, SECOND};
use crate::plan::{End, Fault, MachineSetup, Run, SensorSetup, Setup};
use crate::random;
use crate::windows::Window;

mod list;

pub use list::ALL;

/// How many variations of a scenario are played.
pub const VARIATIONS: u64 = 300;

/// A scripted interleaving.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, for `--scenario`.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// What some variation must enter.
    pub windows: &'static [Window],
    /// How many shares of the random runs it gets: more where its window is narrow.
    share: usize,
    script: fn(&mut Script<'_>),
}

impl Scenario {
    /// One variation.
    pub fn run(&self, seed: u64) -> Run {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x4841_5A41);
        let mut setup = random::setup(seed, &mut rng);
        let faults = self.jittered(&mut setup, &mut rng);
        Run { setup, faults }
    }

    fn jittered(&self, setup: &mut Setup, rng: &mut ChaCha8Rng) -> Vec<(Nanos, Fault)> {
        plain(setup, rng);
        let mut script = Script { setup, rng, faults: Vec::new() };
        (self.script)(&mut script);
        let mut faults = script.faults;
        faults.sort_by_key(|(at, _)| *at);
        faults
    }
}

/// The scenario of that name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Some scenario's faults, for a random run.
pub(crate) fn jittered(setup: &mut Setup, rng: &mut ChaCha8Rng) -> Vec<(Nanos, Fault)> {
    let mut ticket = rng.random_range(0..ALL.iter().map(|scenario| scenario.share).sum());
    for scenario in ALL {
        if ticket < scenario.share {
            return scenario.jittered(setup, rng);
        }
        ticket -= scenario.share;
    }
    Vec::new()
}

/// A cluster without oddities: three arbitrators, three nodes, one or two journaled sensors.
fn plain(setup: &mut Setup, rng: &mut ChaCha8Rng) {
    setup.forgetful = false;
    setup.fail_safe = false;
    let rate = setup.arbitrators[0];
    setup.arbitrators.resize(3, rate);
    let first = MachineSetup { zone: 0, capacity: None, starts: true, ..setup.machines[0].clone() };
    setup.machines.resize(3, first);
    for (index, machine) in setup.machines.iter_mut().enumerate() {
        machine.name = format!("container-{}", index + 1);
        machine.zone = 0;
        machine.capacity = None;
        machine.starts = true;
    }
    let most = if rng.random_bool(0.5) { 150 } else { rng.random_range(800..=4_000) };
    let sensor = |index: usize| SensorSetup {
        name: format!("pack.Sensor{}", index + 1),
        interval: Some(300 * MILLI),
        effects: Effects::Journal,
        poll: (MILLI, most * MILLI),
        item_every: 200 * MILLI,
        listed_for: None,
        zone: None,
        remembers: true,
        weight: 1,
    };
    setup.sensors = (0..rng.random_range(1..=2)).map(sensor).collect();
    setup.latency = (MILLI / 5, 4 * MILLI);
    setup.engine_delay = 0;
    setup.heal_at = 14 * SECOND;
}

struct Script<'a> {
    setup: &'a mut Setup,
    rng: &'a mut ChaCha8Rng,
    faults: Vec<(Nanos, Fault)>,
}

impl Script<'_> {
    /// At about that time, give or take a quarter of a second.
    fn at(&mut self, millis: u64, fault: Fault) {
        let jitter = self.rng.random_range(0..500);
        self.faults.push(((millis + jitter).saturating_sub(250) * MILLI, fault));
    }

    /// Exactly so long after what was scripted last.
    fn then(&mut self, millis: u64, fault: Fault) {
        let last = self.faults.last().map_or(0, |(at, _)| *at);
        self.faults.push((last + millis * MILLI, fault));
    }

    /// About so long.
    fn span(&mut self, millis: u64) -> Nanos {
        (millis * self.rng.random_range(85..=115) / 100) * MILLI
    }

    fn cut(&mut self, millis: u64, one: End, two: End, span: u64) {
        let span = self.span(span);
        self.at(millis, Fault::Cut(one, two, span));
        self.then(0, Fault::Cut(two, one, span));
    }

    fn then_cut(&mut self, millis: u64, one: End, two: End, span: u64) {
        let span = self.span(span);
        self.then(millis, Fault::Cut(one, two, span));
        self.then(0, Fault::Cut(two, one, span));
    }

    fn then_move(&mut self, millis: u64, to: usize) {
        let sensor = SensorRef::new(&self.setup.sensors[0].name);
        let to = ContainerName::new(&self.setup.machines[to].name);
        self.then(millis, Fault::Operator(Verb::Move { sensor, to }));
    }

    fn first(&self) -> SensorRef {
        SensorRef::new(&self.setup.sensors[0].name)
    }

    /// The extremes of what clocks may do.
    fn rates(&mut self, arbitrators: bool, engine: bool, machines: bool) {
        let rate = |fast| if fast { 1_095_400 } else { 912_900 };
        self.setup.arbitrators.iter_mut().for_each(|clock| *clock = rate(arbitrators));
        self.setup.engine_rate = rate(engine);
        self.setup.machines.iter_mut().for_each(|machine| machine.rate = rate(machines));
    }
}
