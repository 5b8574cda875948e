//! Evens out the load by weight with few moves.
//!
//! The goal is that no container carries more than [`GOAL_PERCENT`] of the mean. A container that cannot get there,
//! because of what cannot leave it or has nowhere else to go, gets as near as it can and excuses no other one. Where even
//! that cannot be had, the lowest level that the search finds takes the goal's place. Every plan that moves anything
//! lowers the level, so plans do not chase each other.

use super::board::Board;
use super::model::{Cause, Model, State};
use super::search::Search;

/// What a container should carry at the most, in per cent of the mean of those that do not drain.
///
/// Nearer to the mean each sensor that comes or goes would cause further moves, and each move may cost its sensor a
/// moment; farther from it one node's peak is another's idle time.
const GOAL_PERCENT: u64 = 110;

/// The most steps of one search for an even arrangement, some 100 ns each in a small cluster.
///
/// Ten times as many found nothing better in a hundred thousand small problems: either the first arrangements that are
/// looked at show the way, or there are too many.
const LOOKS: u64 = 4_000;

/// What a container should carry at the most when `open` ones carry `total`.
pub(super) fn goal(total: u64, open: u64) -> u64 {
    total.saturating_mul(GOAL_PERCENT) / (100 * u64::max(open, 1))
}

/// Moves sensors until the goal is kept, or as near as it can be had.
pub(super) fn balance(model: &Model<'_>, state: &mut State) {
    let open = || (0..model.containers.len()).filter(|&here| !model.containers[here].draining);
    let goal = goal(open().map(|here| state.load[here]).sum(), model.open);
    if open().all(|here| state.load[here] <= goal) {
        return;
    }
    let mut start = Board::new(model, state, None);
    start.raise_floors(goal);
    let mut best: Option<Board<'_>> = None;
    let (mut low, mut high) = (goal, start.level(goal));
    let mut level = goal;
    while low < high {
        if let Some(board) = spread(&start, level) {
            high = board.level(goal);
            best = Some(board);
        } else {
            low = level + 1;
        }
        level = u64::midpoint(low, high);
    }
    if let Some(board) = best {
        thrifty(&start, board, high).carry_out(state, |_| Cause::Balance);
    }
}

/// An arrangement that keeps `level`, if one is found.
fn spread<'m>(start: &Board<'m>, level: u64) -> Option<Board<'m>> {
    let mut quick = Search::new(start.with_level(level), LOOKS);
    if quick.descend() {
        return Some(quick.board);
    }
    let mut anew = Search::new(start.with_level(level), LOOKS);
    if anew.any() {
        return Some(anew.board);
    }
    let tried_all = anew.looks > 0;
    // In a large cluster little is left to do, as a rule, where the quick search ended.
    let mut rest = Search::new(quick.board, LOOKS);
    (!tried_all && rest.any()).then_some(rest.board)
}

/// An arrangement that keeps `level` with fewer moves than `board`, if there is one.
fn thrifty<'m>(start: &Board<'m>, board: Board<'m>, level: u64) -> Board<'m> {
    let mut search = Search::new(start.with_level(level), LOOKS);
    if board.moves > 0 && search.fewest(0, board.moves - 1) { search.board } else { board }
}
