//! Survival, with real processes: what is killed, stopped or asked to stop, and what goes on; what is refused; what
//! is answered.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets what it does not expect has failed")]

mod admit;
mod alone;
mod asked;
mod changed;
mod cursor;
mod damage;
mod debugger;
mod documents;
mod doors;
mod engines;
mod exact;
mod explained;
mod health;
mod hung;
mod killed;
mod leftovers;
mod lent;
mod many;
mod names;
mod odd;
mod orders;
mod overload;
mod registry;
mod scene;
mod session;
mod settings;
mod shared;
mod sinks;
mod stopped;
mod up;
mod upgrade;
