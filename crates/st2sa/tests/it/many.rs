//! Many virtualenvs on a machine that is slow to start anything: a host for each, and nobody is taken for dead meanwhile.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use st2sa_testbed::{Program, Signal, Testbed};

use crate::debugger::Debugger;
use crate::scene::{SETTLES, SLACK, testbed};

/// Packs with a virtualenv each.
const PACKS: usize = 8;
/// A start takes so long: all of them take longer than a guardian may stand still.
const START_SECONDS: &str = "0.6";
const STARTS: Duration = Duration::from_secs(10);

const MODULE: &str = "
from st2reactor.sensor.base import Sensor

class Here(Sensor):
    def setup(self): pass
    def run(self): pass
    def cleanup(self): pass
    def add_trigger(self, trigger): pass
    def update_trigger(self, trigger): pass
    def remove_trigger(self, trigger): pass
";

/// A container with one sensor, whose guardian is slow to start what comes then; `None` where nobody may be slowed down.
fn slow(bed: &Testbed) -> Option<(Program, Debugger)> {
    write_pack(&bed.folder().join("packs/first"), "first");
    let container = bed.container_in("a", "a", &[&format!("--virtualenvs={}", virtualenvs(bed).display())]);
    bed.eventually(SETTLES, "the first sensor runs", || bed.placement(&["first.Here".to_owned()]));
    let debugger = Debugger::slowing(container.guardian(), START_SECONDS)?;
    Some((container, debugger))
}

fn virtualenvs(bed: &Testbed) -> PathBuf {
    let folder = bed.folder().join("virtualenvs");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Adds the packs, and has them read.
fn add_packs(bed: &Testbed, container: &Program) -> Vec<String> {
    let python = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("python3"))
        .find(|python| python.is_file())
        .unwrap();
    let names: Vec<String> = (1..=PACKS).map(|number| format!("many{number}")).collect();
    for name in &names {
        let bin = virtualenvs(bed).join(name).join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        symlink(&python, bin.join("python")).unwrap();
        write_pack(&bed.folder().join("packs").join(name), name);
    }
    bed.kill(container.process(), Signal::HUP);
    names.into_iter().map(|name| format!("{name}.Here")).collect()
}

fn write_pack(folder: &Path, name: &str) {
    let sensors = folder.join("sensors");
    std::fs::create_dir_all(&sensors).unwrap();
    std::fs::write(folder.join("pack.yaml"), format!("ref: {name}\nname: {name}\nversion: 1.0.0\n")).unwrap();
    std::fs::write(sensors.join("here.py"), MODULE).unwrap();
    std::fs::write(sensors.join("here.yaml"), "class_name: Here\nentry_point: here.py\ndescription: x\n").unwrap();
}

#[test]
fn a_guardian_that_starts_many_hosts_is_not_taken_for_one_that_stands_still() {
    let bed = testbed();
    let _arbitrator = bed.arbitrator(&[]);
    let Some((container, debugger)) = slow(&bed) else { return };
    let guardian = container.guardian();
    let sensors = add_packs(&bed, &container);
    bed.eventually(STARTS + SETTLES, "every sensor is ACTIVE", || bed.placement(&sensors));
    assert_eq!(container.guardian(), guardian, "{}", container.log());
    assert_eq!(container.hosts().len(), PACKS + 1);
    drop(debugger);
}

#[test]
fn a_guardian_whose_container_is_killed_starts_nothing_more() {
    let bed = testbed();
    let _arbitrator = bed.arbitrator(&[]);
    let Some((container, mut debugger)) = slow(&bed) else { return };
    add_packs(&bed, &container);
    assert_eq!(debugger.hears().as_deref(), Some("forked"), "the first host is being started");
    container.kill(Signal::KILL);
    let left = || container.processes().is_empty().then_some(());
    bed.eventually(Duration::from_secs(1) + SLACK, "nothing of it is left", left);
    assert_eq!(debugger.hears(), None, "no other was started");
}
