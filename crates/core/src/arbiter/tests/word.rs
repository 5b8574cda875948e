//! The word: what has stopped for good is given to another.

use super::build::*;
use crate::arbiter::{Command, Event};
use crate::history::{Cause, Record};
use crate::message::{Effects, StopCause, ToArbitrator, ToContainer};

fn record(rig: &Rig, from: Option<&str>, to: Option<&str>, n: u64, cause: Cause) -> Command {
    let (from, to) = (from.map(name), to.map(name));
    Command::Record(Record { at: rig.now, sensor: x(), from, to, fence: fence(1, n), cause, who: "arbiter".into() })
}

#[test]
fn a_sensor_that_died_starts_at_once_where_another_stands_by() {
    let mut rig = Rig::holding(Effects::Direct);
    let commands = rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    assert_eq!(
        commands,
        [
            record(&rig, Some("a"), None, 1, Cause::Failed),
            record(&rig, None, Some("b"), 2, Cause::Failed),
            send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status: activation(None, None) }),
        ]
    );
}

#[test]
fn a_word_for_an_older_fence_frees_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    assert_eq!(rig.hear(A, stopped(fence(0, 9), StopCause::Died)), []);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_word_of_one_that_does_not_hold_it_frees_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    assert_eq!(rig.hear(B, stopped(fence(1, 1), StopCause::Died)), []);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_word_on_a_stream_that_is_not_bound_any_more_frees_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.take(Event::StreamClosed(A));
    assert_eq!(rig.hear(A, stopped(fence(1, 1), StopCause::Died)), []);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_report_of_what_was_applied_frees_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    let applied = ToArbitrator::Applied { sensor: x(), fence: fence(1, 1), state: crate::message::State::Stopped };
    assert_eq!(rig.hear(A, applied), []);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn what_died_on_its_only_container_is_tried_there_again_after_a_second() {
    let mut rig = Rig::bound();
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    let commands = rig.hear(A, stopped(rig.held(), StopCause::Died));
    assert_eq!(commands, [record(&rig, Some("a"), None, 1, Cause::Failed)]);
    rig.pass(at(999), &[(A, 1), (B, 2)]);
    assert_eq!(rig.take(Event::Wake), []);
    rig.now = at(1_000);
    let commands = rig.take(Event::Wake);
    assert_eq!(
        commands,
        [
            record(&rig, None, Some("a"), 2, Cause::Failed),
            send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status: activation(None, None) }),
        ]
    );
}

#[test]
fn the_next_holder_is_told_how_long_ago_the_last_poll_began() {
    let mut rig = Rig::holding(Effects::Direct);
    let polled = vec![(x(), millis(150))];
    rig.hear(A, beat(crate::message::Heartbeat { polled, ..heartbeat(1, 2) }));
    rig.now = at(300);
    let commands = rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    let status = activation(None, Some(millis(450)));
    assert_eq!(commands[2..], [send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status })]);
}

#[test]
fn a_word_says_when_the_last_poll_began() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.now = at(300);
    let polled_ago = Some(millis(150));
    let word = ToArbitrator::Stopped { sensor: x(), fence: fence(1, 1), cause: StopCause::Died, polled_ago };
    let commands = rig.hear(A, word);
    let status = activation(None, polled_ago);
    assert_eq!(commands[2..], [send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status })]);
}
