//! `st2sa arbitrator`: its settings, and how it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use st2sa_arbitrator::{Options, StartError};
use st2sa_core::time::Span;
use st2sa_core::timing::Timing;

use crate::logging::{self, LogOptions};
use crate::settings::{BadSetting, Files};

const SECTION: &str = "sensorarbitrator";
const OPTIONS: &[&str] =
    &["listen", "data_dir", "session_ttl", "heartbeat", "leader_ttl", "max_drift", "margin", "code_settle", "policy"];
const AFTER_HELP: &str = "\
Lengths of time are written 2, 2s or 400ms. In a configuration file the options stand in [sensorarbitrator], with _ \
for -.

Exit codes:
  0  stopped as asked: it resigned first (SIGTERM or SIGINT; a second one stops it at once)
  1  it could not start, or could not go on
  2  a setting is wrong";

/// Options of the arbitrator.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ArbitratorOptions {
    /// A configuration file such as st2.conf; may be given several times, later ones count more
    #[arg(long, value_name = "FILE", env = "ST2SA_CONFIG_FILE", value_delimiter = ',')]
    config_file: Vec<PathBuf>,
    /// Where containers and people reach it [default: 127.0.0.1:9110]
    #[arg(long, value_name = "ADDRESS:PORT", env = "ST2SA_SENSORARBITRATOR_LISTEN")]
    listen: Option<SocketAddr>,
    /// Its own folder: the store, the term, the history [default: /var/lib/st2sa/arbitrator]
    #[arg(long, value_name = "DIR", env = "ST2SA_SENSORARBITRATOR_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// How long a container may act after the last heartbeat that was answered [default: 2s]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORARBITRATOR_SESSION_TTL")]
    session_ttl: Option<Span>,
    /// How often containers send a heartbeat [default: 400ms]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORARBITRATOR_HEARTBEAT")]
    heartbeat: Option<Span>,
    /// How long a leadership lasts without being renewed [default: 2s]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORARBITRATOR_LEADER_TTL")]
    leader_ttl: Option<Span>,
    /// How much the rates of any two clocks may differ: 0.2 is a fifth [default: 0.2]
    #[arg(long, value_name = "RATIO", env = "ST2SA_SENSORARBITRATOR_MAX_DRIFT")]
    max_drift: Option<f64>,
    /// What freezing may take, and what is left to scheduling [default: 200ms]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORARBITRATOR_MARGIN")]
    margin: Option<Span>,
    /// How long changed code must stand before running sensors move for it [default: 60s]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORARBITRATOR_CODE_SETTLE")]
    code_settle: Option<Span>,
    /// A YAML file of what is set for sensors, by reference or glob; read again at SIGHUP [default: none]
    #[arg(long, value_name = "FILE", env = "ST2SA_SENSORARBITRATOR_POLICY")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    log: LogOptions,
}

/// Runs an arbitrator until it is stopped.
pub(crate) fn run(options: ArbitratorOptions) -> anyhow::Result<ExitCode> {
    logging::start(&options.log);
    let files = Files::read(&options.config_file)?;
    files.only(SECTION, OPTIONS)?;
    let defaults = Timing::default();
    let time = |flag, key, default| files.find::<Span>(flag, SECTION, key).map(|found| found.unwrap_or(default));
    let max_drift = files.find(options.max_drift, SECTION, "max_drift")?;
    let timing = Timing {
        session_ttl: time(options.session_ttl, "session_ttl", defaults.session_ttl)?,
        heartbeat: time(options.heartbeat, "heartbeat", defaults.heartbeat)?,
        leader_ttl: time(options.leader_ttl, "leader_ttl", defaults.leader_ttl)?,
        margin: time(options.margin, "margin", defaults.margin)?,
        code_settle: time(options.code_settle, "code_settle", defaults.code_settle)?,
        max_drift_thousandths: max_drift.map_or(Ok(defaults.max_drift_thousandths), thousandths)?,
        ..defaults
    };
    timing.check().map_err(|misfit| BadSetting::new(misfit.to_string()))?;
    let listen = files.find(options.listen, SECTION, "listen")?;
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9110)));
    check_loopback(listen)?;
    let data_folder = files.find(options.data_dir, SECTION, "data_dir")?;
    let data_folder = data_folder.unwrap_or_else(|| PathBuf::from("/var/lib/st2sa/arbitrator"));
    let policy = files.find(options.policy, SECTION, "policy")?;
    match st2sa_arbitrator::run(Options { listen, data_folder, timing, policy }) {
        Err(StartError::Policy(error)) => return Err(BadSetting::new(error.to_string()).into()),
        ended => ended.context("the arbitrator cannot start")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What listens beyond this machine needs TLS and tokens, which this release has not.
pub(crate) fn check_loopback(listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let problem = format!(
        "`listen` is {listen}: this release has neither TLS nor tokens yet, so only loopback addresses (127.0.0.1, \
         ::1) are allowed"
    );
    Err(BadSetting::new(problem).into())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between the bounds")]
fn thousandths(ratio: f64) -> anyhow::Result<u64> {
    if (0.0..=1.0).contains(&ratio) {
        return Ok((ratio * 1_000.0).round() as u64);
    }
    Err(BadSetting::new(format!("`max_drift` is {ratio}: it must lie between 0 and 1; 0.2 allows for a fifth")).into())
}
