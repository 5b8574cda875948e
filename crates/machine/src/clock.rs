//! The one clock that decisions use: `CLOCK_BOOTTIME`, which also counts while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use st2sa_core::time::{Span, Time};

/// The moment, by this machine's boot clock.
pub fn now() -> Time {
    let moment = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(moment.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(moment.tv_nsec).unwrap_or_default();
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// How long until `deadline`, from `now`; at most `longest`.
pub fn until(deadline: Time, now: Time, longest: Duration) -> Duration {
    Duration::from_nanos(deadline.since(now).0).min(longest)
}

/// A span as the standard library has it.
pub fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.0)
}

/// A length of time as core has it; more than 584 years is cut.
pub fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// The same for a system call; a length that does not fit is cut to what does.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
