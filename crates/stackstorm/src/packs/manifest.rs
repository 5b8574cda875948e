//! A pack's own file, `pack.yaml`: what the pack is called, and its version.

use std::path::Path;

use serde_json::Value;

use super::{Hint, Problem};
use crate::yaml;

/// The file that makes a folder a pack.
pub(super) const FILE_NAME: &str = "pack.yaml";

/// How long a pack's reference may be: it begins the reference of everything in it.
const MAXIMUM_REFERENCE_BYTES: usize = 100;

pub(super) struct Manifest {
    pub(super) reference: String,
    pub(super) version: String,
}

/// Reads the `pack.yaml` in `file`, whose folder is called `folder_name`.
pub(super) fn read(file: &Path, folder_name: &str, hints: &mut Vec<Hint>) -> Result<Manifest, Problem> {
    let document = yaml::read(file).map_err(|error| {
        Problem::new(error.line(), error.problem(), "until this file can be read nothing of the pack is")
    })?;
    let Value::Object(manifest) = &document.value else {
        return Err(Problem::new(None, "it is not a mapping", "write `ref`, `name` and `version`"));
    };
    let text = |key: &str| manifest.get(key).and_then(scalar_text).filter(|text| !text.is_empty());
    let line = |key: &str| Some(document.line_of(&[key]));

    let reference = match text("ref") {
        Some(reference) if is_reference(&reference) => reference,
        Some(reference) => {
            let reason = format!("the pack's `ref` is `{reference}`");
            return Err(Problem::new(line("ref"), reason, "use lower-case letters, digits and underscores only"));
        }
        None if is_reference(folder_name) => folder_name.to_owned(),
        None => match text("name") {
            Some(name) if is_reference(&name) => name,
            _ => {
                let reason = "there is no `ref`, and neither folder nor `name` can stand for it";
                return Err(Problem::new(None, reason, "add a `ref` of lower-case letters, digits and underscores"));
            }
        },
    };
    if reference == "_global" {
        let reason = "`_global` is reserved and cannot be a pack's name";
        return Err(Problem::new(None, reason, "give the pack another `ref`"));
    }
    if reference != folder_name {
        let text = format!(
            "the pack is `{reference}` and its folder `{folder_name}`: StackStorm names what is in it by the folder"
        );
        hints.push(Hint::new(file, line("ref"), text));
    }
    Ok(Manifest { reference, version: text("version").map(normalised).unwrap_or_default() })
}

fn is_reference(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAXIMUM_REFERENCE_BYTES
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(crate::python::number(number)),
        _ => None,
    }
}

/// `0.2` was a version before versions had three numbers.
fn normalised(version: String) -> String {
    if version.matches('.').count() == 1 { format!("{version}.0") } else { version }
}
