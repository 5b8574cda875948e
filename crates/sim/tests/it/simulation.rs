//! The simulator itself: it repeats itself exactly, and a short sample of its runs holds.

use st2sa_sim::hazards;
use st2sa_sim::random;
use st2sa_sim::runner;
use st2sa_sim::trace::Trace;
use st2sa_sim::world::World;

#[test]
fn a_seed_plays_the_same_way_twice() {
    for seed in 0..20 {
        let play = || {
            let outcome = World::new(random::run(seed), Trace::silent()).finish();
            (outcome.events, outcome.simulated, format!("{:?}", outcome.windows))
        };
        assert_eq!(play(), play(), "seed {seed}");
    }
}

#[test]
fn a_sample_of_seeds_holds_every_invariant() {
    let summary = runner::seeds(0, 150, 1, &random::run);
    assert_eq!(summary.runs, 150);
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
}

#[test]
fn a_sample_of_every_scenario_holds_every_invariant() {
    for scenario in hazards::ALL {
        let summary = runner::seeds(0, 4, 1, &|seed| scenario.run(seed));
        assert!(summary.failures.is_empty(), "{}: {:?}", scenario.name, summary.failures);
    }
}

#[test]
fn scenarios_have_names_of_their_own() {
    for scenario in hazards::ALL {
        let same = hazards::ALL.iter().filter(|other| other.name == scenario.name).count();
        assert_eq!(same, 1, "{}", scenario.name);
        assert!(hazards::named(scenario.name).is_some());
    }
}

#[test]
fn without_its_faults_a_run_is_quiet() {
    for seed in 0..20 {
        let run = random::run(seed);
        let outcome = World::new(runner::keep(&run, &[]), Trace::silent()).finish();
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        let calm = ["struck-alive", "frozen-in-poll", "two-believe-they-lead", "deposed-write-refused"];
        let entered = outcome.windows.keys().find(|window| calm.contains(&window.to_string().as_str()));
        assert!(entered.is_none(), "seed {seed} entered {entered:?}");
    }
}
