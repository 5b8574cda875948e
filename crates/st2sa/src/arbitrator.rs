//! `st2sa arbitrator`: its settings, and how it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, Subcommand};
use st2sa_arbitrator::policy::PolicyFile;
use st2sa_arbitrator::{Options, StartError};
use st2sa_coordination::store::Store;
use st2sa_coordination::url::UrlError;
use st2sa_core::time::Span;
use st2sa_core::timing::Timing;

use crate::admit::{self, AdmitOptions};
use crate::doors::DoorSettings;
use crate::logging::{self, LogOptions};
use crate::settings::{ARBITRATOR, BadSetting, Flag, Settings};

const AFTER_HELP: &str = "\
Every option can also be given as an environment variable (ST2SA_SENSORARBITRATOR_SESSION_TTL for --session-ttl) or in \
[sensorarbitrator] of a configuration file, with _ for -. Lengths of time are written 2, 2s, 400ms or 10m. `st2sa config \
arbitrator` shows what counts, and why.

SIGHUP has it read the policy file again.

Exit codes:
  0  stopped as asked: it resigned first (SIGTERM or SIGINT; a second one stops it at once)
  1  it could not start, or could not go on
  2  a setting is wrong";

/// Options of the arbitrator.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ArbitratorOptions {
    #[command(subcommand)]
    order: Option<ArbitratorOrder>,
    #[command(flatten)]
    settings: ArbitratorSettings,
    #[command(flatten)]
    log: LogOptions,
}

/// What else can be asked for.
#[derive(Subcommand, Debug)]
enum ArbitratorOrder {
    /// Let a new arbitrator lead, where every one that may is gone for good
    Admit(Box<AdmitOptions>),
}

/// What can be set.
#[derive(Args, Debug)]
pub(crate) struct ArbitratorSettings {
    /// A configuration file such as st2.conf; may be given several times, later ones count more
    #[arg(long, value_name = "FILE", env = "ST2SA_CONFIG_FILE", value_delimiter = ',')]
    config_file: Vec<PathBuf>,
    /// Where containers and people reach it; beyond loopback it needs a certificate, see --tls-cert-file [default:
    /// 127.0.0.1:9110]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where others reach it, should that differ from --listen
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    doors: DoorSettings,
    /// Its own folder: the store, the term, the history [default: /var/lib/st2sa/arbitrator]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// How long a container may act after the last heartbeat that was answered [default: 2s]
    #[arg(long, value_name = "TIME")]
    session_ttl: Option<String>,
    /// How often containers send a heartbeat [default: 400ms]
    #[arg(long, value_name = "TIME")]
    heartbeat: Option<String>,
    /// How long a leadership lasts without being renewed [default: 2s]
    #[arg(long, value_name = "TIME")]
    leader_ttl: Option<String>,
    /// How much the rates of any two clocks may differ: 0.2 is a fifth [default: 0.2]
    #[arg(long, value_name = "RATIO")]
    max_drift: Option<String>,
    /// What freezing may take, and what is left to scheduling [default: 200ms]
    #[arg(long, value_name = "TIME")]
    margin: Option<String>,
    /// How long changed code must stand before running sensors move for it [default: 60s]
    #[arg(long, value_name = "TIME")]
    code_settle: Option<String>,
    /// A YAML file of what is set for sensors, by reference or glob; read again at SIGHUP [default: none]
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
}

/// Runs an arbitrator until it is stopped.
pub(crate) fn run(options: &ArbitratorOptions) -> anyhow::Result<ExitCode> {
    if let Some(ArbitratorOrder::Admit(options)) = &options.order {
        admit::run(options)?;
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&options.log);
    let settings = options.settings.files()?;
    let options = options.settings.read(&settings)?;
    match st2sa_arbitrator::run(options) {
        Err(StartError::Policy(error)) => return Err(BadSetting::new(error.to_string()).into()),
        ended => ended.context("the arbitrator cannot start")?,
    }
    Ok(ExitCode::SUCCESS)
}

impl ArbitratorSettings {
    /// Reads the configuration files.
    pub(crate) fn files(&self) -> anyhow::Result<Settings> {
        Settings::read(&self.config_file)
    }

    /// What the arbitrator is told.
    pub(crate) fn read(&self, settings: &Settings) -> anyhow::Result<Options> {
        settings.only_known(ARBITRATOR);
        let flags = self;
        let listen = settings.get::<Listen>(flags.listen.as_deref(), ARBITRATOR, "listen");
        let advertise = settings.get::<HostPort>(flags.advertise.as_deref(), ARBITRATOR, "advertise");
        let data_folder = settings.get::<PathBuf>(flags.data_dir.as_deref(), ARBITRATOR, "data_dir");
        let time = |flag: &Option<String>, name, default| {
            settings.get::<Span>(flag.as_deref(), ARBITRATOR, name).unwrap_or(default)
        };
        let defaults = Timing::default();
        let timing = Timing {
            session_ttl: time(&flags.session_ttl, "session_ttl", defaults.session_ttl),
            heartbeat: time(&flags.heartbeat, "heartbeat", defaults.heartbeat),
            leader_ttl: time(&flags.leader_ttl, "leader_ttl", defaults.leader_ttl),
            margin: time(&flags.margin, "margin", defaults.margin),
            code_settle: time(&flags.code_settle, "code_settle", defaults.code_settle),
            max_drift_thousandths: settings
                .get::<Drift>(flags.max_drift.as_deref(), ARBITRATOR, "max_drift")
                .map_or(defaults.max_drift_thousandths, |drift| drift.0),
            ..defaults
        };
        if let Err(misfit) = timing.check() {
            let from = |name: &str| format!("{name} is from {}", settings.source(ARBITRATOR, name));
            let places = ["session_ttl", "heartbeat", "leader_ttl", "margin", "max_drift"].map(from).join(", ");
            settings.wrong(format!("{misfit} ({places})"));
        }
        let policy = settings.get::<PathBuf>(flags.policy.as_deref(), ARBITRATOR, "policy");
        if let Some(path) = &policy
            && let Err(error) = PolicyFile::read(path)
        {
            settings.wrong(error.to_string());
        }
        let store = settings.get::<StoreUrl>(None, "coordination", "url").map(|url| url.0);
        let wanted = wants_registry(settings);
        let registry = store.clone().filter(|_| wanted);
        let listen = listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9110)), |listen| listen.0);
        let (door, keys) = flags.doors.read(settings, ARBITRATOR);
        if let Err(error) = door.check(listen) {
            settings.wrong(format!("{}: {error}", settings.source(ARBITRATOR, "listen")));
        }
        if store.is_some() && door.tokens.is_some() && door.authority.is_none() && keys.token.is_none() {
            let problem = "arbitrators that share a store go to each other: beside `tokens_file` each needs `tls_ca_file`, or a \
                           `token_file` with a token of the role `arbitrator`";
            settings.wrong(problem.to_owned());
        }
        settings.get::<String>(None, "coordination", "lock_timeout");
        settings.finish()?;
        Ok(Options {
            listen,
            door,
            keys,
            data_folder: data_folder.unwrap_or_else(|| PathBuf::from("/var/lib/st2sa/arbitrator")),
            store,
            registry,
            advertise: advertise.map(|advertise| advertise.0),
            timing,
            policy,
            alone: false,
        })
    }
}

/// Whether StackStorm's service registry is to be stood in.
pub(crate) fn wants_registry(settings: &Settings) -> bool {
    settings.get::<Flag>(None, "coordination", "service_registry").is_some_and(|flag| flag.0)
}

/// Where others reach something.
#[derive(Clone, Debug)]
pub(crate) struct HostPort(pub(crate) String);

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@', ' ']));
        match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(port)) if port > 0 => Ok(Self(text.to_owned())),
            _ => Err("an address that others can reach is written HOST:PORT".to_owned()),
        }
    }
}

/// The store that arbitrators share, as StackStorm's own option names it.
#[derive(Clone, Debug)]
pub(crate) struct StoreUrl(pub(crate) Store);

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Store::parse(text).map(|parsed| Self(parsed.store))
    }
}

/// An address to listen at; the door says what it needs for that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse();
        address.map(Self).map_err(|_| "an address is written ADDRESS:PORT, such as 127.0.0.1:9110".to_owned())
    }
}

/// An address that this machine alone can reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loopback(pub(crate) SocketAddr);

impl FromStr for Loopback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Listen(address) = text.parse()?;
        let problem = "only loopback addresses (127.0.0.1, ::1) are allowed here".to_owned();
        if address.ip().is_loopback() { Ok(Self(address)) } else { Err(problem) }
    }
}

/// A ratio, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Drift(u64);

impl FromStr for Drift {
    type Err = String;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between the bounds")]
    fn from_str(text: &str) -> Result<Self, String> {
        let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let ratio = ratio.ok_or("it must lie between 0 and 1; 0.2 allows for a fifth")?;
        Ok(Self((ratio * 1_000.0).round() as u64))
    }
}
