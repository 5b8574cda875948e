//! One sensor's metadata: a sensor to offer, or the reason why not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use st2sa_core::names::SensorRef;

use super::digest::PackDigest;
use super::overrides::Overrides;
use super::{
    Hint, MAXIMUM_POLL_INTERVAL_SECONDS, MINIMUM_POLL_INTERVAL_SECONDS, Problem,
    STACKSTORM_MINIMUM_POLL_INTERVAL_SECONDS, Sensor, TriggerType, trigger_type,
};
use crate::config::Config;
use crate::python;
use crate::yaml::{self, Document};

/// How long a class name may be: references travel in every heartbeat.
const MAXIMUM_NAME_BYTES: usize = 200;
/// How much of a wrong value a message repeats.
const MAXIMUM_QUOTED_CHARACTERS: usize = 40;

/// How many unknown keys of one file are pointed at.
const MAXIMUM_UNKNOWN_KEYS: usize = 5;

const KNOWN_KEYS: [&str; 12] = [
    "artifact_uri",
    "class_name",
    "description",
    "enabled",
    "entry_point",
    "id",
    "metadata_file",
    "pack",
    "poll_interval",
    "ref",
    "trigger_types",
    "uid",
];

/// What a pack gives to each of its sensors.
pub(super) struct Surroundings {
    pub(super) pack: String,
    pub(super) folder: PathBuf,
    pub(super) digest: PackDigest,
    pub(super) config: Result<Config, String>,
    pub(super) overrides: Overrides,
    pub(super) library_path: Option<PathBuf>,
    pub(super) python: PathBuf,
}

/// A sensor or why there is none; its reference and the trigger types that it declares, as far as they could be read.
pub(super) struct Found {
    pub(super) reference: Option<SensorRef>,
    pub(super) trigger_types: Vec<Arc<TriggerType>>,
    pub(super) sensor: Result<Sensor, Problem>,
}

/// Reads `file`, which lies directly in `sensors/`.
pub(super) fn read(pack: &Surroundings, file: &Path, hints: &mut Vec<Hint>) -> Found {
    let mut reference = None;
    let mut trigger_types = Vec::new();
    let sensor = sensor(pack, file, &mut reference, &mut trigger_types, hints);
    Found { reference, trigger_types, sensor }
}

fn sensor(
    pack: &Surroundings,
    file: &Path,
    found_reference: &mut Option<SensorRef>,
    trigger_types: &mut Vec<Arc<TriggerType>>,
    hints: &mut Vec<Hint>,
) -> Result<Sensor, Problem> {
    let document = yaml::read(file).map_err(|error| Problem::new(error.line(), error.problem(), "correct the file"))?;
    let metadata = match &document.value {
        Value::Object(metadata) => metadata,
        Value::Null => {
            return Err(Problem::new(None, "the file is empty", "write the sensor's metadata, or remove the file"));
        }
        Value::Array(_) => {
            let reason = "the file holds a list; one sensor a file is read";
            return Err(Problem::new(None, reason, "give each sensor a file of its own"));
        }
        _ => return Err(Problem::new(None, "the file is not a mapping", "write the sensor's metadata in it")),
    };
    let file = Metadata { pack, file, document: &document, metadata };

    let class_name = file.class_name()?;
    let reference = SensorRef::new(format!("{}.{class_name}", pack.pack));
    *found_reference = Some(reference.clone());
    file.check_pack()?;
    file.trigger_types(trigger_types, hints)?;
    let entry_point = file.entry_point()?;
    let poll_interval = file.poll_interval(hints)?;
    let config = pack.config.clone().map_err(|reason| {
        let reason = format!("the pack's configuration cannot be read: {reason}");
        Problem::new(None, reason, "correct the configuration")
    })?;
    let enabled = file.enabled(&class_name, hints);
    file.hint_at_unknown_keys(hints);

    Ok(Sensor {
        pack: pack.pack.clone(),
        class_name,
        poll_interval,
        enabled,
        description: metadata.get("description").and_then(Value::as_str).map(str::to_owned),
        trigger_types: trigger_types.clone(),
        metadata_file: file.file.to_owned(),
        digest: pack.digest.with_sensor(&pack.folder, file.file, &entry_point),
        entry_point,
        config,
        library_path: pack.library_path.clone(),
        python: pack.python.clone(),
        reference,
    })
}

struct Metadata<'a> {
    pack: &'a Surroundings,
    file: &'a Path,
    document: &'a Document,
    metadata: &'a Map<String, Value>,
}

impl Metadata<'_> {
    fn line(&self, key: &str) -> usize {
        self.document.line_of(&[key])
    }

    fn class_name(&self) -> Result<String, Problem> {
        let cure = "name the Python class that is the sensor";
        match self.metadata.get("class_name") {
            None | Some(Value::Null) => Err(Problem::new(
                None,
                "there is no `class_name`",
                "add it; a file that is no sensor's metadata does not belong into `sensors/`",
            )),
            Some(Value::String(name)) if is_class_name(name) => Ok(name.clone()),
            Some(other) => {
                let reason = format!("`class_name` is {}, which is no name of a Python class", quoted(other));
                Err(Problem::new(Some(self.line("class_name")), reason, cure))
            }
        }
    }

    fn check_pack(&self) -> Result<(), Problem> {
        match self.metadata.get("pack") {
            Some(pack) if python::is_true(pack) && *pack != self.pack.pack.as_str() => {
                let reason = format!("`pack` is {}, and the file is in pack `{}`", quoted(pack), self.pack.pack);
                Err(Problem::new(Some(self.line("pack")), reason, "leave `pack` out, or move the file"))
            }
            _ => Ok(()),
        }
    }

    fn trigger_types(&self, found: &mut Vec<Arc<TriggerType>>, hints: &mut Vec<Hint>) -> Result<(), Problem> {
        let declarations = match self.metadata.get("trigger_types") {
            None => return Ok(()),
            Some(Value::Array(declarations)) => declarations,
            Some(Value::Null) => {
                let cure = "declare the trigger types below it, or leave it out";
                return Err(Problem::new(Some(self.line("trigger_types")), "`trigger_types` holds nothing", cure));
            }
            Some(_) => {
                let cure = "write one item, with a `name`, for each trigger type";
                return Err(Problem::new(Some(self.line("trigger_types")), "`trigger_types` is not a list", cure));
            }
        };
        for (index, declaration) in declarations.iter().enumerate() {
            let index = index.to_string();
            let line = |key: &str| self.document.line_of(&["trigger_types", &index, key]);
            match trigger_type::read(&self.pack.pack, declaration, self.file, line("name"), hints) {
                Ok(kind) => found.push(kind),
                Err((key, reason)) => {
                    let line = Some(line(key.unwrap_or_default()));
                    return Err(Problem::new(line, reason, "correct the trigger type"));
                }
            }
        }
        Ok(())
    }

    fn entry_point(&self) -> Result<PathBuf, Problem> {
        let cure = "name the sensor's Python file, relative to `sensors/`";
        let name = match self.metadata.get("entry_point") {
            Some(Value::String(name)) if !name.is_empty() => name,
            Some(other) if python::is_true(other) => {
                let reason = format!("`entry_point` is {}, and not the name of a file", quoted(other));
                return Err(Problem::new(Some(self.line("entry_point")), reason, cure));
            }
            _ if self.metadata.contains_key("artifact_uri") => {
                let reason = "there is no `entry_point`, and `artifact_uri` does not stand for it";
                return Err(Problem::new(Some(self.line("artifact_uri")), reason, cure));
            }
            _ => return Err(Problem::new(None, "there is no `entry_point`", cure)),
        };
        let path = self.pack.folder.join("sensors").join(name);
        if path.is_file() {
            return Ok(path);
        }
        let state = if path.exists() { "is not a file" } else { "is not there" };
        let reason = format!("the entry point {} {state}", quoted(&name.as_str().into()));
        let cure = "put the file there (a path from `sensors/` on), or correct `entry_point`";
        Err(Problem::new(Some(self.line("entry_point")), reason, cure))
    }

    fn poll_interval(&self, hints: &mut Vec<Hint>) -> Result<Option<f64>, Problem> {
        let line = Some(self.line("poll_interval"));
        let value = match self.metadata.get("poll_interval") {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let Some(seconds) = value.as_f64() else {
            let reason = format!("`poll_interval` is {}, and not a number", quoted(value));
            return Err(Problem::new(line, reason, "write a number of seconds, without quotes or unit"));
        };
        if !(MINIMUM_POLL_INTERVAL_SECONDS..=MAXIMUM_POLL_INTERVAL_SECONDS).contains(&seconds) {
            let reason = format!("`poll_interval` is {seconds} seconds");
            return Err(Problem::new(line, reason, "write a number from 0.1 to a year's seconds"));
        }
        let stackstorm = if seconds < STACKSTORM_MINIMUM_POLL_INTERVAL_SECONDS {
            Some("refuses to register this sensor: its shortest is 4")
        } else if seconds.fract() != 0.0 {
            Some("cuts it to whole seconds")
        } else {
            None
        };
        if let Some(stackstorm) = stackstorm {
            let text = format!("a `poll_interval` of {seconds} is kept here; StackStorm itself {stackstorm}");
            hints.push(Hint::new(self.file, line, text));
        }
        Ok(Some(seconds))
    }

    /// Python's truth decides, as in StackStorm: a text is true.
    fn enabled(&self, class_name: &str, hints: &mut Vec<Hint>) -> bool {
        let value = match self.pack.overrides.enabled(class_name) {
            Some(value) => value,
            None => match self.metadata.get("enabled") {
                Some(value) => value,
                None => return true,
            },
        };
        match value {
            Value::Null | Value::Bool(true) => true,
            Value::Bool(false) => false,
            other => {
                let enabled = python::is_true(other);
                let outcome = if enabled { "enabled" } else { "disabled" };
                let text = format!("`enabled` is {}, no boolean: to StackStorm the sensor is {outcome}", quoted(other));
                hints.push(Hint::new(self.file, Some(self.line("enabled")), text));
                enabled
            }
        }
    }

    fn hint_at_unknown_keys(&self, hints: &mut Vec<Hint>) {
        let unknown = self.metadata.keys().filter(|key| !KNOWN_KEYS.contains(&key.as_str()));
        for key in unknown.take(MAXIMUM_UNKNOWN_KEYS) {
            let text =
                format!("{} is not a key of a sensor's metadata: nothing reads it", quoted(&key.as_str().into()));
            hints.push(Hint::new(self.file, Some(self.line(key)), text));
        }
    }
}

fn is_class_name(name: &str) -> bool {
    let begins = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
    begins && name.len() <= MAXIMUM_NAME_BYTES && name.chars().all(|next| next.is_alphanumeric() || next == '_')
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::String(text) if text.chars().count() <= MAXIMUM_QUOTED_CHARACTERS => format!("`{text}`"),
        Value::String(text) => format!("`{}…`", text.chars().take(MAXIMUM_QUOTED_CHARACTERS).collect::<String>()),
        other => format!("`{other}`"),
    }
}
