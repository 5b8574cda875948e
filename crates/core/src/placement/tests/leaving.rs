//! Who leaves whom for what: drain, failure, stale code, lost offers, an operator's wish.

use super::*;

#[test]
fn a_draining_container_gives_away_even_what_may_not_be_moved() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").draining = true;
    add(&mut problem, "p.A", fixed("a"));
    expect(&problem, "p.A", Some("b"), "leaves a, which drains, for b");
}

#[test]
fn what_no_other_container_can_run_stays_on_a_draining_one() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").draining = true;
    add(&mut problem, "p.Only", SensorNeed { offers: offers(&["a"]), ..on("a") });
    add(&mut problem, "p.Stale", stale("b", on("a")));
    expect(&problem, "p.Only", Some("a"), "stays on a although that drains: no other container can run it");
    assert_eq!(target(&problem, "p.Stale").as_deref(), Some("a"), "stale code is worse");
}

#[test]
fn a_drain_goes_from_stale_code_to_stale_code() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").draining = true;
    add(&mut problem, "p.A", stale("a", stale("b", on("a"))));
    expect(
        &problem,
        "p.A",
        Some("b"),
        "goes to b although that is not fit for it (its code is stale): nothing better can run it",
    );
}

#[test]
fn a_failed_sensor_moves_once() {
    let mut problem = containers(&["a", "b", "c"]);
    add(&mut problem, "p.A", failed("a", fixed("a")));
    let elsewhere = target(&problem, "p.A").unwrap();
    assert_ne!(elsewhere, "a");
    assert_eq!(why(&problem, "p.A"), format!("leaves a, where it failed, for {elsewhere}"));
    problem.sensors.clear();
    add(&mut problem, "p.A", failed("a", failed("b", on("b"))));
    expect(
        &problem,
        "p.A",
        Some("b"),
        "stays on b although it failed there: it failed elsewhere too, or no other container can run it",
    );
}

#[test]
fn a_sensor_that_fails_everywhere_still_leaves_a_draining_container() {
    let mut problem = containers(&["a", "b"]);
    room(&mut problem, "a").draining = true;
    add(&mut problem, "p.A", failed("a", failed("b", fixed("a"))));
    assert_eq!(target(&problem, "p.A").as_deref(), Some("b"));
}

#[test]
fn a_failed_sensor_rather_runs_stale_code() {
    let mut problem = containers(&["a", "b"]);
    add(&mut problem, "p.A", failed("a", stale("b", on("a"))));
    assert_eq!(target(&problem, "p.A").as_deref(), Some("b"));
    problem.sensors.clear();
    add(&mut problem, "p.A", failed("a", stale("b", on("b"))));
    assert_eq!(target(&problem, "p.A").as_deref(), Some("b"), "and stays there");
}

#[test]
fn a_sensor_without_a_holder_takes_stale_code_before_a_place_where_it_failed() {
    let mut problem = containers(&["a", "b"]);
    add(&mut problem, "p.A", failed("a", stale("b", sensor())));
    assert_eq!(target(&problem, "p.A").as_deref(), Some("b"));
    room(&mut problem, "b").draining = true;
    expect(
        &problem,
        "p.A",
        Some("a"),
        "goes to a although that is not fit for it (it failed there): nothing better can run it",
    );
}

#[test]
fn sensors_leave_for_newer_code_up_to_the_fair_share() {
    let mut problem = containers(&["a", "b", "c"]);
    for index in 0..6 {
        let holder = if index < 3 { "b" } else { "c" };
        add(&mut problem, &format!("p.S{index}"), stale("b", stale("c", on(holder))));
    }
    assert_eq!(loads(&problem), [2, 2, 2]);
    assert_eq!(why(&problem, "p.S0"), "leaves b, where the code is stale, for a");
    for need in problem.sensors.values_mut() {
        need.may_move = false;
    }
    assert_eq!(loads(&problem), [0, 3, 3]);
    assert!(why(&problem, "p.S0").starts_with("stays on b although the code there is stale"));
}

#[test]
fn an_operator_moves_what_may_not_be_moved() {
    let mut problem = containers(&["a", "b"]);
    add(&mut problem, "p.A", SensorNeed { wanted: Some(container("b")), ..fixed("a") });
    add(&mut problem, "p.B", fixed("b"));
    expect(&problem, "p.A", Some("b"), "runs on b because an operator wants it there");
}

#[test]
fn an_operator_s_wish_for_an_unfit_container_is_not_honoured() {
    for need in [stale("b", on("a")), failed("b", on("a"))] {
        let mut problem = containers(&["a", "b"]);
        add(&mut problem, "p.A", SensorNeed { wanted: Some(container("b")), ..need });
        assert_eq!(target(&problem, "p.A").as_deref(), Some("a"));
    }
}

#[test]
fn a_wish_may_wait_for_the_room_that_another_frees() {
    let mut problem = containers(&["a", "b", "c"]);
    room(&mut problem, "b").capacity = Some(1);
    add(&mut problem, "p.A", SensorNeed { wanted: Some(container("b")), ..on("a") });
    add(&mut problem, "p.B", SensorNeed { wanted: Some(container("c")), ..on("b") });
    assert_eq!(target(&problem, "p.A").as_deref(), Some("b"));
    assert_eq!(target(&problem, "p.B").as_deref(), Some("c"));
}

#[test]
fn a_holder_that_offers_the_sensor_no_more_or_lost_a_label_has_lost_it() {
    let mut problem = containers(&["a", "b"]);
    label(&mut problem, "b", "zone", "x");
    add(&mut problem, "p.Offer", SensorNeed { offers: offers(&["b"]), ..on("a") });
    add(&mut problem, "p.Label", SensorNeed { require: labels("zone", "x"), ..on("a") });
    expect(&problem, "p.Offer", Some("b"), "leaves a, which can run it no longer, for b");
    expect(&problem, "p.Label", Some("b"), "leaves a, which can run it no longer, for b");
}
