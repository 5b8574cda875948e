//! Where each sensor should be ACTIVE: a pure function from what is known to a plan and its reasons.
//!
//! [`plan`] looks at one moment and remembers nothing: whoever calls it says what may be moved ([`SensorNeed::may_move`])
//! and carries the plan out. It works in passes, each from where the last one left the sensors, until one changes nothing.
//! Then it forgets what it moved and looks again as if the plan had been carried out, until that changes nothing either;
//! so a plan that was carried out is the plan of its own result, and plans do not flap.
//!
//! One pass is: an operator's moves, what must leave its container or has none, newer code, the balance of load.
//! How unfit a container is for a sensor is one number: none when every hard rule holds; else a holder that drains is
//! better than stale code, and stale code is better than a container where the sensor failed. A sensor leaves for a
//! container that is fitter, never for one that is not, except to balance among those that are fit.

use std::collections::BTreeMap;

use crate::names::{ContainerName, SensorRef};

pub use rule::{Reason, Rule};

mod balance;
mod board;
mod hash;
mod model;
mod report;
mod rule;
mod search;
mod settle;
#[cfg(test)]
mod tests;

/// Keys and values that containers carry and sensors ask for.
pub type Labels = BTreeMap<String, String>;

/// All that a plan is made from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Problem {
    /// Every enabled sensor, paused ones included.
    pub sensors: BTreeMap<SensorRef, SensorNeed>,
    /// Every container that is here, draining ones included.
    pub containers: BTreeMap<ContainerName, Room>,
}

/// What one sensor needs, and where it stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SensorNeed {
    /// How much load it is, at least 1 (0 is taken for 1).
    pub weight: u32,
    /// Labels that its container must have.
    pub require: Labels,
    /// Labels that its container should have: they decide between containers of equal load, and where it goes
    /// when it has to be placed anyway and the goal of balance holds on either.
    pub prefer: Labels,
    /// Who offers it, and what is known of it there.
    pub offers: BTreeMap<ContainerName, Standing>,
    /// Where it is ACTIVE.
    pub holder: Option<ContainerName>,
    /// Whether it may be moved only to balance the load or for newer code.
    pub may_move: bool,
    /// Where an operator wants it; honoured when that container is eligible.
    pub wanted: Option<ContainerName>,
    /// Whether an operator paused it.
    pub paused: bool,
}

/// What is known of one sensor on one container that offers it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Standing {
    /// The container would run code that is not the newest.
    pub stale_code: bool,
    /// It failed there and that is not forgotten.
    pub failed_there: bool,
}

/// What one container has to give.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Room {
    /// Its labels.
    pub labels: Labels,
    /// The sum of weights that it may carry; no bound when absent.
    pub capacity: Option<u32>,
    /// It gives away what it can and receives nothing.
    pub draining: bool,
}

/// Where every sensor should be ACTIVE.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Plan {
    /// One placement for each sensor of the problem.
    pub placements: BTreeMap<SensorRef, Placement>,
}

/// Where one sensor should be ACTIVE, and why.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Placement {
    /// The container; nowhere when absent.
    pub target: Option<ContainerName>,
    /// The rule that decided.
    pub rule: Rule,
}

/// The most passes of one plan.
///
/// A plan that changes nothing takes one, one that does nearly always three, for the last two find nothing left to do.
/// The bound only keeps a plan finite should passes ever chase each other: what is left then is done by the next plan.
const MAX_PASSES: usize = 16;

/// Plans where every sensor of `problem` should be ACTIVE.
pub fn plan(problem: &Problem) -> Plan {
    let model = model::Model::new(problem);
    let mut state = model::State::new(&model);
    for _ in 0..MAX_PASSES {
        let before = state.at.clone();
        state.begin_pass();
        settle::settle(&model, &mut state);
        balance::balance(&model, &mut state);
        if state.at == before && !state.begin_stage() {
            break;
        }
    }
    report::report(problem, &model, &state)
}

/// What stands against `sensor` running on `container` now, if anything does.
///
/// The load that counts against the container's capacity is that of the sensors that are ACTIVE there.
pub fn ineligible(problem: &Problem, sensor: &SensorRef, container: &ContainerName) -> Option<Reason> {
    let (Some(need), Some(room)) = (problem.sensors.get(sensor), problem.containers.get(container)) else {
        return Some(Reason::NotOffered);
    };
    let beside = problem
        .sensors
        .iter()
        .filter(|(other, need)| *other != sensor && !need.paused && need.holder.as_ref() == Some(container))
        .map(|(_, need)| weight(need))
        .sum();
    report::obstacle(need, container, room, beside)
}

/// A sensor's weight as it is counted.
fn weight(need: &SensorNeed) -> u64 {
    u64::from(need.weight.max(1))
}
