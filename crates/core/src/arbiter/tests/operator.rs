//! What operators ask for: moves, and intents that count from when they are durable.

use super::build::*;
use crate::arbiter::{Answer, Command, Config, Event, Planned, StoreSeen, Suppose, Verb};
use crate::engine::{Check, Electors, Intent, Key, Reply, Request, Transaction, Value, Write};
use crate::history::{Cause, Record};
use crate::message::{Effects, Heartbeat, Kind, Offer, Report, Status, StopCause, ToArbitrator, ToContainer};
use crate::names::{RequestId, SensorRef};
use crate::placement::Reason;
use crate::policy::{Policy, SensorPolicy};

fn asked(verb: Verb) -> Event {
    Event::Operator { request: 77, who: "op".into(), at: 5, verb }
}

fn answer(answer: Answer) -> Command {
    Command::Answer { request: 77, answer }
}

fn standby() -> Command {
    send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 1), status: Status::Standby })
}

fn write(write: Write) -> Request {
    Request::Transact(Transaction { token: token(1), checks: Vec::new(), writes: vec![write] })
}

fn intent(key: Key) -> Request {
    write(Write::Put(key, Value::Intent(Intent { who: "op".into(), at: 5 })))
}

/// A leader that was asked for `verb`, with the request that makes it durable.
fn writing(verb: Verb) -> (Rig, RequestId) {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    rig.take(asked(verb));
    (rig, request)
}

#[test]
fn a_standby_names_the_leader() {
    let mut rig = Rig::follower();
    rig.take(Event::Wake);
    let commands = rig.take(asked(Verb::Pause(x())));
    assert_eq!(commands, [answer(Answer::NotLeader(None))]);
}

#[test]
fn a_move_begins_with_the_holders_standing_by() {
    let mut rig = Rig::holding(Effects::Direct);
    let commands = rig.take(asked(Verb::Move { sensor: x(), to: name("b") }));
    assert_eq!(commands, [answer(Answer::Moves(name("b"))), standby()]);
}

#[test]
fn a_failover_goes_where_a_failure_would() {
    let mut rig = Rig::holding(Effects::Direct);
    let commands = rig.take(asked(Verb::Failover(x())));
    assert_eq!(commands, [answer(Answer::Moves(name("b"))), standby()]);
}

#[test]
fn a_failover_with_nobody_else_is_refused_and_moves_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    let commands = rig.take(asked(Verb::Failover(x())));
    let [Command::Answer { request: 77, answer: Answer::Refused(reason) }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert!(reason.starts_with("no container but a can run p.X"), "{reason}");
}

#[test]
fn a_poll_is_asked_of_the_holder_under_its_fence() {
    let mut rig = Rig::holding(Effects::Direct);
    let poll = ToContainer::PollNow { sensor: x(), fence: fence(1, 1) };
    assert_eq!(rig.take(asked(Verb::Poll(x()))), [send(A, poll), answer(Answer::Done)]);
}

#[test]
fn a_passive_sensor_is_never_polled() {
    let mut rig = Rig::holding(Effects::Direct);
    let passive = Offer { kind: Kind::Passive, ..offer(x(), Effects::Direct) };
    rig.drive(from(A, ToArbitrator::Offers(vec![passive])));
    let commands = rig.take(asked(Verb::Poll(x())));
    assert!(matches!(&commands[..], [Command::Answer { answer: Answer::Refused(_), .. }]), "{commands:?}");
}

#[test]
fn a_dry_run_supposes_and_does_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    let mut planned = |suppose| match &rig.take(asked(Verb::Plan(suppose)))[..] {
        [Command::Answer { answer: Answer::Plan(planned), .. }] => {
            let [Planned { from, to, .. }] = &planned[..] else { panic!("{planned:?}") };
            (from.clone(), to.clone())
        }
        commands => panic!("{commands:?}"),
    };
    assert_eq!(planned(Suppose::AsIs), (Some(name("a")), Some(name("a"))));
    assert_eq!(planned(Suppose::Drained(name("a"))), (Some(name("a")), Some(name("b"))));
    assert_eq!(planned(Suppose::Lost(name("a"))), (Some(name("a")), Some(name("b"))));
    assert_eq!(planned(Suppose::Joined(name("c"))), (Some(name("a")), Some(name("a"))));
}

#[test]
fn a_policy_that_is_read_again_counts_at_once() {
    let mut rig = Rig::holding(Effects::Direct);
    let require = [("zone".to_owned(), "b".to_owned())].into();
    let policy = SensorPolicy { require, ..SensorPolicy::default() };
    let commands = rig.take(Event::Policy(Policy { default: policy, ..Policy::default() }));
    assert_eq!(commands, [standby()]);
}

#[test]
fn a_sensor_that_raises_where_it_has_to_stay_gets_a_new_process_after_the_back_off() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    let session = rig.session_on(A);
    let failing = Report::Failing { sensor: x(), fence: fence(1, 1) };
    let beat = Heartbeat { reports: vec![failing], ..heartbeat(session, 2) };
    let commands = rig.hear(A, ToArbitrator::Heartbeat(Box::new(beat)));
    assert!(commands.contains(&standby()), "{commands:?}");
    let freed = rig.hear(A, stopped(fence(1, 1), StopCause::Asked));
    assert!(matches!(&freed[..], [Command::Record(Record { to: None, cause: Cause::Failed, .. })]), "{freed:?}");
}

/// A leader whose sensor has failed on `a`, the one container that offers it, and waits to be tried again.
fn waiting_for_a_retry() -> Rig {
    let mut rig = Rig::holding(Effects::Direct);
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    rig
}

#[test]
fn a_sensor_that_waits_for_its_next_try_is_said_to_wait_and_not_to_stay() {
    let mut rig = waiting_for_a_retry();
    let commands = rig.take(asked(Verb::Why(x())));
    let [Command::Answer { answer: Answer::Why { reason, containers }, .. }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert!(reason.starts_with("p.X waits on a, where it failed, to be tried again: "), "{reason}");
    assert!(reason.ends_with("; the next try is in 1.000s"), "{reason}");
    assert_eq!(containers[..], [(name("a"), Some(Reason::FailedThere))]);
    let commands = rig.take(asked(Verb::Plan(Suppose::AsIs)));
    let [Command::Answer { answer: Answer::Plan(planned), .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((&planned[0].from, &planned[0].to), (&None, &Some(name("a"))));
    assert!(planned[0].why().starts_with("waits on a, where it failed"), "{}", planned[0].why());
}

#[test]
fn a_retry_ends_the_wait_and_names_who_wanted_it() {
    let mut rig = waiting_for_a_retry();
    let commands = rig.take(asked(Verb::Retry(x())));
    let (to, cause) = (Some(name("a")), Cause::Retried);
    let record = Record { at: rig.now, sensor: x(), from: None, to, fence: fence(1, 2), cause, who: "op".into() };
    let status = activation(None, None);
    assert_eq!(
        commands,
        [
            answer(Answer::Done),
            Command::Record(record),
            send(A, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status }),
        ]
    );
}

#[test]
fn a_retry_lets_an_operator_move_a_sensor_to_where_it_failed() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(A, stopped(fence(1, 1), StopCause::Died));
    let back = Verb::Move { sensor: x(), to: name("a") };
    let commands = rig.take(asked(back.clone()));
    let [Command::Answer { answer: Answer::Refused(why), .. }] = &commands[..] else { panic!("{commands:?}") };
    assert!(why.starts_with("p.X cannot run on a: it failed there (`st2sa retry p.X`"), "{why}");
    assert_eq!(rig.take(asked(Verb::Retry(x()))), [answer(Answer::Done)]);
    assert_eq!(rig.take(asked(back))[..1], [answer(Answer::Moves(name("a")))]);
}

#[test]
fn a_retry_of_what_is_paused_or_not_there_is_refused() {
    let (mut rig, request) = writing(Verb::Pause(x()));
    rig.answer(request, Reply::Applied { version: 500 });
    let refused = Answer::Refused("p.X was paused by op: resume it first".to_owned());
    assert_eq!(rig.take(asked(Verb::Retry(x()))), [answer(refused)]);
    let nobody = Answer::NoSuch("no container offers p.Y".to_owned());
    assert_eq!(rig.take(asked(Verb::Retry(SensorRef::new("p.Y")))), [answer(nobody)]);
}

#[test]
fn a_move_goes_on_with_the_holders_word() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.take(asked(Verb::Move { sensor: x(), to: name("b") }));
    let commands = rig.hear(A, stopped(fence(1, 1), StopCause::Asked));
    let record = |from, to, fence| {
        Command::Record(Record { at: rig.now, sensor: x(), from, to, fence, cause: Cause::Moved, who: "op".into() })
    };
    let status = activation(None, None);
    assert_eq!(
        commands,
        [
            record(Some(name("a")), None, fence(1, 1)),
            record(None, Some(name("b")), fence(1, 2)),
            send(B, ToContainer::SetStatus { sensor: x(), fence: fence(1, 2), status }),
        ]
    );
}

#[test]
fn a_move_to_where_it_cannot_run_is_refused_with_the_reason() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    let commands = rig.take(asked(Verb::Move { sensor: x(), to: name("b") }));
    assert_eq!(commands, [answer(Answer::Refused("p.X cannot run on b: does not offer it".to_owned()))]);
    let commands = rig.take(asked(Verb::Move { sensor: x(), to: name("z") }));
    assert_eq!(commands, [answer(Answer::NoSuch("there is no container z that is up".to_owned()))]);
}

#[test]
fn a_pause_is_written_before_it_is_answered() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    assert_eq!(rig.take(asked(Verb::Pause(x()))), [ask(request, intent(Key::Pause(x())))]);
}

#[test]
fn a_pause_takes_effect_when_it_is_durable() {
    let (mut rig, request) = writing(Verb::Pause(x()));
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [answer(Answer::Done), standby()]);
}

#[test]
fn a_pause_of_unknown_outcome_is_answered_so() {
    let (mut rig, request) = writing(Verb::Pause(x()));
    let commands = rig.answer(request, Reply::Unknown);
    assert!(commands.contains(&answer(Answer::Unknown)), "{commands:?}");
    assert!(!commands.contains(&standby()), "{commands:?}");
}

#[test]
fn a_paused_sensor_is_given_to_nobody() {
    let (mut rig, request) = writing(Verb::Pause(x()));
    rig.answer(request, Reply::Applied { version: 500 });
    let commands = rig.hear(A, stopped(fence(1, 1), StopCause::Asked));
    let (from, cause) = (Some(name("a")), Cause::Paused);
    let record = Record { at: rig.now, sensor: x(), from, to: None, fence: fence(1, 1), cause, who: "op".into() };
    assert_eq!(commands, [Command::Record(record)]);
}

#[test]
fn a_resumption_takes_the_intent_away() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    let commands = rig.take(asked(Verb::Resume(x())));
    assert_eq!(commands, [ask(request, write(Write::Delete(Key::Pause(x()))))]);
}

#[test]
fn a_drain_is_written_before_it_is_answered() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    assert_eq!(rig.take(asked(Verb::Drain(name("a")))), [ask(request, intent(Key::Drain(name("a"))))]);
}

#[test]
fn a_durable_drain_moves_what_can_run_elsewhere() {
    let (mut rig, request) = writing(Verb::Drain(name("a")));
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [answer(Answer::Done), standby()]);
}

#[test]
fn a_drain_leaves_what_can_run_nowhere_else() {
    let (mut rig, request) = writing(Verb::Drain(name("a")));
    rig.drive(from(B, ToArbitrator::Offers(Vec::new())));
    let commands = rig.answer(request, Reply::Applied { version: 500 });
    assert_eq!(commands, [answer(Answer::Done)]);
}

#[test]
fn intents_of_earlier_leaders_are_found_and_kept() {
    let (mut rig, read) = Rig::elected(config());
    rig.stored.paused.insert(x(), Intent { who: "op".into(), at: 5 });
    let found = rig.everything();
    rig.drive(Event::Engine { request: read, reply: found });
    rig.bind("a", A, 1);
    let request = rig.request();
    let code = write(Write::Put(Key::Code(x()), Value::Digest(crate::names::Digest(1))));
    let commands = rig.hear(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)]));
    assert_eq!(commands, [ask(request, code)]);
}

#[test]
fn what_is_not_answered_when_the_leadership_ends_is_answered_as_unknown() {
    let (mut rig, _) = writing(Verb::Pause(x()));
    rig.now = at(1_467);
    let commands = rig.take(Event::Wake);
    assert_eq!(commands[..1], [answer(Answer::Unknown)]);
}

fn fail_safe(on: bool) -> Request {
    let electors = Electors { fail_safe: on, ..electors(&["l1", "l2", "l3"]) };
    Request::Transact(Transaction {
        token: token(1),
        checks: vec![Check { key: Key::Electors, version: 1 }],
        writes: vec![Write::Put(Key::Electors, Value::Electors(electors))],
    })
}

#[test]
fn fail_safe_is_turned_off_and_on_in_the_store() {
    let mut rig = Rig::holding(Effects::Direct);
    let request = rig.request();
    assert_eq!(rig.take(asked(Verb::FailSafe(true))), [answer(Answer::Done)]);
    assert_eq!(rig.take(asked(Verb::FailSafe(false))), [ask(request, fail_safe(false))]);
    let again = Answer::Refused("another request for it is under way: ask again".to_owned());
    assert_eq!(rig.take(asked(Verb::FailSafe(false))), [answer(again)]);
    assert_eq!(rig.answer(request, Reply::Applied { version: 9 }), [answer(Answer::Done)]);
    let (electors, store) = rig.arbiter.electors().unwrap();
    assert_eq!((electors.fail_safe, store), (false, StoreSeen::There));
}

#[test]
fn fail_safe_is_refused_on_a_store_that_may_forget() {
    let mut rig = Rig::settled(Config { forgetful: true, ..config() });
    let commands = rig.take(asked(Verb::FailSafe(true)));
    assert!(matches!(&commands[..], [Command::Answer { answer: Answer::Refused(_), .. }]), "{commands:?}");
}
