//! The part of st2sa that decides: which instance of each sensor is ACTIVE, and whether it may act now.
//!
//! Nothing here does I/O, reads a clock or draws a random number. [`arbiter::Arbiter`] (in an
//! arbitrator), [`session::Session`] (in a sensor container) and [`guardian::Guardian`] (beside it) are
//! state machines: `handle(now, event)` returns commands, `next_deadline()` says when to wake them.
//! The same code runs in production and in the simulator.
//!
//! The rules that are referred to by number:
//!
//! 1. Lease: a container acts for `session_ttl` after *sending* the last acknowledged heartbeat.
//! 2. Register: who may hold something is written before it may, struck before that is given away.
//! 3. Binding: a greeting claims nothing; a first heartbeat that lists what is held binds.
//! 4. Acting: only under a lease that holds and the newest fence.
//! 5. Freeze: at the lease's end by the container, or by its guardian; killed when it is void.
//! 6. Word: a sensor goes elsewhere only on the word for its newest fence, or after a strike.
//! 7. Leader: acts only while its leadership is surely in force.
//! 8. New term: adopts standing claims; what nobody claims is free after the wait.
//! 9. Engines that may forget: no early end, a longer wait.
//! 10. Journal: commits follow one another; what was committed is applied before anything new.
//! 11. Fail-safe: with the store away, a leadership is extended by the word of every other elector.

pub mod arbiter;
pub mod engine;
pub mod glob;
pub mod guard;
pub mod guardian;
pub mod history;
pub mod message;
pub mod names;
pub mod placement;
pub mod policy;
pub mod session;
pub mod time;
pub mod timing;
