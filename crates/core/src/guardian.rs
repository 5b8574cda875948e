//! The guardian's decisions: freeze at the lease's end, thaw when it is back, kill when the container is gone.
//!
//! The guardian alone thaws. It looks at the lease right before and right after, so that a pause
//! between look and act leaves an instance running no longer than one pass of its loop.

use crate::guard;
use crate::time::{Span, Time};

/// What the guardian is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A deadline has come.
    Wake,
    /// The lease's end, as the container has published it, and how often the container has frozen by itself.
    Lease(Time, u64),
    /// Everything has been stopped, as told.
    Stopped,
    /// The container's pipe has closed.
    ContainerGone,
}

/// What the guardian does to every process below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Stop them; answered by [`Event::Stopped`].
    Freeze,
    /// Tell the container that all are stopped.
    Report {
        /// How long after the lease's end they were.
        late_by: Span,
    },
    /// Let them go on.
    Thaw,
    /// End them all, then itself.
    Kill,
}

/// The guardian of one container incarnation.
///
/// It begins frozen: what it takes over, or starts, runs only once a lease holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guardian {
    lease_end: Time,
    frozen: bool,
    /// The container's own freezes that are known: it is thawed from those too.
    freezes: u64,
}

impl Default for Guardian {
    fn default() -> Self {
        Self { lease_end: Time::default(), frozen: true, freezes: 0 }
    }
}

impl Guardian {
    /// Takes one event; returns what to do, in order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Command> {
        match event {
            Event::Wake => {}
            Event::Lease(end, freezes) => {
                self.lease_end = end;
                self.frozen |= freezes > self.freezes;
                self.freezes = freezes;
            }
            Event::Stopped => return vec![Command::Report { late_by: now.since(self.lease_end) }],
            Event::ContainerGone => {
                if guard!(GuardianKills, true, else false) {
                    return vec![Command::Kill];
                }
            }
        }
        let holds = now < self.lease_end;
        if holds && self.frozen {
            self.frozen = false;
            return vec![Command::Thaw];
        }
        if !holds && !self.frozen {
            self.frozen = true;
            return guard!(GuardianFreezes, vec![Command::Freeze], else Vec::new());
        }
        Vec::new()
    }

    /// When to wake it, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        (!self.frozen).then_some(self.lease_end)
    }

    /// The same with all times counted from `now`.
    #[must_use]
    pub fn normalised(&self, now: Time) -> Self {
        let mut same = self.clone();
        same.lease_end.normalise(now);
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(0) + Span::from_millis(millis)
    }

    fn holding_until(end: Time) -> Guardian {
        let mut guardian = Guardian::default();
        assert_eq!(guardian.handle(at(1), Event::Lease(end, 0)), vec![Command::Thaw]);
        guardian
    }

    #[test]
    fn freezes_at_the_end_of_the_lease() {
        let mut guardian = holding_until(at(2_000));
        assert_eq!(guardian.next_deadline(), Some(at(2_000)));
        assert_eq!(guardian.handle(at(2_000), Event::Wake), vec![Command::Freeze]);
        assert_eq!(guardian.next_deadline(), None);
    }

    #[test]
    fn says_how_late_it_froze() {
        let mut guardian = holding_until(at(2_000));
        assert_eq!(guardian.handle(at(2_001), Event::Wake), vec![Command::Freeze]);
        let commands = guardian.handle(at(2_700), Event::Stopped);
        assert_eq!(commands, vec![Command::Report { late_by: Span::from_millis(700) }]);
    }

    #[test]
    fn thaws_when_the_lease_is_back() {
        let mut guardian = holding_until(at(2_000));
        guardian.handle(at(2_000), Event::Wake);
        assert_eq!(guardian.handle(at(2_500), Event::Lease(at(4_000), 0)), vec![Command::Thaw]);
    }

    #[test]
    fn does_not_thaw_on_a_lease_that_is_over_when_it_looks() {
        let mut guardian = holding_until(at(2_000));
        guardian.handle(at(2_000), Event::Wake);
        assert_eq!(guardian.handle(at(5_000), Event::Lease(at(4_000), 0)), vec![]);
    }

    #[test]
    fn thaws_what_the_container_froze_while_it_stood_still() {
        let mut guardian = holding_until(at(2_000));
        assert_eq!(guardian.handle(at(2_500), Event::Lease(at(4_000), 1)), vec![Command::Thaw]);
        assert_eq!(guardian.handle(at(2_600), Event::Lease(at(4_100), 1)), vec![]);
    }

    #[test]
    fn kills_all_when_the_container_is_gone() {
        let mut guardian = holding_until(at(2_000));
        assert_eq!(guardian.handle(at(100), Event::ContainerGone), vec![Command::Kill]);
    }

    #[test]
    fn is_equal_to_itself_at_another_time() {
        let early = holding_until(at(2_000));
        let late = holding_until(at(3_000));
        assert_eq!(early.normalised(at(1_000)), late.normalised(at(2_000)));
    }
}
