//! Runs drawn from a seed: a cluster, and a mix of faults that differs from seed to seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use st2sa_core::arbiter::Verb;
use st2sa_core::message::Effects;
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::time::Span;
use st2sa_core::timing::Timing;

use crate::clock::{MILLI, Nanos, SECOND};
use crate::plan::{End, Fate, Fault, Kind, MachineSetup, Mood, Run, SensorSetup, Setup, Who};

/// The ratio of any two rates is at most 1.2, the default `max_drift`.
const SLOWEST: u64 = 912_900;
const FASTEST: u64 = 1_095_400;

/// The lengths of time of simulated clusters: the defaults where safety counts, shorter ones for what
/// takes minutes.
pub fn timing() -> Timing {
    Timing {
        code_settle: Span::from_secs(3),
        voluntary_move_interval: Span::from_secs(8),
        failure_memory: Span::from_secs(8),
        apply_grace: Span::from_secs(2),
        elector_silence: Span::from_secs(6),
        ..Timing::default()
    }
}

/// The run of a seed.
pub fn run(seed: u64) -> Run {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut setup = setup(seed, &mut rng);
    let faults =
        if rng.random_ratio(1, 2) { crate::hazards::jittered(&mut setup, &mut rng) } else { mix(&setup, &mut rng) };
    let mut faults = faults;
    faults.sort_by_key(|(at, _)| *at);
    Run { setup, faults }
}

pub(crate) fn setup(seed: u64, rng: &mut ChaCha8Rng) -> Setup {
    let most = if rng.random_ratio(1, 4) { 7 } else { 3 };
    let machines = rng.random_range(2..=most);
    let sensors = match rng.random_range(0..12) {
        0 => rng.random_range(10..=50),
        1..=3 => rng.random_range(3..=8),
        _ => rng.random_range(1..=2),
    };
    let forgetful = rng.random_ratio(1, 8);
    let rate = |rng: &mut ChaCha8Rng| match rng.random_range(0..4) {
        0 => SLOWEST,
        1 => FASTEST,
        _ => rng.random_range(SLOWEST..=FASTEST),
    };
    let slow_network = rng.random_ratio(1, 5);
    let zones = rng.random_ratio(1, 6);
    let twin = rng.random_ratio(1, 12);
    let capacity = rng.random_ratio(1, 12).then_some(60);
    let mut setup = Setup {
        seed,
        timing: timing(),
        forgetful,
        fail_safe: !forgetful && rng.random_ratio(1, 3),
        arbitrators: (0..rng.random_range(1..=3)).map(|_| rate(rng)).collect(),
        engine_rate: rate(rng),
        machines: (0..machines)
            .map(|index| MachineSetup {
                name: format!("container-{}", index + 1),
                rate: rate(rng),
                zone: u8::from(zones && index % 2 == 1),
                capacity,
                starts: true,
            })
            .collect(),
        sensors: (0..sensors).map(|index| sensor(index, sensors, zones, rng)).collect(),
        latency: if slow_network { (MILLI, 120 * MILLI) } else { (MILLI / 5, 4 * MILLI) },
        // A round trip stays within a heartbeat: beyond that nobody can lead.
        engine_delay: if rng.random_ratio(1, 3) && !slow_network { rng.random_range(1..=150) * MILLI } else { 0 },
        heal_at: rng.random_range(12..=30) * SECOND,
    };
    if twin {
        setup.machines.push(MachineSetup { starts: false, ..setup.machines[0].clone() });
    }
    setup
}

fn sensor(index: usize, of: usize, zones: bool, rng: &mut ChaCha8Rng) -> SensorSetup {
    let passive = rng.random_ratio(1, 8);
    let long = rng.random_ratio(1, 3);
    let interval = if of > 8 { rng.random_range(800..=4_000) } else { rng.random_range(50..=2_500) } * MILLI;
    let most = if long { rng.random_range(500..=6_000) } else { rng.random_range(1..=300) } * MILLI;
    SensorSetup {
        name: format!("pack{}.Sensor{}", index % 3, index + 1),
        interval: (!passive).then_some(interval),
        effects: if passive || rng.random_ratio(1, 4) { Effects::Direct } else { Effects::Journal },
        poll: (MILLI, most),
        item_every: rng.random_range(300..=2_000) * MILLI,
        listed_for: None,
        zone: (zones && rng.random_ratio(1, 3)).then(|| rng.random_range(0..=1)),
        remembers: rng.random_ratio(1, 2),
        weight: if rng.random_ratio(1, 4) { rng.random_range(1..=5) } else { 1 },
    }
}

/// A mix of a few kinds of faults: few kinds together meet more often than all kinds do.
fn mix(setup: &Setup, rng: &mut ChaCha8Rng) -> Vec<(Nanos, Fault)> {
    let kinds: Vec<u32> = (0..rng.random_range(1..=5)).map(|_| rng.random_range(0..KINDS)).collect();
    let count = rng.random_range(1..=14);
    let from = 1_500 * MILLI;
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = rng.random_range(from..setup.heal_at);
        let kind = kinds[rng.random_range(0..kinds.len())];
        for fault in fault(kind, setup, rng) {
            faults.push((at + rng.random_range(0..300) * MILLI, fault));
        }
    }
    if setup.machines.iter().any(|machine| !machine.starts) {
        let at = rng.random_range(from..setup.heal_at);
        faults.push((at, Fault::Start(setup.machines.len() - 1)));
    }
    faults
}

const KINDS: u32 = 25;

fn fault(kind: u32, setup: &Setup, rng: &mut ChaCha8Rng) -> Vec<Fault> {
    let node = rng.random_range(0..setup.machines.len());
    let arbitrator = rng.random_range(0..setup.arbitrators.len());
    let sensor = rng.random_range(0..setup.sensors.len());
    let span = span(rng);
    let again = Some(rng.random_range(50..6_000) * MILLI);
    let (here, there) = (End::Machine(node), End::Arbitrator(arbitrator));
    match kind {
        0 => vec![Fault::Crash(Who::Container(node), again)],
        1 => vec![Fault::Crash(Who::Machine(node), again)],
        2 => vec![Fault::Crash(Who::Arbitrator(arbitrator), again)],
        3 => vec![Fault::Crash(Who::Guardian(node), None)],
        4 => vec![Fault::Crash(Who::Sensors(node), None)],
        5 => vec![Fault::Pause(Who::Container(node), span)],
        6 => vec![Fault::Pause(Who::Guardian(node), span)],
        7 => vec![Fault::Pause(Who::Machine(node), span)],
        8 => vec![Fault::Pause(Who::Arbitrator(arbitrator), span)],
        9 => vec![Fault::Gap(
            match rng.random_range(0..3) {
                0 => Who::Arbitrator(arbitrator),
                1 => Who::Container(node),
                _ => Who::Guardian(node),
            },
            span,
        )],
        10 => (0..setup.arbitrators.len())
            .flat_map(|index| both(End::Machine(node), End::Arbitrator(index), span))
            .collect(),
        11 if rng.random_bool(0.5) => vec![Fault::Cut(here, there, span)],
        11 => vec![Fault::Cut(there, here, span)],
        12 => both(there, End::Engine, span),
        13 => vec![if rng.random_bool(0.5) {
            Fault::Cut(there, End::Engine, span)
        } else {
            Fault::Cut(End::Engine, there, span)
        }],
        14 => vec![Fault::Break(node)],
        15 => vec![Fault::Slow(
            if rng.random_bool(0.5) { here } else { there },
            if rng.random_bool(0.5) { there } else { here },
            span,
        )],
        16 => vec![match rng.random_range(0..4) {
            0 => Fault::Stall(span),
            1 => Fault::Outage(span),
            2 => Fault::Mute(span.min(2 * SECOND)),
            _ => Fault::Twice(span),
        }],
        17 => {
            let mood = [Mood::Raises, Mood::Hangs, Mood::Dies][rng.random_range(0..3)];
            let at = rng.random_bool(0.6).then_some(node);
            vec![Fault::Mood(sensor, at, mood, span)]
        }
        18 => vec![Fault::Code(node, sensor, rng.random_range(2..6))],
        19 => vec![Fault::Operator(verb(setup, node, sensor, rng))],
        20 if setup.forgetful => vec![Fault::Forget(rng.random_range(0..3_000) * MILLI)],
        20 => vec![Fault::Hidden(
            if rng.random_bool(0.5) { Who::Arbitrator(arbitrator) } else { Who::Machine(node) },
            span,
        )],
        21 => vec![Fault::Withdraw(node, sensor, span)],
        23 => {
            // The arbitrators are replaced, with another ttl.
            let session_ttl = Span::from_millis(rng.random_range(1_600..6_000));
            let other = Timing { session_ttl, ..timing() };
            (0..setup.arbitrators.len()).map(|index| Fault::Retime(index, other.clone())).collect()
        }
        22 => {
            let kinds = [
                Kind::Hello,
                Kind::ReadAll,
                Kind::ReadJournal,
                Kind::Join,
                Kind::Strike,
                Kind::Commit,
                Kind::Stopped,
                Kind::Ack,
                Kind::Campaign,
                Kind::Resign,
            ];
            let kind = kinds[rng.random_range(0..kinds.len())];
            let span = span.min(4 * SECOND);
            vec![Fault::Intercept(
                kind,
                [Fate::Late(span), Fate::Again(span), Fate::AnswerLost][rng.random_range(0..3)],
            )]
        }
        _ => vec![Fault::Leave(node, again)],
    }
}

fn both(one: End, two: End, span: Nanos) -> Vec<Fault> {
    vec![Fault::Cut(one, two, span), Fault::Cut(two, one, span)]
}

/// Around and beyond every lease.
fn span(rng: &mut ChaCha8Rng) -> Nanos {
    match rng.random_range(0..4) {
        0 => rng.random_range(20..600) * MILLI,
        1 => rng.random_range(1_200..3_400) * MILLI,
        _ => rng.random_range(300..9_000) * MILLI,
    }
}

fn verb(setup: &Setup, node: usize, sensor: usize, rng: &mut ChaCha8Rng) -> Verb {
    let name = ContainerName::new(&setup.machines[node].name);
    let reference = SensorRef::new(&setup.sensors[sensor].name);
    match rng.random_range(0..7) {
        0 => Verb::Pause(reference),
        1 => Verb::Resume(reference),
        2 => Verb::Drain(name),
        3 => Verb::Undrain(name),
        4 => Verb::Resign,
        _ => Verb::Move { sensor: reference, to: name },
    }
}
