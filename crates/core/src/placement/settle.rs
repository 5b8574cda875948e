//! What cannot wait for balance: operators' moves, sensors without a fit container, overfull containers, newer code.

use std::cmp::Reverse;

use super::balance::goal;
use super::board::Board;
use super::model::{Cause, DRAINING, FAILED, Flaw, Model, NEVER, STALE, State};
use super::search::Search;

/// The most moves of others that make room for one sensor.
///
/// Each may cost its sensor a moment; who needs more has met a cluster that lacks capacity, not a bad arrangement.
const MAX_MOVES_FOR_ROOM: u64 = 4;
/// The most sensors for which room is sought in one pass: each search costs up to a millisecond in a large cluster,
/// and where more than a handful do not fit, capacity is what is missing.
const MAX_SEARCHES_FOR_ROOM: usize = 16;
/// The most steps of all searches for room in one pass, some 100 ns each in a small cluster.
///
/// Room that is there is found in a few dozen steps; the rest is spent on showing that there is none.
const LOOKS_FOR_ROOM: u64 = 10_000;
/// How often in one pass a sensor is tried that found no place: one that left after it may have freed one.
const MAX_TRIES: usize = 3;

/// What may still be spent in this pass on searches for room.
struct Budget {
    searches: usize,
    looks: u64,
}

/// How unfit a container may be that receives a sensor, the best first: none that drains receives anything.
const LADDER: [Flaw; 4] = [0, STALE, FAILED, FAILED + STALE];

/// Does all that has to be done whatever the balance.
pub(super) fn settle(model: &Model<'_>, state: &mut State) {
    honour_wishes(model, state);
    let goal = goal(model.sensors.iter().map(|sensor| sensor.weight).sum(), model.open);
    let mut budget = Budget { searches: MAX_SEARCHES_FOR_ROOM, looks: LOOKS_FOR_ROOM };
    rehouse(model, state, goal, &mut budget);
    for container in 0..model.containers.len() {
        shed(model, state, container, goal, &mut budget);
    }
    renew(model, state);
}

/// Moves sensors to where operators want them, where those containers are eligible.
fn honour_wishes(model: &Model<'_>, state: &mut State) {
    let mut wishes: Vec<(usize, usize)> = model
        .sensors
        .iter()
        .enumerate()
        .filter_map(|(index, sensor)| Some((index, sensor.wanted?)))
        .filter(|&(sensor, container)| model.flaw(sensor, container) == 0)
        .collect();
    // One that goes may free the room that another waits for.
    loop {
        let waiting = wishes.len();
        wishes.retain(|&(sensor, container)| {
            let there = state.at[sensor] == Some(container);
            if !there && !state.fits(model, container, model.sensors[sensor].weight) {
                return true;
            }
            if !there {
                state.shift(model, sensor, container, Cause::Wanted);
            }
            state.pinned[sensor] = true;
            false
        });
        if wishes.len() == waiting {
            return;
        }
    }
}

/// Finds a place for every sensor that has none, or has to leave its own.
fn rehouse(model: &Model<'_>, state: &mut State, goal: u64, budget: &mut Budget) {
    let mut homeless: Vec<(usize, Cause, Flaw)> = Vec::new();
    for sensor in 0..model.sensors.len() {
        if let Some((cause, below)) = must_leave(model, state, sensor) {
            homeless.push((sensor, cause, below));
        }
    }
    if homeless.is_empty() {
        return;
    }
    // Who runs nowhere comes before who runs badly; the heaviest first, for the light ones fill the gaps.
    homeless.sort_by_key(|&(sensor, ..)| (state.at[sensor].is_some(), Reverse(model.sensors[sensor].weight), sensor));
    for _ in 0..MAX_TRIES {
        let waiting = homeless.len();
        homeless.retain(|&(sensor, cause, below)| !house(model, state, sensor, cause, below, goal, budget));
        if homeless.is_empty() || homeless.len() == waiting {
            return;
        }
    }
}

/// Puts `sensor` on the fittest container that has or can be given room, if there is one below that flaw.
fn house(
    model: &Model<'_>,
    state: &mut State,
    sensor: usize,
    cause: Cause,
    below: Flaw,
    goal: u64,
    budget: &mut Budget,
) -> bool {
    let flaws = model.flaws(sensor);
    let weight = model.sensors[sensor].weight;
    for flaw in LADDER.into_iter().filter(|&flaw| flaw < below && flaws.contains(&flaw)) {
        let target = best(model, state, sensor, goal, |container| {
            flaws[container] == flaw && state.fits(model, container, weight)
        });
        if let Some(target) = target {
            state.shift(model, sensor, target, cause);
            state.loose[sensor] = true;
            return true;
        }
        if budget.searches > 0 && make_room(model, state, sensor, flaw, cause, budget) {
            return true;
        }
    }
    false
}

/// Why `sensor` has to go elsewhere, and below which flaw the new place has to stay; nothing if it may stay.
fn must_leave(model: &Model<'_>, state: &State, sensor: usize) -> Option<(Cause, Flaw)> {
    let Some(at) = state.at[sensor] else {
        return Some((Cause::Unplaced, NEVER));
    };
    let flaw = model.flaw(sensor, at);
    if state.pinned[sensor] || flaw == 0 {
        return None;
    }
    if let Some(cause) = state.cause[sensor].filter(|_| state.loose[sensor]) {
        // An earlier pass had nothing better; there may be room by now.
        return Some((cause, flaw));
    }
    if flaw & DRAINING != 0 {
        Some((Cause::Draining, flaw))
    } else if flaw & FAILED != 0 && !model.sensors[sensor].source_at_fault {
        Some((Cause::Failed, FAILED))
    } else {
        None
    }
}

/// The container that suits `sensor` best among those that `may` take it: one that stays within the goal and has the
/// labels it prefers, else the one that carries least.
fn best(model: &Model<'_>, state: &State, sensor: usize, goal: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
    let weight = model.sensors[sensor].weight;
    let mut best = None;
    for container in (0..model.containers.len()).filter(|&container| may(container)) {
        let load = state.load[container];
        let taste = Reverse(model.taste(sensor, container));
        let key = if load + weight > goal { (true, Reverse(0), load, taste) } else { (false, taste, load, taste) };
        let better = best.is_none_or(|(best_key, best)| {
            key < best_key || key == best_key && model.tie(sensor, container) > model.tie(sensor, best)
        });
        if better {
            best = Some((key, container));
        }
    }
    best.map(|(_, container)| container)
}

/// Moves others away so that `sensor` fits on a container that has only this `flaw` for it.
fn make_room(
    model: &Model<'_>,
    state: &mut State,
    sensor: usize,
    flaw: Flaw,
    cause: Cause,
    budget: &mut Budget,
) -> bool {
    let weight = model.sensors[sensor].weight;
    let at = state.at[sensor];
    // What it leaves makes room, too.
    let mut spare = at.map_or(0, |at| if model.containers[at].draining { 0 } else { weight });
    for (container, load) in model.containers.iter().zip(&state.load) {
        if !container.draining {
            spare = spare.saturating_add(container.capacity.saturating_sub(*load));
        }
    }
    if spare < weight {
        return false;
    }
    budget.searches -= 1;
    let board = Board::new(model, state, Some(sensor));
    let mut targets: Vec<usize> = (0..model.containers.len())
        .filter(|&container| model.flaw(sensor, container) == flaw)
        .filter(|&container| weight <= model.containers[container].capacity)
        .collect();
    targets.sort_by_key(|&target| (Reverse(board.spare(target)), Reverse(model.tie(sensor, target))));
    for target in targets {
        let mut search = Search::new(board.with_guest(weight, target), budget.looks);
        let found = search.fewest(0, MAX_MOVES_FOR_ROOM);
        budget.looks = search.looks;
        if found {
            search.board.carry_out(state, |_| Cause::MakesRoom);
            state.shift(model, sensor, target, cause);
            state.loose[sensor] = true;
            return true;
        }
    }
    false
}

/// Lets sensors leave `container` until its capacity holds, those first that may be moved anyway.
fn shed(model: &Model<'_>, state: &mut State, container: usize, goal: u64, budget: &mut Budget) {
    let Some(here) = model.containers.get(container).filter(|here| !here.draining) else {
        return;
    };
    while let Some(excess) = state.load[container].checked_sub(here.capacity).filter(|&excess| excess > 0) {
        let mut choice: Option<((bool, bool, u64), usize, usize)> = None;
        for (index, sensor) in model.sensors.iter().enumerate() {
            if state.at[index] != Some(container) || state.pinned[index] {
                continue;
            }
            // The lightest that is enough, else the heaviest: the fewest leave.
            let short = sensor.weight < excess;
            let waste = if short { u64::MAX - sensor.weight } else { sensor.weight };
            let key = (!sensor.need.may_move, short, waste);
            if choice.as_ref().is_some_and(|(best, ..)| *best <= key) {
                continue;
            }
            let flaws = model.flaws(index);
            let target = LADDER.into_iter().filter(|&flaw| flaw <= flaws[container]).find_map(|flaw| {
                best(model, state, index, goal, |target| {
                    target != container && flaws[target] == flaw && state.fits(model, target, sensor.weight)
                })
            });
            if let Some(target) = target {
                choice = Some((key, index, target));
            }
        }
        let Some((_, sensor, target)) = choice else {
            exchange(model, state, container, budget);
            return;
        };
        state.shift(model, sensor, target, Cause::Full);
        state.loose[sensor] = true;
    }
}

/// Lets sensors change places until the capacity of `container` holds, if a few moves are enough.
fn exchange(model: &Model<'_>, state: &mut State, container: usize, budget: &mut Budget) {
    let board = Board::new(model, state, None);
    let mut search = Search::new(board.with_capacity_of(container), budget.looks);
    let found = search.fewest(0, MAX_MOVES_FOR_ROOM);
    budget.looks = search.looks;
    if found {
        search.board.carry_out(state, |from| if from == Some(container) { Cause::Full } else { Cause::MakesRoom });
    }
}

/// Moves sensors from stale code to newer, no container above its fair share of the load.
///
/// So the first container that is upgraded is not handed everything at once.
fn renew(model: &Model<'_>, state: &mut State) {
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); model.containers.len()];
    for (index, sensor) in model.sensors.iter().enumerate() {
        let Some(at) = state.at[index] else {
            continue;
        };
        let flaw = model.flaw(index, at);
        let runs = flaw == STALE || flaw == STALE + FAILED && sensor.source_at_fault;
        if runs && sensor.need.may_move && !state.pinned[index] && !state.loose[index] {
            waiting[at].push(index);
        }
    }
    // The heaviest leave first; they are taken from the end.
    for queue in &mut waiting {
        queue.sort_by_key(|&sensor| (model.sensors[sensor].weight, Reverse(sensor)));
    }
    let fair = state.load.iter().sum::<u64>().div_ceil(u64::max(model.open, 1));
    loop {
        let fullest = (0..waiting.len())
            .filter(|&container| !waiting[container].is_empty())
            .max_by_key(|&container| (state.load[container], Reverse(container)));
        let Some(sensor) = fullest.and_then(|container| waiting[container].pop()) else {
            return;
        };
        let weight = model.sensors[sensor].weight;
        let target = best(model, state, sensor, fair, |target| {
            model.flaw(sensor, target) == 0
                && state.fits(model, target, weight)
                && state.drawn[target] < model.draw_limit
                && (state.load[target] == 0 || state.load[target] + weight <= fair)
        });
        if let Some(target) = target {
            state.shift(model, sensor, target, Cause::StaleCode);
            state.drawn[target] += 1;
        }
    }
}
