//! The contracts between containers, arbitrators and people.
//!
//! [`v1`] is what goes over gRPC, generated from the files in `proto/`. [`FromContainer`] and [`FromArbitrator`] are
//! the same messages in core's own words: [`FromContainer::decode`] lets nothing in that is too long, incomplete or
//! of a wrong shape. [`rest`] holds the documents that people and the command line read.

mod arbitrator;
mod checked;
mod container;
mod instance;
mod journal;
mod names;
mod peer;
pub mod rest;
#[rustfmt::skip]
#[path = "generated/st2sa.v1.rs"]
#[expect(clippy::allow_attributes, clippy::pedantic, missing_docs, reason = "generated: see `cargo xtask fix`")]
pub mod v1;

pub use arbitrator::{FromArbitrator, InstancePolicy};
pub use checked::Malformed;
pub use container::{About, FromContainer};
pub use instance::InstanceReport;
pub use peer::FromPeer;

/// The protocol that this release speaks.
pub const PROTOCOL: u32 = 1;

/// Bytes of one message at the most, to set at both ends.
///
/// The largest poll is 64 MiB of effects; an activation may hand over what two of them left.
pub const MESSAGE_BYTES_AT_MOST: usize = 136 << 20;
