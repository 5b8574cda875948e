//! How a scene fails: by a panic, as tests do, so that the testbed keeps its logs.

use std::fmt::Display;

/// Ends the scene.
#[track_caller]
#[expect(clippy::panic, reason = "a scene fails by panicking, as a test does")]
pub(crate) fn fail(why: impl Display) -> ! {
    panic!("{why}")
}

/// What a scene cannot go on without.
pub(crate) trait OrFail<T> {
    /// The value; without one the scene ends, and says what failed.
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
