//! What the store is asked while nothing happens: many sensors run, and none of them does anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{Program, Testbed};

use crate::progress::{Progress, wait_out};
use crate::stores::{Store, Which};

/// Arbitrators that share the store.
const ARBITRATORS: usize = 3;
/// Polls are as far apart as they are for sensors that ask some server now and then.
const POLL_SECONDS: u32 = 30;
/// So many processes are forked, one after the other, within this; then it is given up.
const STARTS_WITHIN: Duration = Duration::from_mins(20);
/// Operations a second that all of it may cost.
const AT_MOST: f64 = 5.0;

/// A poll that looks at nothing and dispatches nothing.
const SENSOR: &str = "\
from st2reactor.sensor.base import PollingSensor


class Idle(PollingSensor):
    def setup(self):
        pass

    def poll(self):
        pass

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
";

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) sensors: usize,
    pub(crate) containers: usize,
    /// How long what starting has set off is left to end.
    pub(crate) settles: Duration,
    /// How long is counted.
    pub(crate) over: Duration,
}

/// Counts on one store.
pub(crate) fn run(binary: &Path, which: Which, size: Size) -> ExitCode {
    let Size { sensors, containers, settles, over } = size;
    println!(
        "{sensors} sensors that poll every {POLL_SECONDS} s and do nothing, each one process where it is ACTIVE; {containers} \
         containers, which find\nthe leader through the store; each offers its own sensors and its neighbour's, as cold \
         standbys; {ARBITRATORS} arbitrators\non {which:?}; default timing; no service registry\n"
    );
    let store = Store::start_counting(which);
    let bed = Testbed::for_arbitrators(binary, ARBITRATORS);
    let policy = bed.folder().join("policy.yaml");
    if let Err(error) = write_files(bed.folder(), &policy, size) {
        eprintln!("error: the sensors cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    let policy = format!("--policy={}", policy.display());
    let arbitrators: Vec<Program> =
        (0..ARBITRATORS).map(|number| bed.arbitrator_on(number, &store.url(), &["--log=warn", &policy])).collect();
    let containers: Vec<Program> = (0..containers).map(|number| container(&bed, number, size, &store.url())).collect();
    until_all_run(&bed, sensors);
    wait_out("what starting has set off ends", settles);
    let (before, since) = (store.counted(), Instant::now());
    wait_out("counting", over);
    let (after, seconds) = (store.counted(), since.elapsed().as_secs_f64());
    let status = bed.status();
    let active = status.map_or(0, |status| status.sensors.active);
    let rate = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    println!("counted over {seconds:.0} s by {}\n", store.counter());
    println!("{:<24} {:>8} {:>10}", "asked for", "times", "a second");
    let list = |kinds: Vec<(String, u64)>| {
        for (kind, count) in &kinds {
            println!("{kind:<24} {count:>8} {:>10.2}", rate(*count));
        }
        kinds.iter().map(|(_, count)| count).sum::<u64>()
    };
    let total = list(added(&before.operations, &after.operations));
    println!("{:<24} {total:>8} {:>10.2}", "all", rate(total));
    let apart = added(&before.apart, &after.apart);
    if !apart.is_empty() {
        println!("\nnot in the sum: what {}", store.apart());
        let apart = list(apart);
        println!("{:<24} {:>8} {:>10.2}", "with it", total + apart, rate(total + apart));
    }
    let verdict = if rate(total) < AT_MOST { "under" } else { "NOT under" };
    println!("\n{active} sensors were ACTIVE; {:.2} operations a second: {verdict} {AT_MOST}", rate(total));
    drop((containers, arbitrators, store));
    ExitCode::SUCCESS
}

/// The packs, one a container, and the policy.
fn write_files(folder: &Path, policy: &Path, size: Size) -> io::Result<()> {
    for number in 0..size.containers {
        let pack = format!("idle{number:02}");
        let sensors = folder.join("packs").join(&pack).join("sensors");
        std::fs::create_dir_all(&sensors)?;
        let metadata = format!("---\nref: {pack}\nname: {pack}\nversion: 1.0.0\n");
        std::fs::write(sensors.with_file_name("pack.yaml"), metadata)?;
        let mut module = SENSOR.to_owned();
        for sensor in (number..size.sensors).step_by(size.containers) {
            let class = format!("Idle{sensor:04}");
            // Writing into a string cannot fail.
            let _ = write!(module, "\n\nclass {class}(Idle):\n    pass\n");
            let metadata = format!(
                "---\nclass_name: {class}\nentry_point: idle.py\ndescription: Does nothing.\npoll_interval: {POLL_SECONDS}\n"
            );
            std::fs::write(sensors.join(format!("{}.yaml", class.to_lowercase())), metadata)?;
        }
        std::fs::write(sensors.join("idle.py"), module)?;
    }
    std::fs::write(policy, "sensors:\n  \"*\": {standby: cold}\n")
}

/// Starts one that offers its own pack, and its neighbour's.
fn container(bed: &Testbed, number: usize, size: Size, url: &str) -> Program {
    let name = format!("node-{number:02}");
    let packs = [number, (number + 1) % size.containers];
    let packs: Vec<_> = packs.iter().map(|pack| bed.folder().join("packs").join(format!("idle{pack:02}"))).collect();
    let flags: Vec<String> = packs.iter().map(|pack| format!("--packs={}", pack.display())).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--log=warn"]).collect();
    bed.container_with(&name, url, &flags)
}

fn until_all_run(bed: &Testbed, sensors: usize) {
    let mut progress = Progress::new("sensors ACTIVE");
    bed.eventually(STARTS_WITHIN, "every sensor is ACTIVE and runs", || {
        let all = bed.sensors()?;
        let runs = |sensor: &&st2sa_proto::rest::Sensor| {
            let mut active = sensor.instances.iter().filter(|instance| instance.status == word::ACTIVE);
            active.any(|instance| instance.state == "running")
        };
        let running = all.iter().filter(runs).count();
        progress.at(running, sensors);
        if running < sensors {
            // A thousand sensors are a long document: it is not asked for all the time.
            std::thread::sleep(Duration::from_millis(500));
        }
        (running == sensors).then_some(())
    });
}

fn added(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let added = |(kind, count): (&String, &u64)| {
        let more = count.saturating_sub(before.get(kind).copied().unwrap_or_default());
        (more > 0).then(|| (kind.clone(), more))
    };
    let mut added: Vec<_> = after.iter().filter_map(added).collect();
    added.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
    added
}
