//! Whole clusters of st2sa's core in simulated time.
//!
//! A [`plan::Run`] is a cluster and what happens to it, as data; [`world::World`] plays it: arbitrators,
//! containers, guardians and sensor processes that pause separately, on clocks that differ, over
//! streams and an engine that do what real ones may. [`INVARIANTS`] are checked after every step.

mod checker;
mod clock;
mod faults;
pub mod hazards;
mod judge;
mod net;
mod node;
pub mod plan;
mod process;
pub mod random;
pub mod runner;
pub mod script;
mod store;
pub mod trace;
mod view;
pub mod windows;
pub mod world;

pub use checker::{INVARIANTS, Violation};
pub use clock::{MILLI, Nanos, SECOND};
