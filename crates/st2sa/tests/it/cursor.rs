//! The datastore: a cursor that one process has stored is where its successor goes on.

use std::collections::BTreeMap;

use st2sa_testbed::{Pack, Signal};

use crate::scene::{SETTLES, Scene};

const CURSOR: &str = "cursor.Cursor";
/// Dispatched before the cursor is stored: at the most so many are dispatched again after a death.
const BATCH: usize = 3;

/// The numbers dispatched, in order, and by whom.
fn numbers(scene: &Scene) -> Vec<(u64, String)> {
    let triggers = scene.bed.triggers().into_iter().filter(|trigger| trigger.sensor == CURSOR);
    triggers.map(|trigger| (trigger.payload["number"].as_u64().unwrap(), trigger.container)).collect()
}

fn wait_for(scene: &Scene, container: &str, more: usize) {
    scene.bed.eventually(SETTLES, &format!("{container} dispatches {more} numbers"), || {
        (numbers(scene).iter().filter(|(_, by)| by == container).count() >= more).then_some(())
    });
}

#[test]
fn a_successor_goes_on_at_the_cursor_and_skips_nothing() {
    let mut scene = Scene::of(&[Pack::Cursor]);
    wait_for(&scene, "a", BATCH * 3);
    // What was stored outlives the arbitrator that stored it, too.
    scene.arbitrator.end();
    scene.arbitrator.restart();
    let before = numbers(&scene).len();
    wait_for(&scene, "a", before + BATCH * 3);
    scene.a.kill(Signal::KILL);
    wait_for(&scene, "b", BATCH * 3);
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    let mut highest = 0;
    for (number, by) in numbers(&scene) {
        assert!(number <= highest + 1, "{number} by {by} follows {highest}: something was skipped");
        highest = highest.max(number);
        *times.entry(number).or_default() += 1;
    }
    let repeated: Vec<u64> = times.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    assert!(repeated.len() <= BATCH && times.values().all(|times| *times <= 2), "dispatched again: {repeated:?}");
    scene.source.assert_no_overlap();
}
