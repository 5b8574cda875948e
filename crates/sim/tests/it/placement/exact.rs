//! An exact solver for small problems: what is the fewest moves that a plan as good as this needs?
//!
//! It shares no code with the planner. Which sensors must leave and which may, it reads off the problem by the rules as
//! they are written; then it tries every arrangement.

use std::collections::BTreeMap;

use st2sa_core::names::ContainerName;
use st2sa_core::placement::{Placement, Plan, Problem, SensorNeed};

/// What an exact solver has to say of one plan.
pub(crate) struct Verdict {
    /// The moves of the plan that nothing forced.
    pub(crate) moves: u64,
    /// The heaviest load under the plan.
    pub(crate) highest: u64,
    /// Whether max / mean ≤ 1.10 can be had.
    pub(crate) goal_is_possible: bool,
    /// The lowest heaviest load that can be had, or the goal where it can be had.
    pub(crate) lowest: u64,
    /// The fewest moves to a heaviest load of `lowest`.
    pub(crate) fewest: u64,
    /// The fewest moves to an arrangement with no higher load and no more above the goal in all than the plan's.
    pub(crate) fewest_as_good: u64,
    /// A sensor was left without a fit container although there is an arrangement in which each one that the plan places
    /// well, and this one, are placed well.
    pub(crate) missed: bool,
}

/// Judges `plan`; none where the rules leave a choice that is not about moves (an operator's wish, newer code, a container
/// above its capacity).
pub(crate) fn judge(problem: &Problem, plan: &Plan) -> Option<Verdict> {
    let mut board = Board::read(problem, plan)?;
    let stuck = std::mem::take(&mut board.stuck);
    let missed = stuck.iter().any(|(domain, weight, at)| {
        let mut board = board.clone();
        if let Some(at) = at {
            board.base[*at] -= weight;
        }
        board.pieces.push(Piece { weight: *weight, home: None, domain: domain.clone(), at: 0 });
        board.fewest(u64::MAX, u64::MAX).is_some()
    });
    let loads = board.loads();
    let total: u64 = board.open().map(|at| loads[at]).sum();
    let open = board.open().count() as u64;
    let goal = total * 11 / (open.max(1) * 10);
    let highest = board.open().map(|at| loads[at]).max().unwrap_or(0);
    let over = board.open().map(|at| loads[at].saturating_sub(goal)).sum();
    board.goal = goal;
    let mut lowest = goal;
    let mut fewest = board.fewest(goal, u64::MAX);
    let goal_is_possible = fewest.is_some();
    while fewest.is_none() {
        lowest += 1;
        fewest = board.fewest(lowest, u64::MAX);
    }
    Some(Verdict {
        moves: board.pieces.iter().map(|piece| piece.cost(piece.at)).sum(),
        highest,
        goal_is_possible,
        lowest,
        fewest: fewest?,
        fewest_as_good: board.fewest(highest.max(goal), over).expect("the plan itself is as good"),
        missed,
    })
}

#[derive(Clone)]
struct Piece {
    weight: u64,
    /// Where it costs nothing to stay; absent where any place costs nothing.
    home: Option<usize>,
    domain: Vec<usize>,
    /// Where the plan puts it.
    at: usize,
}

impl Piece {
    fn cost(&self, at: usize) -> u64 {
        u64::from(self.home.is_some_and(|home| home != at))
    }
}

#[derive(Clone)]
struct Board {
    pieces: Vec<Piece>,
    /// Sensors for which the plan found no fit container: where they could go, their weight, where they are.
    stuck: Vec<(Vec<usize>, u64, Option<usize>)>,
    /// What each container carries beside the pieces.
    base: Vec<u64>,
    capacity: Vec<u64>,
    draining: Vec<bool>,
    draw_limit: u64,
    goal: u64,
}

impl Board {
    fn read(problem: &Problem, plan: &Plan) -> Option<Self> {
        let index: BTreeMap<&ContainerName, usize> =
            problem.containers.keys().enumerate().map(|(index, name)| (name, index)).collect();
        let rooms: Vec<_> = problem.containers.values().collect();
        let open = rooms.iter().filter(|room| !room.draining).count().max(1);
        let unpaused = problem.sensors.values().filter(|need| !need.paused).count();
        let mut board = Self {
            pieces: Vec::new(),
            stuck: Vec::new(),
            base: vec![0; rooms.len()],
            capacity: rooms.iter().map(|room| room.capacity.map_or(u64::MAX, u64::from)).collect(),
            draining: rooms.iter().map(|room| room.draining).collect(),
            draw_limit: unpaused.div_ceil(open) as u64,
            goal: u64::MAX,
        };
        for (name, need) in problem.sensors.iter().filter(|(_, need)| !need.paused) {
            let Placement { target, .. } = &plan.placements[name];
            let at = target.as_ref().map(|target| index[target]);
            board.add(problem, need, &index, at)?;
        }
        let held_too_much = (0..rooms.len()).any(|container| {
            let held: u64 = problem
                .sensors
                .values()
                .filter(|need| !need.paused)
                .filter(|need| need.holder.as_ref().and_then(|holder| index.get(holder)) == Some(&container))
                .map(|need| u64::from(need.weight))
                .sum();
            held > board.capacity[container]
        });
        (!held_too_much).then_some(board)
    }

    fn add(
        &mut self,
        problem: &Problem,
        need: &SensorNeed,
        index: &BTreeMap<&ContainerName, usize>,
        at: Option<usize>,
    ) -> Option<()> {
        let weight = u64::from(need.weight);
        // Candidates by what stands against them: draining, failed, stale.
        let candidates: BTreeMap<usize, (bool, bool, bool)> = need
            .offers
            .iter()
            .filter_map(|(name, standing)| {
                let room = problem.containers.get(name)?;
                let fits = need.require.iter().all(|(key, value)| room.labels.get(key) == Some(value));
                let flaws = (room.draining, standing.failed_there, standing.stale_code);
                fits.then_some((index[name], flaws))
            })
            .collect();
        let like = |wanted: (bool, bool, bool)| -> Vec<usize> {
            candidates.iter().filter(|(_, flaws)| **flaws == wanted).map(|(&at, _)| at).collect()
        };
        let fit = like((false, false, false));
        let holder = need
            .holder
            .as_ref()
            .and_then(|holder| index.get(holder).copied())
            .filter(|holder| candidates.contains_key(holder));
        let failures = need.offers.values().filter(|standing| standing.failed_there).count();
        if need.wanted.is_some() {
            return None;
        }
        let fixed = match holder.map(|holder| candidates[&holder]) {
            Some((false, false, false)) => !need.may_move,
            // It runs, or it failed elsewhere too: it stays, but for newer code.
            Some((false, failed, stale)) if !failed || failures > 1 => {
                if stale && need.may_move && !fit.is_empty() {
                    return None;
                }
                true
            }
            _ => false,
        };
        if fixed {
            self.base[holder?] += weight;
            return Some(());
        }
        let home = holder.filter(|holder| fit.contains(holder));
        let goes_well = at.is_some_and(|at| fit.contains(&at));
        if !fit.is_empty() && !goes_well {
            self.stuck.push((fit, weight, at));
        }
        let Some(at) = at else {
            return Some(());
        };
        if goes_well {
            let domain = like((false, false, false));
            self.pieces.push(Piece { weight, home, domain, at });
        } else if holder == Some(at) || self.stuck.last().is_some_and(|stuck| stuck.2 == Some(at)) {
            self.base[at] += weight;
        } else {
            self.pieces.push(Piece { weight, home: None, domain: like(candidates[&at]), at });
        }
        Some(())
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.base.len()).filter(|&at| !self.draining[at])
    }

    fn loads(&self) -> Vec<u64> {
        let mut loads = self.base.clone();
        for piece in &self.pieces {
            loads[piece.at] += piece.weight;
        }
        loads
    }

    /// The fewest moves to an arrangement with no load above `highest` and no more than `over` above the goal in all.
    fn fewest(&self, highest: u64, over: u64) -> Option<u64> {
        let mut order: Vec<&Piece> = self.pieces.iter().collect();
        order.sort_by_key(|piece| std::cmp::Reverse(piece.weight));
        let limit: Vec<u64> = (0..self.base.len())
            .map(|at| if self.draining[at] { u64::MAX } else { highest.min(self.capacity[at]) })
            .collect();
        if self.base.iter().zip(&limit).any(|(base, limit)| base > limit) {
            return None;
        }
        let left: Vec<u64> =
            (0..=order.len()).map(|from| order[from..].iter().map(|piece| piece.weight).sum()).collect();
        let mut dive = Dive {
            order: &order,
            left: &left,
            limit: &limit,
            load: self.base.clone(),
            drawn: vec![0; self.base.len()],
            board: self,
            over,
            best: None,
        };
        dive.place(0, 0);
        dive.best
    }
}

struct Dive<'a> {
    order: &'a [&'a Piece],
    left: &'a [u64],
    limit: &'a [u64],
    load: Vec<u64>,
    drawn: Vec<u64>,
    board: &'a Board,
    over: u64,
    best: Option<u64>,
}

impl Dive<'_> {
    fn place(&mut self, next: usize, moves: u64) {
        if self.best.is_some_and(|best| moves >= best) {
            return;
        }
        let open = || self.board.open();
        let room = open().map(|at| self.limit[at] - self.load[at]).fold(0, u64::saturating_add);
        let over: u64 = open().map(|at| self.load[at].saturating_sub(self.board.goal)).sum();
        if room < self.left[next] || over > self.over {
            return;
        }
        let Some(&piece) = self.order.get(next) else {
            self.best = Some(moves);
            return;
        };
        let home_first =
            piece.home.into_iter().chain(piece.domain.iter().copied().filter(|&target| piece.home != Some(target)));
        for target in home_first {
            let cost = piece.cost(target);
            if self.load[target].saturating_add(piece.weight) > self.limit[target]
                || self.drawn[target] + cost > self.board.draw_limit
            {
                continue;
            }
            self.load[target] += piece.weight;
            self.drawn[target] += cost;
            self.place(next + 1, moves + cost);
            self.drawn[target] -= cost;
            self.load[target] -= piece.weight;
        }
    }
}
