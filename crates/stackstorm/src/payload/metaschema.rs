//! What a schema of StackStorm's dialect looks like: draft 4's own rules, with `required` a boolean.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// Refuses what StackStorm refuses to use as a schema.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    static METASCHEMA: LazyLock<Result<jsonschema::Validator, String>> = LazyLock::new(|| {
        jsonschema::draft4::options()
            .should_validate_formats(false)
            .build(&metaschema())
            .map_err(|error| error.to_string())
    });
    let metaschema = METASCHEMA.as_ref().map_err(Clone::clone)?;
    match metaschema.iter_errors(schema).next() {
        None => Ok(()),
        // Masked: a default in it may be a secret.
        Some(error) => Err(format!("{}: {}", error.instance_path(), error.masked_with("what stands there"))),
    }
}

fn metaschema() -> Value {
    let schema = json!({"$ref": "#"});
    let schemas = json!({"type": "array", "minItems": 1, "items": schema});
    let by_name = json!({"type": "object", "additionalProperties": schema});
    let size = json!({"type": "integer", "minimum": 0});
    let number = json!({"type": "number"});
    let text = json!({"type": "string"});
    let flag = json!({"type": "boolean"});
    let flag_or_schema = json!({"anyOf": [flag, schema]});
    let kind = json!({"enum": ["array", "boolean", "integer", "null", "number", "object", "string"]});
    let names = json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": text});
    json!({
        "type": "object",
        "dependencies": {"exclusiveMaximum": ["maximum"], "exclusiveMinimum": ["minimum"]},
        "properties": {
            "id": text,
            "$schema": text,
            "title": text,
            "description": text,
            "format": text,
            "pattern": text,
            "required": flag,
            "secret": flag,
            "immutable": flag,
            "position": {"type": "number", "minimum": 0},
            "multipleOf": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
            "maximum": number,
            "minimum": number,
            "exclusiveMaximum": flag,
            "exclusiveMinimum": flag,
            "maxLength": size,
            "minLength": size,
            "maxItems": size,
            "minItems": size,
            "maxProperties": size,
            "minProperties": size,
            "uniqueItems": flag,
            "additionalItems": flag_or_schema,
            "additionalProperties": flag_or_schema,
            "items": {"anyOf": [schema, schemas]},
            "definitions": by_name,
            "properties": by_name,
            "patternProperties": by_name,
            "dependencies": {"type": "object", "additionalProperties": {"anyOf": [schema, names]}},
            "enum": {"type": "array", "minItems": 1, "uniqueItems": true},
            "type": {"anyOf": [kind, {"type": "array", "minItems": 1, "uniqueItems": true, "items": kind}]},
            "allOf": schemas,
            "anyOf": schemas,
            "oneOf": schemas,
            "not": schema,
        },
    })
}
