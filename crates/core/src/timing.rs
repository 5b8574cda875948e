//! The lengths of time that both sides count with, checked together, and the arithmetic of clocks that drift.

use std::fmt;

use crate::time::Span;

/// The lengths of time of one arbitrator and of the containers it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How long a container may act after sending the last acknowledged heartbeat.
    pub session_ttl: Span,
    /// How often a container sends one.
    pub heartbeat: Span,
    /// How long the engine keeps a leadership without a renewal.
    pub leader_ttl: Span,
    /// Bound of the ratio of any two clocks' rates, less one, in thousandths (200 is 0.2).
    ///
    /// chrony slews by up to one twelfth on its own; two machines may be slewed against each other.
    pub max_drift_thousandths: u64,
    /// What freezing takes at the most, and what the arithmetic leaves to scheduling.
    pub margin: Span,
    /// How long a changed digest must stand before it moves running sensors.
    pub code_settle: Span,
    /// A sensor moves for balance at most this often.
    pub voluntary_move_interval: Span,
    /// How long a failed-there mark lasts.
    pub failure_memory: Span,
    /// How long after the last poll would have ended a status may stay unapplied before its container
    /// is acknowledged no more.
    pub apply_grace: Span,
    /// How long an elector may be silent before the leader takes it off the list.
    pub elector_silence: Span,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            session_ttl: Span::from_secs(2),
            heartbeat: Span::from_millis(400),
            leader_ttl: Span::from_secs(2),
            max_drift_thousandths: 200,
            margin: Span::from_millis(200),
            code_settle: Span::from_secs(60),
            voluntary_move_interval: Span::from_secs(600),
            failure_memory: Span::from_secs(600),
            apply_grace: Span::from_secs(10),
            elector_silence: Span::from_secs(10),
        }
    }
}

impl Timing {
    /// Refuses lengths that do not fit together.
    ///
    /// # Errors
    /// The first pair that does not fit, with the bound it breaks.
    pub fn check(&self) -> Result<(), Misfit> {
        let misfit = |what, bound, is| Err(Misfit { what, bound, is });
        if self.heartbeat == Span::ZERO || self.heartbeat * 4 > self.session_ttl {
            return misfit(
                "heartbeat",
                "more than 0 and at most session_ttl / 4 (lower it, or raise session_ttl)",
                self.heartbeat,
            );
        }
        if self.max_drift_thousandths > 1_000 {
            return misfit("max_drift", "at most 1.0", Span(self.max_drift_thousandths));
        }
        if self.leader_ttl < Span::from_millis(100) {
            return misfit("leader_ttl", "at least 0.1 s", self.leader_ttl);
        }
        if self.acts_for() < self.renew_every() * 2 {
            return misfit(
                "margin",
                "small enough that leader_ttl / (1 + max_drift) - margin holds two renewals",
                self.margin,
            );
        }
        Ok(())
    }

    /// A wait that no other clock takes for shorter than `span`: times (1 + `max_drift`), plus the margin.
    pub fn outlast(&self, span: Span) -> Span {
        Span(span.0.saturating_add(span.0 / 1_000 * self.max_drift_thousandths)) + self.margin
    }

    /// How long a leader acts after sending a renewal that was confirmed (rule 7).
    pub fn acts_for(&self) -> Span {
        Span(self.leader_ttl.0 / (1_000 + self.max_drift_thousandths) * 1_000).saturating_sub(self.margin)
    }

    /// How often a leader renews: often enough that two lost renewals cost nothing.
    pub fn renew_every(&self) -> Span {
        Span(self.leader_ttl.0 / 5)
    }
}

/// Two lengths of time that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    what: &'static str,
    bound: &'static str,
    is: Span,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {} but must be {}", self.what, self.is, self.bound)
    }
}

impl std::error::Error for Misfit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Timing::default().check(), Ok(()));
    }

    #[test]
    fn a_dead_container_is_given_up_after_two_point_six_seconds_by_default() {
        let timing = Timing::default();
        assert_eq!(timing.outlast(timing.session_ttl), Span::from_millis(2_600));
    }

    #[test]
    fn a_heartbeat_that_leaves_no_room_for_lost_ones_is_refused() {
        let timing = Timing { heartbeat: Span::from_millis(600), ..Timing::default() };
        let error = timing.check().expect_err("600 ms is more than a quarter of 2 s");
        assert_eq!(
            error.to_string(),
            "`heartbeat` is 0.600s but must be more than 0 and at most session_ttl / 4 (lower it, or raise session_ttl)"
        );
    }

    #[test]
    fn a_margin_that_eats_the_leadership_is_refused() {
        let timing = Timing { margin: Span::from_millis(1_200), ..Timing::default() };
        assert!(timing.check().is_err());
    }
}
