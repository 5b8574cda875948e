//! What an operator is told at night of sensors that do not do their work: which, why, since when, and what can be done.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use st2sa_proto::rest::{Sensor, Status};
use st2sa_testbed::{Program, Testbed};

use crate::scene::{SETTLES, testbed};

/// A question or an order is answered within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// A pack `p`: one that raises for as long as a file is there, one whose triggers fit no schema, and two that cannot be
/// loaded, of which one is refused for its metadata.
fn write_pack(folder: &Path) {
    let sensors = folder.join("packs/p/sensors");
    std::fs::create_dir_all(&sensors).unwrap();
    std::fs::write(folder.join("packs/p/pack.yaml"), "ref: p\nname: p\nversion: 1.0.0\n").unwrap();
    let raises = format!("if os.path.exists('{}'): raise ValueError('it is down')", bad(folder).display());
    let schema = "trigger_types: [{name: t, payload_schema: {type: object, properties: {a: {type: string}}}}]\n";
    for (class, metadata, above, poll) in [
        ("Raises", "poll_interval: 0.2\n", "import os", &*raises),
        ("Drops", &format!("poll_interval: 0.2\n{schema}"), "", "self.sensor_service.dispatch('p.t', {'a': 5})"),
        ("Imports", "poll_interval: 1\n", "import no_such_library_anywhere", "pass"),
        ("Unit", "poll_interval: 5s\n", "", "pass"),
    ] {
        let name = class.to_lowercase();
        let metadata = format!("class_name: {class}\nentry_point: {name}.py\n{metadata}");
        std::fs::write(sensors.join(format!("{name}.yaml")), metadata).unwrap();
        let mut module = format!(
            "from st2reactor.sensor.base import PollingSensor\n{above}\nclass {class}(PollingSensor):\n    def poll(self):\n        {poll}\n"
        );
        for (method, arguments) in [
            ("setup", ""),
            ("cleanup", ""),
            ("add_trigger", ", _"),
            ("update_trigger", ", _"),
            ("remove_trigger", ", _"),
        ] {
            // Writing into a string does not fail.
            let _ = writeln!(module, "    def {method}(self{arguments}): pass");
        }
        std::fs::write(sensors.join(format!("{name}.py")), module).unwrap();
    }
    std::fs::write(bad(folder), "").unwrap();
}

/// The file.
fn bad(folder: &Path) -> PathBuf {
    folder.join("bad")
}

/// Its exit code, and all that it says.
fn said(bed: &Testbed, words: &[&str]) -> (i32, String) {
    let arbitrator = format!("--arbitrator={}", bed.listen());
    let arguments: Vec<&str> = words.iter().copied().chain([arbitrator.as_str()]).collect();
    let mut program: Program = bed.program("asked", &arguments);
    let status = program.wait(ANSWERED_WITHIN);
    (status.code().unwrap_or(-1), program.output() + &program.log())
}

fn sensor(bed: &Testbed, reference: &str) -> Option<Sensor> {
    bed.sensors()?.into_iter().find(|sensor| sensor.reference == reference)
}

fn status(bed: &Testbed) -> Option<Status> {
    serde_json::from_value(bed.document("/v1/status")?.1).ok()
}

fn until(bed: &Testbed, what: &str, is_so: impl Fn(&Sensor) -> bool, reference: &str) -> Sensor {
    bed.eventually(SETTLES, what, || sensor(bed, reference).filter(&is_so))
}

#[test]
fn sensors_that_do_not_do_their_work_are_told_with_the_reason_and_the_cure() {
    let bed = testbed();
    write_pack(bed.folder());
    let _arbitrator = bed.arbitrator(&[]);
    let _container = bed.container("a");

    // Payloads that do not fit.
    let drops = until(&bed, "triggers are dropped", |sensor| sensor.instances[0].dropped > 0, "p.Drops");
    assert_eq!((drops.instances[0].triggers, drops.failing), (0, false));
    let (_, told) = said(&bed, &["sensors"]);
    assert!(told.lines().next().unwrap().contains("DROPPED"), "{told}");
    let (_, told) = said(&bed, &["sensors", "p.Drops"]);
    assert!(told.contains("dropped on a: ") && told.contains("do not fit the schema"), "{told}");

    // What cannot be loaded.
    for (reference, word) in [("p.Imports", "no_such_library_anywhere"), ("p.Unit", "poll_interval")] {
        until(&bed, "it is told that it cannot be loaded", |sensor| sensor.instances[0].state == "failed", reference);
        let (code, why) = said(&bed, &["why", reference]);
        assert!(code == 0 && why.contains("no container can load it") && why.contains(word), "{code}: {why}");
        let (_, logs) = said(&bed, &["logs", reference]);
        assert!(logs.contains(word), "{logs}");
        let (code, refused) = said(&bed, &["move", reference, "a", "--yes"]);
        assert!(code == 1 && refused.contains(&format!("no container can load {reference}")), "{code}: {refused}");
        assert_eq!(said(&bed, &["pause", reference, "--yes", "--who=anne"]).0, 0);
        let paused = sensor(&bed, reference).unwrap();
        assert_eq!((&*paused.status, paused.failing, paused.paused.unwrap().who), ("PAUSED", false, "anne".to_owned()));
        assert!(said(&bed, &["why", reference]).1.contains("is paused by anne"));
    }

    // What raises, and has nowhere to go: one number of it everywhere, and why it waits.
    let waits = |sensor: &Sensor| sensor.active.is_none() && sensor.failing;
    until(&bed, "it waits to be tried again", waits, "p.Raises");
    // It may be tried at any moment; then it is ACTIVE for a while, and fails all the same.
    bed.eventually(SETTLES, "all that waits fails, and nothing else", || {
        let counts = status(&bed)?.sensors;
        ((counts.active, counts.paused, counts.waiting, counts.failing) == (1, 2, 1, 1)).then_some(())
    });
    let (_, failing) = said(&bed, &["sensors", "--failing"]);
    assert!(failing.lines().count() == 2 && failing.contains("p.Raises"), "{failing}");
    bed.eventually(SETTLES, "it is said to wait, and for what", || {
        let (_, why) = said(&bed, &["why", "p.Raises"]);
        (why.contains("waits on a, where it failed") && why.contains("it failed there: ValueError: it is down"))
            .then_some(())
    });
    let (code, again) = said(&bed, &["retry", "p.Raises"]);
    assert!(code == 1 && again.contains("failed again: ValueError: it is down"), "{code}: {again}");
    std::fs::remove_file(bad(bed.folder())).unwrap();
    bed.eventually(SETTLES, "it is tried, and is well", || {
        let (code, well) = said(&bed, &["retry", "p.Raises"]);
        (code == 0 && well.contains("p.Raises is ACTIVE on a\n")).then_some(())
    });

    // An error that is over is told with its age, and is no failure.
    let well = until(&bed, "its polls go well", |sensor| sensor.active.is_some() && !sensor.failing, "p.Raises");
    assert!(well.instances[0].last_error.is_some() && well.instances[0].last_error_ms_ago.is_some(), "{well:?}");
    assert_eq!(status(&bed).unwrap().sensors.failing, 0);
}
