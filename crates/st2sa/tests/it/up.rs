//! `st2sa up`: everything on one machine, in words, and nothing left of it.

use std::time::{Duration, Instant};

use st2sa_machine::processes::Process;
use st2sa_testbed::{FAILOVER, Pack, Program, Signal, Source, Testbed};

use crate::scene::{SETTLES, SLACK, TICKER, sensors_of, testbed};

const PACKS: &[Pack] = &[Pack::Ticker(4), Pack::Slow];
/// `up` starts a container again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// `up`, settled. Its programs' logs stand in the testbed's folder.
fn up(bed: &Testbed, source: &Source) -> Program {
    bed.add_packs(PACKS, source);
    let folder = bed.folder().display();
    let up = bed.program(
        "up",
        &[
            "up",
            &format!("--packs={folder}/packs"),
            &format!("--data-dir={folder}"),
            &format!("--listen={}", bed.listen()),
        ],
    );
    bed.eventually(SETTLES, "every sensor is ACTIVE", || bed.placement(&sensors_of(PACKS)));
    up
}

/// Waits until `up` has said all of `words` in one line, after the first `skipped` lines.
fn says(bed: &Testbed, up: &Program, skipped: usize, words: &[&str]) -> String {
    bed.eventually(SETTLES, &format!("up says {words:?}"), || {
        let output = up.output();
        let line = output.lines().skip(skipped).find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    })
}

/// The process that `up` says a program runs as.
fn process(bed: &Testbed, up: &Program, name: &str) -> Process {
    let line = says(bed, up, 0, &[&format!("{name} runs as process ")]);
    let pid = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).unwrap();
    Process::of(pid).unwrap_or_else(|| panic!("there is no process {pid}: {line}"))
}

fn lines(up: &Program) -> usize {
    up.output().lines().count()
}

/// Every process that names a folder in its command line.
fn that_name(folder: &str) -> Vec<String> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    let texts = numbers.filter_map(|path| std::fs::read(path).ok());
    texts.map(|text| String::from_utf8_lossy(&text).replace('\0', " ")).filter(|text| text.contains(folder)).collect()
}

/// Asks it to stop, as Ctrl-C at a terminal does, and looks for what is left.
fn stops(bed: &Testbed, mut up: Program) {
    let skipped = lines(&up);
    up.kill(Signal::INT);
    let status = up.wait(SETTLES);
    assert_eq!(status.code(), Some(0), "{}", up.output());
    assert!(up.output().lines().skip(skipped).any(|line| line.ends_with("everything has stopped")), "{}", up.output());
    assert_eq!(up.processes(), []);
    assert_eq!(that_name(&bed.folder().display().to_string()), Vec::<String>::new());
}

#[test]
fn up_says_what_runs_where_and_goes_on_when_a_container_is_killed() {
    let (source, bed) = (Source::start(), testbed());
    let up = up(&bed, &source);
    let holder = bed.placement(&[TICKER.to_owned()]).unwrap()[TICKER].clone();
    let other = if holder == "container-1" { "container-2" } else { "container-1" };
    process(&bed, &up, "arbitrator");
    process(&bed, &up, other);
    let container = process(&bed, &up, &holder);
    says(&bed, &up, 0, &[TICKER, "is ACTIVE on", &holder]);
    says(&bed, &up, 0, &["trigger ticker.tick_01", TICKER, &holder]);
    let (killed, skipped) = (Instant::now(), lines(&up));
    bed.kill(container, Signal::KILL);
    says(&bed, &up, skipped, &[&holder, "has ended", "goes on elsewhere"]);
    let what = "the sensor is polled again";
    let poll = bed.eventually(FAILOVER + SLACK, what, || source.first_since(TICKER, killed + SLACK / 100));
    assert!(poll.begun - killed <= FAILOVER + SLACK);
    says(&bed, &up, skipped, &[TICKER, "is ACTIVE on", other]);
    says(&bed, &up, skipped, &["trigger ticker.tick_01", other]);
    let what = "the killed container is started again";
    bed.eventually(AGAIN_AFTER + SETTLES, what, || {
        let containers = bed.containers()?;
        containers.iter().all(|container| container.state == "up").then_some(())
    });
    assert!(killed.elapsed() >= AGAIN_AFTER);
    stops(&bed, up);
    source.assert_no_overlap();
}

#[test]
fn up_starts_a_killed_arbitrator_again_and_nothing_moves() {
    let (source, bed) = (Source::start(), testbed());
    let up = up(&bed, &source);
    let sensors = sensors_of(PACKS);
    let before = bed.placement(&sensors).unwrap();
    let (killed, skipped) = (Instant::now(), lines(&up));
    bed.kill(process(&bed, &up, "arbitrator"), Signal::KILL);
    says(&bed, &up, skipped, &["arbitrator has ended", "sensors go on"]);
    says(&bed, &up, skipped, &["arbitrator runs as process "]);
    bed.eventually(FAILOVER + SLACK, "the sensor is polled", || source.first_since(TICKER, killed + SLACK / 100));
    assert_eq!(bed.eventually(SETTLES, "every sensor is ACTIVE", || bed.placement(&sensors)), before);
    stops(&bed, up);
    source.assert_no_overlap();
}

#[test]
fn up_refuses_a_folder_of_packs_that_is_not_there() {
    let bed = testbed();
    let missing = bed.folder().join("missing").display().to_string();
    let mut up = bed.program("up", &["up", &format!("--packs={missing}"), &format!("--listen={}", bed.listen())]);
    assert_eq!(up.wait(Duration::from_secs(5)).code(), Some(2), "{}", up.log());
    assert!(up.log().contains(&missing), "{}", up.log());
}
