//! What goes over the wire comes out as it went in.

use prost::Message as _;
use st2sa_core::message::{Hello, State, StopCause, ToArbitrator, ToContainer};
use st2sa_core::names::{ContainerName, Fence, Incarnation, Machine, SensorRef, Term};
use st2sa_core::placement::Labels;
use st2sa_proto::{FromArbitrator, FromContainer, InstanceReport, v1};

use crate::draw::{ARBITRATOR_KINDS, CAUSES, CONTAINER_KINDS, Draw, STATES};

/// Of each kind; all of them take a tenth of a second.
const MESSAGES: u64 = 200;

#[test]
fn every_message_of_a_container_comes_out_as_it_went_in() {
    for (kind, seed) in (0..CONTAINER_KINDS).flat_map(|kind| (0..MESSAGES).map(move |seed| (kind, seed))) {
        let message = Draw::new(seed).container_message(kind);
        assert_eq!(through(&message), message, "kind {kind}, seed {seed}");
    }
}

#[test]
fn every_message_of_an_arbitrator_comes_out_as_it_went_in() {
    for (kind, seed) in (0..ARBITRATOR_KINDS).flat_map(|kind| (0..MESSAGES).map(move |seed| (kind, seed))) {
        let message = Draw::new(seed).arbitrator_message(kind);
        let bytes = message.encode().encode_to_vec();
        let decoded = FromArbitrator::decode(v1::FromArbitrator::decode(bytes.as_slice()).unwrap());
        assert_eq!(decoded, Ok(Some(message)), "kind {kind}, seed {seed}");
    }
}

#[test]
fn every_state_and_every_cause_comes_out_as_it_went_in() {
    for state in STATES {
        let message = FromContainer::Message(applied(state));
        assert_eq!(through(&message), message);
    }
    for cause in CAUSES {
        let message = FromContainer::Message(stopped(cause));
        assert_eq!(through(&message), message);
    }
}

#[test]
fn a_greeting_without_more_says_nothing_of_who_greets() {
    let hello = Hello {
        name: ContainerName::new("node-1"),
        incarnation: Incarnation(7),
        machine: Machine(9),
        registration: None,
        highest: None,
        succeeds: None,
        labels: Labels::new(),
        capacity: None,
    };
    let message = FromContainer::Message(ToArbitrator::Hello(Box::new(hello.clone())));
    let FromContainer::Hello(decoded, about) = through(&message) else { panic!("not a greeting") };
    assert_eq!((*decoded, about.protocol, about.host.as_str()), (hello, 0, ""));
}

#[test]
fn a_taken_name_without_more_says_nothing_of_who_holds_it() {
    let message = FromArbitrator::Message(ToContainer::NameTaken { machine: Machine(9) });
    let decoded = FromArbitrator::decode(message.encode());
    assert_eq!(decoded, Ok(Some(FromArbitrator::NameTaken { machine: Machine(9), host: String::new(), pid: 0 })));
}

#[test]
fn a_long_error_is_cut_when_it_is_sent() {
    let mut report = report();
    report.last_error = Some("x".repeat(10_000));
    let FromContainer::Instances(reports) = through(&FromContainer::Instances(vec![report])) else {
        panic!("not reports")
    };
    assert_eq!(reports[0].last_error.as_ref().map(String::len), Some(4_096));
}

fn through(message: &FromContainer) -> FromContainer {
    let bytes = message.encode().encode_to_vec();
    FromContainer::decode(v1::FromContainer::decode(bytes.as_slice()).unwrap()).unwrap().unwrap()
}

fn applied(state: State) -> ToArbitrator {
    ToArbitrator::Applied { sensor: SensorRef::new("pack.Sensor"), fence: fence(), state }
}

fn stopped(cause: StopCause) -> ToArbitrator {
    ToArbitrator::Stopped { sensor: SensorRef::new("pack.Sensor"), fence: fence(), cause, polled_ago: None }
}

fn fence() -> Fence {
    Fence { term: Term(5), n: 12 }
}

fn report() -> InstanceReport {
    InstanceReport {
        sensor: SensorRef::new("pack.Sensor"),
        kind: None,
        state: State::Running,
        pid: None,
        polls: 0,
        errors: 0,
        triggers: 0,
        dropped: 0,
        last_poll_ago: None,
        last_poll_duration: None,
        last_error: None,
        removed: false,
    }
}
