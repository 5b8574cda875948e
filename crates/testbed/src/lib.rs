//! Real processes for tests and benchmarks: arbitrators and containers of the one binary, packs whose sensors poll
//! a source in the test's own process, and that source, which notices when two processes act at once.
//!
//! Whatever goes wrong here ends the test: it panics, and says what was waited for and what the logs say last. A
//! [`Testbed`] that is dropped ends every process that it started, and fails the test if anything of them is left.

mod acting;
mod ask;
mod etcd;
mod exactness;
pub mod failure;
mod loyal;
mod packs;
mod polls;
mod program;
mod rabbitmq;
mod redis;
mod server;
mod slots;
mod small_disk;
mod source;
mod testbed;
mod triggers;
mod zookeeper;

use std::time::Duration;

pub use acting::can_act;
pub use etcd::{Certificates, Etcd};
pub use exactness::{Account, Exactness, Strike};
pub use loyal::{Heard, LoyalContainer};
pub use packs::Pack;
pub use polls::{Beside, End, Overlap, Poll, longest_gap, overlaps};
pub use program::Program;
pub use rabbitmq::{Message, RabbitMqServer};
pub use redis::{RedisSentinels, RedisServer};
pub use rustix::process::Signal;
pub use server::{Recipe, Server};
pub use small_disk::SmallDisk;
pub use source::Source;
pub use st2sa_machine::processes::Process;
pub use testbed::{Placement, Testbed, free_port};
pub use triggers::Trigger;
pub use zookeeper::ZooKeeperServer;

/// How long a container may act after the last heartbeat that was answered, by default.
pub const SESSION_TTL: Duration = Duration::from_secs(2);

/// From a container's death until its sensors go on elsewhere, at the most, by default.
pub const FAILOVER: Duration = Duration::from_secs(3);
