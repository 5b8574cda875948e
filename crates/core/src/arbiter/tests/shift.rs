//! A state is the same whenever it is reached: times count only by how far they lie from now.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::build::*;
use crate::arbiter::{Arbiter, Event};
use crate::message::{Effects, StopCause};
use crate::names::{Incarnation, Term};
use crate::time::{Span, Time};

/// All that happens while a leader is elected, two containers bind, one dies and the leader lapses.
fn life() -> Vec<(Time, Event)> {
    let mut rig = Rig::holding(Effects::Journal);
    rig.drive(from(A, stopped(fence(1, 1), StopCause::Died)));
    rig.pass(at(4_000), &[(B, 2)]);
    rig.now = at(9_000);
    rig.drive(Event::Wake);
    rig.log
}

fn states(shift: Span) -> Vec<(Arbiter, Option<Time>)> {
    let mut arbiter = Arbiter::new(config(), Incarnation(7), Term(0), at(0) + shift);
    let mut states = Vec::new();
    for (now, event) in life() {
        let now = now + shift;
        arbiter.handle(now, event);
        let deadline = arbiter.next_deadline().map(|(deadline, _)| Time(deadline.0 - shift.0));
        states.push((arbiter.normalised(now), deadline));
    }
    states
}

fn hash(arbiter: &Arbiter) -> u64 {
    let mut hasher = DefaultHasher::new();
    arbiter.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_life_that_begins_later_goes_through_the_same_states() {
    let (early, late) = (states(Span::ZERO), states(Span::from_millis(12_345_678)));
    assert!(early.len() > 50, "{}", early.len());
    for (early, late) in early.iter().zip(&late) {
        assert_eq!(early, late);
        assert_eq!(hash(&early.0), hash(&late.0));
    }
}

#[test]
fn the_same_state_at_another_distance_from_its_deadlines_is_another() {
    let rig = Rig::bound();
    assert_ne!(rig.arbiter.normalised(at(0)), rig.arbiter.normalised(at(1)));
}

#[test]
fn a_copy_is_equal_and_goes_its_own_way() {
    let rig = Rig::bound();
    let mut copy = rig.arbiter.clone();
    assert_eq!(copy, rig.arbiter);
    assert_eq!(hash(&copy), hash(&rig.arbiter));
    copy.handle(at(400), Event::Wake);
    assert_ne!(copy, rig.arbiter);
}
