//! One pack's configuration: `configs/PACK.yaml`, completed with the defaults of the pack's `config.schema.yaml`.
//!
//! StackStorm renders values with Jinja (`{{ st2kv.system.token }}`) from its datastore. Nothing here can: such values
//! stay as they are written and are listed ([`Config::unrendered`]). Defaults with Jinja stay in StackStorm, too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::packs::Hint;
use crate::payload::Validator;
use crate::yaml::{self, Document};

mod defaults;

/// How many values of one configuration are pointed at.
const MAXIMUM_HINTS: usize = 20;
/// What begins a piece of Jinja.
const JINJA_MARKERS: [&str; 2] = ["{{", "{%"];

/// A pack's configuration. Shared: a clone costs nothing.
#[derive(Clone, PartialEq)]
pub struct Config(Arc<Parts>);

#[derive(PartialEq)]
struct Parts {
    values: Value,
    unrendered: Vec<String>,
}

/// Why a pack's configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is not YAML.
    #[error(transparent)]
    Yaml(#[from] yaml::Error),
    /// It is YAML, but no configuration.
    #[error("{}: a configuration is a mapping of keys to values", file.display())]
    NotMapping {
        /// The file.
        file: PathBuf,
    },
    /// With its defaults it would be larger than any file may be.
    #[error("{}: with the defaults of `config.schema.yaml` repeated it is too large", file.display())]
    TooLarge {
        /// The configuration file, or the schema where there is none.
        file: PathBuf,
    },
}

impl Config {
    /// The values, secrets among them: a mapping, maybe an empty one.
    pub fn values(&self) -> &Value {
        &self.0.values
    }

    /// The keys (`outer.inner`, `list.0`) of values that hold Jinja which nothing has rendered, sorted.
    pub fn unrendered(&self) -> &[String] {
        &self.0.unrendered
    }
}

/// A configuration without a key.
impl Default for Config {
    fn default() -> Self {
        Self(Arc::new(Parts { values: Value::Object(Map::new()), unrendered: Vec::new() }))
    }
}

/// How many keys it has, and nothing of what they say.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({} keys)", self.0.values.as_object().map_or(0, Map::len))
    }
}

/// The configuration that `file` (which need not exist) and the schema in `schema_file` (the same) make.
/// What an operator should look at goes to `hints`.
///
/// # Errors
/// When the file is there but is no configuration.
pub fn read(file: Option<&Path>, schema_file: &Path, hints: &mut Vec<Hint>) -> Result<Config, Error> {
    let schema = schema(schema_file, hints);
    let document = match file.filter(|file| is_there(file)) {
        Some(file) => Some((file, yaml::read(file)?)),
        None => None,
    };
    let mut values = match &document {
        None => Map::new(),
        Some((file, document)) => match &document.value {
            Value::Null => Map::new(),
            Value::Object(values) => values.clone(),
            _ => return Err(Error::NotMapping { file: (*file).to_owned() }),
        },
    };

    let mut unrendered = Vec::new();
    find_jinja(&Value::Object(values.clone()), &mut Vec::new(), &mut unrendered);
    if let Some((file, document)) = &document {
        hint_at_jinja(file, document, &unrendered, hints);
        hint_at_refusal(file, document, schema.as_ref(), hints);
    }
    if let Some(schema) = &schema {
        let too_large = || Error::TooLarge { file: file.unwrap_or(schema_file).to_owned() };
        let patterns = defaults::fill(&mut values, schema).ok_or_else(too_large)?;
        hints.extend(patterns.into_iter().map(|pattern| {
            let text = format!("the pattern `{pattern}` cannot be used: its properties get no defaults");
            Hint::new(schema_file, None, text)
        }));
    }
    let mut unrendered: Vec<String> = unrendered.into_iter().map(|path| path.join(".")).collect();
    unrendered.sort();
    Ok(Config(Arc::new(Parts { values: Value::Object(values), unrendered })))
}

/// The schema: a bare mapping of properties. A broken one is none, as in StackStorm, where the pack then stays
/// without.
fn schema(file: &Path, hints: &mut Vec<Hint>) -> Option<Map<String, Value>> {
    if !is_there(file) {
        return None;
    }
    let (line, problem) = match yaml::read(file) {
        Ok(Document { value: Value::Object(schema), .. }) => return Some(schema),
        Ok(_) => (None, "it is not a mapping of names to schemas".to_owned()),
        Err(error) => (error.line(), error.problem()),
    };
    let text = format!("the configuration gets no defaults, StackStorm refuses this schema: {problem}");
    hints.push(Hint::new(file, line, text));
    None
}

/// What cannot be looked at is there: a sensor must not run without its configuration for want of a permission.
fn is_there(file: &Path) -> bool {
    file.try_exists().unwrap_or(true)
}

fn find_jinja(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::String(text) if JINJA_MARKERS.iter().any(|marker| text.contains(marker)) => found.push(path.clone()),
        Value::Object(members) => {
            for (name, member) in members {
                path.push(name.clone());
                find_jinja(member, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                find_jinja(item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn hint_at_jinja(file: &Path, document: &Document, unrendered: &[Vec<String>], hints: &mut Vec<Hint>) {
    for path in unrendered.iter().take(MAXIMUM_HINTS) {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = format!(
            "`{}` holds Jinja, which only StackStorm can render: sensors get the text as it is written",
            path.join(".")
        );
        hints.push(Hint::new(file, Some(document.line_of(&steps)), text));
    }
}

/// StackStorm does not register a configuration that its schema refuses: one that worked there passes.
fn hint_at_refusal(file: &Path, document: &Document, schema: Option<&Map<String, Value>>, hints: &mut Vec<Hint>) {
    let Some(schema) = schema.filter(|schema| !schema.is_empty()) else { return };
    let wrapped = serde_json::json!({"type": "object", "properties": schema, "additionalProperties": true});
    let values = if document.value.is_null() { &Value::Object(Map::new()) } else { &document.value };
    if let Err(problem) = Validator::new(Some(&wrapped)).validate(values) {
        let text = format!("StackStorm would not register this configuration: {problem}");
        hints.push(Hint::new(file, None, text));
    }
}
