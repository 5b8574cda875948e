//! Turns where the plan has got to into placements with their reasons.

use std::collections::BTreeMap;

use super::model::{Cause, DRAINING, FAILED, Model, STALE, State, lacking};
use super::{Placement, Plan, Problem, Reason, Room, Rule, SensorNeed, weight};
use crate::names::ContainerName;

/// The plan that `state` amounts to.
pub(super) fn report(problem: &Problem, model: &Model<'_>, state: &State) -> Plan {
    let before = State::new(model).load;
    let planned = model.sensors.iter().enumerate().map(|(index, sensor)| {
        let placement = match state.at[index] {
            Some(at) => Placement {
                target: Some(model.containers[at].name.clone()),
                rule: rule(problem, model, state, &before, index, at),
            },
            None => Placement { target: None, rule: nowhere(problem, model, state, sensor.need) },
        };
        (sensor.name.clone(), placement)
    });
    let mut placements: BTreeMap<_, _> = planned.collect();
    for (name, _) in problem.sensors.iter().filter(|(_, need)| need.paused) {
        placements.insert(name.clone(), Placement { target: None, rule: Rule::Paused });
    }
    Plan { placements }
}

/// What stands against a sensor on `container`, which carries `beside` without it.
pub(super) fn obstacle(need: &SensorNeed, container: &ContainerName, room: &Room, beside: u64) -> Option<Reason> {
    let Some(standing) = need.offers.get(container) else {
        return Some(Reason::NotOffered);
    };
    if room.draining {
        return Some(Reason::Draining);
    }
    if let Some((key, value)) = lacking(&need.require, room) {
        return Some(Reason::Label { key: key.clone(), value: value.clone() });
    }
    if standing.failed_there {
        return Some(Reason::FailedThere);
    }
    if standing.stale_code {
        return Some(Reason::StaleCode);
    }
    let weight = weight(need);
    let capacity = room.capacity.map(u64::from)?;
    (beside + weight > capacity).then_some(Reason::Full { load: beside, weight, capacity })
}

/// Why the sensor with this index is on `at`.
fn rule(problem: &Problem, model: &Model<'_>, state: &State, before: &[u64], index: usize, at: usize) -> Rule {
    let sensor = &model.sensors[index];
    let here = &model.containers[at];
    let on = here.name.clone();
    let flaw = model.flaw(index, at);
    if state.pinned[index] {
        return Rule::Wanted { on };
    }
    if sensor.holder == Some(at) {
        return if flaw & DRAINING != 0 {
            Rule::StaysDraining { on }
        } else if flaw & FAILED != 0 {
            Rule::StaysFailing { on }
        } else if flaw & STALE != 0 {
            Rule::StaysStaleCode { on }
        } else if state.load[at] > here.capacity {
            Rule::StaysFull { on, load: state.load[at], capacity: here.capacity }
        } else {
            Rule::Stays { on }
        };
    }
    let beside = state.load[at] - sensor.weight;
    if flaw != 0
        && state.first_cause(index).is_some_and(Cause::is_forced)
        && let Some(room) = problem.containers.get(here.name)
        && let Some(despite) = obstacle(sensor.need, here.name, room, beside)
    {
        return Rule::LastResort { on, despite };
    }
    let Some(from) = sensor.need.holder.clone() else {
        return Rule::Placed { on, beside };
    };
    let Some(holder) = sensor.holder else {
        return Rule::LeavesLost { from, to: on };
    };
    match state.first_cause(index) {
        Some(Cause::Draining) => Rule::LeavesDraining { from, to: on },
        Some(Cause::Failed) => Rule::LeavesFailed { from, to: on },
        Some(Cause::StaleCode) => Rule::LeavesStaleCode { from, to: on },
        Some(Cause::MakesRoom) => Rule::MakesRoom { from, to: on },
        Some(Cause::Full) => {
            Rule::LeavesFull { from, to: on, load: before[holder], capacity: model.containers[holder].capacity }
        }
        Some(Cause::Balance | Cause::Wanted | Cause::Unplaced) | None => {
            Rule::Balances { from, to: on, from_load: before[holder], to_load: before[at] }
        }
    }
}

/// Why a sensor runs nowhere.
fn nowhere(problem: &Problem, model: &Model<'_>, state: &State, need: &SensorNeed) -> Rule {
    let reasons: Vec<_> = model
        .containers
        .iter()
        .zip(problem.containers.values())
        .zip(&state.load)
        .filter(|((here, _), _)| need.offers.contains_key(here.name))
        .filter_map(|((here, room), &load)| Some((here.name.clone(), obstacle(need, here.name, room, load)?)))
        .collect();
    if reasons.is_empty() { Rule::NobodyOffers } else { Rule::NobodyEligible { reasons } }
}
