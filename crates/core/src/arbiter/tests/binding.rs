//! The first heartbeat of a session: what it claims is adopted, what it leaves out is free.

use super::build::*;
use crate::arbiter::{Alarm, Command, Event};
use crate::engine::{Reply, Request};
use crate::history::{Cause, Record};
use crate::message::{Effects, Heartbeat, Status, ToArbitrator, ToContainer};
use crate::names::StreamId;

const AGAIN: StreamId = StreamId(9);

fn status(stream: StreamId, n: u64, status: Status) -> Command {
    send(stream, ToContainer::SetStatus { sensor: x(), fence: fence(1, n), status })
}

fn record(rig: &Rig, from: Option<&str>, to: Option<&str>, n: u64, cause: Cause) -> Command {
    let (from, to) = (from.map(name), to.map(name));
    Command::Record(Record { at: rig.now, sensor: x(), from, to, fence: fence(1, n), cause, who: "arbiter".into() })
}

#[test]
fn a_claim_is_adopted_under_a_new_fence_before_the_heartbeat_is_acknowledged() {
    let mut rig = Rig::waiting(config());
    let commands = rig.hear(A, beat(binding(1, vec![claim(fence(0, 5))])));
    assert_eq!(
        commands,
        [status(A, 1, Status::Active(None)), record(&rig, Some("a"), Some("a"), 1, Cause::Adopted), send(A, ack(1, 1)),]
    );
}

#[test]
fn a_lapsed_claim_is_adopted_but_not_acknowledged_before_a_renewal() {
    let mut rig = Rig::waiting(config());
    let request = rig.request();
    let lapsed = Heartbeat { lapsed: true, ..binding(1, vec![claim(fence(0, 5))]) };
    let commands = rig.hear(A, beat(lapsed));
    assert_eq!(
        commands,
        [
            status(A, 1, Status::Active(None)),
            record(&rig, Some("a"), Some("a"), 1, Cause::Adopted),
            ask(request, Request::Renew { token: token(1) }),
        ]
    );
}

#[test]
fn a_session_that_is_bound_again_keeps_what_it_lists_under_a_new_fence() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(AGAIN, greet(hello("a")));
    let commands = rig.hear(AGAIN, beat(binding(3, vec![claim(fence(1, 1))])));
    assert_eq!(
        commands,
        [
            Command::Close(A),
            status(AGAIN, 2, Status::Active(None)),
            record(&rig, Some("a"), Some("a"), 2, Cause::Adopted),
            send(AGAIN, ack(3, 1)),
        ]
    );
}

#[test]
fn what_the_list_leaves_out_has_stopped_there() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(AGAIN, greet(hello("a")));
    let commands = rig.hear(AGAIN, beat(binding(3, Vec::new())));
    assert_eq!(
        commands,
        [
            Command::Close(A),
            record(&rig, Some("a"), None, 1, Cause::Stopped),
            send(AGAIN, ack(3, 1)),
            record(&rig, None, Some("a"), 2, Cause::Stopped),
            status(AGAIN, 2, activation(None, None)),
        ]
    );
}

#[test]
fn a_claim_of_what_another_holds_is_told_to_stand_by_first() {
    let mut rig = Rig::holding(Effects::Direct);
    rig.hear(AGAIN, greet(hello("b")));
    let commands = rig.hear(AGAIN, beat(binding(3, vec![claim(fence(0, 5))])));
    assert_eq!(
        commands,
        [
            Command::Close(B),
            send(AGAIN, ToContainer::SetStatus { sensor: x(), fence: fence(0, 5), status: Status::Standby }),
            Command::Alarm(Alarm::ClaimedTwice(x())),
            send(AGAIN, ack(3, 1)),
        ]
    );
}

#[test]
fn a_session_that_has_not_bound_itself_is_told_nothing() {
    let mut rig = Rig::waiting(config());
    assert_eq!(rig.hear(A, beat(heartbeat(1, 1))), []);
}

#[test]
fn a_list_of_another_session_binds_nothing() {
    let mut rig = Rig::waiting(config());
    assert_eq!(rig.hear(A, beat(binding(2, vec![claim(fence(0, 5))]))), []);
}

#[test]
fn the_wait_ends_when_the_last_registered_container_has_bound_itself() {
    let mut rig = Rig::waiting(config());
    rig.hear(A, beat(binding(1, Vec::new())));
    let request = rig.request();
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    assert_ne!(rig.request(), request);
    rig.hear(B, greet(hello("b")));
    assert_eq!(rig.hear(B, beat(binding(2, Vec::new()))), [send(B, ack(2, 1))]);
    // What is new is placed once it is known what b offers.
    let commands = rig.hear(B, ToArbitrator::Offers(Vec::new()));
    assert_eq!(commands, [record(&rig, None, Some("a"), 1, Cause::Placed), status(A, 1, activation(None, None))]);
}

#[test]
fn a_container_that_offers_nothing_for_long_is_not_waited_for() {
    let mut rig = Rig::waiting(config());
    rig.hear(A, beat(binding(1, Vec::new())));
    rig.drive(from(A, ToArbitrator::Offers(vec![offer(x(), Effects::Direct)])));
    rig.hear(B, greet(hello("b")));
    rig.hear(B, beat(binding(2, Vec::new())));
    let sessions = [(A, rig.session_on(A)), (B, rig.session_on(B))];
    rig.pass(at(5_000), &sessions);
    assert_eq!(rig.arbiter.sensors()[0].active, None);
    rig.pass(at(8_000), &sessions);
    assert!(rig.arbiter.sensors()[0].active.is_some());
}

#[test]
fn a_stream_that_breaks_frees_nothing() {
    let mut rig = Rig::holding(Effects::Direct);
    assert_eq!(rig.take(Event::StreamClosed(A)), []);
    assert_eq!(rig.held(), fence(1, 1));
}

#[test]
fn a_renewal_that_began_after_the_lapsed_heartbeat_came_revives_the_lease() {
    let mut rig = Rig::bound();
    let request = rig.request();
    rig.hear(A, beat(Heartbeat { lapsed: true, ..heartbeat(1, 2) }));
    assert_eq!(rig.answer(request, Reply::Done), [send(A, ack(1, 2))]);
}

#[test]
fn a_renewal_that_began_before_the_lapsed_heartbeat_came_revives_nothing() {
    let mut rig = Rig::bound();
    rig.now = at(400);
    let first = rig.request();
    rig.take(Event::Wake);
    rig.now = at(410);
    assert_eq!(rig.hear(A, beat(Heartbeat { lapsed: true, ..heartbeat(1, 2) })), []);
    let second = rig.request();
    assert_eq!(rig.answer(first, Reply::Done), [ask(second, Request::Renew { token: token(1) })]);
}
