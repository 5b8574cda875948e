//! One rule a test: a small problem, one plan, what it says.

use super::*;

mod leaving;
mod load;

#[test]
fn a_sensor_without_a_holder_goes_where_least_is_carried() {
    let mut problem = containers(&["a", "b"]);
    add(&mut problem, "p.Held", on("a"));
    add(&mut problem, "p.New", sensor());
    expect(&problem, "p.New", Some("b"), "is placed on b beside a load of 0");
    expect(&problem, "p.Held", Some("a"), "stays on a");
}

#[test]
fn sensors_without_holders_are_spread_by_weight() {
    let mut problem = containers(&["a", "b"]);
    for (name, weight) in [("p.A", 5), ("p.B", 4), ("p.C", 2), ("p.D", 1)] {
        add(&mut problem, name, SensorNeed { weight, ..sensor() });
    }
    assert_eq!(loads(&problem), [6, 6]);
}

#[test]
fn a_tie_goes_to_the_container_that_attracts_the_sensor_more() {
    let mut problem = containers(&["a", "b", "c"]);
    for name in ["p.One", "q.Two", "r.Three"] {
        problem.sensors.clear();
        add(&mut problem, name, sensor());
        let attracts = |container: &&str| hash::rendezvous(name, container);
        let winner = ["a", "b", "c"].into_iter().max_by_key(attracts).unwrap();
        assert_eq!(target(&problem, name).as_deref(), Some(winner));
    }
}

#[test]
fn the_same_problem_gives_the_same_plan_in_every_version() {
    let mut problem = containers(&["node-1", "node-2", "node-3"]);
    for index in 0..9 {
        add(&mut problem, &format!("pack.Sensor{index}"), sensor());
    }
    let targets: Vec<_> = (0..9).map(|index| target(&problem, &format!("pack.Sensor{index}"))).collect();
    let targets: Vec<_> = targets.iter().flatten().map(|name| &name[5..]).collect();
    assert_eq!(targets.concat(), "132231132");
}

#[test]
fn preferred_labels_draw_a_new_sensor_within_the_goal() {
    let mut problem = containers(&["a", "b"]);
    label(&mut problem, "a", "disk", "fast");
    for (name, holder) in [("p.A", "a"), ("p.B", "a"), ("p.C", "b")] {
        add(&mut problem, name, SensorNeed { weight: 10, ..on(holder) });
    }
    add(&mut problem, "p.Light", SensorNeed { prefer: labels("disk", "fast"), ..sensor() });
    expect(&problem, "p.Light", Some("b"), "is placed on b beside a load of 10");
    add(&mut problem, "p.D", SensorNeed { weight: 10, ..on("b") });
    expect(&problem, "p.Light", Some("a"), "is placed on a beside a load of 20");
}

#[test]
fn a_paused_sensor_is_placed_nowhere_and_weighs_nothing() {
    let mut problem = containers(&["a", "b"]);
    add(&mut problem, "p.Paused", SensorNeed { weight: 9, paused: true, ..on("a") });
    add(&mut problem, "p.A", on("a"));
    add(&mut problem, "p.B", on("b"));
    expect(&problem, "p.Paused", None, "is paused by an operator");
    expect(&problem, "p.A", Some("a"), "stays on a");
}

#[test]
fn what_nobody_here_offers_runs_nowhere() {
    let mut problem = containers(&["a"]);
    add(&mut problem, "p.A", SensorNeed { offers: offers(&["gone"]), ..on("gone") });
    expect(&problem, "p.A", None, "runs nowhere: no container offers it");
}

#[test]
fn what_nobody_can_take_says_what_stands_against_each() {
    let mut problem = containers(&["a", "b", "c", "d"]);
    room(&mut problem, "a").draining = true;
    label(&mut problem, "c", "zone", "x");
    room(&mut problem, "c").capacity = Some(2);
    let offers = offers(&["a", "b", "c"]);
    let need = SensorNeed { weight: 3, require: labels("zone", "x"), offers, ..sensor() };
    add(&mut problem, "p.A", need);
    expect(
        &problem,
        "p.A",
        None,
        "runs nowhere: no container that offers it can take it (a: is draining, b: lacks the label zone=x, \
         c: is full: 0 and its 3 exceed 2)",
    );
}

#[test]
fn nothing_here_at_all_is_an_empty_plan() {
    assert_eq!(plan(&Problem::default()), Plan::default());
}

#[test]
fn the_reasons_against_a_container_are_told() {
    let mut problem = containers(&["fit", "drains", "label", "full", "failed", "stale"]);
    for name in ["fit", "drains", "full", "failed", "stale"] {
        label(&mut problem, name, "zone", "x");
    }
    room(&mut problem, "drains").draining = true;
    room(&mut problem, "full").capacity = Some(3);
    add(&mut problem, "p.Other", SensorNeed { weight: 2, ..on("full") });
    let need = SensorNeed { weight: 2, require: labels("zone", "x"), ..sensor() };
    add(&mut problem, "p.A", failed("failed", stale("stale", need)));
    let told = |name: &str| ineligible(&problem, &SensorRef::new("p.A"), &container(name));
    assert_eq!(told("fit"), None);
    assert_eq!(told("gone"), Some(Reason::NotOffered));
    assert_eq!(told("drains"), Some(Reason::Draining));
    assert_eq!(told("label"), Some(Reason::Label { key: "zone".into(), value: "x".into() }));
    assert_eq!(told("full"), Some(Reason::Full { load: 2, weight: 2, capacity: 3 }));
    assert_eq!(told("failed"), Some(Reason::FailedThere));
    assert_eq!(told("stale"), Some(Reason::StaleCode));
}

#[track_caller]
fn expect(problem: &Problem, sensor: &str, on: Option<&str>, because: &str) {
    assert_eq!(target(problem, sensor).as_deref(), on);
    assert_eq!(why(problem, sensor), because);
}

fn target(problem: &Problem, sensor: &str) -> Option<String> {
    let target = plan(problem).placements[&SensorRef::new(sensor)].target.clone();
    target.map(|target| target.to_string())
}

fn why(problem: &Problem, sensor: &str) -> String {
    plan(problem).placements[&SensorRef::new(sensor)].rule.to_string()
}

/// What each container carries under the plan.
fn loads(problem: &Problem) -> Vec<u32> {
    let plan = plan(problem);
    let load = |container| {
        let there = plan.placements.iter().filter(|(_, placed)| placed.target.as_ref() == Some(container));
        there.map(|(name, _)| problem.sensors[name].weight).sum()
    };
    problem.containers.keys().map(load).collect()
}

/// How many sensors the plan puts elsewhere than they are.
fn changes(problem: &Problem) -> usize {
    let plan = plan(problem);
    let changed = plan.placements.iter().filter(|(name, at)| at.target != problem.sensors[*name].holder);
    changed.count()
}

fn containers(names: &[&str]) -> Problem {
    let containers = names.iter().map(|name| (container(name), Room::default())).collect();
    Problem { containers, ..Problem::default() }
}

fn container(name: &str) -> ContainerName {
    ContainerName::new(name)
}

fn room<'p>(problem: &'p mut Problem, name: &str) -> &'p mut Room {
    problem.containers.get_mut(&container(name)).unwrap()
}

fn label(problem: &mut Problem, name: &str, key: &str, value: &str) {
    room(problem, name).labels.extend(labels(key, value));
}

fn labels(key: &str, value: &str) -> Labels {
    [(key.to_owned(), value.to_owned())].into()
}

/// Adds a sensor, offered by every container unless it says who offers it; marks on it are kept.
fn add(problem: &mut Problem, name: &str, mut need: SensorNeed) {
    let marked_only = need.offers.values().all(|standing| *standing != Standing::default());
    if marked_only {
        for container in problem.containers.keys() {
            need.offers.entry(container.clone()).or_default();
        }
    }
    problem.sensors.insert(SensorRef::new(name), need);
}

fn offers(names: &[&str]) -> BTreeMap<ContainerName, Standing> {
    names.iter().map(|name| (container(name), Standing::default())).collect()
}

fn sensor() -> SensorNeed {
    SensorNeed {
        weight: 1,
        require: Labels::new(),
        prefer: Labels::new(),
        offers: BTreeMap::new(),
        holder: None,
        may_move: true,
        wanted: None,
        paused: false,
    }
}

fn on(holder: &str) -> SensorNeed {
    SensorNeed { holder: Some(container(holder)), ..sensor() }
}

fn fixed(holder: &str) -> SensorNeed {
    SensorNeed { may_move: false, ..on(holder) }
}

fn stale(at: &str, mut need: SensorNeed) -> SensorNeed {
    need.offers.entry(container(at)).or_default().stale_code = true;
    need
}

fn failed(at: &str, mut need: SensorNeed) -> SensorNeed {
    need.offers.entry(container(at)).or_default().failed_there = true;
    need
}
