//! Time as core sees it: plain nanoseconds of one process's own boot clock, handed in by its shell.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::str::FromStr;

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

/// A length of time as people write it: `2`, `2s`, `400ms`, `1.5s`, `10m`, `1h`; seconds where no unit is written.
impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        /// A year: a longer one is a mistake in its unit.
        const SECONDS_AT_MOST: f64 = 31_536_000.0;
        const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
        let found = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
        let (number, unit) = found.unwrap_or((text, 1.0));
        let seconds = number.trim().parse::<f64>().map_err(|_| NotASpan)? * unit;
        if !(0.0..=SECONDS_AT_MOST).contains(&seconds) {
            return Err(NotASpan);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between the bounds")]
        let nanoseconds = (seconds * 1e9).round() as u64;
        Ok(Self(nanoseconds))
    }
}

/// A text that is no length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASpan;

impl fmt::Display for NotASpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time is a number of seconds, such as `2`, `2s` or `1.5s`, or has another unit: `400ms`, `10m`, `1h`; a year at the most")
    }
}

impl std::error::Error for NotASpan {}

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
    fn lengths_of_time_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Span>();
        assert_eq!(read("2"), Ok(Span::from_secs(2)));
        assert_eq!(read("2s"), Ok(Span::from_secs(2)));
        assert_eq!(read("400ms"), Ok(Span::from_millis(400)));
        assert_eq!(read("1.5 s"), Ok(Span::from_millis(1_500)));
        assert_eq!(read("10m"), Ok(Span::from_secs(600)));
        assert_eq!(read("1h"), Ok(Span::from_secs(3_600)));
        for wrong in ["", "2d", "-1", "NaN", "1e300", "two", "9000h"] {
            assert_eq!(read(wrong), Err(NotASpan), "{wrong}");
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
