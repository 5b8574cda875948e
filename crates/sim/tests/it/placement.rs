//! The planner on thousands of random problems: hard rules, determinism, fixed points, and quality against an exact solver.

mod checks;
mod exact;
mod problems;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use st2sa_core::placement::{Plan, Problem, plan};

use checks::{draw_limit, draws, keeps_the_hard_rules, loads, reasons_are_right};
use problems::{anything, carried_out, planted};

/// How many random problems of the whole mixture are planned.
const PROBLEMS: u64 = 10_000;
/// How many of those are at most 8 sensors by 4 containers, so that the exact solver can judge them.
const SMALL: u64 = 8_000;
/// How many larger problems with a known even arrangement are planned.
const PLANTED: u64 = 400;
/// How many plans in a row may each draw as much as one plan may before the sensors rest.
const MAX_PLANS_TO_REST: usize = 12;

#[test]
fn random_problems_keep_the_hard_rules_and_rest() {
    let mut paced = 0;
    for_each_seed(PROBLEMS, |seed, rng| {
        let problem = any_size(seed, rng);
        let planned = plan(&problem);
        keeps_the_hard_rules(&problem, &planned);
        reasons_are_right(&problem);
        assert_eq!(plan(&problem.clone()), planned, "same input, same plan");
        paced += u64::from(plans_to_rest(&problem, planned).1 > 1);
    });
    println!("{PROBLEMS} problems: hard rules kept; {paced} needed further plans because of the draw limit");
}

#[test]
fn only_the_sensors_of_a_lost_container_move() {
    let mut moved = 0;
    for_each_seed(PROBLEMS, |seed, rng| {
        let problem = any_size(seed, rng);
        let (rested, _) = plans_to_rest(&problem, plan(&problem));
        let Some(lost) = rested.containers.keys().choose(rng).cloned() else {
            return;
        };
        let mut after = rested.clone();
        after.containers.remove(&lost);
        for need in after.sensors.values_mut() {
            need.may_move = false;
        }
        let planned = plan(&after);
        keeps_the_hard_rules(&after, &planned);
        for (name, placement) in &planned.placements {
            let held = after.sensors[name].holder.as_ref();
            if held == Some(&lost) {
                moved += 1;
            } else if placement.target.as_ref() != held {
                assert_eq!(held, None, "{name} moved though {lost} was lost");
            }
        }
    });
    println!("{moved} sensors of lost containers placed anew, no other moved");
}

#[test]
fn moves_are_within_five_per_cent_of_the_fewest() {
    let mut all = Tally::default();
    let mut possible = Tally::default();
    let mut refused = 0;
    for_each_seed(SMALL, |_, rng| {
        let problem = anything(rng, 8, 4);
        let planned = plan(&problem);
        let Some(verdict) = exact::judge(&problem, &planned) else {
            refused += 1;
            return;
        };
        assert!(!verdict.missed, "a sensor could have been placed");
        all.count(&verdict);
        if verdict.goal_is_possible {
            possible.count(&verdict);
        }
    });
    println!("{} problems judged, {refused} with choices that are not about moves", all.problems);
    println!("goal can be had: {possible:?}");
    println!("all:             {all:?}");
    assert_eq!(all.above_lowest, 0, "the lowest level was not reached");
    assert!(possible.moves * 100 <= possible.fewest * 105);
    assert!(all.moves * 100 <= all.fewest * 105);
    assert!(all.moves * 100 <= all.fewest_as_good * 105);
}

#[test]
fn larger_problems_with_a_known_even_arrangement_reach_the_goal() {
    let (mut worst, mut worst_first, mut later) = (0, 0, 0);
    for_each_seed(PLANTED, |_, rng| {
        let problem = planted(rng);
        let first = plan(&problem);
        keeps_the_hard_rules(&problem, &first);
        worst_first = worst_first.max(ratio(&problem, &first));
        let (rested, plans) = plans_to_rest(&problem, first);
        later += u64::from(plans > 1);
        let at_rest = ratio(&rested, &plan(&rested));
        assert!(at_rest <= 1100, "max / mean is {}", thousandths(at_rest));
        worst = worst.max(at_rest);
    });
    println!(
        "{PLANTED} planted problems: worst max / mean {}; after the first plan {}, \
         {later} needed further plans because of the draw limit",
        thousandths(worst),
        thousandths(worst_first),
    );
}

/// What the exact solver said, summed.
#[derive(Default)]
struct Tally {
    problems: u64,
    moves: u64,
    fewest: u64,
    fewest_as_good: u64,
    above_lowest: u64,
}

impl Tally {
    fn count(&mut self, verdict: &exact::Verdict) {
        self.problems += 1;
        self.moves += verdict.moves;
        self.fewest += verdict.fewest;
        self.fewest_as_good += verdict.fewest_as_good;
        self.above_lowest += u64::from(verdict.highest > verdict.lowest);
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { problems, moves, fewest, fewest_as_good, above_lowest } = self;
        let percent = |of: u64| thousandths(moves * 100_000 / of.max(1));
        write!(
            f,
            "{problems} problems, {moves} moves; fewest {fewest} ({} %), fewest for as good a result {fewest_as_good} \
             ({} %); above the lowest level: {above_lowest}",
            percent(*fewest),
            percent(*fewest_as_good),
        )
    }
}

fn any_size(seed: u64, rng: &mut ChaCha8Rng) -> Problem {
    if seed < SMALL { anything(rng, 8, 4) } else { anything(rng, 40, 8) }
}

/// Runs `check` with the generator of each seed, and prints the seed with which it fails.
fn for_each_seed(count: u64, mut check: impl FnMut(u64, &mut ChaCha8Rng)) {
    for seed in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(seed, &mut rng)));
        if let Err(failure) = outcome {
            println!("failed with seed {seed}");
            resume_unwind(failure);
        }
    }
}

/// Carries plans out until one changes nothing; with how many plans that took.
///
/// One is enough, unless the draw limit holds back a container.
fn plans_to_rest(problem: &Problem, first: Plan) -> (Problem, usize) {
    let mut problem = problem.clone();
    let mut planned = first;
    for plans in 1..=MAX_PLANS_TO_REST {
        let after = carried_out(&problem, &planned);
        let next = plan(&after);
        if changes(&after, &next) == 0 {
            return (after, plans);
        }
        let (limit, further) = (draw_limit(&problem), draws(&next));
        let paced = draws(&planned)
            .into_iter()
            .any(|(at, drawn)| drawn == limit || drawn + further.get(at).unwrap_or(&0) > limit);
        assert!(paced, "a plan is not the plan of its own result");
        (problem, planned) = (after, next);
    }
    panic!("{MAX_PLANS_TO_REST} plans and no rest");
}

/// How many sensors `planned` puts elsewhere than they are.
fn changes(problem: &Problem, planned: &Plan) -> usize {
    let targets = planned.placements.iter();
    targets.filter(|(name, at)| !problem.sensors[*name].paused && at.target != problem.sensors[*name].holder).count()
}

/// The heaviest load by the mean, over the containers that do not drain, in thousandths, rounded up.
fn ratio(problem: &Problem, planned: &Plan) -> u64 {
    let loads = loads(problem, planned);
    let open = || {
        let all = loads.iter();
        all.filter(|(name, _)| !problem.containers[*name].draining).map(|(_, &load)| load)
    };
    let count: u64 = open().map(|_| 1).sum();
    let total: u64 = open().sum();
    (open().max().unwrap_or(0) * count * 1000).div_ceil(total.max(1))
}

/// A number of thousandths as people write it.
fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1000, value % 1000)
}
