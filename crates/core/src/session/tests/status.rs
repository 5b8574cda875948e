//! Statuses: activated, fenced anew, and stopped for good.

use super::build::*;
use crate::message::{Effects, State, Status, StopCause, ToContainer};
use crate::names::{EntryId, ProcessId, SensorRef};
use crate::session::{Command, Event, Outcome};

fn activate() -> Command {
    Command::Activate { process: PROCESS, values: None }
}

/// Active, with the word given for fence 1.2 since.
fn stopped_once() -> Rig {
    let mut rig = Rig::active(Effects::Direct);
    rig.hear(standby(fence(1, 2)));
    rig.take(Event::Gone(PROCESS));
    rig
}

#[test]
fn an_active_status_is_applied_and_the_process_is_set_up() {
    let mut rig = Rig::leased(Effects::Direct);
    let commands = rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    assert_eq!(commands, [send(FIRST, applied(fence(1, 2), State::Starting)), activate()]);
}

#[test]
fn nothing_is_set_up_before_the_lease_holds() {
    let mut rig = Rig::bound(Effects::Direct);
    let commands = rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    assert_eq!(commands, [send(FIRST, applied(fence(1, 2), State::Frozen))]);
    assert_eq!(rig.hear(ack(1, 1, at(0))), [lease(at(2_000), 0), activate()]);
}

#[test]
fn an_overdue_sensor_polls_as_soon_as_it_is_set_up() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.hear(active(fence(1, 2), activation(None, None)));
    let poll = Command::Poll { process: PROCESS, fence: fence(1, 2) };
    assert_eq!(rig.take(Event::Activated(PROCESS)), [poll]);
}

#[test]
fn a_newer_fence_is_applied_without_a_pause() {
    let mut rig = Rig::polling(Effects::Direct);
    assert_eq!(rig.hear(adopted(fence(2, 1))), [send(FIRST, applied(fence(2, 1), State::Running))]);
    assert_eq!(rig.session.active(&x()), Some(fence(2, 1)));
}

#[test]
fn an_older_fence_changes_nothing() {
    let mut rig = Rig::polling(Effects::Direct);
    assert_eq!(rig.hear(adopted(fence(1, 1))), []);
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
}

#[test]
fn a_status_that_is_said_again_is_applied_again() {
    let mut rig = Rig::polling(Effects::Direct);
    let again = active(fence(1, 2), just_polled(Effects::Direct));
    assert_eq!(rig.hear(again), [send(FIRST, applied(fence(1, 2), State::Running))]);
}

#[test]
fn an_idle_instance_is_killed_when_it_is_to_stand_by() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.hear(standby(fence(1, 2))), [Command::Kill(PROCESS)]);
}

#[test]
fn the_word_is_given_when_the_process_is_dead() {
    let mut rig = Rig::active(Effects::Direct);
    rig.hear(standby(fence(1, 2)));
    let word = stopped(fence(1, 2), StopCause::Asked, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

#[test]
fn a_poll_that_runs_is_waited_for() {
    let mut rig = Rig::polling(Effects::Direct);
    assert_eq!(rig.hear(standby(fence(1, 2))), []);
    let returned = Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) };
    assert_eq!(rig.take(returned), [Command::Kill(PROCESS)]);
}

#[test]
fn a_warm_process_that_never_acted_is_kept() {
    let mut rig = Rig::bound(Effects::Direct);
    rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    let word = stopped(fence(1, 2), StopCause::Asked, Some(0));
    assert_eq!(rig.hear(standby(fence(1, 2))), [send(FIRST, word)]);
}

#[test]
fn a_standby_for_an_older_fence_stops_nothing() {
    let mut rig = Rig::polling(Effects::Direct);
    assert_eq!(rig.hear(standby(fence(1, 1))), []);
    let returned = Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) };
    assert_eq!(rig.take(returned), []);
}

#[test]
fn what_stopped_is_not_activated_again_under_the_same_fence() {
    let mut rig = stopped_once();
    let commands = rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    assert_eq!(commands, [send(FIRST, stopped(fence(1, 2), StopCause::Asked, None))]);
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn what_stopped_is_activated_again_under_a_higher_fence() {
    let mut rig = stopped_once();
    let commands = rig.hear(active(fence(1, 3), just_polled(Effects::Direct)));
    assert_eq!(commands, [send(FIRST, applied(fence(1, 3), State::Starting))]);
}

#[test]
fn what_stopped_says_so_again_when_it_is_told_again_to_stand_by() {
    let mut rig = stopped_once();
    assert_eq!(rig.hear(standby(fence(1, 2))), [send(FIRST, stopped(fence(1, 2), StopCause::Asked, None))]);
}

#[test]
fn an_adoption_of_what_is_not_held_is_answered_with_the_word() {
    let mut rig = Rig::leased(Effects::Direct);
    assert_eq!(rig.hear(adopted(fence(1, 2))), [send(FIRST, stopped(fence(1, 2), StopCause::Asked, None))]);
}

#[test]
fn a_sensor_that_is_not_offered_is_answered_with_the_word() {
    let mut rig = Rig::leased(Effects::Direct);
    let sensor = SensorRef::new("p.Unknown");
    let status = Status::Active(Some(Box::default()));
    let commands = rig.hear(ToContainer::SetStatus { sensor: sensor.clone(), fence: fence(1, 2), status });
    let word =
        crate::message::ToArbitrator::Stopped { sensor, fence: fence(1, 2), cause: StopCause::Asked, polled_ago: None };
    assert_eq!(commands, [send(FIRST, word)]);
}

#[test]
fn a_status_on_an_older_stream_is_not_heard() {
    let mut rig = Rig::leased(Effects::Direct);
    rig.take(Event::StreamClosed(FIRST));
    assert_eq!(rig.hear(active(fence(1, 2), just_polled(Effects::Direct))), []);
}

#[test]
fn a_standby_with_new_code_is_replaced() {
    let mut rig = Rig::leased(Effects::Direct);
    let newer = crate::message::Offer { digest: crate::names::Digest(2), ..offer(Effects::Direct) };
    let commands = rig.take(Event::Offers(vec![newer.clone()]));
    let told = send(FIRST, crate::message::ToArbitrator::Offers(vec![newer]));
    assert_eq!(commands, [told, Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), [spawn(ProcessId(2))]);
}

#[test]
fn an_effect_made_after_everything_was_ended_goes_nowhere() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.hear(ToContainer::Resigning);
    rig.now = at(1_300);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    assert_eq!(rig.hear_on(NEXT, welcome("l2", 2, 1, fence(2, 1))), [Command::Kill(PROCESS)]);
    let effect = Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() };
    assert_eq!(rig.take(effect), []);
    let commands = rig.take(Event::Gone(PROCESS));
    assert!(!commands.iter().any(|command| matches!(command, Command::Publish { .. })), "{commands:?}");
}

#[test]
fn what_the_leader_gives_without_a_journal_is_direct_though_it_was_offered_otherwise() {
    let mut rig = Rig::leased(Effects::Journal);
    let commands = rig.hear(active(fence(1, 2), just_polled(Effects::Direct)));
    assert_eq!(commands[1..], [activate()]);
    rig.take(Event::Activated(PROCESS));
    let effect = Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() };
    assert_eq!(rig.take(effect), [publish(fence(1, 2), 8)]);
}

#[test]
fn what_the_leader_gives_with_a_journal_is_journaled_though_it_was_offered_otherwise() {
    let mut rig = Rig::leased(Effects::Direct);
    let commands = rig.hear(active(fence(1, 2), just_polled(Effects::Journal)));
    assert_eq!(commands[1..], [Command::Activate { process: PROCESS, values: Some(values()) }]);
    rig.take(Event::Activated(PROCESS));
    rig.live(at(1_000));
    let returned = Event::PollReturned { process: PROCESS, outcome: work(7) };
    assert_eq!(rig.take(returned), [send(FIRST, commit(entry(7, None, 1, fence(1, 2))))]);
}

#[test]
fn the_word_says_how_long_ago_the_last_poll_began() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.hear(standby(fence(1, 2)));
    rig.now = at(1_150);
    rig.take(Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) });
    let word = stopped(fence(1, 2), StopCause::Asked, Some(150));
    assert_eq!(rig.take(Event::Gone(PROCESS))[..1], [send(FIRST, word)]);
}
