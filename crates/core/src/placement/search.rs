//! Searches for few moves that bring every container of a board within its limit.

use std::cmp::Reverse;

use super::board::Board;

/// The longest chain of moves in which each makes room for the one before.
///
/// Two swap sensors or pass one on; the third helps where few containers offer a sensor. What those leave undone the
/// exact search finds, and the number of chains grows by a factor of a hundred with each link.
const MAX_CHAIN: usize = 3;

/// A board and the work that may still be spent on it.
pub(super) struct Search<'m> {
    pub(super) board: Board<'m>,
    /// How many more moves may be looked at. Counting steps, not time, keeps plans the same everywhere.
    pub(super) looks: u64,
    /// Pieces that the exact search has moved; it moves each once.
    moved: Vec<bool>,
    /// The last piece that left each container in the exact search, which takes them in order.
    last: Vec<Option<usize>>,
}

/// The best chain so far: added moves and what is left of the excess, and its moves.
type Chain = Option<((u64, u64), Vec<(usize, usize)>)>;

impl<'m> Search<'m> {
    pub(super) fn new(board: Board<'m>, looks: u64) -> Self {
        let moved = vec![false; board.pieces.len()];
        let last = vec![None; board.load.len()];
        Self { board, looks, moved, last }
    }

    /// Takes the move that helps the fullest container most, again and again, until no container is above its limit.
    ///
    /// Quick and usually optimal, but may end above the limits: then it says `false`.
    pub(super) fn descend(&mut self) -> bool {
        while let Some(container) = self.worst() {
            if let Some((piece, target)) = self.direct(container) {
                self.board.shift(piece, target);
            } else if !self.eject(container) {
                return false;
            }
        }
        true
    }

    /// Looks for an arrangement within the limits with at least `low` and at most `high` moves, fewest first.
    ///
    /// It tries all of them, unless its looks are spent before: then it says `false` and restores the board.
    pub(super) fn fewest(&mut self, low: u64, high: u64) -> bool {
        let Some(bound) = self.bound() else {
            return false;
        };
        let mut moves = low.max(bound);
        while moves <= high && self.looks > 0 {
            if self.exact(moves) {
                return true;
            }
            moves += 1;
        }
        false
    }

    /// Looks for any arrangement within the limits.
    pub(super) fn any(&mut self) -> bool {
        self.exact(u64::MAX)
    }

    /// At least how many moves it takes to bring every container within its limit; none if that is impossible.
    pub(super) fn bound(&self) -> Option<u64> {
        let mut moves = 0;
        for container in 0..self.board.load.len() {
            moves += self.departures(container)?;
        }
        Some(moves)
    }

    /// The container that exceeds its limit most.
    fn worst(&self) -> Option<usize> {
        (0..self.board.load.len())
            .map(|container| (self.board.excess(container), container))
            .filter(|&(excess, _)| excess > 0)
            .max_by_key(|&(excess, container)| (excess, Reverse(container)))
            .map(|(_, container)| container)
    }

    /// The one move that helps `container` most and brings no other above its limit.
    ///
    /// Moves that cost nothing come first. Then the lightest piece that is enough, else the heaviest: fewest moves.
    fn direct(&self, container: usize) -> Option<(usize, usize)> {
        let board = &self.board;
        let excess = board.excess(container);
        for cost in [0, 1] {
            let mut choice = None;
            for &piece in &board.on[container] {
                if board.leaving_costs(piece) != cost {
                    continue;
                }
                let enough = board.pieces[piece].weight >= excess;
                if choice.is_some() && !enough {
                    break;
                }
                if let Some(target) = self.target(piece) {
                    choice = Some((piece, target));
                    if !enough {
                        break;
                    }
                }
            }
            if choice.is_some() {
                return choice;
            }
        }
        None
    }

    /// Where `piece` goes best without exceeding a limit: where least is carried.
    fn target(&self, piece: usize) -> Option<usize> {
        let board = &self.board;
        let sensor = board.pieces[piece].sensor;
        let mut best: Option<((u64, Reverse<u32>), usize)> = None;
        for target in 0..board.load.len() {
            if !board.takes(target, board.pieces[piece].weight) || !board.may_go(piece, target) {
                continue;
            }
            let key = (board.load[target], Reverse(board.model.taste(sensor, target)));
            let better = best.is_none_or(|(best_key, best)| {
                key < best_key || key == best_key && board.model.tie(sensor, target) > board.model.tie(sensor, best)
            });
            if better {
                best = Some((key, target));
            }
        }
        best.map(|(_, target)| target)
    }

    /// Takes the best of the shortest chains of moves from `container` that lower the excess of all.
    fn eject(&mut self, container: usize) -> bool {
        for length in 2..=MAX_CHAIN {
            let mut best = None;
            let before = (self.board.moves, self.board.excess);
            self.extend(container, length, before, &mut Vec::new(), &mut best);
            if let Some((_, chain)) = best {
                for (piece, target) in chain {
                    self.board.shift(piece, target);
                }
                return true;
            }
        }
        false
    }

    /// Tries every chain of at most `length` moves that goes on from `container`.
    fn extend(
        &mut self,
        container: usize,
        length: usize,
        before: (u64, u64),
        chain: &mut Vec<(usize, usize)>,
        best: &mut Chain,
    ) {
        let mut class = None;
        for place in 0..self.board.on[container].len() {
            let piece = self.board.on[container][place];
            if chain.iter().any(|&(moved, _)| moved == piece)
                || class.replace(self.board.pieces[piece].class) == Some(self.board.pieces[piece].class)
            {
                continue;
            }
            for target in 0..self.board.load.len() {
                if !self.board.may_go(piece, target) {
                    continue;
                }
                if self.looks == 0 {
                    return;
                }
                self.looks -= 1;
                self.board.shift(piece, target);
                chain.push((piece, target));
                if self.board.excess < before.1 {
                    let key = (self.board.moves.saturating_sub(before.0), self.board.excess);
                    if best.as_ref().is_none_or(|(best, _)| key < *best) {
                        *best = Some((key, chain.clone()));
                    }
                } else if length > 1 {
                    self.extend(target, length - 1, before, chain, best);
                }
                chain.pop();
                self.board.shift(piece, container);
            }
        }
    }

    /// Tries every arrangement that is at most `moves` away.
    ///
    /// Whatever the solution, something has to leave each container that is above its limit. So it is enough to try, for
    /// one such container, each piece that could leave next, each piece moving once; the order in which pieces leave one
    /// container does not matter, so they leave in the board's order; and of interchangeable ones the first leave.
    fn exact(&mut self, moves: u64) -> bool {
        let Some(container) = self.worst() else {
            return true;
        };
        if self.bound().is_none_or(|bound| bound > moves) {
            return false;
        }
        let last = self.last[container];
        for place in 0..self.board.on[container].len() {
            let piece = self.board.on[container][place];
            let cost = self.board.leaving_costs(piece);
            if !self.can_leave(piece, container) || cost > moves || self.has_twin_before(container, place) {
                continue;
            }
            let mut targets: Vec<usize> =
                (0..self.board.load.len()).filter(|&target| self.board.may_go(piece, target)).collect();
            targets.sort_by_key(|&target| (self.board.load[target], target));
            for target in targets {
                if self.looks == 0 {
                    return false;
                }
                self.looks -= 1;
                self.board.shift(piece, target);
                self.moved[piece] = true;
                self.last[container] = Some(piece);
                if self.exact(moves - cost) {
                    return true;
                }
                self.last[container] = last;
                self.moved[piece] = false;
                self.board.shift(piece, container);
            }
        }
        false
    }

    /// At least how many moves bring `container` within its limit; none if that is impossible.
    fn departures(&self, container: usize) -> Option<u64> {
        let board = &self.board;
        let mut excess = board.excess(container);
        if excess == 0 {
            return Some(0);
        }
        let leaving = || board.on[container].iter().filter(|&&piece| self.can_leave(piece, container));
        let mut able = 0;
        let mut free = 0_u64;
        for &piece in leaving() {
            able += 1;
            if board.leaving_costs(piece) == 0 {
                free += 1;
                excess = excess.saturating_sub(board.pieces[piece].weight);
            }
        }
        // All but one may leave instead, for one alone is above no limit.
        let all_but_one =
            (able + 1 >= board.count(container)).then(|| leaving().map(|_| 1).sum::<u64>().saturating_sub(free + 1));
        let mut moves = 0;
        for &piece in leaving() {
            if excess == 0 {
                break;
            }
            if board.leaving_costs(piece) > 0 {
                moves += 1;
                excess = excess.saturating_sub(board.pieces[piece].weight);
            }
        }
        if excess > 0 { all_but_one } else { Some(all_but_one.map_or(moves, |all| all.min(moves))) }
    }

    /// Whether the exact search may still move `piece` out of `container`.
    fn can_leave(&self, piece: usize, container: usize) -> bool {
        !self.moved[piece] && self.last[container].is_none_or(|last| piece > last)
    }

    /// Whether a piece before this one on `container` has not moved and would do as well.
    fn has_twin_before(&self, container: usize, place: usize) -> bool {
        let on = &self.board.on[container];
        let class = self.board.pieces[on[place]].class;
        on[..place]
            .iter()
            .rev()
            .take_while(|&&other| self.board.pieces[other].class == class)
            .any(|&other| !self.moved[other])
    }
}
