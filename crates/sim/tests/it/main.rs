//! The tests of whole clusters and of the planner: one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets what it does not expect has failed"
)]

mod placement;
mod scripts;
mod simulation;
