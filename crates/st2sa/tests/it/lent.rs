//! StackStorm's own packages and the inherited PYTHONPATH: sensors of a node on which StackStorm is installed see them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use st2sa_testbed::Program;

use crate::scene::testbed;

/// A Python starts.
const CHECKED_WITHIN: Duration = Duration::from_mins(1);

const MODULE: &str = "
from st2reactor.sensor.base import Sensor
import LIBRARY

class Here(Sensor):
    def setup(self): pass
    def run(self): pass
    def cleanup(self): pass
    def add_trigger(self, trigger): pass
    def update_trigger(self, trigger): pass
    def remove_trigger(self, trigger): pass
";

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn write_pack(base: &Path, library: &str) {
    let pack = base.join("packs").join(library);
    write(&pack.join("pack.yaml"), &format!("ref: {library}\nname: {library}\nversion: 1.0.0\n"));
    write(&pack.join("sensors/here.py"), &MODULE.replace("LIBRARY", library));
    write(&pack.join("sensors/here.yaml"), "class_name: Here\nentry_point: here.py\ndescription: x\n");
}

/// What the Python that packs without a virtualenv get calls its own folders.
fn python() -> String {
    let say = "import sys; print(f'python{sys.version_info[0]}.{sys.version_info[1]}', end='')";
    String::from_utf8(Command::new("python3").args(["-c", say]).output().unwrap().stdout).unwrap()
}

#[test]
fn a_sensor_sees_the_packages_of_stackstorms_own_virtualenv_below_the_base_path() {
    let bed = testbed();
    let base = bed.folder().join("base");
    write_pack(&base, "only_stackstorm_has_it");
    write_pack(&base, "nobody_has_it");
    write(&base.join("st2/lib").join(python()).join("site-packages/only_stackstorm_has_it.py"), "");
    write(&base.join("st2/lib/python2.7/site-packages/nobody_has_it.py"), "");
    let configuration = base.join("st2.conf");
    write(&configuration, &format!("[system]\nbase_path = {}\n", base.display()));
    let arguments = ["check", "-o", "json", &format!("--config-file={}", configuration.display())];
    let mut check: Program = bed.program("check", &arguments);
    check.wait(CHECKED_WITHIN);
    let document: Value = serde_json::from_str(&check.output()).unwrap();
    let problem = |index: usize| document["sensors"][index]["problem"].as_str();
    assert!(problem(0).unwrap().contains("No module named 'nobody_has_it'"), "{document:#}");
    assert_eq!(problem(1), None, "{document:#}");
}
