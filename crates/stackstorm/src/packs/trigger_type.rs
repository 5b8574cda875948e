//! Trigger types, as sensors' metadata and the files in `triggers/` declare them.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Hint, TriggerType};
use crate::payload::Validator;

/// How long a trigger type's name may be: it is in every event.
const MAXIMUM_NAME_BYTES: usize = 200;

/// What is wrong with a declaration, and the key that it is wrong with.
pub(super) type Problem = (Option<&'static str>, String);

/// One declared trigger type of `pack`.
pub(super) fn read(
    pack: &str,
    declaration: &Value,
    file: &Path,
    line: usize,
    hints: &mut Vec<Hint>,
) -> Result<Arc<TriggerType>, Problem> {
    let Value::Object(declaration) = declaration else {
        return Err((None, "a trigger type is a mapping with a `name`".to_owned()));
    };
    let name = match declaration.get("name") {
        Some(Value::String(name)) if !name.is_empty() && name.len() <= MAXIMUM_NAME_BYTES => name.clone(),
        Some(Value::String(_)) => {
            return Err((Some("name"), "the `name` of a trigger type is empty or too long".to_owned()));
        }
        Some(_) => return Err((Some("name"), "the `name` of a trigger type is not a text".to_owned())),
        None => return Err((None, "a trigger type has no `name`".to_owned())),
    };
    let payload_schema = schema(declaration, "payload_schema")?;
    let parameters_schema = schema(declaration, "parameters_schema")?;
    let reference = format!("{pack}.{name}");
    let payload = Validator::new(payload_schema.as_ref());
    if let Some(problem) = payload.problem() {
        let text = format!("`payload_schema` of `{reference}` is no schema, so StackStorm drops its events: {problem}");
        hints.push(Hint::new(file, Some(line), text));
    }
    let parameters = Validator::new(parameters_schema.as_ref());
    if let Some(problem) = parameters.problem() {
        let text = format!("`parameters_schema` of `{reference}` is no schema, so no rule can use it: {problem}");
        hints.push(Hint::new(file, Some(line), text));
    }
    Ok(Arc::new(TriggerType {
        reference,
        name,
        pack: pack.to_owned(),
        description: declaration.get("description").and_then(Value::as_str).map(str::to_owned),
        payload_schema,
        parameters_schema,
        file: file.to_owned(),
        payload: Arc::new(payload),
        parameters: Arc::new(parameters),
    }))
}

/// A schema that says something: missing, null and empty ones do not.
fn schema(declaration: &Map<String, Value>, key: &'static str) -> Result<Option<Value>, Problem> {
    match declaration.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(keywords)) if keywords.is_empty() => Ok(None),
        Some(schema @ Value::Object(_)) => Ok(Some(schema.clone())),
        Some(_) => Err((Some(key), format!("`{key}` is not a mapping"))),
    }
}
