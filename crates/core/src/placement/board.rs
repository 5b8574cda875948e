//! Which sensors could stand elsewhere, what exceeds its limit, and moves that can be taken back.

use std::cmp::Reverse;

use super::model::{Cause, FAILED, Flaw, Model, State};

/// A sensor that could stand on another container.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) sensor: usize,
    pub(super) weight: u64,
    /// Away from there it costs a move; absent when it has to be moved or placed anyway, so that any place costs nothing.
    home: Option<usize>,
    /// Nothing forces it away from where it was at first, so it counts against the draw limit of others.
    volunteers: bool,
    /// How unfit a container may be that receives it: exactly so much.
    flaw: Flaw,
    /// Pieces of one class on one container are interchangeable.
    pub(super) class: usize,
    pub(super) at: usize,
}

/// The containers with what they carry, and the pieces, the heaviest first.
#[derive(Clone)]
pub(super) struct Board<'m> {
    pub(super) model: &'m Model<'m>,
    pub(super) pieces: Vec<Piece>,
    /// The pieces on each container, in order.
    pub(super) on: Vec<Vec<usize>>,
    pub(super) load: Vec<u64>,
    /// How many sensors each container carries that cannot stand elsewhere, and what they weigh.
    settled: Vec<(usize, u64)>,
    drawn: Vec<u64>,
    /// What each container may carry in any case.
    hard: Vec<u64>,
    /// What each container cannot or need not get below.
    floor: Vec<u64>,
    limit: Vec<u64>,
    /// By how much all containers together exceed their limits.
    pub(super) excess: u64,
    /// How many pieces are away from their home.
    pub(super) moves: u64,
}

impl<'m> Board<'m> {
    /// The board as `state` has it, but `without` that sensor, with no limits but the containers' capacities.
    pub(super) fn new(model: &'m Model<'m>, state: &State, without: Option<usize>) -> Self {
        let count = model.containers.len();
        let mut load = state.load.clone();
        let mut settled = vec![(0, 0); count];
        let mut pieces = Vec::new();
        for (index, sensor) in model.sensors.iter().enumerate() {
            let Some(at) = state.at[index].filter(|&at| !model.containers[at].draining) else {
                continue;
            };
            if without == Some(index) {
                load[at] -= sensor.weight;
                continue;
            }
            let here = model.flaw(index, at);
            let loose = state.loose[index];
            let flaw = if loose { here } else { 0 };
            let may_leave = loose || sensor.need.may_move && !state.pinned[index] && here & FAILED == 0;
            let mut others = model.flaws(index).iter().enumerate();
            if may_leave && others.any(|(other, &other_flaw)| other != at && other_flaw == flaw) {
                // One that an earlier pass moved may go home again, but not to stale code.
                let home = match state.origin[index] {
                    _ if loose => None,
                    Some(origin) if model.flaw(index, origin) == 0 => Some(origin),
                    origin => origin.filter(|&origin| origin == at),
                };
                let weight = sensor.weight;
                pieces.push(Piece { sensor: index, weight, home, volunteers: !loose, flaw, class: 0, at });
            } else {
                settled[at].0 += 1;
                settled[at].1 += sensor.weight;
            }
        }
        // Of equal ones, those that have to be placed anyway come first: moving them costs nothing.
        let key = |piece: &Piece| {
            let cost = (piece.home.is_some(), piece.volunteers);
            (Reverse(piece.weight), cost, piece.flaw, model.flaws(piece.sensor))
        };
        pieces.sort_by(|one, two| key(one).cmp(&key(two)).then(one.sensor.cmp(&two.sensor)));
        for index in 1..pieces.len() {
            let new = key(&pieces[index - 1]) != key(&pieces[index]);
            pieces[index].class = pieces[index - 1].class + usize::from(new);
        }
        let mut on = vec![Vec::new(); count];
        for (index, piece) in pieces.iter().enumerate() {
            on[piece.at].push(index);
        }
        // A container that carries more than its capacity and could not get rid of it must not take more.
        let hard: Vec<u64> = model
            .containers
            .iter()
            .zip(&load)
            .map(|(here, &load)| if here.draining { u64::MAX } else { here.capacity.max(load) })
            .collect();
        let floor = settled
            .iter()
            .zip(&model.containers)
            .map(|(&(_, weight), here)| if here.draining { u64::MAX } else { weight })
            .collect();
        let away = |piece: &&Piece| piece.home.is_some_and(|home| home != piece.at);
        let moves = pieces.iter().filter(away).map(|_| 1).sum();
        Self {
            model,
            pieces,
            on,
            load,
            drawn: state.drawn.clone(),
            limit: hard.clone(),
            floor,
            settled,
            hard,
            excess: 0,
            moves,
        }
    }

    /// A copy on which something of this `weight` has been put on `target`, where it stays, and whose capacity has to hold.
    pub(super) fn with_guest(&self, weight: u64, target: usize) -> Self {
        let mut board = self.clone();
        board.load[target] += weight;
        board.settled[target].0 += 1;
        board.settled[target].1 += weight;
        board.with_capacity_of(target)
    }

    /// A copy on which the capacity of `container` has to hold, although it carries more.
    pub(super) fn with_capacity_of(&self, container: usize) -> Self {
        let mut board = self.clone();
        board.hard[container] = self.model.containers[container].capacity;
        board.limit[container] = board.hard[container];
        board.measure();
        board
    }

    /// A copy on which no container may carry more than `level`, but for what it cannot get below.
    pub(super) fn with_level(&self, level: u64) -> Self {
        let mut board = self.clone();
        for (container, limit) in board.limit.iter_mut().enumerate() {
            *limit = self.hard[container].min(self.floor[container].max(level));
        }
        board.measure();
        board
    }

    /// Adds up the excess anew.
    fn measure(&mut self) {
        self.excess = (0..self.load.len()).map(|container| self.excess(container)).sum();
    }

    /// The lowest level, but not below `least`, that all containers keep.
    pub(super) fn level(&self, least: u64) -> u64 {
        (0..self.load.len())
            .filter(|&container| !self.model.containers[container].draining)
            .filter(|&container| self.load[container] > self.floor[container])
            .filter(|&container| self.count(container) > 1)
            .map(|container| self.load[container])
            .fold(least, u64::max)
    }

    /// Raises the floors of containers whose load has nowhere to go, so that they excuse no other container.
    ///
    /// From a container above `goal` follow where its pieces, and the pieces of those containers, could go. None of what
    /// these containers carry can leave them, so their load, evenly spread, is a level that some of them must reach.
    pub(super) fn raise_floors(&mut self, goal: u64) {
        let count = self.load.len();
        let mut known = vec![false; count];
        for start in 0..count {
            if known[start] || self.model.containers[start].draining || self.load[start] <= goal {
                continue;
            }
            let mut group = vec![start];
            let mut seen = vec![false; count];
            seen[start] = true;
            let mut next = 0;
            while let Some(&container) = group.get(next) {
                next += 1;
                let mut class = None;
                for &piece in &self.on[container] {
                    if class.replace(self.pieces[piece].class) == Some(self.pieces[piece].class) {
                        continue;
                    }
                    for (target, seen) in seen.iter_mut().enumerate() {
                        if !*seen && self.is_fit(piece, target) {
                            *seen = true;
                            group.push(target);
                        }
                    }
                }
            }
            let level = self.even_level(&group, goal);
            for container in group {
                if level > goal {
                    self.floor[container] = self.floor[container].max(level);
                }
                known[container] = true;
            }
        }
    }

    /// The lowest level, but not below `goal`, at which `group` has room for what it carries.
    fn even_level(&self, group: &[usize], goal: u64) -> u64 {
        let carried: u64 = group.iter().map(|&container| self.load[container]).sum();
        let highest = group.iter().map(|&container| self.load[container]).max().unwrap_or(goal);
        let mut level = goal;
        while level < highest {
            let mut room = 0_u64;
            for &container in group {
                let limit = self.hard[container].min(self.settled[container].1.max(level));
                room = room.saturating_add(limit);
                for &piece in &self.on[container] {
                    // A piece heavier than the level exceeds it wherever it stands.
                    room = room.saturating_add(self.pieces[piece].weight.saturating_sub(level));
                }
            }
            if room >= carried {
                break;
            }
            let width = group.iter().map(|_| 1_u64).sum::<u64>();
            level += (carried - room).div_ceil(width);
        }
        level.min(highest)
    }

    /// How much more `container` can take within its capacity.
    pub(super) fn spare(&self, container: usize) -> u64 {
        self.model.containers[container].capacity.saturating_sub(self.load[container])
    }

    /// How many sensors `container` carries.
    pub(super) fn count(&self, container: usize) -> usize {
        self.settled[container].0 + self.on[container].len()
    }

    /// By how much `container` exceeds its limit. A single sensor that is too heavy for any limit exceeds none.
    pub(super) fn excess(&self, container: usize) -> u64 {
        let load = self.load[container];
        let excess = load.saturating_sub(self.limit[container]);
        let alone = excess > 0 && load <= self.hard[container] && self.count(container) == 1;
        if alone { 0 } else { excess }
    }

    /// Whether `container` takes `weight` more without exceeding its limit.
    pub(super) fn takes(&self, container: usize, weight: u64) -> bool {
        let load = self.load[container] + weight;
        load <= self.limit[container] || self.count(container) == 0 && load <= self.hard[container]
    }

    /// Whether `piece` could stand on `target`, whatever the loads.
    fn is_fit(&self, piece: usize, target: usize) -> bool {
        let piece = &self.pieces[piece];
        piece.home == Some(target) || self.model.flaw(piece.sensor, target) == piece.flaw
    }

    /// Whether `piece` may be moved to `target`, whatever the loads.
    pub(super) fn may_go(&self, piece: usize, target: usize) -> bool {
        let Piece { home, volunteers, .. } = self.pieces[piece];
        let counts = volunteers && home != Some(target);
        let overfull = self.hard[target] > self.model.containers[target].capacity;
        self.pieces[piece].at != target
            && (!counts || self.drawn[target] < self.model.draw_limit)
            && (!overfull || home == Some(target))
            && self.is_fit(piece, target)
    }

    /// How many moves more the plan has with `piece` away from where it is: none, if it is not at home.
    pub(super) fn leaving_costs(&self, piece: usize) -> u64 {
        u64::from(self.pieces[piece].home == Some(self.pieces[piece].at))
    }

    /// Moves `piece` to `target`; moving it back restores the board.
    pub(super) fn shift(&mut self, piece: usize, target: usize) {
        let Piece { at: from, weight, home, volunteers, .. } = self.pieces[piece];
        self.excess -= self.excess(from) + self.excess(target);
        self.load[from] -= weight;
        self.load[target] += weight;
        if let Ok(place) = self.on[from].binary_search(&piece) {
            self.on[from].remove(place);
        }
        if let Err(place) = self.on[target].binary_search(&piece) {
            self.on[target].insert(place, piece);
        }
        self.moves += u64::from(home == Some(from));
        self.moves -= u64::from(home == Some(target));
        if volunteers {
            self.drawn[from] -= u64::from(home != Some(from));
            self.drawn[target] += u64::from(home != Some(target));
        }
        self.pieces[piece].at = target;
        self.excess += self.excess(from) + self.excess(target);
    }

    /// Makes `state` what the board is; `cause` says why something leaves a container.
    pub(super) fn carry_out(&self, state: &mut State, cause: impl Fn(Option<usize>) -> Cause) {
        for piece in &self.pieces {
            let from = state.at[piece.sensor];
            if from != Some(piece.at) {
                state.shift(self.model, piece.sensor, piece.at, cause(from));
            }
        }
        state.drawn.clone_from(&self.drawn);
    }
}
