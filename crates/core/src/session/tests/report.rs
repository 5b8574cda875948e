//! Reports: told with a heartbeat until one that carried them is acknowledged.

use super::build::*;
use crate::message::{Effects, Heartbeat, Report, ToArbitrator};
use crate::session::{Command, Event, Outcome};

/// Three polls have raised; the heartbeat, the ninth, that says so has been sent at 3,200 ms.
fn reporting() -> (Rig, Vec<Command>) {
    let mut rig = Rig::polling(Effects::Direct);
    for until in [2_000, 3_000, 3_000] {
        rig.take(Event::PollReturned { process: PROCESS, outcome: Outcome::Raised { effects: false } });
        rig.live(at(until));
    }
    rig.now = at(3_200);
    let commands = rig.take(Event::Wake);
    (rig, commands)
}

/// What is reported when the session is bound again, on the next stream.
fn reported_to_the_next(mut rig: Rig) -> Vec<Report> {
    rig.take(Event::StreamClosed(FIRST));
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    reports(rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1))))
}

fn reports(commands: Vec<Command>) -> Vec<Report> {
    let heartbeat = commands.into_iter().find_map(|command| match command {
        Command::Send { message: ToArbitrator::Heartbeat(beat), .. } => Some(*beat),
        _ => None,
    });
    let Heartbeat { reports, .. } = heartbeat.unwrap();
    reports
}

fn failing() -> Report {
    Report::Failing { sensor: x(), fence: fence(1, 2) }
}

#[test]
fn a_report_is_told_once_in_a_session() {
    let (mut rig, commands) = reporting();
    assert_eq!(reports(commands), [failing()]);
    rig.now = at(3_600);
    assert_eq!(reports(rig.take(Event::Wake)), []);
}

#[test]
fn a_report_whose_heartbeat_was_not_acknowledged_is_told_on_the_next_stream() {
    let (rig, _) = reporting();
    assert_eq!(reported_to_the_next(rig), [failing()]);
}

#[test]
fn a_report_whose_heartbeat_was_acknowledged_is_not_told_again() {
    let (mut rig, _) = reporting();
    rig.hear(ack(1, 9, at(3_200)));
    assert_eq!(reported_to_the_next(rig), []);
}

#[test]
fn an_acknowledgement_of_an_earlier_heartbeat_says_nothing_of_a_report() {
    let (mut rig, _) = reporting();
    rig.hear(ack(1, 8, at(2_800)));
    assert_eq!(reported_to_the_next(rig), [failing()]);
}
