//! `st2sa container`: its settings, and how it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use st2sa_container::{Dispatching, Options, StartError, StateError};
use st2sa_core::names::ContainerName;
use st2sa_core::time::Span;
use st2sa_stackstorm::packs::{self, Folders, Packs};

use crate::arbitrator::check_loopback;
use crate::logging::{self, LogOptions};
use crate::settings::{BadSetting, Files, Flag};

const SECTION: &str = "sensorcontainer";
/// Those of StackStorm's that say nothing here are taken and left alone: the file is shared with it.
const OPTIONS: &[&str] = &[
    "sensor_node_name",
    "arbitrators",
    "labels",
    "dispatch",
    "listen",
    "state_dir",
    "freeze_limit",
    "drain_timeout",
    "logging",
    "partition_provider",
];
/// A container's name, in bytes, at the most.
const NAME_BYTES_AT_MOST: usize = 200;
const AFTER_HELP: &str = "\
Lengths of time are written 2, 2s or 400ms. In a configuration file the options stand in [sensorcontainer], with _ \
for -; packs, configurations and virtualenvs are found where StackStorm's own [content] and [system] say.

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
    /// A configuration file such as st2.conf; may be given several times, later ones count more
    #[arg(long, value_name = "FILE", env = "ST2SA_CONFIG_FILE", value_delimiter = ',')]
    config_file: Vec<PathBuf>,
    /// The sensor node's name; no two containers may have the same [default: the host's name]
    #[arg(long, value_name = "NAME", env = "ST2SA_SENSORCONTAINER_SENSOR_NODE_NAME")]
    name: Option<String>,
    /// Where arbitrators listen; several, comma-separated, are tried in turn [default: 127.0.0.1:9110]
    #[arg(long, value_name = "HOST:PORT,…", env = "ST2SA_SENSORCONTAINER_ARBITRATORS")]
    arbitrators: Option<Listed>,
    /// Labels that the policy can ask for [default: none]
    #[arg(long, value_name = "KEY=VALUE,…", env = "ST2SA_SENSORCONTAINER_LABELS")]
    labels: Option<Labels>,
    /// A folder of packs, or a pack; may be given several times [default: StackStorm's packs folders]
    #[arg(long, value_name = "DIR")]
    packs: Vec<PathBuf>,
    /// Where PACK.yaml is each pack's configuration [default: /opt/stackstorm/configs]
    #[arg(long, value_name = "DIR")]
    configs: Option<PathBuf>,
    /// Where PACK/bin/python is each pack's Python [default: /opt/stackstorm/virtualenvs]
    #[arg(long, value_name = "DIR")]
    virtualenvs: Option<PathBuf>,
    /// Where triggers go: `stdout`, or `file:PATH` [default: stdout]
    #[arg(long, value_name = "SINK", env = "ST2SA_SENSORCONTAINER_DISPATCH")]
    dispatch: Option<Dispatch>,
    /// Where it answers `GET /active/REF` [default: 127.0.0.1:9111]
    #[arg(long, value_name = "ADDRESS:PORT", env = "ST2SA_SENSORCONTAINER_LISTEN")]
    listen: Option<SocketAddr>,
    /// Its lock and its socket; best on a tmpfs [default: /run/st2sa/NAME, for root]
    #[arg(long, value_name = "DIR", env = "ST2SA_SENSORCONTAINER_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// A sensor frozen for longer is killed [default: 30s]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORCONTAINER_FREEZE_LIMIT")]
    freeze_limit: Option<Span>,
    /// How long it hands over before it stops by itself [default: 60s]
    #[arg(long, value_name = "TIME", env = "ST2SA_SENSORCONTAINER_DRAIN_TIMEOUT")]
    drain_timeout: Option<Span>,
    #[command(flatten)]
    log: LogOptions,
}

/// Runs a container until it is stopped.
pub(crate) fn run(options: ContainerOptions) -> anyhow::Result<ExitCode> {
    logging::start(&options.log);
    let files = Files::read(&options.config_file)?;
    files.only(SECTION, OPTIONS)?;
    let folders = folders(&options, &files)?;
    let name = files.find(options.name, SECTION, "sensor_node_name")?;
    let name = checked_name(name.unwrap_or_else(st2sa_machine::identity::host))?;
    let listen = files.find(options.listen, SECTION, "listen")?;
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9111)));
    check_loopback(listen)?;
    let arbitrators = files.find(options.arbitrators, SECTION, "arbitrators")?;
    let state_folder = files.find(options.state_dir, SECTION, "state_dir")?;
    let time = |flag, key, default: u64| {
        let found = files.find::<Span>(flag, SECTION, key);
        found.map(|found| found.unwrap_or(Span::from_secs(default)))
    };
    let flag = |section: &str, key: &str, default| {
        files.find::<Flag>(None, section, key).map(|found| found.map_or(default, |flag| flag.0))
    };
    let packs = packs::read(&folders);
    say_what_was_found(&packs);
    let ending = st2sa_container::run(Options {
        arbitrators: arbitrators.map_or_else(|| vec!["127.0.0.1:9110".to_owned()], |listed| listed.0),
        labels: files.find(options.labels, SECTION, "labels")?.unwrap_or_default().0,
        packs: Arc::new(packs),
        folders,
        state_folder: state_folder.unwrap_or_else(|| default_state_folder(&name)),
        listen,
        dispatching: files.find(options.dispatch, SECTION, "dispatch")?.map_or(Dispatching::Stdout, |sink| sink.0),
        validate_payload: flag("system", "validate_trigger_payload", true)?,
        common_libraries: flag("packs", "enable_common_libs", false)?,
        freeze_limit: time(options.freeze_limit, "freeze_limit", 30)?,
        drain_timeout: time(options.drain_timeout, "drain_timeout", 60)?,
        name: ContainerName::new(name),
        guardian_arguments: options.log.arguments(),
    });
    match ending {
        Ok(ending) => Ok(ending.into()),
        Err(StartError::State(error @ StateError::NameTaken { .. })) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(5))
        }
        Err(error) => Err(error).context("the container cannot start"),
    }
}

/// Where packs and what belongs to them are, as StackStorm's own sections say.
fn folders(options: &ContainerOptions, files: &Files) -> anyhow::Result<Folders> {
    let base = files.find::<PathBuf>(None, "system", "base_path")?;
    let base = base.unwrap_or_else(|| PathBuf::from("/opt/stackstorm"));
    let packs = if options.packs.is_empty() {
        let system = files.find::<PathBuf>(None, "content", "system_packs_base_path")?;
        let others = files.find::<String>(None, "content", "packs_base_paths")?;
        let others = others.map(|paths| paths.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect());
        let others: Vec<PathBuf> = others.unwrap_or_else(|| vec![base.join("packs")]);
        system.into_iter().chain(others).collect()
    } else {
        if let Some(missing) = options.packs.iter().find(|folder| !folder.is_dir()) {
            return Err(BadSetting::new(format!("--packs: there is no folder `{}`", missing.display())).into());
        }
        options.packs.clone()
    };
    let absolute = |folder: &Path| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let of = |given: &Option<PathBuf>, usual: &str| {
        let folder = given.clone().or_else(|| Some(base.join(usual)).filter(|folder| folder.is_dir()));
        folder.as_deref().map(absolute)
    };
    Ok(Folders {
        packs: packs.iter().map(|folder| absolute(folder)).collect(),
        configs: of(&options.configs, "configs"),
        virtualenvs: of(&options.virtualenvs, "virtualenvs"),
        overrides: Some(base.join("overrides")).filter(|folder| folder.is_dir()),
    })
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

fn checked_name(name: String) -> anyhow::Result<String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let first = name.chars().next().is_some_and(|character| character.is_ascii_alphanumeric());
    if first && name.len() <= NAME_BYTES_AT_MOST && name.chars().all(allowed) {
        return Ok(name);
    }
    let problem = format!(
        "`{name}` cannot be a container's name: it must begin with a letter or a digit, hold only letters, digits, \
         `-`, `_` and `.`, and have at most {NAME_BYTES_AT_MOST} characters"
    );
    Err(BadSetting::new(problem).into())
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub(crate) struct Dispatch(pub(crate) Dispatching);

impl FromStr for Dispatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stdout" => Ok(Self(Dispatching::Stdout)),
            Some(("file", path)) if !path.is_empty() => Ok(Self(Dispatching::File(path.into()))),
            _ => Err("triggers go to `stdout` or to `file:PATH`".to_owned()),
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
        assert_eq!("file:/a".parse::<Dispatch>().unwrap().0, Dispatching::File("/a".into()));
        assert!("amqp://x".parse::<Dispatch>().is_err() && "file:".parse::<Dispatch>().is_err());
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        assert!(checked_name("node-1.example".to_owned()).is_ok());
        for wrong in ["", "..", "a/b", "a b", ".a", "ä"] {
            assert!(checked_name(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
