//! `st2sa-sim`: plays simulated clusters of st2sa's core; see `cargo xtask sim --help`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use st2sa_core::guard::Guard;
use st2sa_sim::plan::{Run, Setup};
use st2sa_sim::runner::{self, Summary};
use st2sa_sim::trace::Trace;
use st2sa_sim::windows::Window;
use st2sa_sim::world::World;
use st2sa_sim::{INVARIANTS, SECOND, hazards, random};

#[derive(Parser)]
#[command(about = "Plays whole clusters of st2sa's core in simulated time")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play one seed with a trace, or many and count
    Simulate(Simulate),
    /// Print the tables of guards, invariants, windows and scenarios
    Guards(Guards),
}

/// With nothing given: seeds 0 to 999.
#[derive(Args)]
struct Simulate {
    /// Play this one and print a readable trace
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed or --scenario: only these of its faults, by number (as a failure prints them)
    #[arg(long, value_delimiter = ',')]
    keep: Option<Vec<usize>>,
    /// Play so many on all cores
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Play a scripted interleaving of a known hazard ("list" names them, "all" plays all) instead of random runs;
    /// with --seed, one variation of it with a trace
    #[arg(long)]
    scenario: Option<String>,
    /// Disable a guard ("list" names them, "all" tries each alone) and expect the runs to fail
    #[arg(long)]
    broken: Option<String>,
}

#[derive(Args)]
struct Guards {
    /// Exit with 1 if this file says anything else
    #[arg(long)]
    check: Option<PathBuf>,
    /// Write this file
    #[arg(long, conflicts_with = "check")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Simulate(simulate) => run(&simulate),
        Command::Guards(guards) => print_guards(&guards),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(simulate: &Simulate) -> anyhow::Result<bool> {
    if let Some(broken) = &simulate.broken {
        return run_broken(simulate, broken);
    }
    match (&simulate.scenario, simulate.seed) {
        (Some(name), _) if name == "list" => {
            for scenario in hazards::ALL {
                println!("{:<28} {}", scenario.name, scenario.what);
            }
            Ok(true)
        }
        (Some(name), Some(seed)) => {
            let scenario =
                hazards::named(name).with_context(|| format!("no scenario `{name}`: see --scenario list"))?;
            Ok(play(&scenario.run(seed), simulate.keep.as_deref()))
        }
        (Some(name), None) => run_scenarios(name),
        (None, Some(seed)) => Ok(play(&random::run(seed), simulate.keep.as_deref())),
        (None, None) => Ok(run_seeds(simulate)),
    }
}

/// One run, with its trace.
fn play(run: &Run, kept: Option<&[usize]>) -> bool {
    let run = kept.map_or_else(|| run.clone(), |kept| runner::keep(run, kept));
    describe(&run.setup);
    for (index, (at, fault)) in run.faults.iter().enumerate() {
        println!("fault {index} at {:.3} s: {fault:?}", seconds(u128::from(*at)));
    }
    let outcome = World::new(run, Trace::printing()).finish();
    if let Some(violation) = outcome.violation {
        println!("FAILED at {:.3} s: {violation}", seconds(u128::from(violation.at)));
        return false;
    }
    println!("held every invariant for {:.1} simulated s", seconds(u128::from(outcome.simulated)));
    true
}

/// The cluster of a run, for people.
fn describe(setup: &Setup) {
    let rates: Vec<_> = setup.arbitrators.iter().map(|rate| per_mille(*rate)).collect();
    println!(
        "{} arbitrators (clocks at {}), engine at {}{}{}",
        setup.arbitrators.len(),
        rates.join(", "),
        per_mille(setup.engine_rate),
        if setup.forgetful { ", may forget" } else { "" },
        if setup.fail_safe { ", fail-safe on" } else { "" },
    );
    for machine in &setup.machines {
        let later = if machine.starts { "" } else { ", starts later" };
        println!("{}: clock at {}, zone {}{later}", machine.name, per_mille(machine.rate), machine.zone);
    }
    for sensor in &setup.sensors {
        let interval = sensor.interval.map_or("passive".to_owned(), |every| {
            format!("polls every {:.3} s for up to {:.3} s", seconds(every.into()), seconds(sensor.poll.1.into()))
        });
        println!("{}: {interval}, {:?}, weight {}", sensor.name, sensor.effects, sensor.weight);
    }
}

/// A clock's rate, as a multiple of true time's.
fn per_mille(rate: u64) -> String {
    format!("{}.{:03}", rate / 1_000_000, rate % 1_000_000 / 1_000)
}

fn run_seeds(simulate: &Simulate) -> bool {
    /// So many runs must enter every window.
    const WINDOWS_FROM: u64 = 1_000;
    let began = Instant::now();
    let summary = runner::seeds(simulate.from, simulate.seeds, 20, &random::run);
    for (seed, violation) in &summary.failures {
        println!("seed {seed}: {violation}");
        println!("  replay: cargo xtask sim --seed {seed}");
    }
    if let Some((seed, violation)) = summary.failures.first_key_value() {
        let run = random::run(*seed);
        let kept = runner::shrink(&run, violation.invariant);
        let list: Vec<_> = kept.iter().map(ToString::to_string).collect();
        println!("  shrunk: cargo xtask sim --seed {seed} --keep {}", list.join(","));
        for (at, fault) in runner::keep(&run, &kept).faults {
            println!("    {:.3} s {fault:?}", seconds(u128::from(at)));
        }
    }
    let missed = if simulate.seeds >= WINDOWS_FROM { summary.missed() } else { Vec::new() };
    for window in &missed {
        println!("window never entered: {window}");
    }
    print_counts(&summary, began);
    summary.failures.is_empty() && missed.is_empty()
}

fn print_counts(summary: &Summary, began: Instant) {
    let windows: Vec<_> = summary.windows.iter().map(|(window, count)| format!("{window} {count}")).collect();
    println!("windows entered: {}", windows.join(", "));
    let took = began.elapsed().as_secs_f64().max(0.001);
    let (runs, simulated) = (to_float(u128::from(summary.runs)), seconds(summary.simulated));
    println!(
        "{} seeds, {} failed, {} events, {simulated:.0} simulated s in {took:.1} s: {:.0} seeds/s, {:.0} simulated s/s",
        summary.runs,
        summary.failures.len(),
        summary.events,
        runs / took,
        simulated / took,
    );
}

/// Every variation of a scenario holds every invariant, and among them each of its windows is entered.
fn run_scenarios(name: &str) -> anyhow::Result<bool> {
    let chosen: Vec<_> = hazards::ALL.iter().filter(|scenario| name == "all" || scenario.name == name).collect();
    if chosen.is_empty() {
        bail!("no scenario `{name}`: see --scenario list");
    }
    let mut good = true;
    for scenario in chosen {
        let summary = runner::seeds(0, hazards::VARIATIONS, 3, &|seed| scenario.run(seed));
        let missed: Vec<_> = scenario.windows.iter().filter(|window| !summary.windows.contains_key(window)).collect();
        let verdict = if summary.failures.is_empty() && missed.is_empty() { "held" } else { "FAILED" };
        println!("{:<28} {verdict} in {} variations", scenario.name, summary.runs);
        for (seed, violation) in &summary.failures {
            println!("  {violation}");
            println!("  replay: cargo xtask sim --scenario {} --seed {seed}", scenario.name);
        }
        for window in &missed {
            println!("  window never entered: {window}");
        }
        good &= verdict == "held";
    }
    Ok(good)
}

#[cfg(not(st2sa_broken))]
fn run_broken(_simulate: &Simulate, broken: &str) -> anyhow::Result<bool> {
    if broken == "list" {
        list_guards();
        return Ok(true);
    }
    bail!("this build keeps its guards: `cargo xtask sim --broken {broken}` makes one that can break them")
}

#[cfg(st2sa_broken)]
fn run_broken(simulate: &Simulate, broken: &str) -> anyhow::Result<bool> {
    if broken == "list" {
        list_guards();
        return Ok(true);
    }
    let chosen: Vec<_> = Guard::ALL.iter().filter(|guard| broken == "all" || guard.name() == broken).collect();
    if chosen.is_empty() {
        bail!("no guard `{broken}`: see --broken list");
    }
    let scenario = simulate.scenario.as_deref();
    let scenario =
        scenario.map(|name| hazards::named(name).with_context(|| format!("no scenario `{name}`"))).transpose()?;
    let make = |seed| scenario.map_or_else(|| random::run(seed), |scenario| scenario.run(seed));
    if let (Some(seed), [guard]) = (simulate.seed, chosen.as_slice()) {
        st2sa_core::guard::break_one(Some(**guard));
        return Ok(play(&make(seed), simulate.keep.as_deref()));
    }
    let mut good = true;
    println!("| guard | rule | found in | invariants that found it |\n|---|---|---|---|");
    for guard in chosen {
        st2sa_core::guard::break_one(Some(*guard));
        let enough = if broken == "all" { 5 } else { 20 };
        let summary = runner::seeds(simulate.from, simulate.seeds, enough, &make);
        st2sa_core::guard::break_one(None);
        let found: Vec<_> =
            summary.by_invariant().iter().map(|(invariant, count)| format!("{invariant} {count}")).collect();
        let verdict = if found.is_empty() { "NOT FOUND".to_owned() } else { found.join(", ") };
        println!("| {} | {} | {} seeds | {verdict} |", guard.name(), guard.rule(), summary.runs);
        if broken != "all" {
            for (seed, violation) in summary.failures.iter().take(5) {
                println!("seed {seed}: {violation}");
            }
        }
        good &= !found.is_empty();
    }
    Ok(good)
}

fn list_guards() {
    for guard in Guard::ALL {
        println!("{:<34} rule {:>2}: {}", guard.name(), guard.rule(), guard.purpose().trim());
    }
}

fn print_guards(guards: &Guards) -> anyhow::Result<bool> {
    let text = tables();
    if let Some(path) = &guards.write {
        std::fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        return Ok(true);
    }
    let Some(path) = &guards.check else {
        print!("{text}");
        return Ok(true);
    };
    let stored = std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    if stored != text {
        eprintln!("`{}` is out of date: `cargo xtask fix` writes it anew", path.display());
    }
    Ok(stored == text)
}

/// What `docs/guards.md` says.
fn tables() -> String {
    let mut text = String::from(
        "# Guards, invariants, windows, scenarios\n\n\
         Written by `cargo xtask fix` from the code; the gate fails when it is out of date.\n\n\
         ## Guards\n\n\
         What safety rests on, each by name. `cargo xtask sim --broken NAME` plays clusters in which that one is\n\
         disabled, and must fail.\n\n| guard | rule | what it does |\n|---|---|---|\n",
    );
    let mut row = |cells: &[&str]| {
        text.push_str("| ");
        text.push_str(&cells.join(" | "));
        text.push_str(" |\n");
    };
    for guard in Guard::ALL {
        row(&[guard.name(), &guard.rule().to_string(), guard.purpose().trim()]);
    }
    text.push_str(
        "\n## Invariants\n\nChecked after every step, from true time.\n\n| invariant | what holds |\n|---|---|\n",
    );
    for (name, what) in INVARIANTS {
        let _ = writeln!(text, "| {name} | {what} |");
    }
    text.push_str(
        "\n## Windows\n\nSituations in which a guard is all that stands between a cluster and a broken invariant.\n\
         1,000 seeds or more fail when one was never entered.\n\n| window | what it is |\n|---|---|\n",
    );
    for window in Window::ALL {
        let _ = writeln!(text, "| {window} | {} |", window.meaning().trim());
    }
    text.push_str(
        "\n## Scenarios\n\nKnown ways in which earlier designs broke, each scripted and varied.\n\
         `cargo xtask sim --scenario NAME` plays one.\n\n| scenario | what happens | windows it must enter |\n|---|---|---|\n",
    );
    for scenario in hazards::ALL {
        let windows: Vec<_> = scenario.windows.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "| {} | {} | {} |", scenario.name, scenario.what, windows.join(", "));
    }
    text
}

fn seconds(nanos: u128) -> f64 {
    to_float(nanos) / to_float(u128::from(SECOND))
}

/// For people: precision beyond 53 bits does not matter.
#[expect(clippy::cast_precision_loss, reason = "printed with at most three decimals")]
fn to_float(value: u128) -> f64 {
    value as f64
}
