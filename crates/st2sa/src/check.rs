//! `st2sa check`: everything that is wrong with the packs, before anything starts.
//!
//! The packs are read as a container reads them, and every sensor is loaded in a process of its own, as a container loads
//! it; nothing is set up, polled or dispatched.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use st2sa_container::Loaded;
use st2sa_core::message::Kind;
use st2sa_stackstorm::packs::{self, Packs};

use crate::ask::one_line;
use crate::container::PacksSettings;
use crate::logging::{self, LogOptions};

const AFTER_HELP: &str = "\
Sensors' modules are imported and their classes constructed, as a container does before it offers them; setup() and poll() \
are not called. Run it as the user, and on the node, that the container is to run as.

Exit codes:
  0  every sensor that is enabled can be loaded
  1  some cannot
  2  a setting is wrong";

/// Options of `check`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    packs: PacksSettings,
    /// Print a JSON document
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    output: String,
    #[command(flatten)]
    log: LogOptions,
}

/// Checks, and says what was found.
pub(crate) fn run(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let settings = options.packs.files()?;
    let (folders, libraries) = options.packs.read(&settings);
    settings.finish()?;
    let log = options.log.quiet();
    logging::start(&log);
    let packs = Arc::new(packs::read(&folders));
    let watched = std::io::stderr().is_terminal();
    let loaded = st2sa_container::check(&packs, &libraries, &log.arguments(), |done, all| {
        if watched {
            eprint!("\r\u{1b}[Kloading sensors: {done} of {all}");
        }
    })?;
    if watched {
        eprint!("\r\u{1b}[K");
    }
    let text = if options.output == "json" { as_json(&packs, &loaded) } else { as_text(&packs, &loaded) };
    std::io::stdout().write_all(text.as_bytes())?;
    let fine = packs.disabled.is_empty() && loaded.values().all(Result::is_ok);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_text(packs: &Packs, loaded: &Loaded) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    for disabled in &packs.disabled {
        let _ = writeln!(text, "error: {}", one_line(&disabled.to_string()));
    }
    for (sensor, outcome) in loaded {
        if let Err(problem) = outcome
            && !packs.disabled.iter().any(|disabled| disabled.reference.as_ref() == Some(sensor))
        {
            let _ = writeln!(text, "error: {sensor}: {}", one_line(problem));
        }
    }
    for hint in &packs.hints {
        let _ = writeln!(text, "hint: {}", one_line(&hint.to_string()));
    }
    let off = off(packs);
    if !off.is_empty() {
        let _ = writeln!(text, "off: {} (by their metadata or by overrides)", off.join(", "));
    }
    let count = |kind: fn(&Kind) -> bool| loaded.values().filter(|outcome| outcome.as_ref().is_ok_and(kind)).count();
    let (polling, passive) = (count(|kind| matches!(kind, Kind::Polling { .. })), count(|kind| *kind == Kind::Passive));
    let wrong = packs.disabled.len() + loaded.values().filter(|outcome| outcome.is_err()).count()
        - loaded.iter().filter(|(sensor, outcome)| outcome.is_err() && is_disabled(packs, sensor)).count();
    let _ = writeln!(
        text,
        "{} packs; {} sensors can be loaded ({polling} polling, {passive} passive), {wrong} cannot, {} are off; {} hints",
        packs.packs.len(),
        polling + passive,
        off.len(),
        packs.hints.len()
    );
    text
}

/// What is not to run: by its metadata or by overrides.
fn off(packs: &Packs) -> Vec<&str> {
    packs.sensors.values().filter(|sensor| !sensor.enabled).map(|sensor| sensor.reference.as_str()).collect()
}

fn is_disabled(packs: &Packs, sensor: &st2sa_core::names::SensorRef) -> bool {
    packs.disabled.iter().any(|disabled| disabled.reference.as_ref() == Some(sensor))
}

fn as_json(packs: &Packs, loaded: &Loaded) -> String {
    let sensor = |(sensor, outcome): (&st2sa_core::names::SensorRef, &Result<Kind, String>)| {
        let kind = outcome.as_ref().ok().map(|kind| match kind {
            Kind::Polling { .. } => "polling",
            Kind::Passive => "passive",
        });
        json!({ "ref": sensor.as_str(), "kind": kind, "problem": outcome.as_ref().err() })
    };
    let disabled = packs.disabled.iter().map(|disabled| {
        json!({
            "pack": disabled.pack,
            "ref": disabled.reference.as_ref().map(st2sa_core::names::SensorRef::as_str),
            "file": disabled.file.display().to_string(),
            "line": disabled.line,
            "problem": disabled.reason,
            "cure": disabled.cure,
        })
    });
    let hints = packs
        .hints
        .iter()
        .map(|hint| json!({ "file": hint.file.display().to_string(), "line": hint.line, "text": hint.text }));
    let document = json!({
        "sensors": loaded.iter().map(sensor).collect::<Vec<_>>(),
        "disabled": disabled.collect::<Vec<_>>(),
        "off": off(packs),
        "hints": hints.collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
