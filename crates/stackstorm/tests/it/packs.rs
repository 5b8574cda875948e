//! Packs folders: what is offered, what is not and why.

use std::fs;

use st2sa_core::names::{Digest, SensorRef};
use st2sa_stackstorm::packs::{Folders, read};

use crate::Installation;

const METADATA: &str = "class_name: Sensor\nentry_point: sensor.py\n";

/// Why the one sensor with this metadata is disabled.
fn disabled(metadata: &str) -> String {
    let installation = Installation::with_sensor(metadata);
    let packs = installation.read();
    assert!(packs.sensors.is_empty(), "{metadata:?} is a sensor");
    let [only] = &installation.disabled(&packs)[..] else { panic!("{:?}", packs.disabled) };
    only.strip_prefix("packs/demo/sensors/sensor.yaml").unwrap_or(only).to_owned()
}

/// What is said of the one sensor with this metadata, which is offered.
fn hints(metadata: &str) -> Vec<String> {
    let installation = Installation::with_sensor(metadata);
    let packs = installation.read();
    assert_eq!(installation.disabled(&packs), [] as [&str; 0]);
    let hints = installation.hints(&packs);
    hints.iter().map(|hint| hint.strip_prefix("packs/demo/sensors/sensor.yaml").unwrap_or(hint).to_owned()).collect()
}

fn digest(installation: &Installation) -> Digest {
    installation.read().sensors[&SensorRef::new("demo.Sensor")].digest
}

#[test]
fn a_sensor_is_all_that_its_files_say() {
    let installation = Installation::with_sensor(
        "---\n  class_name: Sensor\n  entry_point: sensor.py\n  description: One\n  poll_interval: 30\n  trigger_types:\n    - name: a.b\n      payload_schema: {type: object}\n    - name: legacy\n      payload_info: [x]",
    );
    installation.write("packs/demo/lib/__init__.py", "");
    installation.write("packs/demo/config.schema.yaml", "host: {type: string, default: here}\n");
    installation.write("virtualenvs/demo/bin/python", "");
    let packs = installation.read();
    assert_eq!((installation.disabled(&packs), installation.hints(&packs)), (vec![], vec![]));

    let sensor = &packs.sensors[&SensorRef::new("demo.Sensor")];
    assert_eq!((sensor.pack.as_str(), sensor.class_name.as_str()), ("demo", "Sensor"));
    assert_eq!(sensor.entry_point, installation.path("packs/demo/sensors/sensor.py"));
    assert_eq!(sensor.metadata_file, installation.path("packs/demo/sensors/sensor.yaml"));
    assert_eq!((sensor.poll_interval, sensor.enabled), (Some(30.0), true));
    assert_eq!(sensor.description.as_deref(), Some("One"));
    assert_eq!(sensor.config.values()["host"], "here");
    assert_eq!(sensor.library_path, Some(installation.path("packs/demo/lib")));
    assert_eq!(sensor.python, installation.path("virtualenvs/demo/bin/python"));
    let references: Vec<&str> = sensor.trigger_types.iter().map(|kind| kind.reference.as_str()).collect();
    assert_eq!(references, ["demo.a.b", "demo.legacy"]);
    assert_eq!(sensor.trigger_types[1].payload_schema, None);
    assert_eq!(packs.packs["demo"].version, "1.0.0");
}

#[test]
fn only_metadata_files_directly_in_sensors_are_read() {
    let installation = Installation::with_sensor(METADATA);
    for name in ["README.md", ".hidden.yaml", ".gitkeep", "BUILD", "test_x.py", "lib/deep.yaml", "x.json"] {
        installation.write(&format!("packs/demo/sensors/{name}"), "class_name: Other\n");
    }
    installation.write("packs/demo/sensors/second.yml", "class_name: Second\nentry_point: sensor.py\n");
    installation.write("packs/nopack/sensors/sensor.yaml", METADATA);
    let packs = installation.read();
    assert_eq!(packs.sensors.keys().map(SensorRef::as_str).collect::<Vec<_>>(), ["demo.Second", "demo.Sensor"]);
    assert_eq!(installation.disabled(&packs), [] as [&str; 0]);
}

#[test]
fn odd_metadata_disables_its_sensor_with_a_message() {
    let vectors = [
        ("", ": the file is empty; write the sensor's metadata, or remove the file"),
        ("text\n", ": the file is not a mapping; write the sensor's metadata in it"),
        (
            "- class_name: A\n- class_name: B\n",
            ": the file holds a list; one sensor a file is read; give each sensor a file of its own",
        ),
        (
            "sensors: {}\n",
            ": there is no `class_name`; add it; a file that is no sensor's metadata does not belong into `sensors/`",
        ),
        (
            "class_name: a.B\nentry_point: sensor.py\n",
            ":1: `class_name` is `a.B`, which is no name of a Python class; name the Python class that is the sensor",
        ),
        (
            "class_name: Sensor\n",
            ": `demo.Sensor`: there is no `entry_point`; name the sensor's Python file, relative to `sensors/`",
        ),
        (
            "class_name: Sensor\nartifact_uri: file:///x.py\n",
            ":2: `demo.Sensor`: there is no `entry_point`, and `artifact_uri` does not stand for it; name the sensor's \
             Python file, relative to `sensors/`",
        ),
        (
            "class_name: Sensor\nentry_point: sensor.py\npack: other\n",
            ":3: `demo.Sensor`: `pack` is `other`, and the file is in pack `demo`; leave `pack` out, or move the file",
        ),
        (
            "class_name: Sensor\nentry_point: sensor.py\ntrigger_types:\n",
            ":3: `demo.Sensor`: `trigger_types` holds nothing; declare the trigger types below it, or leave it out",
        ),
        (
            "class_name: Sensor\nentry_point: sensor.py\ntrigger_types: {name: a}\n",
            ":3: `demo.Sensor`: `trigger_types` is not a list; write one item, with a `name`, for each trigger type",
        ),
        (
            "class_name: Sensor\nentry_point: sensor.py\ntrigger_types:\n  - name: a\n    payload_schema: [x]\n",
            ":5: `demo.Sensor`: `payload_schema` is not a mapping; correct the trigger type",
        ),
        (
            "class_name: Sensor\nentry_point: sensor.py\ntrigger_types:\n  - description: a\n",
            ":4: `demo.Sensor`: a trigger type has no `name`; correct the trigger type",
        ),
    ];
    for (metadata, expected) in vectors {
        assert_eq!(disabled(metadata), expected, "{metadata:?}");
    }
    assert_eq!(disabled("class_name: [\n"), ":1: unclosed bracket '['; correct the file");
    assert!(
        disabled("class_name: Sensor\nentry_point: gone.py\n")
            .starts_with(":2: `demo.Sensor`: the entry point `gone.py` is not there; put")
    );
    assert!(disabled("class_name: Sensor\nentry_point: .\n").contains("is not a file; put"));
}

#[test]
fn intervals_are_numbers_from_a_tenth_of_a_second() {
    for interval in ["\"30\"", "5s", "-5", "0", "0.05", ".nan", ".inf", "true", "[5]", "1e10", "1.0e+10"] {
        let message = disabled(&format!("{METADATA}poll_interval: {interval}\n"));
        assert!(message.starts_with(":3: `demo.Sensor`: `poll_interval` is "), "{message}");
    }
    for interval in ["4", "30", "1_000", "1:00", "~", "4.0"] {
        assert_eq!(hints(&format!("{METADATA}poll_interval: {interval}\n")), [] as [&str; 0]);
    }
    assert_eq!(
        hints(&format!("{METADATA}poll_interval: 0.5\n")),
        [
            ":3: a `poll_interval` of 0.5 is kept here; StackStorm itself refuses to register this sensor: its shortest is 4"
        ]
    );
    assert_eq!(
        hints(&format!("{METADATA}poll_interval: 4.5\n")),
        [":3: a `poll_interval` of 4.5 is kept here; StackStorm itself cuts it to whole seconds"]
    );
}

#[test]
fn enabled_is_what_python_holds_for_true() {
    for (text, enabled, hinted) in [
        ("true", true, false),
        ("no", false, false),
        ("~", true, false),
        ("\"false\"", true, true),
        ("\"\"", false, true),
        ("0", false, true),
        ("1", true, true),
        ("[]", false, true),
    ] {
        let installation = Installation::with_sensor(&format!("{METADATA}enabled: {text}\n"));
        let packs = installation.read();
        assert_eq!(packs.sensors[&SensorRef::new("demo.Sensor")].enabled, enabled, "{text}");
        assert_eq!(!packs.hints.is_empty(), hinted, "{text}");
    }
}

#[test]
fn overrides_enable_and_disable() {
    let installation = Installation::with_sensor(METADATA);
    let enabled = |installation: &Installation| installation.read().sensors[&SensorRef::new("demo.Sensor")].enabled;
    installation.write("overrides/_global.yaml", "sensors: {defaults: {enabled: false}}\n");
    assert!(!enabled(&installation));
    installation.write("overrides/demo.yaml", "sensors: {exceptions: {Sensor: {enabled: true}}}\n");
    assert!(enabled(&installation));
    installation.write("overrides/_global.yaml", "sensors: [\n");
    let packs = installation.read();
    assert!(installation.hints(&packs)[0].contains("these overrides are not applied"));
}

#[test]
fn unknown_keys_and_schemas_that_are_none_are_pointed_at() {
    let metadata = format!(
        "{METADATA}pool_interval: 5\ntrigger_types:\n  - name: a\n    payload_schema: {{type: object, properties: {{x: \
         {{type: array, items: object}}}}}}\n"
    );
    assert_eq!(
        hints(&metadata),
        [
            ":3: `pool_interval` is not a key of a sensor's metadata: nothing reads it",
            ":5: `payload_schema` of `demo.a` is no schema, so StackStorm drops its events: `items` of property `x` is \
             not a schema",
        ]
    );
}

#[test]
fn one_broken_sensor_leaves_the_others_alone() {
    let installation = Installation::with_sensor(METADATA);
    installation.write("packs/demo/sensors/broken.yaml", "class_name: [\n");
    installation.write("packs/demo/sensors/twice.yaml", METADATA);
    fs::create_dir(installation.path("packs/demo/sensors/folder.yaml")).unwrap();
    let packs = installation.read();
    assert_eq!(packs.sensors.len(), 1);
    let disabled = installation.disabled(&packs);
    assert_eq!(disabled.len(), 3, "{disabled:#?}");
    assert!(disabled[1].contains("folder.yaml` is not a regular file"), "{disabled:#?}");
    assert_eq!(
        disabled[2],
        "packs/demo/sensors/twice.yaml: `demo.Sensor`: `packs/demo/sensors/sensor.yaml` declares the same sensor; \
         remove one of the two files, or name another class"
    );
}

#[test]
fn a_broken_configuration_disables_the_sensors_of_its_pack_alone() {
    let installation = Installation::with_sensor(METADATA);
    installation.pack("other");
    installation.write("packs/other/sensors/sensor.py", "");
    installation.write("packs/other/sensors/sensor.yaml", METADATA);
    installation.write("configs/demo.yaml", "password: !hunter2\n");
    let packs = installation.read();
    assert_eq!(packs.sensors.keys().map(SensorRef::as_str).collect::<Vec<_>>(), ["other.Sensor"]);
    let disabled = installation.disabled(&packs);
    assert!(disabled[0].contains("`demo.Sensor`: the pack's configuration cannot be read: configs/demo.yaml:1:"));
    assert!(!format!("{packs:?}{disabled:?}").contains("hunter2"));
}

#[test]
fn packs_are_named_by_ref_then_folder_then_name() {
    let installation = Installation::new();
    installation.write("packs/one-folder/pack.yaml", "ref: one\nname: One Pack\nversion: 0.2\n");
    installation.write("packs/two/pack.yaml", "name: Two Pack\nversion: 1.2.3\n");
    installation.write("packs/three-folder/pack.yaml", "name: three\nversion: 1.0.0\n");
    installation.write("packs/four-folder/pack.yaml", "name: Four Pack\nversion: 1.0.0\n");
    installation.write("packs/five/pack.yaml", "ref: ../five\nversion: 1.0.0\n");
    installation.write("packs/six/pack.yaml", "- six\n");
    installation.write("packs/seven/pack.yaml", "ref: one\nname: one\n");
    let packs = installation.read();
    assert_eq!(packs.packs.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    assert_eq!(packs.packs["one"].version, "0.2.0");
    let disabled = installation.disabled(&packs);
    assert_eq!(
        disabled,
        [
            "packs/five/pack.yaml:1: the pack's `ref` is `../five`; use lower-case letters, digits and underscores only",
            "packs/four-folder/pack.yaml: there is no `ref`, and neither folder nor `name` can stand for it; add a `ref` \
             of lower-case letters, digits and underscores",
            "packs/six/pack.yaml: it is not a mapping; write `ref`, `name` and `version`",
        ]
    );
}

#[test]
fn of_two_packs_of_one_name_the_first_folder_counts() {
    let installation = Installation::with_sensor(METADATA);
    let second = installation.write("more/demo/pack.yaml", "ref: demo\nname: demo\nversion: 2.0.0\n");
    let folders = Folders { packs: vec![installation.path("packs"), installation.path("more")], ..Folders::default() };
    let packs = read(&folders);
    assert_eq!(packs.packs["demo"].version, "1.0.0");
    assert_eq!(installation.hints(&packs), ["more/demo: pack `demo` is also in `packs/demo`, which counts"]);
    let single = read(&Folders { packs: vec![second.parent().unwrap().to_owned()], ..Folders::default() });
    assert_eq!(single.packs["demo"].version, "2.0.0");
}

#[test]
fn folders_that_are_not_there_are_pointed_at() {
    let packs = read(&Folders { packs: vec!["/nowhere/packs".into()], ..Folders::default() });
    assert!(packs.hints[0].to_string().starts_with("/nowhere/packs: this packs folder cannot be read: "));
}

#[test]
fn trigger_types_come_from_their_own_folder_too() {
    let installation = Installation::with_sensor(METADATA);
    installation.write("packs/demo/triggers/one.yaml", "name: one\npayload_schema: {type: object}\n");
    installation.write("packs/demo/triggers/two.yaml", "name: two\npack: other\n");
    let packs = installation.read();
    assert_eq!(packs.trigger_types().map(|kind| kind.reference.as_str()).collect::<Vec<_>>(), ["demo.one"]);
    assert!(installation.hints(&packs)[0].contains("two.yaml:2: this trigger type is left out: its `pack` is `other`"));
}

#[test]
fn the_digest_changes_with_the_code_and_with_nothing_else() {
    let installation = Installation::with_sensor(METADATA);
    installation.write("packs/demo/lib/deep/module.py", "A = 1\n");
    let mut seen = vec![digest(&installation)];
    for (file, text) in [
        ("sensors/sensor.py", "class Sensor:\n    changed = True\n"),
        ("sensors/sensor.yaml", "class_name: Sensor\nentry_point: sensor.py\npoll_interval: 5\n"),
        ("sensors/sibling.py", ""),
        ("lib/deep/module.py", "A = 2\n"),
        ("config.schema.yaml", "a: {type: string}\n"),
        ("requirements.txt", "six\n"),
        ("pack.yaml", "ref: demo\nname: demo\nversion: 1.0.1\n"),
    ] {
        installation.write(&format!("packs/demo/{file}"), text);
        let digest = digest(&installation);
        assert!(!seen.contains(&digest), "{file} did not count");
        seen.push(digest);
    }
    for file in [
        "sensors/__pycache__/sensor.cpython-311.pyc",
        "sensors/clones/repository/setup.py",
        "lib/__pycache__/module.pyc",
        "sensors/other.yaml",
        "actions/run.py",
        "README.md",
    ] {
        installation.write(&format!("packs/demo/{file}"), "x: 1\n");
        assert_eq!(Some(&digest(&installation)), seen.last(), "{file} counted");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_end() {
    use std::os::unix::fs::symlink;

    let installation = Installation::with_sensor(METADATA);
    let shared = installation.write("elsewhere/shared/module.py", "A = 1\n");
    symlink(shared.parent().unwrap(), installation.path("packs/demo/lib")).unwrap();
    symlink(installation.path("elsewhere"), installation.path("elsewhere/shared/loop")).unwrap();
    symlink(installation.path("packs"), installation.path("packs/again")).unwrap();
    symlink(installation.path("nowhere"), installation.path("packs/demo/sensors/dangling.yaml")).unwrap();
    let before = digest(&installation);
    fs::write(&shared, "A = 2\n").unwrap();
    let packs = installation.read();
    assert_ne!(before, packs.sensors[&SensorRef::new("demo.Sensor")].digest);
    assert!(installation.disabled(&packs)[0].contains("cannot read `packs/demo/sensors/dangling.yaml`: "));
}
