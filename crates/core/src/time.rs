//! Time as core sees it: plain nanoseconds of one process's own boot clock, handed in by its shell.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};

/// A moment of one process's `CLOCK_BOOTTIME`, in nanoseconds.
///
/// Moments of two machines are never compared: what crosses the network is an age, a length of time,
/// or an echo of the reader's own moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// A length of time, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Time {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long before `self` the moment `earlier` was; zero where it was not before.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Moves the moment so that `now` becomes a fixed one; what lies further back than any window that
    /// core looks at becomes one moment, so that a model checker meets equal states again.
    pub(crate) fn normalise(&mut self, now: Self) {
        const BASE: u64 = 1 << 62;
        /// Longer than the longest window of the defaults (10 min), shorter than anything a person would notice.
        const HORIZON: u64 = Span::from_secs(3_600).0;
        // Never, and always ago, stay what they are.
        if *self == Self::NEVER || self.0 == 0 {
            return;
        }
        self.0 =
            if self.0 >= now.0 { BASE.saturating_add(self.0 - now.0) } else { BASE - (now.0 - self.0).min(HORIZON) };
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// What is left after `other`; zero where nothing is.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:?}", Span(self.0))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.as_millis() / 1_000, self.as_millis() % 1_000)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_of_all_times_does_not_show_in_normalised_ones() {
        for (moment, now) in [(5, 9), (9, 5), (7, 7)] {
            let (mut a, mut b) = (Time(moment), Time(moment + 1_000));
            a.normalise(Time(now));
            b.normalise(Time(now + 1_000));
            assert_eq!(a, b);
        }
    }

    #[test]
    fn moments_far_back_become_one() {
        let now = Time(0) + Span::from_secs(90_000);
        let (mut a, mut b) = (Time(1), Time(2));
        a.normalise(now);
        b.normalise(now);
        assert_eq!(a, b);
    }
}
