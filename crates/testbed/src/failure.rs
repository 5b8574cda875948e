//! How a test fails: at the place that asked for what could not be had.

use std::fmt::Display;

/// Ends the test.
///
/// # Panics
///
/// Always.
#[track_caller]
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn fail(why: impl Display) -> ! {
    panic!("{why}")
}

/// What a test cannot go on without.
pub trait OrFail<T> {
    /// The value; without one the test ends, and says what failed.
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => fail(format!("cannot {what}: {error}")),
        }
    }
}
