//! The contracts as their users see them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets what it does not expect has failed")]

mod bytes;
mod documents;
mod draw;
mod malformed;
mod round_trip;
