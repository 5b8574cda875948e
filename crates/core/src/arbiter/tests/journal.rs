//! Commits in order, seals and marks.

use super::build::*;
use crate::arbiter::{Answer, Command, Event, Verb};
use crate::engine::{Body, Check, Entry, Journal, Key, Record, Reply, Request, Transaction, Value, Write};
use crate::history::{self, Cause};
use crate::message::{Effects, Status, StopCause, ToArbitrator, ToContainer};
use crate::names::{EntryId, Fence, RequestId, StreamId};

fn entry(id: u128, follows: Option<u128>, sequence: u64) -> Entry {
    let (values, effects) = (Body::new(b"cursor"), Body::new(b"trigger"));
    Entry {
        id: EntryId(id),
        follows: follows.map(EntryId),
        sequence,
        fence: fence(1, 1),
        values,
        effects,
        part_of: None,
    }
}

fn commit(entry: Entry) -> ToArbitrator {
    ToArbitrator::Commit { sensor: x(), entry }
}

fn committed(id: u128) -> Command {
    send(A, ToContainer::Committed { sensor: x(), entry: EntryId(id) })
}

fn refused(id: u128) -> Command {
    send(A, ToContainer::CommitRefused { sensor: x(), entry: EntryId(id) })
}

fn record(entry: &Entry, sealed: Fence) -> Record {
    Record { sequence: entry.sequence, last: Some(entry.id), sealed, values: entry.values.clone() }
}

/// The transaction that commits `entry` to a record at `version`.
fn writing(entry: &Entry, version: u64) -> Request {
    let record = Value::Record(record(entry, Fence::default()));
    Request::Transact(Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Record(x()), version }],
        writes: vec![
            Write::Put(Key::Record(x()), record),
            // The record alone keeps the values.
            Write::Put(
                Key::Entry(x(), entry.sequence),
                Value::Entry(Entry { values: Body::default(), ..entry.clone() }),
            ),
        ],
    })
}

fn read() -> Request {
    Request::ReadJournal { sensor: x() }
}

/// A journal whose last entry is `entry`, unapplied, in a record at `version`.
fn journal(entry: &Entry, version: u64) -> Journal {
    Journal { record: record(entry, Fence::default()), version, unapplied: vec![entry.clone()] }
}

/// A leader that is writing the first entry.
fn committing() -> (Rig, RequestId) {
    let mut rig = Rig::holding(Effects::Journal);
    let request = rig.request();
    rig.hear(A, commit(entry(1, None, 1)));
    (rig, request)
}

#[test]
fn a_journaled_sensor_is_given_away_only_when_its_journal_is_read() {
    let mut rig = Rig::bound();
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    let first = rig.request();
    let commands = rig.hear(A, ToArbitrator::Offers(vec![offer(x(), Effects::Journal)]));
    assert_eq!(commands[1..], [ask(RequestId(first.0 + 1), read())]);
    let found = journal(&entry(9, None, 1), 40);
    let commands = rig.answer(RequestId(first.0 + 1), Reply::Journal(Box::new(found.clone())));
    let (to, cause) = (Some(name("a")), Cause::Placed);
    let given =
        history::Record { at: rig.now, sensor: x(), from: None, to, fence: fence(1, 1), cause, who: "arbiter".into() };
    let status = activation(Some(found), None);
    assert_eq!(
        commands,
        [Command::Record(given), send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status }),]
    );
}

#[test]
fn a_commit_is_one_transaction_on_the_records_last_version() {
    let mut rig = Rig::holding(Effects::Journal);
    let request = rig.request();
    let entry = entry(1, None, 1);
    assert_eq!(rig.hear(A, commit(entry.clone())), [ask(request, writing(&entry, 0))]);
}

#[test]
fn a_commit_is_confirmed_when_it_is_written() {
    let (mut rig, request) = committing();
    assert_eq!(rig.answer(request, Reply::Applied { version: 500 }), [committed(1)]);
}

#[test]
fn commits_are_written_one_after_the_other() {
    let (mut rig, request) = committing();
    let second = entry(2, Some(1), 2);
    assert_eq!(rig.hear(A, commit(second.clone())), []);
    let next = rig.request();
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [committed(1), ask(next, writing(&second, 500))]);
}

#[test]
fn an_entry_that_is_in_the_journal_already_is_confirmed_again() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(rig.hear(A, commit(entry(1, None, 1))), [committed(1)]);
}

#[test]
fn an_entry_that_is_being_written_is_not_written_twice() {
    let (mut rig, _) = committing();
    assert_eq!(rig.hear(A, commit(entry(1, None, 1))), []);
}

#[test]
fn an_entry_that_does_not_follow_the_last_one_is_refused() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(rig.hear(A, commit(entry(2, None, 1))), [refused(2)]);
}

#[test]
fn an_entry_of_one_that_does_not_hold_the_sensor_is_refused() {
    let mut rig = Rig::holding(Effects::Journal);
    let message = ToContainer::CommitRefused { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.hear(B, commit(entry(1, None, 1))), [send(B, message)]);
}

#[test]
fn a_standby_refuses_no_commit() {
    let mut rig = Rig::follower();
    rig.take(Event::Wake);
    assert_eq!(rig.hear(A, commit(entry(1, None, 1))), []);
}

#[test]
fn a_commit_of_unknown_outcome_is_looked_up() {
    let (mut rig, request) = committing();
    let next = rig.request();
    assert_eq!(rig.answer(request, Reply::Unknown), [ask(next, read())]);
}

#[test]
fn a_commit_that_the_journal_shows_is_confirmed() {
    let (mut rig, request) = committing();
    let next = rig.request();
    rig.answer(request, Reply::Unknown);
    let found = journal(&entry(1, None, 1), 500);
    assert_eq!(rig.answer(next, Reply::Journal(Box::new(found))), [committed(1)]);
}

#[test]
fn a_commit_that_the_journal_does_not_show_is_written_again() {
    let (mut rig, request) = committing();
    let next = rig.request();
    rig.answer(request, Reply::Unknown);
    let again = rig.request();
    assert_eq!(rig.answer(next, Reply::Journal(Box::default())), [ask(again, writing(&entry(1, None, 1), 0))]);
}

#[test]
fn a_commit_that_another_write_forestalled_is_looked_up_and_refused() {
    let (mut rig, request) = committing();
    let next = rig.request();
    assert_eq!(rig.answer(request, Reply::CheckFailed), [ask(next, read())]);
    let found = journal(&entry(8, None, 1), 500);
    assert_eq!(rig.answer(next, Reply::Journal(Box::new(found))), [refused(1)]);
}

/// A leader whose commit is unanswered when the sensor died; it reads the journal for container b.
fn unanswered() -> (Rig, RequestId) {
    let (mut rig, _) = committing();
    let read = rig.request();
    rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    (rig, read)
}

#[test]
fn a_record_with_an_unanswered_commit_is_sealed_before_the_next_activation() {
    let (mut rig, read) = unanswered();
    let seal = rig.request();
    let record = Record { sealed: fence(1, 2), ..Record::default() };
    let transaction = Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Record(x()), version: 0 }],
        writes: vec![Write::Put(Key::Record(x()), Value::Record(record))],
    };
    assert_eq!(rig.answer(read, Reply::Journal(Box::default())), [ask(seal, Request::Transact(transaction))]);
}

#[test]
fn a_sealed_journal_is_handed_over_as_it_was_sealed() {
    let (mut rig, read) = unanswered();
    let seal = rig.request();
    rig.answer(read, Reply::Journal(Box::default()));
    let commands = rig.answer(seal, Reply::Applied { version: 501 });
    let record = Record { sealed: fence(1, 2), ..Record::default() };
    let journal = Some(Journal { record, version: 501, unapplied: Vec::new() });
    let status = activation(journal, None);
    let message = ToContainer::SetStatus { sensor: x(), fence: fence(1, 3), status };
    assert_eq!(commands[1..], [send(B, message)]);
}

#[test]
fn a_seal_that_a_late_commit_forestalled_is_tried_again_from_what_is_stored() {
    let (mut rig, request) = unanswered();
    let seal = rig.request();
    rig.answer(request, Reply::Journal(Box::default()));
    let again = rig.request();
    assert_eq!(rig.answer(seal, Reply::CheckFailed), [ask(again, read())]);
}

#[test]
fn a_sensor_paused_while_its_journal_was_read_is_not_handed_over() {
    let mut rig = Rig::holding(Effects::Journal);
    let read = rig.request();
    rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    rig.drive(Event::Operator { request: 1, who: "op".into(), at: 5, verb: Verb::Pause(x()) });
    assert_eq!(rig.answer(read, Reply::Journal(Box::default())), []);
}

#[test]
fn a_mark_removes_the_entry_that_it_names() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let next = rig.request();
    let writes = vec![Write::Delete(Key::Entry(x(), 1))];
    let transaction = Transaction { token: token(1), checks: Vec::new(), writes };
    let mark = ToArbitrator::Mark { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.hear(A, mark), [ask(next, Request::Transact(transaction))]);
}

#[test]
fn a_stored_mark_is_confirmed() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let next = rig.request();
    rig.hear(A, ToArbitrator::Mark { sensor: x(), entry: EntryId(1) });
    let marked = ToContainer::Marked { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.answer(next, Reply::Applied { version: 501 }), [send(A, marked)]);
}

#[test]
fn a_mark_of_unknown_outcome_that_was_said_again_is_confirmed_on_the_newer_stream() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let newer = StreamId(7);
    let mark = ToArbitrator::Mark { sensor: x(), entry: EntryId(1) };
    let first = rig.request();
    rig.hear(A, mark.clone());
    rig.bind("c", newer, 3);
    assert_eq!(rig.hear(newer, mark), []);
    let again = rig.request();
    rig.answer(first, Reply::Unknown);
    let marked = ToContainer::Marked { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.answer(again, Reply::Applied { version: 501 }), [send(newer, marked)]);
}

#[test]
fn marks_are_stored_in_order_one_transaction_after_the_other() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let second = rig.request();
    rig.hear(A, commit(entry(2, Some(1), 2)));
    rig.answer(second, Reply::Applied { version: 501 });
    let mark = |id: u128| ToArbitrator::Mark { sensor: x(), entry: EntryId(id) };
    let marked = |id: u128| send(A, ToContainer::Marked { sensor: x(), entry: EntryId(id) });
    let deletes = |sequence| {
        let writes = vec![Write::Delete(Key::Entry(x(), sequence))];
        Request::Transact(Transaction { token: token(1), checks: Vec::new(), writes })
    };
    let first = rig.request();
    assert_eq!(rig.hear(A, mark(1)), [ask(first, deletes(1))]);
    // The second one waits: alone, it would leave the first to be applied after it.
    assert_eq!(rig.hear(A, mark(2)), []);
    let next = rig.request();
    assert_eq!(rig.answer(first, Reply::Applied { version: 502 }), [marked(1), ask(next, deletes(2))]);
    assert_eq!(rig.answer(next, Reply::Applied { version: 503 }), [marked(2)]);
}

fn discard(id: u128) -> Event {
    Event::Operator { request: 5, who: "op".into(), at: 5, verb: Verb::Discard { sensor: x(), entry: EntryId(id) } }
}

#[test]
fn an_entry_that_an_operator_discards_is_taken_out_and_its_holder_is_told() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let next = rig.request();
    let writes = vec![Write::Delete(Key::Entry(x(), 1))];
    let transaction = Transaction { token: token(1), checks: Vec::new(), writes };
    assert_eq!(rig.take(discard(1)), [ask(next, Request::Transact(transaction))]);
    let done = Command::Answer { request: 5, answer: Answer::Done };
    let marked = ToContainer::Marked { sensor: x(), entry: EntryId(1) };
    assert_eq!(rig.answer(next, Reply::Applied { version: 501 }), [done, send(A, marked)]);
}

#[test]
fn an_entry_that_is_not_there_cannot_be_discarded() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let commands = rig.take(discard(7));
    assert!(matches!(&commands[..], [Command::Answer { request: 5, answer: Answer::NoSuch(_) }]), "{commands:?}");
}

#[test]
fn a_mark_of_another_entry_removes_nothing() {
    let (mut rig, request) = committing();
    rig.answer(request, Reply::Applied { version: 500 });
    let marked = ToContainer::Marked { sensor: x(), entry: EntryId(7) };
    assert_eq!(rig.hear(A, ToArbitrator::Mark { sensor: x(), entry: EntryId(7) }), [send(A, marked)]);
}

#[test]
fn an_answer_to_an_earlier_read_for_another_holder_is_not_used() {
    let mut rig = Rig::holding(Effects::Journal);
    rig.bind("c", StreamId(3), 3);
    rig.drive(from(StreamId(3), ToArbitrator::Offers(vec![offer(x(), Effects::Journal)])));
    let entry = entry(1, None, 1);
    rig.hear(A, commit(entry.clone()));
    let early = rig.request();
    assert_eq!(rig.hear(A, stopped(fence(1, 1), StopCause::Died))[1..], [ask(early, read())]);
    // The container that it was read for leaves; the unanswered commit lands before the next read.
    let strike = rig.request();
    rig.hear(B, ToArbitrator::Leaving);
    let late = rig.request();
    assert!(rig.answer(strike, Reply::Applied { version: 900 }).contains(&ask(late, read())));
    let seal = rig.request();
    let commands = rig.answer(late, Reply::Journal(Box::new(journal(&entry, 5))));
    assert!(matches!(&commands[..], [Command::Engine { request, .. }] if *request == seal), "{commands:?}");
    assert_eq!(rig.answer(early, Reply::Journal(Box::default())), []);
    let commands = rig.answer(seal, Reply::Applied { version: 901 });
    let Some(Command::Send { stream, message: ToContainer::SetStatus { status, .. } }) = commands.last() else {
        panic!("{commands:?}")
    };
    let Status::Active(Some(given)) = status else { panic!("{status:?}") };
    assert_eq!((*stream, given.journal.as_ref().unwrap().unapplied.clone()), (StreamId(3), vec![entry]));
}
