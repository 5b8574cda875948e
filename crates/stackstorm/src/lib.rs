//! StackStorm's files, read as StackStorm reads them: `st2.conf`, packs, their configurations, rules and schemas; and its
//! messages, written as StackStorm writes them.
//!
//! - [`yaml`]: YAML 1.1 as JSON values.
//! - [`packs`]: what the packs folders hold: sensors, trigger types, triggers, and what is wrong with the rest.
//! - [`config`]: one pack's configuration, with the defaults of its schema.
//! - [`payload`]: whether a payload is what its trigger type says.
//! - [`ini`]: the dialect of `st2.conf`.
//! - [`partition`]: which sensors one node offers, as `partition_provider` says.
//! - [`messages`]: the message that dispatches a trigger, and [`pickle`], what its body is written in.
//!
//! Whatever a file holds, reading it ends, in bounded memory, with a value or with a message that names the place.
//! Results do not depend on the order in which a file system lists its folders.
//!
//! A pack's configuration holds secrets: no `Debug`, `Display` or error of this crate shows a value of one.

pub mod config;
pub mod file;
pub mod ini;
pub mod messages;
pub mod packs;
pub mod partition;
pub mod payload;
pub mod pickle;
pub mod yaml;

mod python;
mod triggers;
