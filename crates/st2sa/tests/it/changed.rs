//! Packs that change while they run: what is new is loaded, what has changed is replaced once and everywhere, what is gone
//! stops, and nothing else notices.

use std::path::PathBuf;

use st2sa_proto::rest::{HistoryRecord, Sensor};
use st2sa_testbed::{Pack, Signal, Source};

use crate::scene::{SETTLES, Scene, TICKER};

/// A ticker that a change adds.
const FOURTH: &str = "ticker.Ticker04";

fn path(scene: &Scene, below: &str) -> PathBuf {
    scene.bed.folder().join(below)
}

fn edit(scene: &Scene, below: &str, from: &str, to: &str) {
    let path = path(scene, below);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {below}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Waits until each ticker has dispatched what the changed code does, from `container`.
fn until_changed(scene: &Scene, container: &str, since: usize) {
    let tickers: Vec<&String> = scene.sensors.iter().filter(|sensor| sensor.starts_with("ticker.")).collect();
    scene.bed.eventually(SETTLES, &format!("every ticker runs the changed code on {container}"), || {
        let triggers = scene.bed.triggers();
        let changed = |sensor: &&String| {
            let of = |trigger: &&st2sa_testbed::Trigger| trigger.sensor == **sensor && trigger.container == container;
            triggers[since..].iter().filter(of).any(|trigger| trigger.payload.get("changed").is_some())
        };
        tickers.iter().all(changed).then_some(())
    });
}

fn sensor(scene: &Scene, reference: &str) -> Option<Sensor> {
    scene.bed.sensors()?.into_iter().find(|sensor| sensor.reference == reference)
}

fn last_error(scene: &Scene, reference: &str, container: &str) -> Option<String> {
    let instances = sensor(scene, reference)?.instances;
    instances.into_iter().find(|instance| instance.container == container)?.last_error
}

#[test]
fn a_changed_pack_is_started_again_once_everywhere_and_no_other() {
    let mut scene = Scene::of(&[Pack::Ticker(3), Pack::Cursor]);
    let (before, dispatched) = (scene.history_length(), scene.bed.triggers().len());
    edit(&scene, "packs/ticker/sensors/ticker.py", "{\"tick\":", "{\"changed\": True, \"tick\":");
    until_changed(&scene, "a", dispatched);
    let history = scene.history_from(before);
    let of = |sensor: &str| history.iter().filter(|record| record.sensor == sensor).collect::<Vec<_>>();
    let told = |record: &&HistoryRecord| (record.from.clone(), record.to.clone(), record.cause.clone());
    let a = Some("a".to_owned());
    for ticker in scene.sensors.iter().filter(|sensor| sensor.starts_with("ticker.")) {
        let once = [(a.clone(), None, "new code".to_owned()), (None, a.clone(), "new code".to_owned())];
        assert_eq!(of(ticker).iter().map(told).collect::<Vec<_>>(), once, "{ticker}");
    }
    assert_eq!(of("cursor.Cursor"), Vec::<&HistoryRecord>::new());
    // The standbys have it, too.
    scene.until_ready("b");
    let dispatched = scene.bed.triggers().len();
    scene.a.kill(Signal::KILL);
    until_changed(&scene, "b", dispatched);
    scene.a.wait(SETTLES);
    scene.source.assert_no_overlap();
}

#[test]
fn a_change_that_cannot_be_loaded_stops_nothing_and_is_told() {
    let scene = Scene::of(&[Pack::Ticker(2)]);
    let before = scene.history_length();
    edit(&scene, "packs/ticker/sensors/ticker.py", "class Ticker(PollingSensor):", "class Ticker(PollingSensor:");
    for container in ["a", "b"] {
        let what = format!("{container} says what is wrong with the change");
        let error = scene.bed.eventually(SETTLES, &what, || {
            last_error(&scene, TICKER, container).filter(|error| error.contains("SyntaxError"))
        });
        assert!(
            error.contains("changed, and cannot be loaded as it is now: ") && error.contains("ticker.py:8"),
            "{error}"
        );
    }
    scene.is_well();
    assert_eq!(scene.history_from(before), []);
    let dispatched = scene.bed.triggers().len();
    edit(&scene, "packs/ticker/sensors/ticker.py", "class Ticker(PollingSensor:", "class Ticker(PollingSensor):");
    edit(&scene, "packs/ticker/sensors/ticker.py", "{\"tick\":", "{\"changed\": True, \"tick\":");
    until_changed(&scene, "a", dispatched);
}

#[test]
fn sensors_come_and_go_with_their_metadata_at_once_when_asked() {
    let mut scene = Scene::of(&[Pack::Ticker(3)]);
    let metadata = |number: u32| path(&scene, &format!("packs/ticker/sensors/ticker_{number:02}.yaml"));
    let text = std::fs::read_to_string(metadata(3)).unwrap();
    std::fs::write(metadata(4), text.replace("03", "04")).unwrap();
    std::fs::remove_file(metadata(3)).unwrap();
    scene.a.kill(Signal::HUP);
    scene.b.kill(Signal::HUP);
    scene.bed.eventually(SETTLES, "the third has gone and the fourth has come", || {
        let fourth = sensor(&scene, FOURTH)?;
        let ready = fourth.active.is_some() && fourth.instances.len() == 2;
        (ready && sensor(&scene, "ticker.Ticker03").is_none()).then_some(())
    });
    scene.sensors = vec![TICKER.to_owned(), "ticker.Ticker02".to_owned(), FOURTH.to_owned()];
    scene.is_well();
}

#[test]
fn a_changed_configuration_counts_in_place() {
    let scene = Scene::of(&[Pack::Ticker(2), Pack::Cursor]);
    let (before, other) = (scene.history_length(), Source::start());
    edit(&scene, "configs/ticker.yaml", &scene.source.url(), &other.url());
    scene.bed.eventually(SETTLES, "both tickers poll the other source", || {
        let polled = |sensor: &str| other.polls().iter().any(|poll| poll.sensor == sensor);
        (polled(TICKER) && polled("ticker.Ticker02")).then_some(())
    });
    assert_eq!(scene.history_from(before), []);
    scene.source.assert_no_overlap();
    other.assert_no_overlap();
}
