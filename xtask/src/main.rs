//! The project's tasks, run as `cargo xtask <command>`.
//!
//! * `verify` is the one gate, the same here and in CI. It writes no tracked file. Its steps are listed in
//!   `verify.rs`; a failing step does not keep the later ones from running, and a table of all of them closes the
//!   output. Exit code 1 if any step failed.
//! * `fix` is its mending twin: it rewrites whatever `verify` compares (formatting, what clippy can mend, generated
//!   documents, golden snapshots).
//! * `sim` builds the simulation in release and runs `st2sa-sim simulate` with the arguments it was given. With
//!   `--broken` among them the build is one whose guards can be taken out, in a target directory of its own. The
//!   exit code is the simulation's.
//!
//! * `bench` builds the product in release and measures it on real processes (`bench/`). Nothing passes or fails by a time.
//! * `cluster` plays scenes on clusters over network namespaces (`cluster/`), as root: links are cut, machines are lost. The exit
//!   code is 1 if one of them failed.
//!
//! Every program is started in the workspace root, whatever the caller's directory. Rust, git and a C compiler have to
//! be there; cargo-deny and ruff are installed into `target/tools` on first use. A missing Debian package is installed
//! through `apt-get` when run as root, and named otherwise.

mod bench;
mod cluster;
mod deny;
mod fix;
mod flags;
mod hygiene;
mod named_tests;
mod needs;
mod program;
mod proto;
mod python;
mod sim;
mod steps;
mod survival;
mod table;
mod verify;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The project's tasks: the gate, its mending twin, and the simulation
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the product in release and measure it
    ///
    /// All of ARGS goes to the measurements: `cargo xtask bench --help` shows what there is.
    #[command(disable_help_flag = true, after_help = "Example:\n  cargo xtask bench failover --kills 30")]
    Bench {
        /// What to measure
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build the product, and play scenes with it on clusters over network namespaces, as root
    ///
    /// All of ARGS goes to the scenes: `cargo xtask cluster --help` shows what there is. The exit code is 1 if one of them failed.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  cargo xtask cluster --short\n  cargo xtask cluster --store zookeeper"
    )]
    Cluster {
        /// What to play
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check everything, change nothing: the gate that CI runs
    ///
    /// Runs every step even if an earlier one failed and closes with a table of them. Exits with 1 if any step
    /// failed. The first run also installs the tools it needs into target/tools, which takes minutes.
    Verify,
    /// Mend what can be mended: formatting, lints, generated documents, snapshots
    ///
    /// Look at the difference before you commit it: snapshots are overwritten with what the code does now.
    Fix,
    /// Build the simulation in release and run it with ARGS
    ///
    /// All of ARGS goes to `st2sa-sim simulate`, `--help` too: `cargo xtask sim --help` shows what there is.
    /// With `--broken` among ARGS the build is one whose guards can be taken out (target/broken).
    /// The exit code is the simulation's.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  cargo xtask sim --seed 42\n  cargo xtask sim --seeds 10000 --from 5000\n  \
                      cargo xtask sim --scenario NAME\n  cargo xtask sim --broken all --seeds 500"
    )]
    Sim {
        /// What to hand to the simulation
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Bench { args } => bench::pass_through(&args),
        Task::Cluster { args } => cluster::pass_through(&args),
        Task::Verify => verify::run(),
        Task::Fix => fix::run(),
        Task::Sim { args } => sim::pass_through(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_simulation_gets_every_argument_as_it_was_written() {
        for line in
            [vec!["--seed", "7"], vec!["--help"], vec!["--broken=all", "--seeds", "5"], vec!["--scenario", "x", "-v"]]
        {
            let words = ["cargo xtask", "sim"].iter().chain(&line);
            let Task::Sim { args } = Cli::parse_from(words).task else {
                panic!("not the simulation: {line:?}");
            };
            assert_eq!(args, line);
        }
    }
}
