//! Questions to an arbitrator, and its answers: `status`, `sensors`, `containers`, `history`, `logs`.
//!
//! Data goes to stdout, all else to stderr. What came from elsewhere is never written to a terminal as it is: see
//! `words::plain`.

mod address;
mod client;
mod containers;
mod failure;
mod follow;
mod history;
mod lines;
mod logs;
mod paper;
mod seen;
mod sensors;
#[cfg(test)]
mod stand_in;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod wait;
mod words;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use address::Addresses;
use client::Client;
use failure::Stop;
use paper::Paper;
pub(crate) use words::one_line;

/// What stands below the options of every question.
const AFTER_HELP: &str = "\
Exit codes:
  0  answered
  1  the answer is no: there is no such sensor, or it has no log
  2  wrong usage
  3  no arbitrator could be reached
  4  an arbitrator refused, or answered what this release does not understand

Colour is left out where stdout is no terminal, or NO_COLOR is set.";

/// What one may ask.
#[derive(Subcommand)]
pub(crate) enum Question {
    /// Show how the whole is: leader, sensors, containers, alarms
    #[command(after_help = AFTER_HELP)]
    Status(status::StatusQuestion),
    /// List the sensors, or show one of them with all its instances
    #[command(after_help = AFTER_HELP)]
    Sensors(sensors::SensorsQuestion),
    /// List the sensor containers
    #[command(after_help = AFTER_HELP)]
    Containers(containers::ContainersQuestion),
    /// Show which instance was ACTIVE when, and why that changed
    #[command(after_help = AFTER_HELP)]
    History(history::HistoryQuestion),
    /// Show what a sensor wrote, wherever it ran
    #[command(after_help = AFTER_HELP)]
    Logs(logs::LogsQuestion),
}

/// Options of every question.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where an arbitrator answers: host:port or http://host:port; several, comma-separated, are tried in order
    #[arg(long, value_name = "HOST:PORT", env = "ST2SA_ARBITRATOR", default_value = "127.0.0.1:9110")]
    arbitrator: Addresses,
    /// How to write the answer: for people, or as the arbitrator's own documents
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    output: Output,
}

/// How an answer is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people
    Table,
    /// The arbitrator's documents; one object a line where lines follow one another
    Json,
}

/// Asks, and writes the answer to stdout; what went wrong with the question is said on stderr and in the exit code.
///
/// # Errors
/// If the answer cannot be written.
pub(crate) async fn run(question: Question) -> anyhow::Result<ExitCode> {
    answer(question, &mut Paper::of_the_terminal()).await
}

async fn answer(question: Question, paper: &mut Paper) -> anyhow::Result<ExitCode> {
    let asked = match question {
        Question::Status(question) => question.ask(paper).await,
        Question::Sensors(question) => question.ask(paper).await,
        Question::Containers(question) => question.ask(paper).await,
        Question::History(question) => question.ask(paper).await,
        Question::Logs(question) => question.ask(paper).await,
    };
    match asked {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read has read enough.
        Err(Stop::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Stop::Output(error)) => Err(anyhow::Error::new(error).context("failed to write the answer")),
        Err(Stop::Failure(failure)) => {
            paper.note(&failure.to_string());
            Ok(ExitCode::from(failure.exit_code()))
        }
    }
}

impl Common {
    fn client(&self) -> Result<Client, Stop> {
        Ok(Client::new(self.arbitrator.clone())?)
    }
}

/// Takes a sensor's reference as it is written on the command line.
fn reference(text: &str) -> Result<String, String> {
    match text.split_once('.') {
        Some((pack, class)) if !pack.is_empty() && !class.is_empty() => Ok(text.to_owned()),
        _ => Err("a sensor is written pack.ClassName".to_owned()),
    }
}
