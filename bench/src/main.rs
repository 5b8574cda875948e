//! Measurements on real processes, run as `cargo xtask bench NAME`. Nothing here passes or fails by a time: it prints
//! what it has seen.

mod failover;
mod leaders;
mod moves;
mod probes;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// How long sensors pause when something is killed: a node, a container, a sensor's process, the arbitrator
    ///
    /// Two containers with default timing; probes poll every 200 ms. For each kind of kill it prints how often it was
    /// done, and the least, the median and the longest pause.
    Failover {
        /// How often each is killed
        #[arg(long, default_value_t = 30)]
        kills: u32,
    },
    /// What it costs when the leader of three arbitrators on a shared store dies, or resigns
    Leaders {
        /// The store
        #[arg(long, value_enum)]
        store: leaders::Which,
        /// How often it dies, and resigns
        #[arg(long, default_value_t = 20)]
        kills: u32,
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
        Measure::Failover { kills } => failover::run(&binary, kills.max(1)),
        Measure::Leaders { store, kills } => leaders::run(&binary, store, kills.max(1)),
        Measure::Moves { moves, drained } => moves::run(&binary, moves.max(1), drained.max(1)),
    }
}
