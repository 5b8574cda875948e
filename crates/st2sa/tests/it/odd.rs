//! Every oddity that packs in the wild have, and some that nobody has seen yet: each either loads, or is disabled by itself,
//! with a message that says what is wrong; no other sensor notices.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use st2sa_testbed::{Pack, Program, Source};

use crate::scene::{SETTLES, sensors_of, testbed};

/// A Python starts for each sensor.
const CHECKED_WITHIN: Duration = Duration::from_mins(1);

/// What comes of a sensor.
enum Comes {
    Loads(&'static str),
    /// All of these words are in the message.
    Refused(&'static [&'static str]),
}

/// One oddity: the metadata below `class_name` and `entry_point`, and the module; both as StackStorm would find them.
struct Odd {
    class: &'static str,
    metadata: &'static str,
    module: &'static str,
    comes: Comes,
}

/// The five methods that StackStorm demands, and `poll`.
const WHOLE: &str = "
    def setup(self): pass
    def poll(self): pass
    def run(self): pass
    def cleanup(self): pass
    def add_trigger(self, trigger): pass
    def update_trigger(self, trigger): pass
    def remove_trigger(self, trigger): pass
";
/// The same without `run`, which makes a polling sensor a passive one.
const POLLS: &str = "
    def setup(self): pass
    def poll(self): pass
    def cleanup(self): pass
    def add_trigger(self, trigger): pass
    def update_trigger(self, trigger): pass
    def remove_trigger(self, trigger): pass
";
const IMPORTS: &str = "from st2reactor.sensor.base import PollingSensor, Sensor\n";
const INTERVAL: &str = "poll_interval: 5\n";

/// The survey of what is out there, number by number, then what was found nowhere.
#[rustfmt::skip]
fn odd_ones() -> Vec<Odd> {
    let odd = |class, metadata, module, comes| Odd { class, metadata, module, comes };
    use Comes::{Loads, Refused};
    vec![
        odd("NotThere", INTERVAL, "class NotThereSensor(PollingSensor):POLLS", Refused(&["NotThere", "NotThereSensor"])),
        odd("Abstract", INTERVAL, "class Abstract(Sensor):\n    def setup(self): pass\n    def run(self): pass\n    def cleanup(self): pass\n", Refused(&["add_trigger", "remove_trigger"])),
        odd("Underived", "", "class Underived:\n    def __init__(self, sensor_service, config=None): pass\nWHOLE", Loads("passive")),
        odd("WrongHooks", INTERVAL, "class WrongHooks(PollingSensor):POLLS    def update_trigger(self): pass\n    def remove_trigger(self, **words): pass\n", Loads("polling")),
        odd("RefusesInterval", INTERVAL, "class RefusesInterval(PollingSensor):\n    def __init__(self, sensor_service, config=None): pass\nPOLLS", Refused(&["poll_interval"])),
        odd("DemandsInterval", INTERVAL, "class DemandsInterval(PollingSensor):\n    def __init__(self, sensor_service, config, poll_interval):\n        super().__init__(sensor_service, config, poll_interval)\nPOLLS", Loads("polling")),
        odd("OwnInterval", "", "class OwnInterval(PollingSensor):\n    def __init__(self, sensor_service, config=None, poll_interval=30):\n        super().__init__(sensor_service, config, poll_interval)\nPOLLS", Loads("polling")),
        odd("PassiveInterval", INTERVAL, "class PassiveInterval(Sensor):WHOLE", Loads("passive")),
        odd("Typo", "pool_interval: 5\nsensor: {a: 1}\n", "class Typo(PollingSensor):POLLS", Loads("polling")),
        odd("NullTriggers", "trigger_types:\n", "class NullTriggers(Sensor):WHOLE", Refused(&["null_triggers.yaml:5", "`trigger_types` holds nothing"])),
        odd("OldSchema", "trigger_types:\n  - name: old\n    description: x\n    payload_info: [a, b]\n", "class OldSchema(Sensor):WHOLE", Loads("passive")),
        odd("BadSchema", "trigger_types:\n  - name: bad\n    payload_schema: {type: object, properties: {a: {type: string, required: true}, b: {items: object}}}\n", "class BadSchema(Sensor):WHOLE", Loads("passive")),
        odd("Python2", INTERVAL, "class Python2(PollingSensor):\n    def poll(self):\n        try:\n            pass\n        except ValueError, error:\n            pass\n", Refused(&["python2.py:6", "Python 2"])),
        odd("Imports", INTERVAL, "import no_such_library_anywhere\nclass Imports(PollingSensor):POLLS", Refused(&["no_such_library_anywhere", "imports.py:2"])),
        odd("WrongName", INTERVAL, "from st2reactor.sensor.base import sensor\nclass WrongName(PollingSensor):POLLS", Refused(&["sensor", "st2reactor.sensor.base"])),
        odd("lowerCase", "", "class lowerCase(Sensor):WHOLE", Loads("passive")),
        odd("DottedTrigger", "trigger_types:\n  - {name: a.b.c, pack: odd}\n", "class DottedTrigger(Sensor):WHOLE", Loads("passive")),
        odd("RaisesInside", INTERVAL, "class RaisesInside(PollingSensor):\n    def __init__(self, sensor_service, config=None, poll_interval=None):\n        self.limit = int(config['limit'])\nPOLLS", Refused(&["limit", "raises_inside.py:4"])),
        odd("ExitsInside", INTERVAL, "import sys\nsys.exit('no licence')\nclass ExitsInside(PollingSensor):POLLS", Refused(&["no licence"])),
        odd("SelfClass", "", "class SelfClass(Sensor):\n    def __init__(self, sensor_service, config=None):\n        super(self.__class__, self).__init__(sensor_service=sensor_service, config=config)\nWHOLE", Loads("passive")),
        odd("TextInterval", "poll_interval: \"5\"\n", "class TextInterval(PollingSensor):POLLS", Refused(&["poll_interval"])),
        odd("UnitInterval", "poll_interval: 5s\n", "class UnitInterval(PollingSensor):POLLS", Refused(&["poll_interval"])),
        odd("FloatInterval", "poll_interval: 0.5\n", "class FloatInterval(PollingSensor):POLLS", Loads("polling")),
        odd("TextEnabled", "enabled: \"false\"\n", "class TextEnabled(Sensor):WHOLE", Loads("passive")),
        odd("OtherPack", "pack: another\n", "class OtherPack(Sensor):WHOLE", Refused(&["other_pack.yaml:5", "`pack` is `another`"])),
    ]
}

/// Written as they stand, for what is wrong with the file itself.
#[rustfmt::skip]
const RAW: &[(&str, &str, &[&str])] = &[
    ("list.yaml", "- class_name: InList\n  entry_point: whole.py\n- class_name: InListToo\n  entry_point: whole.py\n", &["list.yaml", "one sensor a file"]),
    ("no_entry.yaml", "class_name: NoEntry\nartifact_uri: file:///x\n", &["no_entry.yaml", "entry_point"]),
    ("no_file.yaml", "class_name: NoFile\nentry_point: nowhere.py\n", &["nowhere.py"]),
    ("broken.yaml", "class_name: [Broken\nentry_point: whole.py\n", &["broken.yaml:"]),
];

fn module_name(class: &str) -> String {
    let mut name = String::new();
    for (index, character) in class.char_indices() {
        if character.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name
}

/// Writes the pack; what else lies in such folders, too.
fn write_pack(folder: &Path) {
    let sensors = folder.join("odd/sensors");
    std::fs::create_dir_all(sensors.join("lib")).unwrap();
    // No ref, a name that is none, a version that is a number.
    std::fs::write(
        folder.join("odd/pack.yaml"),
        "---\nname: An Odd Pack\nversion : 0.2\nauthor: st2sa\nemail: a@example.com\n",
    )
    .unwrap();
    for (name, text) in
        [("README.md", "# x"), (".gitkeep", ""), ("BUILD", "python_sources()"), ("test_x.py", "import no")]
    {
        std::fs::write(sensors.join(name), text).unwrap();
    }
    std::fs::write(sensors.join("lib/other.yaml"), "class_name: NotMine\nentry_point: other.py\n").unwrap();
    std::fs::write(sensors.join("whole.py"), format!("{IMPORTS}class Whole(Sensor):{WHOLE}")).unwrap();
    // Neither a beginning nor an end as they should be.
    std::fs::write(sensors.join("whole.yaml"), "class_name: Whole\nentry_point: whole.py\ndescription: well").unwrap();
    for Odd { class, metadata, module, .. } in odd_ones() {
        let name = module_name(class);
        let module = module.replace("WHOLE", WHOLE).replace("POLLS", POLLS);
        std::fs::write(sensors.join(format!("{name}.py")), format!("{IMPORTS}{module}")).unwrap();
        let text = format!("---\n  class_name: {class}\n  entry_point: {name}.py\n  description: odd\n");
        let metadata: Vec<String> = metadata.lines().map(|line| format!("  {line}\n")).collect();
        std::fs::write(sensors.join(format!("{name}.yaml")), text + &metadata.concat()).unwrap();
    }
    for (name, text, _) in RAW {
        std::fs::write(sensors.join(name), text).unwrap();
    }
    std::fs::write(sensors.join("idle.yaml"), "class_name: Idle\nentry_point: whole.py\nenabled: false\n").unwrap();
    // The same class in two files, and in another pack.
    std::fs::write(sensors.join("whole_again.yaml"), "class_name: Whole\nentry_point: whole.py\n").unwrap();
    let other = folder.join("other/sensors");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(folder.join("other/pack.yaml"), "ref: other\nname: other\nversion: 1.0.0\n").unwrap();
    std::fs::copy(sensors.join("whole.py"), other.join("whole.py")).unwrap();
    std::fs::copy(sensors.join("whole.yaml"), other.join("whole.yaml")).unwrap();
}

/// What is wrong, by the sensor's reference, else by the file.
fn problems(document: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for disabled in document["disabled"].as_array().unwrap() {
        let file = text(&disabled["file"]);
        let name = disabled["ref"].as_str().map_or_else(|| file.rsplit('/').next().unwrap().to_owned(), str::to_owned);
        let line = &disabled["line"];
        found.insert(name, format!("{file}:{line}: {}; {}", text(&disabled["problem"]), text(&disabled["cure"])));
    }
    for sensor in document["sensors"].as_array().unwrap().iter().filter(|sensor| !sensor["problem"].is_null()) {
        found.entry(text(&sensor["ref"])).or_insert_with(|| text(&sensor["problem"]));
    }
    found
}

#[test]
fn every_odd_sensor_loads_or_is_disabled_by_itself_and_check_says_all_of_it() {
    let bed = testbed();
    let packs = bed.folder().join("packs");
    write_pack(&packs);
    let mut check: Program = bed.program("check", &["check", &format!("--packs={}", packs.display()), "-o", "json"]);
    let status = check.wait(CHECKED_WITHIN);
    assert_eq!(status.code(), Some(1), "{}", check.log());
    let document: Value = serde_json::from_str(&check.output()).unwrap();
    let loaded: BTreeMap<&str, &str> = document["sensors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|sensor| Some((sensor["ref"].as_str()?, sensor["kind"].as_str()?)))
        .collect();
    let problems = problems(&document);
    let mut wrong = Vec::new();
    for Odd { class, comes, .. } in odd_ones() {
        let reference = format!("odd.{class}");
        match (comes, loaded.get(reference.as_str()), problems.get(&reference)) {
            (Comes::Loads(kind), Some(found), None) if kind == *found => {}
            (Comes::Refused(words), None, Some(problem)) if words.iter().all(|word| problem.contains(word)) => {}
            (comes, found, problem) => {
                let wanted = match comes {
                    Comes::Loads(kind) => format!("to load as {kind}"),
                    Comes::Refused(words) => format!("to be refused with {words:?}"),
                };
                wrong.push(format!("{reference} was {wanted}: {found:?}, {problem:?}"));
            }
        }
    }
    for (file, _, words) in RAW {
        let told = problems.values().any(|problem| words.iter().all(|word| problem.contains(word)));
        if !told {
            wrong.push(format!("{file} was to be refused with {words:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nall: {problems:#?}", wrong.join("\n"));
    // The same class twice in one pack is one too many; in another pack it is another sensor.
    assert!(loaded.contains_key("other.Whole"), "{loaded:?}");
    assert!(
        problems.values().any(|problem| problem.contains("whole_again.yaml") || problem.contains("Whole")),
        "{problems:#?}"
    );
    assert!(!loaded.contains_key("odd.NotMine") && !problems.contains_key("odd.NotMine"));
    assert_eq!(document["off"], serde_json::json!(["odd.Idle"]));
    // The hint of a typo.
    assert!(check.output().contains("pool_interval"), "{}", check.output());
}

#[test]
fn odd_sensors_keep_nobody_from_running() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(2)], &source);
    write_pack(&bed.folder().join("packs"));
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container("a");
    let loads: Vec<String> = odd_ones()
        .into_iter()
        .filter(|odd| matches!(odd.comes, Comes::Loads(_)))
        .map(|odd| format!("odd.{}", odd.class))
        .chain(sensors_of(&[Pack::Ticker(2)]))
        .collect();
    bed.eventually(SETTLES * 2, "all that can be loaded runs", || bed.placement(&loads));
    let log = a.log();
    assert!(log.contains("python2.py:6") && log.contains("disabled"), "{log}");
    let told = bed.eventually(SETTLES, "what cannot be loaded says why", || {
        let sensors = bed.sensors()?;
        let sensor = sensors.into_iter().find(|sensor| sensor.reference == "odd.Python2")?;
        sensor.instances.first()?.last_error.clone()
    });
    assert!(told.contains("Python 2"), "{told}");
}
