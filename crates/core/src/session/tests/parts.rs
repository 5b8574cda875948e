//! A poll that did more than one entry holds: all of it goes out, or nothing. And what is done outside polls.

use super::build::*;
use crate::engine::{Body, Entry, Journal, Record};
use crate::message::{Effects, State, StopCause, ToArbitrator, ToContainer};
use crate::names::{EntryId, Fence};
use crate::session::{Command, Event, Outcome, Work};

/// Of the bound in tests, 16 bytes, twice and a half.
const LARGE: &[u8] = b"one trigger, two triggers and three trig";

fn fence_here() -> Fence {
    fence(1, 2)
}

fn part_id(of: u128, number: u128) -> u128 {
    of + (number << 96)
}

fn large(id: u128) -> Work {
    Work { id: EntryId(id), values: Body::new(b"next"), effects: Body::new(LARGE) }
}

fn piece(of: Option<u128>, id: u128, follows: Option<u128>, sequence: u64, effects: &[u8]) -> Entry {
    let values = if of.is_some() { values() } else { Body::new(b"next") };
    let part_of = of.map(EntryId);
    Entry { values, effects: Body::new(effects), part_of, ..entry(id, follows, sequence, fence_here()) }
}

/// The three entries that come of [`large`].
fn pieces() -> [Entry; 3] {
    let (first, second) = (part_id(1, 1), part_id(1, 2));
    [
        piece(Some(1), first, None, 1, &LARGE[..16]),
        piece(Some(1), second, Some(first), 2, &LARGE[16..32]),
        piece(None, 1, Some(second), 3, &LARGE[32..]),
    ]
}

fn committed(id: u128) -> ToContainer {
    ToContainer::Committed { sensor: x(), entry: EntryId(id) }
}

fn marked(id: u128) -> ToContainer {
    ToContainer::Marked { sensor: x(), entry: EntryId(id) }
}

fn mark(id: u128) -> Command {
    send(FIRST, ToArbitrator::Mark { sensor: x(), entry: EntryId(id) })
}

fn publish_all() -> Command {
    Command::Publish { sensor: x(), fence: fence_here(), id: EntryId(1), effects: Body::new(LARGE) }
}

fn published() -> Event {
    Event::Published { sensor: x(), id: EntryId(1) }
}

/// A large poll has returned.
fn returned() -> (Rig, Vec<Command>) {
    let mut rig = Rig::polling(Effects::Journal);
    let outcome = Outcome::Good(Some(large(1)));
    let commands = rig.take(Event::PollReturned { process: PROCESS, outcome });
    (rig, commands)
}

#[test]
fn a_large_poll_is_several_entries_of_which_the_last_one_has_the_new_values() {
    let (_, commands) = returned();
    assert_eq!(commands, pieces().map(|piece| send(FIRST, commit(piece))));
}

#[test]
fn nothing_of_it_is_handed_on_before_all_of_it_is_committed_then_everything_at_once() {
    let (mut rig, _) = returned();
    assert_eq!(rig.hear(committed(part_id(1, 1))), []);
    assert_eq!(rig.hear(committed(part_id(1, 2))), []);
    assert_eq!(rig.hear(committed(1)), [publish_all()]);
}

#[test]
fn its_parts_are_marked_after_it() {
    let (mut rig, _) = returned();
    for piece in pieces() {
        rig.hear(committed(piece.id.0));
    }
    assert_eq!(rig.take(published()), [mark(1)]);
    assert_eq!(rig.hear(marked(1)), [mark(part_id(1, 1)), mark(part_id(1, 2))]);
    rig.hear(marked(part_id(1, 1)));
    // With nothing left the word is given at once.
    rig.hear(marked(part_id(1, 2)));
    assert_eq!(rig.hear(standby(fence_here())), [Command::Kill(PROCESS)]);
}

/// An activation with these entries left.
fn activated_with(left: &[Entry]) -> (Rig, Vec<Command>) {
    let mut rig = Rig::leased(Effects::Journal);
    let last = left.last().unwrap();
    let record =
        Record { sequence: last.sequence, last: Some(last.id), sealed: Fence::default(), values: last.values.clone() };
    let journal = Some(Journal { record, version: 3, unapplied: left.to_vec() });
    let commands = rig.hear(active(fence_here(), activation(journal, None)));
    (rig, commands)
}

#[test]
fn what_was_left_whole_is_handed_on_whole() {
    let (_, commands) = activated_with(&pieces());
    assert_eq!(commands, [send(FIRST, applied(fence_here(), State::Starting)), publish_all()]);
}

#[test]
fn what_was_never_finished_goes_nowhere_and_is_marked() {
    let [first, second, _] = pieces();
    let (_, commands) = activated_with(&[first.clone(), second.clone()]);
    let values = Some(values());
    let expected = [
        send(FIRST, applied(fence_here(), State::Starting)),
        Command::Activate { process: PROCESS, values },
        mark(first.id.0),
        mark(second.id.0),
    ];
    assert!(expected.iter().all(|command| commands.contains(command)) && commands.len() == 4, "{commands:?}");
}

#[test]
fn parts_that_are_left_of_what_is_marked_do_not_cling_to_the_next_entry() {
    let [first, second, last] = pieces();
    let next = Entry { effects: effects(), ..piece(None, 2, Some(last.id.0), 4, b"") };
    let (_, commands) = activated_with(&[first, second, next]);
    let alone = Command::Publish { sensor: x(), fence: fence_here(), id: EntryId(2), effects: effects() };
    assert!(commands.contains(&alone), "{commands:?}");
}

#[test]
fn the_leader_is_sent_so_many_at_once() {
    let mut rig = Rig::polling(Effects::Journal);
    let work = Work { id: EntryId(1), values: values(), effects: Body::new(&[7; 16 * 20]) };
    let outcome = Outcome::Good(Some(work));
    assert_eq!(rig.take(Event::PollReturned { process: PROCESS, outcome }).len(), 16);
    assert_eq!(rig.hear(committed(part_id(1, 1))).len(), 1);
}

#[test]
fn what_is_done_outside_a_poll_is_an_entry_of_its_own() {
    let mut rig = Rig::polling(Effects::Journal);
    let work = Work { id: EntryId(7), values: values(), effects: effects() };
    let commands = rig.take(Event::Wrote { process: PROCESS, work });
    assert_eq!(commands, [send(FIRST, commit(entry(7, None, 1, fence_here())))]);
    // What the poll did follows it.
    let commands = rig.take(Event::PollReturned { process: PROCESS, outcome: work_of(1) });
    assert_eq!(commands, [send(FIRST, commit(entry(1, Some(7), 2, fence_here())))]);
}

#[test]
fn what_an_ended_instance_does_outside_a_poll_goes_nowhere() {
    let mut rig = Rig::polling(Effects::Journal);
    rig.hear(ToContainer::CommitRefused { sensor: x(), entry: EntryId(7) });
    rig.take(Event::PollReturned { process: PROCESS, outcome: work_of(1) });
    rig.hear(ToContainer::CommitRefused { sensor: x(), entry: EntryId(1) });
    let work = Work { id: EntryId(7), values: values(), effects: effects() };
    assert_eq!(rig.take(Event::Wrote { process: PROCESS, work }), []);
    let word = stopped(fence_here(), StopCause::Refused, Some(0));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(FIRST, word), spawn(FRESH)]);
}

fn work_of(id: u128) -> Outcome {
    super::build::work(id)
}
