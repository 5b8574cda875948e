//! The one binary: the arbitrator, the container, both at once on one machine, and what operators ask.

mod access;
mod admit;
mod alone;
mod arbitrator;
mod ask;
mod check;
mod config;
mod container;
mod doors;
mod logging;
mod settings;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// StackStorm's sensors, highly available
///
/// Every sensor node runs a container; one arbitrator makes exactly one copy of each sensor ACTIVE, the others stand
/// by, and when the active one fails another goes on. `st2sa up` shows it all on one machine.
#[derive(Parser)]
#[command(name = "st2sa", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one arbitrator and some containers on this machine, and watch them
    Up(up::UpOptions),
    /// Run an arbitrator: it decides where each sensor is ACTIVE
    Arbitrator(arbitrator::ArbitratorOptions),
    /// Run a sensor container: it runs what the arbitrator tells it to
    Container(container::ContainerOptions),
    /// Say everything that is wrong with the packs, before anything starts
    Check(check::CheckOptions),
    /// Show what counts of each option, and where it came from
    Config(config::ConfigOptions),
    /// Make certificates, by which containers, arbitrators and people know each other
    Certificate(access::CertificateOptions),
    /// Make, list and revoke tokens, by which an arbitrator knows who is there
    Token(access::TokenOptions),
    #[command(flatten)]
    Ask(ask::Question),
    /// Print a completion script for a shell: `st2sa completions bash > /etc/bash_completion.d/st2sa`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The container's companion; containers start it themselves
    #[command(hide = true)]
    Guardian {
        /// Where the lease is
        #[arg(long)]
        lease: PathBuf,
        #[command(flatten)]
        log: logging::LogOptions,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(options) => up::run(options),
        Command::Arbitrator(options) => arbitrator::run(&options),
        Command::Container(options) => container::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Config(options) => config::run(&options),
        Command::Guardian { lease, log } => {
            logging::start(&log);
            return st2sa_container::guardian::run(&lease);
        }
        Command::Certificate(options) => access::certificate(options),
        Command::Token(options) => access::token(options),
        Command::Ask(question) => answer(question),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "st2sa", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<settings::BadSetting>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

fn answer(question: ask::Question) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask::run(question));
    // Nothing that still waits for the network is waited for.
    runtime.shutdown_background();
    answer
}
