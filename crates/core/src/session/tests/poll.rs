//! Polls: when they are due, and what becomes of those that raise, hang or die.

use super::build::*;
use crate::message::{Effects, Heartbeat, Report, State, StopCause, ToContainer};
use crate::names::EntryId;
use crate::session::{Command, Event, Outcome};
use crate::time::Span;

fn poll() -> Command {
    Command::Poll { process: PROCESS, fence: fence(1, 2) }
}

fn returned(outcome: Outcome) -> Event {
    Event::PollReturned { process: PROCESS, outcome }
}

fn raised(effects: bool) -> Event {
    returned(Outcome::Raised { effects })
}

#[test]
fn after_a_hand_over_the_next_poll_is_due_one_interval_after_the_last_one_began() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.now = at(300);
    rig.hear(active(fence(1, 2), activation(None, Some(millis(400)))));
    assert_eq!(rig.take(Event::Activated(PROCESS)), []);
    rig.now = at(899);
    rig.take(Event::Wake);
    rig.now = at(900);
    assert_eq!(rig.take(Event::Wake), [poll()]);
}

#[test]
fn ticks_that_were_missed_become_one_poll() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(active(fence(1, 2), activation(None, Some(millis(5_300)))));
    rig.now = at(100);
    assert_eq!(rig.take(Event::Activated(PROCESS)), [poll()]);
    rig.now = at(200);
    assert_eq!(rig.take(returned(Outcome::Good(None))), []);
    rig.live(at(1_000));
    rig.now = at(1_100);
    assert!(rig.take(Event::Wake).contains(&poll()));
}

#[test]
fn a_poll_that_takes_longer_than_the_interval_is_followed_by_the_next_at_once() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.live(at(2_500));
    assert_eq!(rig.take(returned(Outcome::Good(None))), [poll()]);
}

#[test]
fn a_sensor_that_sets_its_interval_is_polled_so_from_its_last_poll_on() {
    let mut rig = Rig::active(Effects::Direct);
    rig.take(Event::Paced { process: PROCESS, interval: millis(500) });
    rig.now = at(499);
    assert!(!rig.take(Event::Wake).contains(&poll()));
    rig.now = at(500);
    assert!(rig.take(Event::Wake).contains(&poll()));
}

#[test]
fn an_interval_set_during_the_last_overdue_poll_does_not_delay_the_next() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.live(at(2_500));
    assert_eq!(rig.take(Event::Paced { process: PROCESS, interval: millis(1_200) }), []);
    assert_eq!(rig.take(returned(Outcome::Good(None))), [poll()]);
}

#[test]
fn a_poll_that_the_shell_did_not_begin_is_due_again_when_the_lease_is_back() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.now = at(2_800);
    rig.take(Event::Wake);
    rig.take(Event::NotPolled(PROCESS));
    assert_eq!(rig.session.instances.values().next().unwrap().state(false), State::Running);
    let (due, _) = rig.session.instances.values().next().unwrap().next_deadline(false, false).unwrap();
    assert_eq!(due, at(2_800));
}

#[test]
fn a_poll_that_raised_without_effects_keeps_its_process() {
    let mut rig = Rig::polling(Effects::Journal);
    assert_eq!(rig.take(raised(false)), []);
}

#[test]
fn a_poll_that_raised_with_effects_loses_its_process() {
    let mut rig = Rig::polling(Effects::Journal);
    assert_eq!(rig.take(raised(true)), [Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), [spawn(FRESH)]);
    let values = Some(values());
    assert_eq!(rig.take(Event::Ready(FRESH)), [Command::Activate { process: FRESH, values }]);
}

#[test]
fn polls_that_keep_raising_are_reported_with_the_next_heartbeat() {
    let mut rig = Rig::polling(Effects::Direct);
    for until in [2_000, 3_000] {
        assert_eq!(rig.take(raised(false)), []);
        rig.live(at(until));
    }
    assert_eq!(rig.take(raised(false)), []);
    rig.now = at(3_200);
    let reports = vec![Report::Failing { sensor: x(), fence: fence(1, 2) }];
    let polled = vec![(x(), millis(200))];
    let expected = Heartbeat { polled, reports, ..heartbeat(1, 9, at(3_200)) };
    assert_eq!(rig.take(Event::Wake), [send(FIRST, beat(expected))]);
}

#[test]
fn a_poll_that_hangs_is_killed() {
    let mut rig = Rig::polling(Effects::Direct);
    let hung = at(1_000) + Span::from_secs(300);
    rig.live(hung - millis(1));
    rig.now = hung;
    let commands = rig.take(Event::Wake);
    assert!(commands.contains(&Command::Kill(PROCESS)), "{commands:?}");
    let word = stopped(fence(1, 2), StopCause::Hung, Some(300_000));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

#[test]
fn a_poll_that_waits_for_the_sink_does_not_hang_and_has_the_rest_of_its_time_after_that() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.live(at(2_000));
    rig.take(Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() });
    rig.live(at(1_000_000));
    assert!(!rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
    rig.take(Event::Published { sensor: x(), id: EntryId(8) });
    let hung = at(1_000_000) + Span::from_secs(299);
    rig.live(hung - millis(1));
    rig.now = hung;
    let commands = rig.take(Event::Wake);
    assert!(commands.contains(&Command::Kill(PROCESS)), "{commands:?}");
}

#[test]
fn a_poll_that_waits_for_the_sink_has_ten_seconds_when_it_is_asked_to_stop() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() });
    rig.take(Event::Emitted { process: PROCESS, id: EntryId(9), effect: effects() });
    rig.live(at(1_000_000));
    rig.hear(standby(fence(1, 2)));
    rig.live(at(1_009_000));
    rig.take(Event::Published { sensor: x(), id: EntryId(8) });
    rig.live(at(1_018_999));
    rig.now = at(1_019_000);
    let commands = rig.take(Event::Wake);
    assert!(commands.contains(&Command::Kill(PROCESS)), "{commands:?}");
}

#[test]
fn a_process_that_dies_gives_the_word_at_once() {
    let mut rig = Rig::polling(Effects::Direct);
    let word = stopped(fence(1, 2), StopCause::Died, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn a_process_that_is_lost_is_started_again_in_place() {
    let mut rig = Rig::polling(Effects::Direct);
    assert_eq!(rig.take(Event::Lost(PROCESS)), [spawn(FRESH)]);
    assert_eq!(rig.take(Event::Ready(FRESH)), [Command::Activate { process: FRESH, values: None }]);
}

#[test]
fn a_standby_that_dies_gives_no_word_and_is_started_again_after_a_second() {
    let mut rig = Rig::leased(Effects::Direct);
    assert_eq!(rig.take(Event::Gone(PROCESS)), []);
    rig.live(at(999));
    rig.now = at(1_000);
    assert_eq!(rig.take(Event::Wake), [spawn(FRESH)]);
}

#[test]
fn a_failure_is_told_to_the_next_leader_with_its_age() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::Gone(PROCESS));
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(1_250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    let commands = rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    let failed = vec![(x(), millis(250))];
    let binds = Some(crate::message::Binding { holds: Vec::new(), failed });
    assert_eq!(commands[1], send(NEXT, beat(Heartbeat { binds, ..heartbeat(1, 1, at(1_250)) })));
}

#[test]
fn an_operator_need_not_wait_for_the_interval() {
    let mut rig = Rig::active(Effects::Direct);
    rig.take(Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) });
    let older = ToContainer::PollNow { sensor: x(), fence: fence(1, 1) };
    assert_eq!(rig.hear(older), []);
    let commands = rig.hear(ToContainer::PollNow { sensor: x(), fence: fence(1, 2) });
    assert_eq!(commands, [Command::Poll { process: PROCESS, fence: fence(1, 2) }]);
}
