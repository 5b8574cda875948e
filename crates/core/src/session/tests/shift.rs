//! A state is the same whenever it is reached: times count only by how far they lie from now.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::build::*;
use crate::message::{Effects, ToContainer};
use crate::names::{EntryId, Incarnation};
use crate::session::{Event, Session};
use crate::time::{Span, Time};

/// All that happens while a container binds, polls, commits, lapses and is adopted again.
fn life() -> Vec<(Time, Event)> {
    let mut rig = Rig::lapsed(Effects::Journal);
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(3_400);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    rig.hear_on(NEXT, adopted(fence(2, 1)));
    rig.hear_on(NEXT, ack(1, 1, at(3_400)));
    rig.take(Event::PollReturned { process: PROCESS, outcome: work(1) });
    rig.hear_on(NEXT, ToContainer::Committed { sensor: x(), entry: EntryId(1) });
    rig.live(at(9_000));
    rig.take(Event::Gone(PROCESS));
    rig.log
}

/// The echo of the container's own clock is shifted with it.
fn shifted(event: Event, shift: Span) -> Event {
    match event {
        Event::Message { stream, message: ToContainer::Ack { session, sequence, sent_at } } => {
            Event::Message { stream, message: ToContainer::Ack { session, sequence, sent_at: sent_at + shift } }
        }
        event => event,
    }
}

fn states(shift: Span) -> Vec<(Session, Option<Time>)> {
    let mut session = Session::new(config(), Incarnation(1), None, at(0) + shift);
    let mut states = Vec::new();
    for (now, event) in life() {
        let now = now + shift;
        session.handle(now, shifted(event, shift));
        let deadline = session.next_deadline().map(|(deadline, _)| deadline.since(now));
        states.push((session.normalised(now), deadline.map(|span| Time(0) + span)));
    }
    states
}

fn hash(session: &Session) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_life_that_begins_later_goes_through_the_same_states() {
    let (early, late) = (states(Span::ZERO), states(millis(12_345_678)));
    assert!(early.len() > 30, "{}", early.len());
    for (early, late) in early.iter().zip(&late) {
        assert_eq!(early, late);
        assert_eq!(hash(&early.0), hash(&late.0));
    }
}

#[test]
fn the_same_state_at_another_distance_from_its_deadlines_is_another() {
    let rig = Rig::active(Effects::Direct);
    assert_ne!(rig.session.normalised(at(0)), rig.session.normalised(at(1)));
}

#[test]
fn a_copy_is_equal_and_goes_its_own_way() {
    let rig = Rig::active(Effects::Direct);
    let mut copy = rig.session.clone();
    assert_eq!(copy, rig.session);
    assert_eq!(hash(&copy), hash(&rig.session));
    copy.handle(at(400), Event::Wake);
    assert_ne!(copy, rig.session);
}
