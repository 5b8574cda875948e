//! The policy file: what operators set for sensors, by reference or by glob.
//!
//! ```yaml
//! sensors:
//!   "aws.*":           {weight: 2, require: {zone: eu}, standby: cold, memory: 512MiB}
//!   "aws.QueueSensor": {max_errors: 5, poll_timeout: 10m}
//! ```
//!
//! Entries count in the order of the file: each later one that fits a sensor overrides what it names, field by field.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use st2sa_core::glob;
use st2sa_core::message::Effects;
use st2sa_core::names::SensorRef;
use st2sa_core::placement::Labels;
use st2sa_core::policy::SensorPolicy;
use st2sa_core::time::Span;
use st2sa_proto::InstancePolicy;
use st2sa_stackstorm::yaml::{self, Document};

/// Entries at the most: each is tried for each sensor.
const ENTRIES_AT_MOST: usize = 10_000;
/// Bounds of a weight.
const WEIGHT_AT_MOST: u64 = 1_000;
/// Bounds of `max_errors`.
const ERRORS_AT_MOST: u64 = 1_000;
/// Less memory starts no Python.
const MEMORY_AT_LEAST: u64 = 16 << 20;
/// What an entry may say, for messages.
const KEYS: &str = "weight, require, prefer, standby, effects, poll_timeout, max_errors, memory, runtime";

/// What operators set for sensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyFile {
    entries: Vec<Entry>,
}

/// Why a policy file was not read: where, what is wrong, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}", file.display(), Line(*line))]
pub struct PolicyError {
    file: PathBuf,
    line: Option<usize>,
    problem: String,
}

/// `:7`, or nothing.
struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    pattern: String,
    weight: Option<u32>,
    require: Option<Labels>,
    prefer: Option<Labels>,
    cold_standby: Option<bool>,
    effects: Option<Way>,
    poll_timeout: Option<Span>,
    max_errors: Option<u32>,
    memory: Option<u64>,
}

/// How effects go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As the sensor's code suggests.
    Auto,
    Journal,
    Direct,
}

impl PolicyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong in it, with its line.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let wrong = |line, problem| PolicyError { file: path.to_owned(), line, problem };
        let document = yaml::read(path).map_err(|error| wrong(error.line(), error.problem()))?;
        Self::understand(&document).map_err(|(line, problem)| wrong(Some(line), problem))
    }

    /// What holds for a sensor, for the arbiter.
    pub fn of(&self, sensor: &SensorRef) -> SensorPolicy {
        let mut policy = SensorPolicy::default();
        for entry in self.matching(sensor) {
            policy.weight = entry.weight.unwrap_or(policy.weight);
            if let Some(require) = &entry.require {
                policy.require.clone_from(require);
            }
            if let Some(prefer) = &entry.prefer {
                policy.prefer.clone_from(prefer);
            }
            policy.effects = match entry.effects {
                None => policy.effects,
                Some(Way::Auto) => None,
                Some(Way::Direct) => Some(Effects::Direct),
                Some(Way::Journal) => Some(Effects::Journal),
            };
            policy.poll_timeout = entry.poll_timeout.or(policy.poll_timeout);
            policy.max_errors = entry.max_errors.unwrap_or(policy.max_errors);
        }
        policy
    }

    /// What holds for a sensor, for its containers.
    pub fn instance(&self, sensor: &SensorRef) -> InstancePolicy {
        let mut policy = InstancePolicy { sensor: sensor.clone(), cold_standby: false, memory_bytes: None };
        for entry in self.matching(sensor) {
            policy.cold_standby = entry.cold_standby.unwrap_or(policy.cold_standby);
            policy.memory_bytes = entry.memory.or(policy.memory_bytes);
        }
        policy
    }

    fn matching<'a>(&'a self, sensor: &'a SensorRef) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| glob::fits(&entry.pattern, sensor.as_str()))
    }

    fn understand(document: &Document) -> Result<Self, (usize, String)> {
        let root = match &document.value {
            Value::Null => return Ok(Self::default()),
            Value::Object(root) => root,
            _ => return Err((document.line_of(&[]), "it must be a mapping with the one key `sensors`".to_owned())),
        };
        if let Some(key) = root.keys().find(|key| *key != "sensors") {
            let problem = format!("`{key}` is unknown: the one key is `sensors`");
            return Err((document.line_of(&[key]), problem));
        }
        let entries = match root.get("sensors") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                let problem = "`sensors` must be a mapping of references or globs, such as `aws.*`";
                return Err((document.line_of(&["sensors"]), problem.to_owned()));
            }
        };
        if entries.len() > ENTRIES_AT_MOST {
            let problem = format!("more than {ENTRIES_AT_MOST} entries: use globs");
            return Err((document.line_of(&["sensors"]), problem));
        }
        let entry = |(pattern, value): (&String, &Value)| entry(document, pattern, value);
        Ok(Self { entries: entries.iter().map(entry).collect::<Result<_, _>>()? })
    }
}

fn entry(document: &Document, pattern: &str, value: &Value) -> Result<Entry, (usize, String)> {
    let here = document.line_of(&["sensors", pattern]);
    let is_reference = pattern.split_once('.').is_some_and(|(pack, class)| !pack.is_empty() && !class.is_empty());
    if !is_reference && !pattern.contains('*') {
        return Err((here, format!("`{pattern}` is no sensor: write pack.ClassName, or a glob with `*` and `?`")));
    }
    let Value::Object(fields) = value else {
        return Err((here, format!("`{pattern}` must be a mapping; its keys are {KEYS}")));
    };
    let mut entry = Entry { pattern: pattern.to_owned(), ..Entry::default() };
    for (key, value) in fields {
        set(&mut entry, key, value)
            .map_err(|problem| (document.line_of(&["sensors", pattern, key]), format!("{pattern}: {problem}")))?;
    }
    Ok(entry)
}

fn set(entry: &mut Entry, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "weight" => entry.weight = Some(number(key, value, WEIGHT_AT_MOST)?),
        "max_errors" => entry.max_errors = Some(number(key, value, ERRORS_AT_MOST)?),
        "require" => entry.require = Some(labels(key, value)?),
        "prefer" => entry.prefer = Some(labels(key, value)?),
        "poll_timeout" => {
            let text = text(value);
            let span = text.parse::<Span>().map_err(|error| format!("`{key}` is `{text}`: {error}"))?;
            if span == Span::ZERO {
                return Err(format!("`{key}` is `{text}`: every poll would count as hung"));
            }
            entry.poll_timeout = Some(span);
        }
        "standby" => {
            entry.cold_standby = Some(match value.as_str() {
                Some("warm") => false,
                Some("cold") => true,
                _ => return Err(format!("`{key}` is `{}`: `warm` and `cold` are allowed", text(value))),
            });
        }
        "effects" => {
            entry.effects = Some(match value.as_str() {
                Some("auto") => Way::Auto,
                Some("direct") => Way::Direct,
                Some("journal") => Way::Journal,
                _ => return Err(format!("`{key}` is `{}`: `auto`, `journal` and `direct` are allowed", text(value))),
            });
        }
        "memory" => entry.memory = Some(bytes(value)?),
        "runtime" => match value.as_str() {
            Some("host") => {}
            Some("st2" | "exec") => return Err(not_yet(&format!("`runtime: {}`", text(value)), "`host` is allowed")),
            _ => return Err(format!("`{key}` is `{}`: `host` is allowed", text(value))),
        },
        "on_raise" | "trace_tags" => return Err(not_yet(&format!("`{key}`"), "leave it out")),
        _ => return Err(format!("`{key}` is unknown: the keys are {KEYS}")),
    }
    Ok(())
}

fn not_yet(what: &str, instead: &str) -> String {
    format!("{what} is not in this release: {instead}")
}

fn number(key: &str, value: &Value, at_most: u64) -> Result<u32, String> {
    let number = value.as_u64().filter(|number| (1..=at_most).contains(number));
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("`{key}` is `{}`: a whole number from 1 to {at_most} is allowed", text(value)))
}

fn labels(key: &str, value: &Value) -> Result<Labels, String> {
    let pairs = value.as_object().map(Map::iter).into_iter().flatten();
    let labels: Option<Labels> = pairs.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    labels
        .filter(|_| value.is_object())
        .ok_or_else(|| format!("`{key}` must be a mapping of labels to texts, such as {{zone: eu}}"))
}

fn bytes(value: &Value) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let written = text(value);
    let read = UNITS
        .iter()
        .find_map(|(unit, bytes)| written.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*bytes));
    read.filter(|bytes| *bytes >= MEMORY_AT_LEAST)
        .ok_or_else(|| format!("`memory` is `{written}`: bytes with KiB, MiB or GiB are allowed, at least 16MiB"))
}

/// A scalar as it was written, more or less.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PolicyFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        let folder = format!("{}/", folder.path().display());
        PolicyFile::read(&path).map_err(|error| error.to_string().replace(&folder, ""))
    }

    fn sensor(reference: &str) -> SensorRef {
        SensorRef::new(reference)
    }

    #[test]
    fn later_entries_override_what_they_name() {
        let policy = read(
            "sensors:\n  \"*\": {max_errors: 7, memory: 64MiB}\n  aws.*: {weight: 2, require: {zone: eu}, standby: cold}\n  \
             aws.Queue: {weight: 3, effects: direct, poll_timeout: 10m, memory: 1GiB, standby: warm}\n",
        )
        .unwrap();
        let other = policy.of(&sensor("rss.Feed"));
        assert_eq!((other.weight, other.max_errors), (1, 7));
        let queue = policy.of(&sensor("aws.Queue"));
        assert_eq!((queue.weight, queue.max_errors, queue.effects), (3, 7, Some(Effects::Direct)));
        assert_eq!(queue.poll_timeout, Some(Span::from_secs(600)));
        assert_eq!(queue.require.get("zone").map(String::as_str), Some("eu"));
        let instance = policy.instance(&sensor("aws.Queue"));
        assert_eq!((instance.cold_standby, instance.memory_bytes), (false, Some(1 << 30)));
        assert!(policy.instance(&sensor("aws.Other")).cold_standby);
    }

    #[test]
    fn an_empty_file_leaves_the_defaults() {
        for empty in ["", "---\n", "sensors:\n", "sensors: {}\n"] {
            assert_eq!(read(empty).unwrap().of(&sensor("a.B")), SensorPolicy::default(), "{empty:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line_and_what_is_allowed() {
        for (text, problem) in [
            ("- a\n", "policy.yaml:1: it must be a mapping with the one key `sensors`"),
            ("sensor: {}\n", "policy.yaml:1: `sensor` is unknown: the one key is `sensors`"),
            ("sensors: 5\n", "policy.yaml:1: `sensors` must be a mapping of references or globs, such as `aws.*`"),
            (
                "sensors:\n  aws: {}\n",
                "policy.yaml:2: `aws` is no sensor: write pack.ClassName, or a glob with `*` and `?`",
            ),
            (
                "sensors:\n  a.B:\n    wieght: 2\n",
                "policy.yaml:3: a.B: `wieght` is unknown: the keys are weight, require, prefer, standby, effects, \
                 poll_timeout, max_errors, memory, runtime",
            ),
            (
                "sensors:\n  a.B: {weight: 0}\n",
                "policy.yaml:2: a.B: `weight` is `0`: a whole number from 1 to 1000 is allowed",
            ),
            (
                "sensors:\n  a.B: {standby: hot}\n",
                "policy.yaml:2: a.B: `standby` is `hot`: `warm` and `cold` are allowed",
            ),
            (
                "sensors:\n  a.B: {effects: both}\n",
                "policy.yaml:2: a.B: `effects` is `both`: `auto`, `journal` and `direct` are allowed",
            ),
            (
                "sensors:\n  a.B: {memory: 4KiB}\n",
                "policy.yaml:2: a.B: `memory` is `4KiB`: bytes with KiB, MiB or GiB are allowed, at least 16MiB",
            ),
            (
                "sensors:\n  a.B: {require: eu}\n",
                "policy.yaml:2: a.B: `require` must be a mapping of labels to texts, such as {zone: eu}",
            ),
            (
                "sensors:\n  a.B: {runtime: st2}\n",
                "policy.yaml:2: a.B: `runtime: st2` is not in this release: `host` is allowed",
            ),
        ] {
            assert_eq!(read(text), Err(problem.to_owned()), "{text:?}");
        }
        assert!(
            read("sensors:\n  a.B: {poll_timeout: soon}\n").unwrap_err().contains(":2: a.B: `poll_timeout` is `soon`")
        );
        assert!(read("sensors: [\n").unwrap_err().starts_with("policy.yaml:"));
    }
}
