//! Whether a payload is what its trigger type says, by StackStorm's dialect of JSON Schema.
//!
//! The dialect is draft 4 but for this: `required: true` stands with each property, `secret`, `position` and
//! `immutable` are words of it, `null` is allowed wherever a property may be missing, formats are not checked.
//! A schema that is itself no schema of this dialect (`items: object`, `required: [name]`, `type: date`) makes
//! StackStorm drop every event of its trigger type; so does this, with the reason at hand ([`Validator::problem`]).

use std::fmt;

use serde_json::Value;

use crate::packs::clamped;

mod defaults;
mod dialect;
mod loops;
mod metaschema;

/// A schema, made ready once.
pub struct Validator {
    schema: Value,
    check: Check,
}

enum Check {
    Anything,
    Nothing(String),
    Draft4 { schema: Value, validator: Box<jsonschema::Validator> },
}

/// How many failures of one payload are named.
const MAXIMUM_FAILURES: usize = 3;

impl Validator {
    /// Makes `schema` ready. No schema, or an empty one, takes anything.
    pub fn new(schema: Option<&Value>) -> Self {
        let schema = schema.cloned().unwrap_or_default();
        let check = match &schema {
            Value::Null => Check::Anything,
            Value::Object(keywords) if keywords.is_empty() => Check::Anything,
            _ => match compile(&schema) {
                Ok((schema, validator)) => Check::Draft4 { schema, validator: Box::new(validator) },
                Err(problem) => Check::Nothing(problem),
            },
        };
        Self { schema, check }
    }

    /// Why this schema refuses everything, when it is none.
    pub fn problem(&self) -> Option<&str> {
        match &self.check {
            Check::Nothing(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether StackStorm would take `payload`. A dispatch without a payload is null.
    ///
    /// # Errors
    /// What is wrong, by place in the payload, without its values: they may be secrets.
    pub fn validate(&self, payload: &Value) -> Result<(), String> {
        let (schema, validator) = match &self.check {
            Check::Anything => return Ok(()),
            Check::Nothing(problem) => return Err(format!("its schema is no schema: {problem}")),
            Check::Draft4 { schema, validator } => (schema, validator),
        };
        let filled = defaults::fill(payload, schema);
        let instance = filled.as_ref().unwrap_or(payload);
        let failures: Vec<String> = validator
            .iter_errors(instance)
            .take(MAXIMUM_FAILURES)
            .map(|failure| match failure.instance_path().as_str() {
                "" => failure.masked().to_string(),
                path => format!("{path}: {}", failure.masked()),
            })
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(clamped(failures.join("; "))) }
    }
}

fn compile(schema: &Value) -> Result<(Value, jsonschema::Validator), String> {
    let nullable = dialect::with_nulls(schema)?;
    metaschema::check(&nullable)?;
    let draft4 = dialect::draft4(&nullable);
    loops::check(&draft4)?;
    let validator = jsonschema::draft4::options()
        .should_validate_formats(false)
        .build(&draft4)
        .map_err(|error| format!("{}: {}", error.instance_path(), error.masked()))?;
    Ok((nullable, validator))
}

/// Equal when their schemas are.
impl PartialEq for Validator {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.check {
            Check::Anything => "anything",
            Check::Nothing(_) => "nothing",
            Check::Draft4 { .. } => "schema",
        };
        write!(f, "Validator({kind})")
    }
}
