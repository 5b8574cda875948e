//! What every plan has to keep, read off the problem by the rules as they are written.

use std::collections::BTreeMap;

use st2sa_core::names::ContainerName;
use st2sa_core::placement::{Placement, Plan, Problem, Reason, Rule, SensorNeed, ineligible};

/// Fails with the first rule that `plan` breaks.
pub(crate) fn keeps_the_hard_rules(problem: &Problem, plan: &Plan) {
    assert!(plan.placements.keys().eq(problem.sensors.keys()), "one placement for each sensor");
    let check = Check { problem, plan, load: loads(problem, plan) };
    for (name, need) in &problem.sensors {
        let placement = &plan.placements[name];
        let Some(target) = &placement.target else {
            assert!(need.paused || check.could_go(need, Fitness::Any).is_none(), "{name} has no place");
            continue;
        };
        assert!(!need.paused, "{name} is paused");
        check.sensor(need, target, placement);
    }
    check.capacities();
    check.draws();
}

/// Where the sensors are and what they weigh.
pub(crate) fn loads(problem: &Problem, plan: &Plan) -> BTreeMap<ContainerName, u64> {
    let mut load: BTreeMap<_, _> = problem.containers.keys().map(|name| (name.clone(), 0)).collect();
    for (name, placement) in &plan.placements {
        if let Some(target) = &placement.target {
            *load.get_mut(target).unwrap() += u64::from(problem.sensors[name].weight);
        }
    }
    load
}

/// How many sensors each container may draw by moves that nothing forces.
pub(crate) fn draw_limit(problem: &Problem) -> usize {
    let open = problem.containers.values().filter(|room| !room.draining).count();
    problem.sensors.values().filter(|need| !need.paused).count().div_ceil(open.max(1))
}

/// How many sensors each container draws in `plan` by moves that nothing forces.
pub(crate) fn draws(plan: &Plan) -> BTreeMap<&ContainerName, usize> {
    let mut draws = BTreeMap::new();
    for placement in plan.placements.values() {
        if let Rule::Balances { to, .. } | Rule::MakesRoom { to, .. } | Rule::LeavesStaleCode { to, .. } =
            &placement.rule
        {
            *draws.entry(to).or_default() += 1;
        }
    }
    draws
}

/// What a container has to be for a sensor.
#[derive(Clone, Copy, PartialEq)]
enum Fitness {
    /// Every hard rule holds.
    Fit,
    /// It has not failed there.
    NotFailed,
    /// It is offered there, has the labels and does not drain.
    Any,
}

struct Check<'a> {
    problem: &'a Problem,
    plan: &'a Plan,
    load: BTreeMap<ContainerName, u64>,
}

impl Check<'_> {
    fn sensor(&self, need: &SensorNeed, target: &ContainerName, placement: &Placement) {
        let room = &self.problem.containers[target];
        let standing = need.offers.get(target).expect("offered there");
        let stays = need.holder.as_ref() == Some(target);
        for (key, value) in &need.require {
            assert_eq!(room.labels.get(key), Some(value), "required label");
        }
        if room.draining {
            assert!(stays, "a draining container received");
            assert_eq!(self.could_go(need, Fitness::Fit), None, "stays on a draining container");
        }
        let failures = need.offers.values().filter(|standing| standing.failed_there).count();
        if stays && standing.failed_there && failures == 1 {
            assert_eq!(self.could_go(need, Fitness::NotFailed), None, "stays where it failed");
        }
        if !stays && (standing.failed_there || standing.stale_code) {
            assert_eq!(self.could_go(need, Fitness::Fit), None, "goes to an unfit container");
        }
        if !stays && standing.failed_there {
            assert_eq!(self.could_go(need, Fitness::NotFailed), None, "goes where it failed");
        }
        if let Some(wanted) = &need.wanted
            && wanted != target
        {
            assert!(!self.takes(need, wanted, Fitness::Fit), "an operator's wish was not honoured");
        }
        let settled = need.holder.as_ref().filter(|_| !need.may_move && need.wanted.is_none());
        if let Some(holder) = settled
            && !stays
            && let Some(room) = self.problem.containers.get(holder)
        {
            let standing = need.offers.get(holder);
            let labels = need.require.iter().all(|(key, value)| room.labels.get(key) == Some(value));
            let overfull = matches!(placement.rule, Rule::LeavesFull { .. });
            assert!(
                overfull || !labels || room.draining || standing.is_none_or(|standing| standing.failed_there),
                "moved though it may not be moved"
            );
        }
    }

    fn capacities(&self) {
        for (name, room) in &self.problem.containers {
            let load = self.load[name];
            let Some(capacity) = room.capacity.map(u64::from).filter(|&capacity| load > capacity) else {
                continue;
            };
            for (sensor, placement) in &self.plan.placements {
                if placement.target.as_ref() != Some(name) {
                    continue;
                }
                let need = &self.problem.sensors[sensor];
                assert_eq!(need.holder.as_ref(), Some(name), "{load} of {capacity}, and received");
                assert!(
                    room.draining || need.wanted.as_ref() == Some(name) || self.could_go(need, Fitness::Fit).is_none(),
                    "{sensor} could leave {name}, which carries {load} of {capacity}"
                );
            }
        }
    }

    fn draws(&self) {
        let limit = draw_limit(self.problem);
        for (name, draws) in draws(self.plan) {
            assert!(draws <= limit, "{name} draws {draws} of {limit}");
        }
    }

    /// A container other than its own target that would take the sensor beside what it carries under the plan.
    fn could_go(&self, need: &SensorNeed, fitness: Fitness) -> Option<&ContainerName> {
        let mut others = self.problem.containers.keys();
        others.find(|name| need.holder.as_ref() != Some(*name) && self.takes(need, name, fitness))
    }

    fn takes(&self, need: &SensorNeed, container: &ContainerName, fitness: Fitness) -> bool {
        let Some(room) = self.problem.containers.get(container) else {
            return false;
        };
        let load = self.load[container] + u64::from(need.weight);
        need.offers.get(container).is_some_and(|standing| match fitness {
            Fitness::Fit => !standing.failed_there && !standing.stale_code,
            Fitness::NotFailed => !standing.failed_there,
            Fitness::Any => true,
        }) && !room.draining
            && room.capacity.is_none_or(|capacity| load <= u64::from(capacity))
            && need.require.iter().all(|(key, value)| room.labels.get(key) == Some(value))
    }
}

/// What `ineligible` says has to be what the checks see.
pub(crate) fn reasons_are_right(problem: &Problem) {
    for (sensor, need) in &problem.sensors {
        for (container, room) in &problem.containers {
            let standing = need.offers.get(container);
            let holds = match ineligible(problem, sensor, container) {
                None => standing.is_some_and(|at| !at.failed_there && !at.stale_code) && !room.draining,
                Some(Reason::NotOffered) => standing.is_none(),
                Some(Reason::Draining) => room.draining,
                Some(Reason::Label { key, value }) => room.labels.get(&key) != Some(&value),
                Some(Reason::FailedThere) => standing.is_some_and(|at| at.failed_there),
                Some(Reason::StaleCode) => standing.is_some_and(|at| at.stale_code),
                Some(Reason::Full { load, weight, capacity }) => load + weight > capacity,
            };
            assert!(holds, "{sensor} on {container}");
        }
    }
}
