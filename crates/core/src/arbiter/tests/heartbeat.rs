//! Heartbeats of a bound session: acknowledged, and whatever is not applied is told again.

use super::build::*;
use crate::arbiter::{Alarm, Command, Event};
use crate::history::{Cause, Record};
use crate::message::{Effects, Heartbeat, Report, Status, StopCause, ToArbitrator, ToContainer};
use crate::names::StreamId;
use crate::time::Span;

fn standby(stream: StreamId, n: u64) -> Command {
    send(stream, ToContainer::SetStatus { sensor: x(), fence: fence(1, n), status: Status::Standby })
}

#[test]
fn a_heartbeat_is_acknowledged_with_its_own_moment() {
    let mut rig = Rig::bound();
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), [send(A, ack(1, 2))]);
}

#[test]
fn a_heartbeat_of_another_session_is_not_acknowledged() {
    let mut rig = Rig::bound();
    assert_eq!(rig.hear(A, beat(heartbeat(2, 2))), []);
}

#[test]
fn a_heartbeat_on_an_unknown_stream_is_not_acknowledged() {
    let mut rig = Rig::bound();
    assert_eq!(rig.hear(StreamId(9), beat(heartbeat(1, 2))), []);
}

#[test]
fn a_standby_acknowledges_nothing() {
    let mut rig = Rig::follower();
    rig.take(Event::Wake);
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), []);
}

#[test]
fn a_status_that_is_not_applied_is_told_again_with_the_next_heartbeat() {
    let mut rig = Rig::bound();
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    rig.now = at(400);
    rig.drive(Event::Wake);
    let status = activation(None, None);
    let message = ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status };
    assert_eq!(rig.hear(A, beat(heartbeat(1, 2))), [send(A, ack(1, 2)), send(A, message)]);
}

#[test]
fn a_container_that_never_applies_a_status_is_acknowledged_no_more() {
    let mut rig = Rig::bound();
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    let (told_at, alive) = (rig.now, [(A, 1), (B, 2)]);
    // The longest poll of x, 5 min, and the grace of 10 s.
    let limit = told_at + Span::from_secs(310);
    rig.pass(limit - millis(10), &alive);
    let commands = rig.hear(A, beat(heartbeat(1, 2)));
    assert_eq!(commands[..1], [send(A, ack(1, 2))]);
    rig.now = limit;
    let status = activation(None, None);
    let again = send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status });
    let alarm = Command::Alarm(Alarm::DoesNotApply(name("a"), x()));
    assert_eq!(rig.hear(A, beat(heartbeat(1, 3)))[1..3], [alarm, again]);
    let commands = rig.hear(A, beat(heartbeat(1, 4)));
    assert!(!commands.contains(&send(A, ack(1, 4))));
}

#[test]
fn a_container_that_drains_hands_over_what_can_run_elsewhere() {
    let mut rig = Rig::holding(Effects::Direct);
    let draining = Heartbeat { draining: true, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(draining)), [send(A, ack(1, 2)), standby(A, 1)]);
}

#[test]
fn a_container_that_leaves_stops_what_no_other_can_take() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(B, beat(Heartbeat { draining: true, ..heartbeat(2, 2) }));
    let draining = Heartbeat { draining: true, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(draining)), [send(A, ack(1, 2)), standby(A, 1)]);
    let freed = rig.hear(A, stopped(fence(1, 1), StopCause::Asked));
    assert!(!freed.iter().any(|command| matches!(command, Command::Send { .. })), "nobody gets it: {freed:?}");
}

#[test]
fn a_container_that_leaves_keeps_what_another_may_yet_load() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(B, ToArbitrator::Offers(Vec::new()));
    let draining = Heartbeat { draining: true, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(draining)), [send(A, ack(1, 2))]);
    assert_eq!(rig.hear(B, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])), [standby(A, 1)]);
}

#[test]
fn a_sensor_whose_polls_keep_failing_is_moved() {
    let mut rig = Rig::holding(Effects::Direct);
    let reports = vec![Report::Failing { sensor: x(), fence: fence(1, 1) }];
    let failing = Heartbeat { reports, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(failing)), [send(A, ack(1, 2)), standby(A, 1)]);
}

#[test]
fn a_report_under_an_older_fence_moves_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    let reports = vec![Report::Failing { sensor: x(), fence: fence(0, 9) }];
    let failing = Heartbeat { reports, ..heartbeat(1, 2) };
    assert_eq!(rig.hear(A, beat(failing)), [send(A, ack(1, 2))]);
}

#[test]
fn a_freeze_that_was_late_goes_into_the_history() {
    let mut rig = Rig::holding(Effects::Direct);
    let reports = vec![Report::PossibleOverlap { sensor: x(), fence: fence(1, 1), late_by: millis(700) }];
    let late = Heartbeat { reports, ..heartbeat(1, 2) };
    let record = Record {
        at: rig.now,
        sensor: x(),
        from: Some(name("a")),
        to: Some(name("a")),
        fence: fence(1, 1),
        cause: Cause::PossibleOverlap,
        who: "a".into(),
    };
    assert_eq!(rig.hear(A, beat(late)), [Command::Record(record), send(A, ack(1, 2))]);
}
