//! A journaled sensor's effects: committed in order, handed on, marked.

use super::build::*;
use crate::engine::{Journal, Record};
use crate::message::{Effects, State, StopCause, ToArbitrator, ToContainer};
use crate::names::{EntryId, Fence, StreamId};
use crate::session::{Command, Event};

fn returned(id: u128) -> Event {
    Event::PollReturned { process: PROCESS, outcome: work(id) }
}

fn committed(id: u128) -> ToContainer {
    ToContainer::Committed { sensor: x(), entry: EntryId(id) }
}

fn published(id: u128) -> Event {
    Event::Published { sensor: x(), id: EntryId(id) }
}

fn mark(id: u128) -> ToArbitrator {
    ToArbitrator::Mark { sensor: x(), entry: EntryId(id) }
}

/// An entry, 1, that was sent to the leader.
fn committing() -> Rig {
    let mut rig = Rig::polling(Effects::Journal);
    rig.take(returned(1));
    rig
}

/// Leaves the first stream and is bound to l2 on the next one, which adopts x under 2.1.
fn adopted_by_the_next(mut rig: Rig) -> (Rig, Vec<Command>) {
    rig.hear(ToContainer::Resigning);
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    let commands = rig.hear_on(NEXT, adopted(fence(2, 1)));
    (rig, commands)
}

#[test]
fn a_polls_effects_are_sent_as_one_entry_and_not_handed_on_yet() {
    let mut rig = Rig::polling(Effects::Journal);
    let expected = commit(entry(1, None, 1, fence(1, 2)));
    assert_eq!(rig.take(returned(1)), [send(FIRST, expected)]);
}

#[test]
fn what_is_committed_is_handed_on() {
    let mut rig = committing();
    assert_eq!(rig.hear(committed(1)), [publish(fence(1, 2), 1)]);
}

#[test]
fn what_the_sink_has_confirmed_is_marked() {
    let mut rig = committing();
    rig.hear(committed(1));
    assert_eq!(rig.take(published(1)), [send(FIRST, mark(1))]);
}

#[test]
fn the_next_poll_follows_while_the_last_one_waits_and_names_it() {
    let mut rig = committing();
    rig.live(at(2_000));
    let expected = commit(entry(2, Some(1), 2, fence(1, 2)));
    assert_eq!(rig.take(returned(2)), [send(FIRST, expected)]);
}

#[test]
fn entries_are_handed_on_one_after_the_other() {
    let mut rig = committing();
    rig.live(at(2_000));
    rig.take(returned(2));
    assert_eq!(rig.hear(committed(2)), []);
    assert_eq!(rig.hear(committed(1)), [publish(fence(1, 2), 1)]);
    assert_eq!(rig.take(published(1)), [publish(fence(1, 2), 2), send(FIRST, mark(1))]);
}

#[test]
fn a_sensor_with_many_waiting_entries_polls_no_more() {
    let mut rig = Rig::polling(Effects::Journal);
    for id in 1..=8 {
        rig.take(returned(id));
        rig.live(at(1_000 + 1_000 * u64::try_from(id).unwrap()));
    }
    let poll = Command::Poll { process: PROCESS, fence: fence(1, 2) };
    rig.hear(committed(1));
    rig.take(published(1));
    assert_eq!(rig.hear(ToContainer::Marked { sensor: x(), entry: EntryId(1) }), [poll]);
}

#[test]
fn a_refused_commit_ends_the_process_that_remembers_it() {
    let mut rig = committing();
    let refused = ToContainer::CommitRefused { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.hear(refused), [Command::Kill(PROCESS)]);
    let word = stopped(fence(1, 2), StopCause::Refused, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

#[test]
fn a_refusal_of_what_is_committed_changes_nothing() {
    let mut rig = committing();
    rig.hear(committed(1));
    assert_eq!(rig.hear(ToContainer::CommitRefused { sensor: x(), entry: EntryId(1) }), []);
}

#[test]
fn an_unanswered_commit_is_sent_again_to_the_next_leader() {
    let (_, commands) = adopted_by_the_next(committing());
    let again = commit(entry(1, None, 1, fence(1, 2)));
    assert_eq!(commands, [send(NEXT, applied(fence(2, 1), State::Running)), send(NEXT, again)]);
}

#[test]
fn an_unanswered_mark_is_sent_again_to_the_next_leader() {
    let mut rig = committing();
    rig.hear(committed(1));
    rig.take(published(1));
    let (_, commands) = adopted_by_the_next(rig);
    assert_eq!(commands, [send(NEXT, applied(fence(2, 1), State::Running)), send(NEXT, mark(1))]);
}

#[test]
fn a_mark_that_could_not_be_sent_is_sent_to_the_next_leader() {
    let mut rig = committing();
    rig.hear(committed(1));
    rig.hear(ToContainer::Resigning);
    assert_eq!(rig.take(published(1)), []);
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    let commands = rig.hear_on(NEXT, adopted(fence(2, 1)));
    assert_eq!(commands, [send(NEXT, applied(fence(2, 1), State::Running)), send(NEXT, mark(1))]);
}

#[test]
fn a_stored_mark_is_not_sent_again() {
    let mut rig = committing();
    rig.hear(committed(1));
    rig.take(published(1));
    assert_eq!(rig.hear(ToContainer::Marked { sensor: x(), entry: EntryId(1) }), []);
    let (_, commands) = adopted_by_the_next(rig);
    assert_eq!(commands, [send(NEXT, applied(fence(2, 1), State::Running))]);
}

#[test]
fn what_was_left_unapplied_is_handed_on_before_the_sensor_is_set_up() {
    let mut rig = Rig::leased(Effects::Journal);
    let left = entry(9, None, 1, fence(0, 5));
    let record = Record { sequence: 1, last: Some(EntryId(9)), sealed: Fence::default(), values: values() };
    let journal = Some(Journal { record, version: 3, unapplied: vec![left] });
    let commands = rig.hear(active(fence(1, 2), activation(journal, None)));
    assert_eq!(commands, [send(FIRST, applied(fence(1, 2), State::Starting)), publish(fence(1, 2), 9)]);
    let values = Some(values());
    assert_eq!(rig.take(published(9)), [send(FIRST, mark(9)), Command::Activate { process: PROCESS, values }]);
}

#[test]
fn what_waits_is_committed_handed_on_and_marked_before_the_word() {
    let mut rig = committing();
    assert_eq!(rig.hear(standby(fence(1, 2))), []);
    assert_eq!(rig.hear(committed(1)), [publish(fence(1, 2), 1)]);
    assert_eq!(rig.take(published(1)), [send(FIRST, mark(1))]);
    let marked = ToContainer::Marked { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.hear(marked), [Command::Kill(PROCESS)]);
}

#[test]
fn what_is_not_handed_on_in_time_is_left_to_the_next_holder() {
    let mut rig = committing();
    rig.hear(standby(fence(1, 2)));
    rig.live(at(11_000));
    let word = stopped(fence(1, 2), StopCause::Asked, Some(10_000));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

#[test]
fn nothing_that_is_committed_is_handed_on_without_a_lease() {
    let mut rig = committing();
    rig.hear(ToContainer::Resigning);
    rig.now = at(3_400);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    assert!(rig.session.link.is_bound());
    assert_eq!(rig.hear_on(NEXT, committed(1)), []);
}

#[test]
fn what_an_ended_instance_had_applied_is_marked_with_the_next_leader_until_that_is_stored() {
    let mut rig = committing();
    rig.hear(committed(1));
    rig.hear(ToContainer::Resigning);
    rig.take(published(1));
    rig.take(Event::Gone(PROCESS));
    assert_eq!(rig.session.active(&x()), None);
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    assert!(rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1))).contains(&send(NEXT, mark(1))));
    rig.hear_on(NEXT, ToContainer::Marked { sensor: x(), entry: EntryId(1) });
    let third = StreamId(3);
    rig.hear_on(NEXT, ToContainer::Resigning);
    rig.now += millis(250);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(third));
    assert!(!rig.hear_on(third, welcome("l3", 3, 1, fence(1, 1))).contains(&send(third, mark(1))));
}
