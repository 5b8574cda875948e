//! Offers: whose code is the newest, and what the policy makes of them.

use super::build::*;
use crate::arbiter::{Command, Config, Event};
use crate::engine::{Body, Entry, Journal, Key, Reply, Request, Transaction, Value, Write};
use crate::message::{Activation, Effects, Offer, Status, StopCause, ToArbitrator, ToContainer};
use crate::names::{Digest, EntryId};
use crate::policy::{Policy, SensorPolicy};
use crate::time::Span;

/// A leader whose store knows digest 3 of x as the newest; a is bound.
fn knowing() -> Rig {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.electors = (electors(&["l1", "l2", "l3"]), 1);
    rig.stored.code.insert(x(), Digest(3));
    let reply = rig.everything();
    rig.drive(Event::Engine { request: read, reply });
    rig.bind("a", A, 1);
    rig
}

fn changed(digest: u64, previous: u64) -> ToArbitrator {
    let previous = Some(Digest(previous));
    ToArbitrator::Offers(vec![Offer { digest: Digest(digest), previous, ..offer(x(), Effects::Direct) }])
}

fn writes_code(commands: &[Command], digest: u64) -> bool {
    let write = Write::Put(Key::Code(x()), Value::Digest(Digest(digest)));
    commands.iter().any(|command| match command {
        Command::Engine { ask: Request::Transact(Transaction { writes, .. }), .. } => writes.contains(&write),
        _ => false,
    })
}

/// A container bound to a leader with this policy; what it is told when it offers x, and the journal was read, if it is.
fn told(policy: SensorPolicy, effects: Effects) -> Vec<Command> {
    told_with(policy, effects, Journal::default())
}

fn told_with(policy: SensorPolicy, effects: Effects, journal: Journal) -> Vec<Command> {
    let policy = Policy { default: policy, ..Policy::default() };
    let mut rig = Rig::settled(Config { policy, ..config() });
    rig.bind("a", A, 1);
    rig.now = at(400);
    let mut commands = rig.hear(A, ToArbitrator::Offers(vec![offer(x(), effects)]));
    let read = commands.iter().find_map(|command| match command {
        Command::Engine { request, ask: Request::ReadJournal { .. } } => Some(*request),
        _ => None,
    });
    if let Some(read) = read {
        commands.extend(rig.answer(read, Reply::Journal(Box::new(journal))));
    }
    commands
}

fn activations(commands: Vec<Command>) -> Vec<Activation> {
    let activation = |command| match command {
        Command::Send { message: ToContainer::SetStatus { status: Status::Active(Some(given)), .. }, .. } => {
            Some(*given)
        }
        _ => None,
    };
    commands.into_iter().filter_map(activation).collect()
}

#[test]
fn a_change_from_what_was_the_newest_is_the_newest() {
    let mut rig = knowing();
    let commands = rig.hear(A, changed(4, 3));
    assert!(writes_code(&commands, 4), "{commands:?}");
}

#[test]
fn a_change_between_older_digests_that_a_container_binds_with_is_not_the_newest() {
    let mut rig = knowing();
    let commands = rig.hear(A, changed(2, 1));
    assert!(!writes_code(&commands, 2), "{commands:?}");
}

#[test]
fn a_policy_can_make_a_journaled_sensor_direct() {
    let policy = SensorPolicy { effects: Some(Effects::Direct), ..SensorPolicy::default() };
    let given = activations(told(policy, Effects::Journal));
    assert_eq!(given.iter().map(|given| given.journal.is_some()).collect::<Vec<_>>(), [false]);
}

#[test]
fn what_a_journaled_life_has_left_is_applied_before_the_sensor_is_direct() {
    let policy = SensorPolicy { effects: Some(Effects::Direct), ..SensorPolicy::default() };
    let (values, effects) = (Body::new(b"cursor"), Body::new(b"trigger"));
    let (id, fence) = (EntryId(1), fence(0, 1));
    let left = Entry { id, follows: None, sequence: 1, fence, values, effects, part_of: None };
    let journal = Journal { unapplied: vec![left.clone()], ..Journal::default() };
    let given = activations(told_with(policy, Effects::Journal, journal));
    let unapplied = given[0].journal.as_ref().map(|journal| journal.unapplied.clone());
    assert_eq!(unapplied, Some(vec![left]));
}

#[test]
fn a_policy_can_make_a_direct_sensor_journaled() {
    let policy = SensorPolicy { effects: Some(Effects::Journal), ..SensorPolicy::default() };
    let commands = told(policy, Effects::Direct);
    let reads = |command: &Command| matches!(command, Command::Engine { ask: Request::ReadJournal { sensor }, .. } if *sensor == x());
    assert!(commands.iter().any(reads), "{commands:?}");
    let given = activations(commands);
    assert_eq!(given.iter().map(|given| given.journal.is_some()).collect::<Vec<_>>(), [true]);
}

#[test]
fn a_policy_says_when_a_poll_counts_as_hung() {
    let policy = SensorPolicy { poll_timeout: Some(Span::from_secs(7)), ..SensorPolicy::default() };
    let given = activations(told(policy, Effects::Direct));
    assert_eq!(given, [Activation { journal: None, polled_ago: None, timeout: Span::from_secs(7), max_errors: 3 }]);
}

#[test]
fn what_is_taken_out_of_the_packs_is_stopped_and_then_over() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    rig.drive(from(A, ToArbitrator::Offers(Vec::new())));
    assert_eq!(rig.arbiter.sensors().len(), 1);
    rig.hear(A, stopped(fence(1, 1), StopCause::Asked));
    assert_eq!(rig.arbiter.sensors(), []);
}

#[test]
fn new_code_is_not_judged_by_how_the_old_failed() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    assert_eq!(rig.arbiter.sensors()[0].failed, [name("a")]);
    rig.hear(A, changed(2, 1));
    assert_eq!(rig.arbiter.sensors()[0].failed, []);
}
