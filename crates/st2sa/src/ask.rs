//! Questions to an arbitrator, and its answers: `status`, `sensors`, `containers`, `history`, `logs`.
//!
//! Data goes to stdout, all else to stderr. What came from elsewhere is never written to a terminal as it is: see
//! `words::plain`.

mod address;
mod client;
mod containers;
mod effects;
mod failure;
mod follow;
mod history;
mod lines;
mod logs;
mod orders;
mod paper;
mod plan;
mod registry;
mod seen;
mod sensors;
#[cfg(test)]
mod stand_in;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod wait;
mod why;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use st2sa_doors::{Keys, Secret};

use address::{Address, Addresses};
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
  4  an arbitrator did not let you in, or answered what this release does not understand

Where stdout is no terminal nothing is cut, no column is left out, and there is no colour (nor where NO_COLOR is set).";

/// The same for orders.
const AFTER_ORDERS: &str = "\
What stops or moves something asks first; --yes skips that. An order is told who gave it, and stands in the history. It \
waits until it is done; --no-wait does not.

Exit codes:
  0  done
  1  no: there is no such thing, or it cannot be done, and why
  2  wrong usage, or it would have to ask and there is no terminal (add --yes)
  3  no arbitrator could be reached: nothing was done
  4  an arbitrator did not let you in, or answered what this release does not understand
  5  it may have been done: the leader changed, or the store did not answer
  6  not confirmed: nothing was done
  7  ordered, but not done within the time";

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
    /// Show what would be moved, as things are or if a container were drained, lost, or joined; nothing is done
    #[command(after_help = AFTER_HELP)]
    Plan(plan::PlanQuestion),
    /// Say why a sensor is where it is, and what stands against each container
    #[command(after_help = AFTER_HELP)]
    Why(why::WhyQuestion),
    /// Move a sensor to a container, now: its poll ends first
    #[command(after_help = AFTER_ORDERS)]
    Move(orders::MoveOrder),
    /// Move a sensor to wherever it would go if it failed where it is
    #[command(after_help = AFTER_ORDERS)]
    Failover(orders::FailoverOrder),
    /// Have a polling sensor poll now, and say how that went
    #[command(after_help = AFTER_ORDERS)]
    Poll(orders::PollOrder),
    /// Try a sensor again now, wherever it failed: what made it fail is mended
    #[command(after_help = AFTER_ORDERS)]
    Retry(orders::RetryOrder),
    /// Show what of a sensor's journal waits to go out, or set an entry of it aside
    #[command(after_help = AFTER_ORDERS)]
    Effects(effects::EffectsOrder),
    /// Keep sensors from running until they are resumed, whatever restarts meanwhile
    #[command(after_help = AFTER_ORDERS)]
    Pause(orders::PauseOrder),
    /// Let paused sensors run again
    #[command(after_help = AFTER_ORDERS)]
    Resume(orders::ResumeOrder),
    /// Move away from a container what can run elsewhere, and give it nothing until it is undrained
    #[command(after_help = AFTER_ORDERS)]
    Drain(orders::DrainOrder),
    /// Use a drained container again
    #[command(after_help = AFTER_ORDERS)]
    Undrain(orders::UndrainOrder),
    /// Show a lost container no more: it will not come back
    #[command(after_help = AFTER_ORDERS)]
    Forget(orders::ForgetOrder),
    /// Turn fail-safe on or off: whether the leader may go on while the store is away, by the word of every other arbitrator
    #[command(after_help = AFTER_ORDERS)]
    FailSafe(orders::FailSafeOrder),
    /// List who stands in StackStorm's service registry, as its store has it
    #[command(after_help = registry::AFTER_HELP)]
    Registry(registry::RegistryQuestion),
    /// Read and write what sensors keep
    #[command(after_help = AFTER_ORDERS)]
    Datastore(values::DatastoreOrder),
}

/// Options of every question.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where an arbitrator answers: host:port, http://host:port or https://host:port; several, comma-separated, are tried in order
    #[arg(long, value_name = "HOST:PORT", env = "ST2SA_ARBITRATOR", default_value = "127.0.0.1:9110")]
    arbitrator: Addresses,
    #[command(flatten)]
    keys: KeyOptions,
    /// How to write the answer: for people, or as the arbitrator's own documents
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    output: Output,
}

/// How whoever asks shows who they are, where that is asked for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificates and tokens")]
struct KeyOptions {
    /// The authority whose certificates are trusted, PEM; given, or with https://, TLS is spoken
    #[arg(long, value_name = "FILE", env = "ST2SA_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Your certificate, PEM
    #[arg(long, value_name = "FILE", env = "ST2SA_CERT_FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The key of --cert-file, PEM
    #[arg(long, value_name = "FILE", env = "ST2SA_KEY_FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// A file with your token; the environment's `ST2SA_TOKEN` can have the token itself
    #[arg(long, value_name = "FILE", env = "ST2SA_TOKEN_FILE")]
    token_file: Option<PathBuf>,
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
        Question::Plan(question) => question.ask(paper).await,
        Question::Why(question) => question.ask(paper).await,
        Question::Move(order) => order.give(paper).await,
        Question::Failover(order) => order.give(paper).await,
        Question::Poll(order) => order.give(paper).await,
        Question::Retry(order) => order.give(paper).await,
        Question::Effects(order) => order.give(paper).await,
        Question::Pause(order) => order.give(paper).await,
        Question::Resume(order) => order.give(paper).await,
        Question::Drain(order) => order.give(paper).await,
        Question::Undrain(order) => order.give(paper).await,
        Question::Forget(order) => order.give(paper).await,
        Question::FailSafe(order) => order.give(paper).await,
        Question::Registry(question) => question.ask(paper).await,
        Question::Datastore(order) => order.give(paper).await,
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
        let keys = self.keys.keys(&self.arbitrator);
        let shows_token = keys.token.is_some() || keys.token_text.is_some();
        if let Some(address) = self.arbitrator.iter().find(|address| shows_token && address.would_tell(keys.tls)) {
            let text = format!("a token is not shown to {address} without TLS: anybody on the way could read it");
            let hint = "write https:// before the address, or give --ca-file".to_owned();
            return Err(failure::Failure::of(failure::Kind::Usage, text, hint).into());
        }
        Ok(Client::new(self.arbitrator.clone(), keys)?)
    }
}

impl KeyOptions {
    fn keys(&self, addresses: &Addresses) -> Keys {
        let Self { ca_file, cert_file, key_file, token_file } = self.clone();
        Keys {
            tls: ca_file.is_some() || addresses.iter().any(Address::says_tls),
            authority: ca_file.filter(|path| path.as_os_str() != crate::doors::SYSTEM),
            certificate: cert_file,
            key: key_file,
            token: token_file,
            token_text: std::env::var("ST2SA_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret),
        }
    }
}

/// Takes a sensor's reference as it is written on the command line.
fn reference(text: &str) -> Result<String, String> {
    match text.split_once('.') {
        Some((pack, class)) if !pack.is_empty() && !class.is_empty() => Ok(text.to_owned()),
        _ => Err("a sensor is written pack.ClassName".to_owned()),
    }
}
