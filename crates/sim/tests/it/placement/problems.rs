//! Random problems for the planner, small and large, all from one seed.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::placement::{Labels, Placement, Plan, Problem, Room, SensorNeed, Standing};

/// A problem with any mixture of all that a planner may meet, at most `sensors` by `containers` large.
pub(crate) fn anything(rng: &mut ChaCha8Rng, sensors: usize, containers: usize) -> Problem {
    let containers = rng.random_range(1..=containers);
    let sensors = rng.random_range(sensors / 4..=sensors);
    let odds = Odds::draw(rng);
    let heaviest = *[1, 1, 3, 10].choose(rng).unwrap();
    let mut problem = Problem::default();
    for index in 0..containers {
        let room = Room { labels: labels(rng, odds.labels), capacity: None, draining: rng.random_bool(odds.draining) };
        problem.containers.insert(container(index), room);
    }
    for index in 0..sensors {
        let need = need(rng, &odds, heaviest, containers);
        problem.sensors.insert(sensor(index), need);
    }
    limit_capacities(rng, &odds, &mut problem);
    problem
}

/// Containers of equal load whose sensors were then shuffled among those that may run them: so the goal can be reached.
pub(crate) fn planted(rng: &mut ChaCha8Rng) -> Problem {
    let containers = rng.random_range(2..=24);
    let each = rng.random_range(10..=60_u32);
    let heaviest = *[1, 3, 8, 15].choose(rng).unwrap();
    let choices = *[0.03, 0.1, 0.3, 1.0].choose(rng).unwrap();
    let fixed = *[0.0, 0.2, 0.5].choose(rng).unwrap();
    let mut needs = Vec::new();
    for planted in 0..containers {
        let mut left = each;
        while left > 0 {
            let weight = rng.random_range(1..=left.min(heaviest));
            left -= weight;
            let may_move = !rng.random_bool(fixed);
            let offering: Vec<usize> =
                (0..containers).filter(|&other| other == planted || rng.random_bool(choices)).collect();
            let holder = match rng.random_range(0..10) {
                _ if !may_move => Some(planted),
                0 => None,
                _ => offering.choose(rng).copied(),
            };
            needs.push(SensorNeed {
                weight,
                may_move,
                holder: holder.map(container),
                offers: offering.iter().map(|&at| (container(at), Standing::default())).collect(),
                ..blank()
            });
        }
    }
    needs.shuffle(rng);
    let capacity = rng.random_bool(0.3).then_some(each + each / 10);
    Problem {
        sensors: needs.into_iter().enumerate().map(|(at, need)| (sensor(at), need)).collect(),
        containers: (0..containers).map(|at| (container(at), Room { capacity, ..Room::default() })).collect(),
    }
}

/// The problem that is there when `plan` has been carried out.
pub(crate) fn carried_out(problem: &Problem, plan: &Plan) -> Problem {
    let mut after = problem.clone();
    for (name, Placement { target, .. }) in &plan.placements {
        after.sensors.get_mut(name).unwrap().holder.clone_from(target);
    }
    after
}

fn need(rng: &mut ChaCha8Rng, odds: &Odds, heaviest: u32, containers: usize) -> SensorNeed {
    let mut need = SensorNeed {
        weight: rng.random_range(1..=heaviest),
        require: labels(rng, odds.require),
        prefer: labels(rng, odds.require),
        may_move: rng.random_bool(odds.movable),
        paused: rng.random_bool(odds.paused),
        ..blank()
    };
    for index in 0..containers {
        if rng.random_bool(odds.offered) {
            let standing =
                Standing { stale_code: rng.random_bool(odds.stale), failed_there: rng.random_bool(odds.failed) };
            need.offers.insert(container(index), standing);
        }
    }
    if rng.random_bool(odds.held) {
        // Now and then a container that is gone.
        let holding = if odds.lost && rng.random_bool(0.1) { containers + 1 } else { odds.holding.min(containers) };
        need.holder = Some(container(rng.random_range(0..holding)));
    }
    if rng.random_bool(odds.wanted) {
        need.wanted = Some(container(rng.random_range(0..containers)));
    }
    need
}

fn limit_capacities(rng: &mut ChaCha8Rng, odds: &Odds, problem: &mut Problem) {
    let total: u32 = problem.sensors.values().map(|need| need.weight).sum();
    let fair = total / u32::try_from(problem.containers.len()).unwrap() + 1;
    for (name, room) in &mut problem.containers {
        if rng.random_bool(odds.limited) {
            let held = problem.sensors.values().filter(|need| need.holder.as_ref() == Some(name));
            let held: u32 = held.map(|need| need.weight).sum();
            let capacity = rng.random_range(fair / 2..=fair * 2);
            room.capacity = Some(if odds.overfull { capacity } else { capacity.max(held) });
        }
    }
}

/// How often what is met in one problem; drawn for each problem, so that some are plain and some are wild.
struct Odds {
    labels: f64,
    require: f64,
    draining: f64,
    movable: f64,
    paused: f64,
    offered: f64,
    stale: f64,
    failed: f64,
    held: f64,
    /// How many containers hold any.
    holding: usize,
    lost: bool,
    wanted: f64,
    limited: f64,
    overfull: bool,
}

impl Odds {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let holding = *[1, 2, usize::MAX].choose(rng).unwrap();
        let mut one_of = |odds: &[f64]| *odds.choose(rng).unwrap();
        Self {
            labels: 0.7,
            require: one_of(&[0.0, 0.0, 0.2]),
            draining: one_of(&[0.0, 0.0, 0.2]),
            movable: one_of(&[1.0, 0.7, 0.3]),
            paused: one_of(&[0.0, 0.05]),
            offered: one_of(&[1.0, 1.0, 0.8, 0.5]),
            stale: one_of(&[0.0, 0.0, 0.0, 0.3]),
            failed: one_of(&[0.0, 0.0, 0.1]),
            held: one_of(&[0.5, 0.95, 1.0]),
            holding,
            lost: one_of(&[0.0, 1.0]) > 0.0,
            wanted: one_of(&[0.0, 0.0, 0.0, 0.1]),
            limited: one_of(&[0.0, 0.0, 0.5]),
            overfull: one_of(&[0.0, 0.0, 1.0]) > 0.0,
        }
    }
}

fn labels(rng: &mut ChaCha8Rng, odds: f64) -> Labels {
    let mut labels = Labels::new();
    for key in ["disk", "zone"] {
        if rng.random_bool(odds) {
            let value = *["a", "b"].choose(rng).unwrap();
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    labels
}

fn blank() -> SensorNeed {
    SensorNeed {
        weight: 1,
        require: Labels::new(),
        prefer: Labels::new(),
        offers: BTreeMap::new(),
        holder: None,
        may_move: true,
        wanted: None,
        paused: false,
    }
}

fn container(index: usize) -> ContainerName {
    ContainerName::new(format!("node-{index:02}"))
}

fn sensor(index: usize) -> SensorRef {
    SensorRef::new(format!("pack{}.Sensor{index:04}", index % 7))
}
