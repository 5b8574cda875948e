//! The lease's end: everything is frozen, and what goes on when it is back.

use super::build::*;
use crate::message::{Effects, Heartbeat, Report, StopCause, ToArbitrator, ToContainer};
use crate::names::{EntryId, SessionId, StreamId};
use crate::session::{Command, Event, Outcome};
use crate::time::Span;

/// The message among these commands that is a heartbeat.
fn beat_of(commands: Vec<Command>) -> Heartbeat {
    let beat = commands.into_iter().find_map(|command| match command {
        Command::Send { message: ToArbitrator::Heartbeat(beat), .. } => Some(*beat),
        _ => None,
    });
    beat.unwrap()
}

/// Lapsed at 2,800 ms; at 3,400 ms bound again to l2, in session 1 of term 2, without a lease yet.
fn bound_again() -> Rig {
    let mut rig = Rig::lapsed(Effects::Direct);
    rig.now = at(3_400);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    rig
}

#[test]
fn everything_is_frozen_when_the_lease_ends() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(2_800);
    let commands = rig.take(Event::Wake);
    assert_eq!(commands, [Command::Freeze, Command::Connect { stream: NEXT, to: id("l2") }]);
    assert!(!rig.session.may_act(rig.now));
}

#[test]
fn a_frozen_instance_is_killed_after_the_freeze_limit() {
    let mut rig = Rig::lapsed(Effects::Direct);
    rig.now = at(32_799);
    assert!(!rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
    rig.now = at(32_800);
    assert!(rig.take(Event::Wake).contains(&Command::Kill(PROCESS)));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [spawn(FRESH)]);
    assert_eq!(rig.session.active(&x()), None);
}

#[test]
fn a_freeze_in_time_is_not_reported() {
    let mut rig = bound_again();
    rig.now = at(3_800);
    assert_eq!(beat_of(rig.take(Event::Wake)).reports, []);
}

fn frozen_late(own: u64, guardian: u64) -> Vec<Report> {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(2_800);
    rig.take(Event::Wake);
    rig.now = at(2_800 + own);
    rig.take(Event::Frozen);
    rig.take(Event::Froze { late_by: millis(guardian) });
    rig.take(Event::StreamOpened(NEXT));
    beat_of(rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)))).reports
}

#[test]
fn a_freeze_that_was_late_on_both_sides_is_reported_as_a_possible_overlap() {
    let late_by = millis(300);
    assert_eq!(frozen_late(300, 700), [Report::PossibleOverlap { sensor: x(), fence: fence(1, 2), late_by }]);
}

#[test]
fn a_freeze_that_either_made_in_time_is_no_overlap() {
    assert_eq!(frozen_late(300, 200), []);
    assert_eq!(frozen_late(200, 700), []);
}

#[test]
fn an_effect_made_while_frozen_is_held() {
    let mut rig = bound_again();
    let effect = Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() };
    assert_eq!(rig.take(effect), []);
}

#[test]
fn a_held_effect_goes_out_under_the_newest_fence_when_the_lease_is_back() {
    let mut rig = bound_again();
    rig.take(Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() });
    rig.hear_on(NEXT, adopted(fence(2, 1)));
    assert_eq!(rig.hear_on(NEXT, ack(1, 1, at(3_400))), [lease(at(5_400), 1), publish(fence(2, 1), 8)]);
}

#[test]
fn what_a_sink_had_not_confirmed_goes_again_under_the_same_id() {
    let mut rig = Rig::polling(Effects::Direct);
    let effect = Event::Emitted { process: PROCESS, id: EntryId(8), effect: effects() };
    assert_eq!(rig.take(effect), [publish(fence(1, 2), 8)]);
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(2_800);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    let commands = rig.hear_on(NEXT, ack(1, 1, at(2_800)));
    assert_eq!(commands, [lease(at(4_800), 1), publish(fence(1, 2), 8)]);
}

#[test]
fn frozen_time_does_not_count_towards_the_polls_timeout() {
    let mut rig = bound_again();
    rig.hear_on(NEXT, ack(1, 1, at(3_400)));
    rig.take(Event::StreamClosed(NEXT));
    let hung = at(1_000) + Span::from_secs(300) + millis(600);
    let deadlines: Vec<_> = {
        let instances = &rig.session.instances;
        instances.values().filter_map(|instance| instance.next_deadline(false, false)).collect()
    };
    assert_eq!(deadlines, [(hung, "it counts as hung")]);
}

#[test]
fn an_overdue_poll_begins_soon_after_the_thaw_but_not_with_all_others() {
    let mut rig = Rig::polling(Effects::Direct);
    rig.take(Event::PollReturned { process: PROCESS, outcome: Outcome::Good(None) });
    rig.take(Event::StreamClosed(FIRST));
    rig.now = at(2_800);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(NEXT));
    rig.hear_on(NEXT, welcome("l2", 2, 1, fence(1, 1)));
    rig.now = at(3_100);
    rig.hear_on(NEXT, ack(1, 1, at(2_800)));
    let due = rig.session.instances.values().find_map(|instance| instance.next_deadline(false, false));
    let (due, _) = due.unwrap();
    assert!(due >= at(3_100) && due < at(4_100), "{due:?}");
}

#[test]
fn a_status_that_comes_while_frozen_ends_the_instance_at_once() {
    let mut rig = bound_again();
    assert_eq!(rig.hear_on(NEXT, standby(fence(1, 2))), [Command::Kill(PROCESS)]);
    let word = stopped(fence(1, 2), StopCause::Asked, Some(2_400));
    assert_eq!(rig.take(Event::Gone(PROCESS)), [send(NEXT, word), spawn(FRESH)]);
}

#[test]
fn a_guardian_that_is_gone_takes_every_process_with_it() {
    let mut rig = Rig::active(Effects::Direct);
    assert_eq!(rig.take(Event::GuardianGone), [Command::Kill(PROCESS)]);
    assert_eq!(rig.take(Event::Gone(PROCESS)), [spawn(FRESH)]);
    assert_eq!(rig.session.active(&x()), Some(fence(1, 2)));
}

#[test]
fn a_lease_is_published_with_the_number_of_freezes_that_the_guardian_has_to_undo() {
    let mut rig = bound_again();
    assert_eq!(rig.hear_on(NEXT, ack(1, 1, at(3_400)))[..1], [lease(at(5_400), 1)]);
    rig.now = at(5_400);
    assert!(rig.take(Event::Wake).contains(&Command::Freeze));
    let third = StreamId(3);
    rig.now = at(5_650);
    rig.take(Event::Wake);
    rig.take(Event::StreamOpened(third));
    assert!(rig.hear_on(third, welcome("l2", 2, 2, fence(1, 1))).contains(&lease(at(5_400), 2)));
}

#[test]
fn a_leader_that_hears_and_does_not_acknowledge_yet_keeps_its_stream_and_no_lease() {
    let mut rig = Rig::leased(Effects::Direct);
    for millis_on in [800, 1_200, 1_600, 2_000, 2_400] {
        rig.now = at(millis_on);
        let sent_at = rig.now;
        rig.take(Event::Wake);
        let commands = rig.hear(ToContainer::NotYet { session: SessionId(1), sent_at });
        assert!(!commands.iter().any(|command| matches!(command, Command::Connect { .. })), "{commands:?}");
    }
    assert!(!rig.session.may_act(rig.now));
}
