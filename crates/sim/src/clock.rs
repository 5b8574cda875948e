//! Clocks that differ: true time is the simulator's own; each machine's boot clock runs at its own rate.

use st2sa_core::time::Time;

/// Nanoseconds of true time since the run began.
pub type Nanos = u64;

/// A millisecond of true time.
pub const MILLI: Nanos = 1_000_000;
/// A second of true time.
pub const SECOND: Nanos = 1_000 * MILLI;

/// A machine's boot clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Its reading at true time zero.
    offset: u64,
    /// How fast it runs, in millionths of true time.
    rate: u64,
    /// True time that passed while a hypervisor held the machine without its clock noticing.
    hidden: Nanos,
}

impl Clock {
    /// A clock with this rate (millionths) and first reading.
    pub(crate) fn new(rate: u64, offset: u64) -> Self {
        Self { offset, rate, hidden: 0 }
    }

    /// What it reads.
    pub(crate) fn read(&self, now: Nanos) -> Time {
        let ran = now.saturating_sub(self.hidden);
        Time(self.offset + scale(ran, self.rate, 1_000_000))
    }

    /// The true time at which it will read `time`, or a nanosecond later.
    pub(crate) fn when(&self, time: Time) -> Nanos {
        let ran = scale(time.0.saturating_sub(self.offset).min(u64::MAX / 4), 1_000_000, self.rate);
        self.hidden.saturating_add(ran).saturating_add(1)
    }

    /// Time that it did not see pass.
    pub(crate) fn hide(&mut self, span: Nanos) {
        self.hidden += span;
    }
}

fn scale(value: u64, by: u64, over: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(over.max(1))).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_it_is_woken_for() {
        for rate in [912_871, 1_000_000, 1_095_445] {
            let clock = Clock::new(rate, 77);
            let deadline = Time(123_456_789_012);
            let at = clock.when(deadline);
            assert!(clock.read(at) >= deadline);
            assert!(clock.read(at - 10) <= deadline);
        }
    }
}
