//! Measurements on real processes, run as `cargo xtask bench NAME`. Nothing here passes or fails by a time: it prints
//! what it has seen.

mod away;
mod exact;
mod failover;
mod frozen;
mod leaders;
mod load;
mod moves;
mod probes;
mod progress;
mod report;
mod stores;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measure st2sa on this machine
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    /// The binary to measure
    #[arg(long, global = true, value_name = "FILE", default_value = "target/release/st2sa")]
    binary: PathBuf,
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Measure {
    /// What it costs when the store of three arbitrators is killed and comes back, with fail-safe on and off
    ///
    /// 20 probes poll every 200 ms. With fail-safe on: the longest time between two polls, while the store is away and when
    /// it comes back. With fail-safe off: when the last poll began, and how soon polling went on by itself.
    Away {
        /// The store
        #[arg(long, value_enum)]
        store: stores::Which,
        /// How many seconds it is away
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Whether each number arrives exactly once, whatever is killed: the journal under kills at random
    ///
    /// Two sensors count, one dispatches then saves, the other saves then dispatches. Of ten kills seven are sensors' processes,
    /// two containers, one arbitrators. Fails where a number is lost, arrives under two ids, or out of order; what is written
    /// again under its own id is counted apart.
    Exact {
        /// The store; without one there is one arbitrator with files of its own
        #[arg(long, value_enum)]
        store: Option<stores::Which>,
        /// How often something is killed
        #[arg(long, default_value_t = 1_000)]
        kills: usize,
        /// What is killed, and when, follows from this
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Instead of kills at random: every crash point, at its first passes; --binary must name a debug build
        #[arg(long)]
        points: bool,
        /// The same sensors with `effects: direct`, which lose and double
        #[arg(long)]
        direct: bool,
    },
    /// How long sensors pause when something is killed: a node, a container, a sensor's process, the arbitrator
    ///
    /// Two containers with default timing; probes poll every 200 ms. For each kind of kill it prints how often it was
    /// done, and the least, the median and the longest pause.
    Failover {
        /// How often each is killed
        #[arg(long, default_value_t = 30)]
        kills: u32,
    },
    /// What a leader still does that stood still for three times as long as its leadership lasts, and wakes
    ///
    /// A container that stays with that leader whatever happens sends it heartbeats and writes while it is frozen; what comes of
    /// them once it is thawed is counted, and what the other containers obey of it.
    Frozen {
        /// The store
        #[arg(long, value_enum)]
        store: stores::Which,
        /// How often a leader is frozen
        #[arg(long, default_value_t = 10)]
        times: u32,
    },
    /// What it costs when the leader of three arbitrators on a shared store dies, or resigns
    Leaders {
        /// The store
        #[arg(long, value_enum)]
        store: stores::Which,
        /// How often it dies, and resigns
        #[arg(long, default_value_t = 20)]
        kills: u32,
    },
    /// What the store is asked while nothing happens: operations a second, by the store's own count
    ///
    /// Every sensor is ACTIVE on a container and polls, without any effect; every container is a process of its own and
    /// finds the leader through the store. A thousand sensors are a thousand Python processes: some 4 GiB. What
    /// keeps sessions and leases alive, and what scripts call inside of Redis, is counted apart.
    Load {
        /// The store
        #[arg(long, value_enum)]
        store: stores::Which,
        /// How many sensors
        #[arg(long, default_value_t = 1_000)]
        sensors: usize,
        /// How many containers
        #[arg(long, default_value_t = 20)]
        containers: usize,
        /// How many seconds what starting has set off is left to end; new code counts after a minute
        #[arg(long, default_value_t = 90)]
        settles: u64,
        /// How many seconds are counted
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// How long sensors pause when an operator moves them: one by one, by a drain, in a rolling upgrade
    Moves {
        /// How often one sensor is moved
        #[arg(long, default_value_t = 50)]
        moves: u32,
        /// How many sensors a drain moves, 100 at the most
        #[arg(long, default_value_t = 100)]
        drained: u32,
    },
}

fn main() -> ExitCode {
    let Cli { binary, measure } = Cli::parse();
    let binary = match std::path::absolute(&binary) {
        Ok(binary) if binary.is_file() => binary,
        _ => {
            eprintln!("error: there is no binary `{}`; build it, or name another with --binary", binary.display());
            return ExitCode::FAILURE;
        }
    };
    match measure {
        Measure::Away { store, seconds } => away::run(&binary, store, Duration::from_secs(seconds.max(10))),
        Measure::Exact { store, kills, seed, points, direct } => {
            exact::run(&binary, &exact::Plan { store, strikes: kills.max(1), seed, points, direct })
        }
        Measure::Failover { kills } => failover::run(&binary, kills.max(1)),
        Measure::Frozen { store, times } => frozen::run(&binary, store, times.max(1)),
        Measure::Leaders { store, kills } => leaders::run(&binary, store, kills.max(1)),
        Measure::Load { store, sensors, containers, settles, seconds } => {
            let (settles, over) = (Duration::from_secs(settles), Duration::from_secs(seconds.max(1)));
            load::run(&binary, store, load::Size { sensors, containers: containers.max(1), settles, over })
        }
        Measure::Moves { moves, drained } => moves::run(&binary, moves.max(1), drained.max(1)),
    }
}
