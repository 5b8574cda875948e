//! What the packs folders hold: sensors ready to offer, the trigger types they declare, what is wrong with the rest.
//!
//! Whatever is odd about one sensor's metadata disables that sensor, says why and what to do ([`Disabled`]), and leaves
//! all others alone. What works here but would not in StackStorm, or the other way about, is a [`Hint`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use st2sa_core::names::{Digest, SensorRef};

use crate::config::Config;
use crate::partition::Partition;
use crate::payload::Validator;
use crate::triggers::Triggers;

pub(crate) use folder::metadata_files;

mod digest;
mod folder;
mod manifest;
mod overrides;
mod reader;
mod sensor;
mod trigger_type;

/// The shortest interval between polls that is taken.
pub const MINIMUM_POLL_INTERVAL_SECONDS: f64 = 0.1;
/// The longest: a longer one is a mistake in its unit.
pub const MAXIMUM_POLL_INTERVAL_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
/// How long one message may be: names in it come from packs.
const MAXIMUM_MESSAGE_CHARACTERS: usize = 600;
/// The shortest interval that StackStorm registers.
pub const STACKSTORM_MINIMUM_POLL_INTERVAL_SECONDS: f64 = 4.0;

/// Where to look. Folders that are not there are hinted at, not an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Packs' base folders (each pack a folder in it), or packs themselves. Of two packs of one name the first counts.
    pub packs: Vec<PathBuf>,
    /// Where `PACK.yaml` is each pack's configuration.
    pub configs: Option<PathBuf>,
    /// Where `PACK/bin/python` is each pack's Python.
    pub virtualenvs: Option<PathBuf>,
    /// Where `_global.yaml` and `PACK.yaml` enable and disable what the packs' own files say otherwise.
    pub overrides: Option<PathBuf>,
}

/// All that was found, each list sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packs {
    /// The packs, by reference.
    pub packs: BTreeMap<String, Pack>,
    /// The sensors that can be offered, those that their metadata disables included; by reference.
    pub sensors: BTreeMap<SensorRef, Sensor>,
    /// What cannot be offered, and why.
    pub disabled: Vec<Disabled>,
    /// What an operator or a pack's author should look at.
    pub hints: Vec<Hint>,
    trigger_types: BTreeMap<String, Arc<TriggerType>>,
    triggers: Triggers,
}

/// One pack.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// Its reference, as in `pack.ClassName`.
    pub reference: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its version, as StackStorm writes it; empty when it has none.
    pub version: String,
}

/// One sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// `pack.ClassName`.
    pub reference: SensorRef,
    /// The pack's reference.
    pub pack: String,
    /// The class in the entry point's module.
    pub class_name: String,
    /// The Python file, absolute where the packs folder is.
    pub entry_point: PathBuf,
    /// The seconds between polls, where the metadata says so; without it the class has its own default, or is passive.
    pub poll_interval: Option<f64>,
    /// Whether the metadata, and what overrides it, let it run.
    pub enabled: bool,
    /// What it says of itself.
    pub description: Option<String>,
    /// What it may dispatch, in the order of the metadata.
    pub trigger_types: Vec<Arc<TriggerType>>,
    /// The file that says all this.
    pub metadata_file: PathBuf,
    /// Changes when the code that it runs does.
    pub digest: Digest,
    /// The pack's configuration.
    pub config: Config,
    /// The pack's `lib` folder, where it has one: for `packs.enable_common_libs`.
    pub library_path: Option<PathBuf>,
    /// The pack's own Python, or `python3`.
    pub python: PathBuf,
}

/// One trigger type.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerType {
    /// `pack.name`; the name may hold dots.
    pub reference: String,
    /// The name alone.
    pub name: String,
    /// The pack's reference.
    pub pack: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// What its payload must be, where it says so.
    pub payload_schema: Option<Value>,
    /// What a rule's parameters for it must be, where it takes any.
    pub parameters_schema: Option<Value>,
    /// The file that declares it.
    pub file: PathBuf,
    payload: Arc<Validator>,
    parameters: Arc<Validator>,
}

/// Something that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disabled {
    /// The pack's reference, or its folder's name where it has none.
    pub pack: String,
    /// The file to blame.
    pub file: PathBuf,
    /// The line in it, where one is to blame.
    pub line: Option<usize>,
    /// The sensor, where the file says which; without one, the file or the pack as a whole.
    pub reference: Option<SensorRef>,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub cure: String,
}

/// Something to look at that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// The file or folder.
    pub file: PathBuf,
    /// The line in it, where there is one.
    pub line: Option<usize>,
    /// What to know of it.
    pub text: String,
}

/// Reads all packs, and leaves out the sensors that are another node's. What cannot be read is in [`Packs::disabled`] or
/// [`Packs::hints`].
///
/// # Errors
/// When the partition file does not say what `node` is to offer.
pub fn read_partition(folders: &Folders, partition: &Partition, node: &str) -> Result<Packs, String> {
    let members = partition.members(node)?;
    let mut packs = read(folders);
    let is_own =
        |sensor: &SensorRef| partition.has(sensor) && members.as_ref().is_none_or(|members| members.contains(sensor));
    packs.sensors.retain(|sensor, _| is_own(sensor));
    packs.disabled.retain(|disabled| disabled.reference.as_ref().is_none_or(is_own));
    Ok(packs)
}

/// Reads all packs. Never fails: what cannot be read is in [`Packs::disabled`] or [`Packs::hints`].
pub fn read(folders: &Folders) -> Packs {
    reader::read(folders)
}

impl Packs {
    /// The triggers that `sensor` is given with `add_trigger`: one dictionary for each trigger of its types, with
    /// `uid`, `ref`, `name`, `pack`, `type`, `parameters` and `id`.
    pub fn triggers_of(&self, sensor: &Sensor) -> Vec<Value> {
        self.triggers.of(sensor.trigger_types.iter().map(|kind| kind.reference.as_str()))
    }

    /// The type of a trigger as a sensor dispatches it: a reference, or a dictionary with `type`, `id` or `uid`.
    pub fn trigger_type_of(&self, trigger: &Value) -> Option<&TriggerType> {
        let reference = match trigger {
            Value::String(reference) if self.trigger_types.contains_key(reference) => reference,
            other => self.triggers.type_of(other)?,
        };
        self.trigger_types.get(reference).map(AsRef::as_ref)
    }

    /// Every trigger type, by reference.
    pub fn trigger_types(&self) -> impl Iterator<Item = &TriggerType> {
        self.trigger_types.values().map(AsRef::as_ref)
    }
}

impl TriggerType {
    /// Whether StackStorm would take `payload`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self, payload: &Value) -> Result<(), String> {
        self.payload.validate(payload)
    }

    /// What checks the parameters that rules give.
    pub(crate) fn parameters(&self) -> &Validator {
        &self.parameters
    }
}

/// What is wrong in a file, and what to do.
struct Problem {
    line: Option<usize>,
    reason: String,
    cure: &'static str,
}

impl Problem {
    fn new(line: Option<usize>, reason: impl Into<String>, cure: &'static str) -> Self {
        Self { line, reason: clamped(reason.into()), cure }
    }

    fn disables(self, pack: &str, file: &Path, reference: Option<SensorRef>) -> Disabled {
        let Self { line, reason, cure } = self;
        Disabled { pack: pack.to_owned(), file: file.to_owned(), line, reference, reason, cure: cure.to_owned() }
    }
}

impl Hint {
    pub(crate) fn new(file: &Path, line: Option<usize>, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: clamped(text.into()) }
    }
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line)?;
        if let Some(reference) = &self.reference {
            write!(f, "`{reference}`: ")?;
        }
        write!(f, "{}; {}", self.reason, self.cure)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line)?;
        f.write_str(&self.text)
    }
}

/// A message cut to its bound.
pub(crate) fn clamped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAXIMUM_MESSAGE_CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn write_place(f: &mut fmt::Formatter<'_>, file: &Path, line: Option<usize>) -> fmt::Result {
    match line {
        Some(line) => write!(f, "{}:{line}: ", file.display()),
        None => write!(f, "{}: ", file.display()),
    }
}
