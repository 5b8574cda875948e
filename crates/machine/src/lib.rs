//! What a process needs of its machine: the boot clock, who and where it is, whole files and locked folders,
//! and the processes below it.
//!
//! Core decides without any of this; the shells of arbitrator and container share it.

pub mod cgroup;
pub mod clock;
pub mod crash;
pub mod files;
pub mod identity;
pub mod processes;
pub mod signals;
