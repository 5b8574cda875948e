//! Load and capacity: who moves to even them out, and who does not.

use super::*;

#[test]
fn preferred_labels_move_nothing() {
    let mut problem = containers(&["a", "b"]);
    label(&mut problem, "a", "disk", "fast");
    add(&mut problem, "p.A", on("a"));
    add(&mut problem, "p.B", SensorNeed { prefer: labels("disk", "fast"), ..on("b") });
    expect(&problem, "p.B", Some("b"), "stays on b");
}

#[test]
fn losing_a_container_moves_only_its_own_sensors() {
    let mut problem = containers(&["a", "b", "c"]);
    for index in 0..9 {
        add(&mut problem, &format!("p.S{index}"), on(["a", "b", "c"][index % 3]));
    }
    problem.containers.remove(&container("c"));
    for (name, placement) in plan(&problem).placements {
        let held = problem.sensors[&name].holder.clone();
        let lost = held == Some(container("c"));
        assert_eq!(placement.target != held, lost, "{name} {}", placement.rule);
        assert_eq!(matches!(placement.rule, Rule::LeavesLost { .. }), lost);
    }
    assert!(loads(&problem).into_iter().max() <= Some(5));
}

#[test]
fn a_container_that_joins_draws_its_share_and_no_more() {
    let mut problem = containers(&["a", "b", "c"]);
    for index in 0..12 {
        add(&mut problem, &format!("p.S{index:02}"), on(["a", "b"][index % 2]));
    }
    assert_eq!(loads(&problem), [4, 4, 4]);
    assert_eq!(changes(&problem), 4);
    let moved = plan(&problem).placements.into_values().find(|placed| placed.target == Some(container("c")));
    let text = moved.unwrap().rule.to_string();
    assert!(text.ends_with("(load 6) to c (load 0) to even out the load"), "{text}");
}

#[test]
fn nothing_moves_within_the_goal() {
    let mut problem = containers(&["a", "b"]);
    for index in 0..21 {
        add(&mut problem, &format!("p.S{index:02}"), on(if index < 11 { "a" } else { "b" }));
    }
    assert_eq!(changes(&problem), 0);
}

#[test]
fn what_may_not_be_moved_stays_however_uneven_the_load() {
    let mut problem = containers(&["a", "b"]);
    for index in 0..5 {
        add(&mut problem, &format!("p.S{index}"), fixed("a"));
    }
    assert_eq!(changes(&problem), 0);
}

#[test]
fn a_container_that_cannot_get_lighter_excuses_no_other() {
    let mut problem = containers(&["a", "b", "c"]);
    for index in 0..9 {
        add(&mut problem, &format!("p.Fixed{index}"), fixed("a"));
    }
    for index in 0..9 {
        add(&mut problem, &format!("p.S{index}"), on("b"));
    }
    // The mean is 6: b could carry 9 like a and not be the heaviest, but gets down to the goal.
    assert_eq!(loads(&problem), [9, 6, 3]);
}

#[test]
fn two_sensors_change_places_when_one_move_cannot_help() {
    let mut problem = containers(&["a", "b"]);
    for (name, weight, holder) in [("p.A", 5, "a"), ("p.B", 3, "a"), ("p.C", 3, "b"), ("p.D", 1, "b")] {
        add(&mut problem, name, SensorNeed { weight, ..on(holder) });
    }
    assert_eq!(loads(&problem), [6, 6]);
    assert_eq!(changes(&problem), 2);
}

#[test]
fn those_that_may_move_leave_an_overfull_container_first() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").capacity = Some(2);
    add(&mut problem, "p.Fixed", fixed("a"));
    add(&mut problem, "p.FixedToo", fixed("a"));
    add(&mut problem, "p.Movable", on("a"));
    expect(&problem, "p.Movable", Some("b"), "leaves a, which carried 3 of 2, for b");
    room(&mut problem, "a").capacity = Some(1);
    assert_eq!(loads(&problem), [1, 2], "then the others");
    room(&mut problem, "b").capacity = Some(0);
    expect(&problem, "p.Movable", Some("a"), "stays on a although that carries 3 of 1: no other container can take it");
}

#[test]
fn a_sensor_makes_room_for_one_that_fits_nowhere_else() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").capacity = Some(1);
    add(&mut problem, "p.Here", on("a"));
    add(&mut problem, "p.New", SensorNeed { offers: offers(&["a"]), ..sensor() });
    expect(&problem, "p.New", Some("a"), "is placed on a beside a load of 0");
    expect(&problem, "p.Here", Some("b"), "leaves a for b to make room for another sensor");
}
