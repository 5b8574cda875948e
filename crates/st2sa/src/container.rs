//! `st2sa container`: its settings, and how it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use st2sa_container::{AmqpTarget, Dispatching, Ending, Libraries, Options, Source, StartError, StateError, TlsFiles};
use st2sa_coordination::store::Store;
use st2sa_core::names::ContainerName;
use st2sa_core::time::Span;
use st2sa_stackstorm::packs::{Folders, Packs};
use st2sa_stackstorm::partition::Partition;

use crate::alone;
use crate::arbitrator::{HostPort, Listen, StoreUrl, wants_registry};
use crate::doors::DoorSettings;
use crate::logging::{self, LogOptions};
use crate::settings::{CONTAINER, Flag, Settings};

/// A container's name, in bytes, at the most.
const NAME_BYTES_AT_MOST: usize = 200;
const AFTER_HELP: &str = "\
Every option can also be given as an environment variable (ST2SA_SENSORCONTAINER_LABELS for --labels) or in \
[sensorcontainer] of a configuration file, with _ for -; packs, configurations and virtualenvs are found where StackStorm's \
own [content] and [system] say. Lengths of time are written 2, 2s, 400ms or 10m. `st2sa config container` shows what \
counts, and why; `st2sa check` says what is wrong with the packs.

Changed packs are noticed within seconds; SIGHUP has them read at once.

Exit codes:
  0  stopped as asked: everything was handed over first (SIGTERM or SIGINT)
  1  it could not start, or could not go on
  2  a setting is wrong
  3  stopped at once, as asked a second time
  5  another container has its name";

/// Options of a container.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ContainerOptions {
    #[command(flatten)]
    settings: ContainerSettings,
    #[command(flatten)]
    log: LogOptions,
}

/// What can be set.
#[derive(Args, Debug)]
pub(crate) struct ContainerSettings {
    #[command(flatten)]
    packs: PacksSettings,
    /// The sensor node's name; no two containers may have the same [default: the host's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run every sensor by itself: no arbitrator is needed, nobody takes over
    #[arg(long)]
    no_ha: bool,
    /// Where arbitrators listen; several, comma-separated, are tried in turn [default: 127.0.0.1:9110]
    #[arg(long, value_name = "HOST:PORT,…")]
    arbitrators: Option<String>,
    /// Labels that the policy can ask for [default: none]
    #[arg(long, value_name = "KEY=VALUE,…")]
    labels: Option<String>,
    /// Where triggers go: `stdout`, `file:PATH`, `stackstorm` (the RabbitMQ of [messaging]), `amqp(s)://…` (another one),
    /// or `http(s)://…` (a POST each) [default: stdout]
    #[arg(long, value_name = "SINK")]
    dispatch: Option<String>,
    /// Where it answers `GET /active/REF`; beyond loopback it needs a certificate, see --tls-cert-file [default:
    /// 127.0.0.1:9111]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where arbitrators and people reach it, should that differ from --listen
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    doors: DoorSettings,
    /// Its lock and its socket; best on a tmpfs [default: /run/st2sa/NAME for root; for others below `$XDG_RUNTIME_DIR`, or
    /// in /tmp/user-UID]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// A sensor frozen for longer is killed [default: 30s]
    #[arg(long, value_name = "TIME")]
    freeze_limit: Option<String>,
    /// How long it hands over before it stops by itself [default: 60s]
    #[arg(long, value_name = "TIME")]
    drain_timeout: Option<String>,
    #[command(flatten)]
    alone: alone::AloneSettings,
}

/// Where packs are.
#[derive(Args, Debug)]
pub(crate) struct PacksSettings {
    /// A configuration file such as st2.conf; may be given several times, later ones count more
    #[arg(long, value_name = "FILE", env = "ST2SA_CONFIG_FILE", value_delimiter = ',')]
    config_file: Vec<PathBuf>,
    /// A folder of packs, or a pack; may be given several times [default: StackStorm's packs folders]
    #[arg(long, value_name = "DIR")]
    packs: Vec<PathBuf>,
    /// Where PACK.yaml is each pack's configuration [default: /opt/stackstorm/configs]
    #[arg(long, value_name = "DIR")]
    configs: Option<PathBuf>,
    /// Where PACK/bin/python is each pack's Python [default: /opt/stackstorm/virtualenvs]
    #[arg(long, value_name = "DIR")]
    virtualenvs: Option<PathBuf>,
}

/// What was read.
pub(crate) struct Read {
    options: Options,
    /// The arbitrator of its own, without high availability.
    alone: Option<st2sa_arbitrator::Options>,
}

/// Runs a container until it is stopped.
pub(crate) fn run(options: &ContainerOptions) -> anyhow::Result<ExitCode> {
    logging::start(&options.log);
    let settings = options.settings.packs.files()?;
    let read = options.settings.read(&settings)?;
    let mut container = read.options;
    let packs = container.source.read().map_err(crate::settings::BadSetting::new)?;
    say_what_was_found(&packs);
    container.packs = Arc::new(packs);
    container.guardian_arguments = options.log.arguments();
    let ending = match read.alone {
        None => st2sa_container::run(container),
        Some(arbitrator) => alone::run(arbitrator, container)?,
    };
    ended(ending)
}

fn ended(ending: Result<Ending, StartError>) -> anyhow::Result<ExitCode> {
    match ending {
        Ok(ending) => Ok(ending.into()),
        Err(StartError::State(error @ StateError::NameTaken { .. })) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(5))
        }
        Err(error) => Err(error).context("the container cannot start"),
    }
}

impl ContainerSettings {
    /// Reads the configuration files.
    pub(crate) fn files(&self) -> anyhow::Result<Settings> {
        self.packs.files()
    }

    /// What the container is told; its packs are still to be read.
    pub(crate) fn read(&self, settings: &Settings) -> anyhow::Result<Read> {
        settings.only_known(CONTAINER);
        let name = settings.get::<Name>(self.name.as_deref(), CONTAINER, "sensor_node_name");
        let name = name.map_or_else(|| host_name(settings), |name| name.0);
        settings.found_out(CONTAINER, "sensor_node_name", &name);
        let get = |flag: &Option<String>, name: &'static str| settings.get::<String>(flag.as_deref(), CONTAINER, name);
        let arbitrators = settings.get::<Listed>(self.arbitrators.as_deref(), CONTAINER, "arbitrators");
        let labels = settings.get::<Labels>(self.labels.as_deref(), CONTAINER, "labels");
        let dispatch = settings.get::<Dispatch>(self.dispatch.as_deref(), CONTAINER, "dispatch");
        let dispatching = match dispatch {
            Some(Dispatch::StackStorm) => messaging(settings),
            Some(Dispatch::To(sink)) => Some(sink),
            None => None,
        };
        settings.get::<Runtime>(None, CONTAINER, "runtime");
        let available = settings.get::<Flag>(self.no_ha.then_some("False"), CONTAINER, "ha");
        let listen = settings.get::<Listen>(self.listen.as_deref(), CONTAINER, "listen");
        let advertise = settings.get::<HostPort>(self.advertise.as_deref(), CONTAINER, "advertise");
        let listen = listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9111)), |listen| listen.0);
        let (door, keys) = self.doors.read(settings, CONTAINER);
        if let Err(error) = door.check(listen) {
            settings.wrong(format!("{}: {error}", settings.source(CONTAINER, "listen")));
        }
        if keys.token.is_some() && !keys.tls {
            let problem = "a token is not shown without TLS: beside `token_file` it needs `tls_ca_file`, whose certificates it \
                           trusts (or `system`)";
            settings.wrong(problem.to_owned());
        }
        let state_folder = get(&self.state_dir, "state_dir").map(PathBuf::from);
        let state_folder = state_folder.unwrap_or_else(|| default_state_folder(&name));
        settings.found_out(CONTAINER, "state_dir", &state_folder.display().to_string());
        let time = |flag: &Option<String>, name: &'static str, default: u64| {
            let found = settings.get::<Span>(flag.as_deref(), CONTAINER, name);
            found.unwrap_or(Span::from_secs(default))
        };
        let freeze_limit = time(&self.freeze_limit, "freeze_limit", 30);
        let drain_timeout = time(&self.drain_timeout, "drain_timeout", 60);
        let partition = settings.get::<Partition>(None, CONTAINER, "partition_provider").unwrap_or_default();
        get(&None, "logging");
        let named = settings.source(CONTAINER, "arbitrators") != "default";
        let (store, registry) = stores(settings, named);
        let flag = |section: &'static str, name: &'static str| settings.get::<Flag>(None, section, name);
        let validate_payload = flag("system", "validate_trigger_payload").is_none_or(|flag| flag.0);
        let (folders, libraries) = self.packs.read(settings);
        let alone = (!available.is_none_or(|flag| flag.0)).then(|| self.alone.read(settings));
        settings.finish()?;
        let options = Options {
            arbitrators: if store.is_some() { Vec::new() } else { arbitrators.unwrap_or_default().0 },
            store,
            labels: labels.unwrap_or_default().0,
            packs: Arc::default(),
            source: Source { folders, partition, node: name.clone() },
            state_folder,
            listen,
            advertise: advertise.map(|advertise| advertise.0),
            door,
            keys,
            dispatching: dispatching.unwrap_or(Dispatching::Stdout),
            validate_payload,
            libraries,
            freeze_limit,
            drain_timeout,
            registry,
            on_reload: None,
            name: ContainerName::new(name),
            guardian_arguments: Vec::new(),
        };
        Ok(Read { options, alone })
    }
}

impl PacksSettings {
    /// Reads the configuration files.
    pub(crate) fn files(&self) -> anyhow::Result<Settings> {
        Settings::read(&self.config_file)
    }

    /// Where packs and what belongs to them are, as StackStorm's own sections say.
    pub(crate) fn read(&self, settings: &Settings) -> (Folders, Libraries) {
        let common = settings.get::<Flag>(None, "packs", "enable_common_libs").is_some_and(|flag| flag.0);
        let base = settings.get::<PathBuf>(None, "system", "base_path");
        let base = base.unwrap_or_else(|| PathBuf::from("/opt/stackstorm"));
        let system = settings.get::<PathBuf>(None, "content", "system_packs_base_path");
        let others = settings.get::<String>(None, "content", "packs_base_paths");
        let packs: Vec<PathBuf> = if self.packs.is_empty() {
            let others =
                others.map(|paths| paths.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect());
            let others: Vec<PathBuf> = others.unwrap_or_else(|| vec![base.join("packs")]);
            system.into_iter().chain(others).collect()
        } else {
            for folder in self.packs.iter().filter(|folder| !folder.is_dir()) {
                let what = if folder.exists() { "is a file: a folder is wanted" } else { "is not there" };
                settings.wrong(format!("--packs: `{}` {what}", folder.display()));
            }
            self.packs.clone()
        };
        let absolute = |folder: &Path| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let packs: Vec<PathBuf> = packs.iter().map(|folder| absolute(folder)).collect();
        let source = if self.packs.is_empty() { "[content], or below base_path" } else { "--packs" };
        settings.found_folders("packs", packs.clone(), source.to_owned());
        let of = |given: &Option<PathBuf>, usual: &'static str| {
            let there = || Some(base.join(usual)).filter(|folder| folder.is_dir());
            let folder = given.clone().or_else(there).as_deref().map(absolute);
            let source = match (given, &folder) {
                (Some(_), _) => format!("--{usual}"),
                (None, Some(_)) => "below base_path".to_owned(),
                (None, None) => format!("{} is not there", base.join(usual).display()),
            };
            settings.found_folders(usual, folder.iter().cloned().collect(), source);
            folder
        };
        let folders = Folders {
            packs,
            configs: of(&self.configs, "configs"),
            virtualenvs: of(&self.virtualenvs, "virtualenvs"),
            overrides: of(&None, "overrides"),
        };
        let stackstorm = Some(base.join("st2")).filter(|folder| folder.is_dir());
        (folders, Libraries { common, stackstorm: stackstorm.as_deref().map(absolute) })
    }
}

/// The store in which the leader is found, where no arbitrator was named, and the one with the service registry.
fn stores(settings: &Settings, arbitrators_named: bool) -> (Option<Store>, Option<Store>) {
    let in_registry = wants_registry(settings);
    let Some(url) = settings.get::<String>(None, "coordination", "url") else { return (None, None) };
    match url.parse::<StoreUrl>() {
        Ok(StoreUrl(store)) => ((!arbitrators_named).then(|| store.clone()), in_registry.then_some(store)),
        Err(error) => {
            let problem = format!("{}: `url` of [coordination]: {error}", settings.source("coordination", "url"));
            if !arbitrators_named {
                settings.wrong(format!("{problem}; name the arbitrators with --arbitrators where they share no store"));
            } else if in_registry {
                tracing::warn!(problem, "this container stands in no service registry");
            }
            (None, None)
        }
    }
}

fn say_what_was_found(packs: &Packs) {
    for hint in &packs.hints {
        tracing::info!("hint: {hint}");
    }
    for disabled in &packs.disabled {
        tracing::error!("disabled: {disabled}");
    }
    let enabled = packs.sensors.values().filter(|sensor| sensor.enabled).count();
    tracing::info!(packs = packs.packs.len(), sensors = enabled, disabled = packs.disabled.len(), "packs read");
}

fn host_name(settings: &Settings) -> String {
    let name = st2sa_machine::identity::host();
    if let Err(error) = name.parse::<Name>() {
        settings.wrong(format!("the host's name {error}; give the container one with --name"));
    }
    name
}

/// A container's name: part of file names, keys and messages.
#[derive(Clone, Debug)]
struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let first = name.chars().next().is_some_and(|character| character.is_ascii_alphanumeric());
        if first && name.len() <= NAME_BYTES_AT_MOST && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!(
            "`{name}` cannot be a container's name: it must begin with a letter or a digit, hold only letters, digits, \
             `-`, `_` and `.`, and have at most {NAME_BYTES_AT_MOST} characters"
        ))
    }
}

/// What runs sensors.
struct Runtime;

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "host" => Ok(Self),
            "st2" => Err("`st2` is not in this release: `host` is allowed".to_owned()),
            _ => Err("`host` is allowed".to_owned()),
        }
    }
}

/// Where a user may keep what is gone after a reboot.
fn default_state_folder(name: &str) -> PathBuf {
    let user = rustix::process::getuid();
    let base = if user.is_root() {
        PathBuf::from("/run")
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/tmp/user-{}", user.as_raw()).into(), PathBuf::from)
    };
    base.join("st2sa").join(name)
}

/// A comma-separated list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed(Vec<String>);

impl FromStr for Listed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let addresses: Vec<String> =
            text.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect();
        let has_port = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if addresses.is_empty() || !addresses.iter().all(has_port) {
            return Err("addresses are written HOST:PORT, with commas between them".to_owned());
        }
        Ok(Self(addresses))
    }
}

/// Labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        });
        let labels: Option<_> = labels.collect();
        labels.map(Self).ok_or_else(|| "labels are written KEY=VALUE, with commas between them".to_owned())
    }
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// Whatever `[messaging]` says.
    StackStorm,
    /// This one.
    To(Dispatching),
}

impl FromStr for Dispatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stdout" => Ok(Self::To(Dispatching::Stdout)),
            None if text == "stackstorm" => Ok(Self::StackStorm),
            Some(("file", path)) if !path.is_empty() => Ok(Self::To(Dispatching::File(path.into()))),
            Some(("http" | "https", _)) => text.parse().map(Dispatching::Http).map(Self::To),
            Some(("amqp" | "amqps", _)) => text.parse().map(Dispatching::Amqp).map(Self::To),
            _ => Err("triggers go to `stackstorm`, `stdout`, `file:PATH`, `https://HOST:PORT/PATH` (or `http://`) or \
                      `amqps://USER:PASSWORD@HOST:PORT/VIRTUAL-HOST` (or `amqp://`)"
                .to_owned()),
        }
    }
}

/// The RabbitMQ that StackStorm's own services talk through, as its configuration says.
fn messaging(settings: &Settings) -> Option<Dispatching> {
    const SECTION: &str = "messaging";
    let get = |name: &'static str| settings.get::<String>(None, SECTION, name).filter(|value| !value.is_empty());
    let flag = |name: &'static str| settings.get::<Flag>(None, SECTION, name).is_some_and(|flag| flag.0);
    let listed =
        |urls: String| urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
    // As there, it counts for more than `url`.
    let cluster: Vec<String> = get("cluster_urls").map(listed).unwrap_or_default();
    let named = if cluster.is_empty() { "url" } else { "cluster_urls" };
    let urls = if cluster.is_empty() { get("url").into_iter().collect() } else { cluster };
    let file = |name: &'static str| get(name).map(PathBuf::from);
    let tls = TlsFiles { ca: file("ssl_ca_certs"), certificate: file("ssl_certfile"), key: file("ssl_keyfile") };
    let secure = flag("ssl") || tls != TlsFiles::default();
    if get("ssl_cert_reqs").is_some_and(|wanted| wanted != "required") {
        settings.wrong(format!(
            "{}: `ssl_cert_reqs` of [messaging]: st2sa always looks at RabbitMQ's certificate: `required` is allowed; \
             `ssl_ca_certs` names who vouches for it",
            settings.source(SECTION, "ssl_cert_reqs")
        ));
    }
    match AmqpTarget::new(&urls, secure, tls, get("prefix").as_deref()) {
        Ok(target) => Some(Dispatching::Amqp(target)),
        Err(error) => {
            settings.wrong(format!("{}: `{named}` of [messaging]: {error}", settings.source(SECTION, named)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_labels_and_sinks_are_read_or_refused_with_a_reason() {
        assert_eq!("a:1, b:2,".parse::<Listed>().unwrap().0, ["a:1", "b:2"]);
        assert!("a".parse::<Listed>().is_err() && "".parse::<Listed>().is_err() && "a:x".parse::<Listed>().is_err());
        let labels = "site=x, rack=".parse::<Labels>().unwrap().0;
        assert_eq!(labels.get("rack").map(String::as_str), Some(""));
        assert!("site".parse::<Labels>().is_err() && "=x".parse::<Labels>().is_err());
        assert_eq!("file:/a".parse::<Dispatch>().unwrap(), Dispatch::To(Dispatching::File("/a".into())));
        assert_eq!("stackstorm".parse::<Dispatch>().unwrap(), Dispatch::StackStorm);
        let remote = |text: &str| matches!(text.parse(), Ok(Dispatch::To(Dispatching::Amqp(_) | Dispatching::Http(_))));
        assert!(remote("amqp://x") && remote("amqps://u:p@x/y") && remote("http://x") && remote("https://x/y"));
        for wrong in ["amqp:x", "amqp://", "https:", "file:", "ftp://x", "stackstorm:", "nowhere"] {
            assert!(wrong.parse::<Dispatch>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        assert!("node-1.example".parse::<Name>().is_ok());
        for wrong in ["", "..", "a/b", "a b", ".a", "ä"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
