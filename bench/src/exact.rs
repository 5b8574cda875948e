//! Whether each number arrives exactly once, whatever dies: two sensors count, one dispatches then saves, the other saves then
//! dispatches.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use st2sa_machine::crash::{IN_PYTHON, Point};
use st2sa_testbed::{Exactness, Pack, Source, Strike, Testbed};

use crate::probes::{ARBITRATORS, PATIENCE};
use crate::progress::Progress;
use crate::stores::{Store, Which};

const CONTAINERS: [&str; 2] = ["a", "b"];
const PACKS: [Pack; 2] = [Pack::Cursor, Pack::Saver];
/// Short leases: much dies within an hour.
const QUICK: [&str; 3] = ["--session-ttl=500ms", "--heartbeat=100ms", "--log=warn"];
/// Passes of each crash point.
const PASSES: u32 = 3;

/// What is done.
pub(crate) struct Plan {
    pub(crate) store: Option<Which>,
    pub(crate) strikes: usize,
    pub(crate) seed: u64,
    pub(crate) points: bool,
    pub(crate) direct: bool,
}

/// Strikes, and prints the account; it fails where anything is lost, doubled or out of order.
pub(crate) fn run(binary: &Path, plan: &Plan) -> ExitCode {
    let store = plan.store.map(Store::start);
    let bed = Testbed::for_arbitrators(binary, if store.is_some() { ARBITRATORS } else { 1 });
    let source = Source::start();
    bed.add_packs(&PACKS, &source);
    let policy = bed.folder().join("policy.yaml");
    let way = if plan.direct { "direct" } else { "auto" };
    if let Err(error) = std::fs::write(&policy, format!("sensors: {{\"*\": {{effects: {way}}}}}\n")) {
        eprintln!("error: the policy cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    let policy = format!("--policy={}", policy.display());
    let flags = [&QUICK[..], &[&policy]].concat();
    let mut arbitrators: Vec<_> = match &store {
        None => vec![bed.arbitrator(&flags)],
        Some(store) => (0..ARBITRATORS).map(|number| bed.arbitrator_on(number, &store.url(), &flags)).collect(),
    };
    let mut containers = CONTAINERS.map(|name| bed.container_with_own_file(name, &["--log=warn"]));
    let sensors: Vec<String> = PACKS.into_iter().flat_map(Pack::sensors).collect();
    bed.eventually(PATIENCE, "every sensor is ACTIVE", || bed.placement(&sensors));
    let mut exactness = Exactness::new(&bed, sensors, &CONTAINERS, plan.seed);
    let points: Vec<Strike> = if plan.points { crash_points() } else { Vec::new() };
    let count = if plan.points { points.len() } else { plan.strikes };
    println!(
        "{} arbitrators on {}, effects: {way}; {count} deaths from seed {}, session_ttl 500 ms",
        arbitrators.len(),
        plan.store.map_or("files of its own".to_owned(), |store| format!("{store:?}")),
        plan.seed
    );
    let since = Instant::now();
    let mut progress = Progress::new("died");
    for number in 0..count {
        progress.at(number + 1, count);
        let strike = points.get(number).copied().unwrap_or_else(|| exactness.draw());
        exactness.strike(strike, &mut arbitrators, &mut containers);
        // A loss is found where it happened, not an hour later.
        if number % 50 == 49 && !plan.direct && !exactness.account().is_exact() {
            break;
        }
    }
    drop(progress);
    let account = exactness.account();
    let of = |what: fn(&Strike) -> bool| exactness.strikes.iter().filter(|strike| what(strike)).count();
    println!(
        "\n{} deaths in {:.0} s: {} of sensors' processes, {} of containers, {} nodes, {} pauses, {} of arbitrators, {} at crash \
         points\n{account}",
        exactness.strikes.len(),
        since.elapsed().as_secs_f64(),
        of(|strike| *strike == Strike::Sensor),
        of(|strike| *strike == Strike::Container),
        of(|strike| *strike == Strike::Node),
        of(|strike| *strike == Strike::Pause),
        of(|strike| *strike == Strike::Arbitrator),
        of(|strike| matches!(strike, Strike::At(..))),
    );
    source.assert_no_overlap();
    if plan.direct || account.is_exact() {
        return ExitCode::SUCCESS;
    }
    println!("not exact: the same again with --seed {} --kills {}", plan.seed, exactness.strikes.len());
    ExitCode::FAILURE
}

fn crash_points() -> Vec<Strike> {
    let names: Vec<&'static str> =
        Point::ALL.iter().map(|point| point.name()).chain(IN_PYTHON.iter().copied()).collect();
    (1..=PASSES).flat_map(|times| names.iter().map(move |name| Strike::At(name, times))).collect()
}
