//! StackStorm's dialect of JSON Schema, turned into draft 4.

use serde_json::{Map, Value, json};

/// The schema with `null` allowed for each property that may be missing and has no default other than null.
/// Fails where StackStorm fails to do the same: on what is no schema.
pub(super) fn with_nulls(schema: &Value) -> Result<Value, String> {
    let Value::Object(keywords) = schema else { return Err("a schema is a mapping".to_owned()) };
    let mut keywords = keywords.clone();
    let properties = match keywords.get("properties") {
        None => return Ok(Value::Object(keywords)),
        Some(Value::Object(properties)) => properties.clone(),
        Some(_) => return Err("`properties` is a mapping of names to schemas".to_owned()),
    };
    let mut nullable = Map::new();
    for (name, property) in properties {
        let property = property_with_null(&name, property)?;
        nullable.insert(name, property);
    }
    keywords.insert("properties".to_owned(), Value::Object(nullable));
    Ok(Value::Object(keywords))
}

fn property_with_null(name: &str, property: Value) -> Result<Value, String> {
    let Value::Object(mut keywords) = property else {
        return Err(format!("the schema of property `{name}` is not a mapping"));
    };
    let of_kind = |kind: &str| match keywords.get("type") {
        Some(Value::String(name)) => name == kind,
        Some(Value::Array(names)) => names.iter().any(|name| name == kind),
        _ => false,
    };
    let (of_array, of_object) = (of_kind("array"), of_kind("object"));

    let required = keywords.get("required").is_some_and(crate::python::is_true);
    let default = keywords.get("default");
    if default.is_none_or(Value::is_null) && (default.is_some() || !required) {
        allow_null(&mut keywords);
    }
    if of_array && let Some(items) = keywords.get("items").filter(|items| crate::python::is_true(items)) {
        if !items.is_object() {
            return Err(format!("`items` of property `{name}` is not a schema"));
        }
        let items = with_nulls(items)?;
        keywords.insert("items".to_owned(), items);
    }
    if !of_object {
        return Ok(Value::Object(keywords));
    }
    with_nulls(&Value::Object(keywords))
}

fn allow_null(keywords: &mut Map<String, Value>) {
    for combiner in ["anyOf", "oneOf"] {
        if let Some(choices) = keywords.get_mut(combiner) {
            if let Value::Array(choices) = choices
                && !choices.iter().any(|choice| choice.get("type").is_some_and(|kind| kind == "null"))
            {
                choices.push(json!({"type": "null"}));
            }
            return;
        }
    }
    match keywords.get_mut("type") {
        None => {
            keywords.insert("type".to_owned(), json!(["string", "null"]));
        }
        Some(Value::Array(kinds)) => {
            if !kinds.iter().any(|kind| kind == "null") {
                kinds.push(json!("null"));
            }
        }
        // `type: "null"` becomes a list of two nulls, which is no schema: so in StackStorm.
        Some(kind) => *kind = json!([kind.take(), "null"]),
    }
}

/// The same in draft 4's own words: the names of required properties gathered in a list, references that lead
/// nowhere replaced by what nothing satisfies, what stands beside a reference kept.
pub(super) fn draft4(schema: &Value) -> Value {
    translate(schema, schema)
}

fn translate(schema: &Value, root: &Value) -> Value {
    let Value::Object(keywords) = schema else { return schema.clone() };
    let mut translated = Map::new();
    for (keyword, value) in keywords {
        let value = match keyword.as_str() {
            "required" | "$schema" | "id" | "default" | "secret" | "position" | "immutable" | "$ref" => continue,
            "enum" | "type" => value.clone(),
            "properties" | "patternProperties" | "definitions" | "dependencies" => each(value, root),
            _ => match value {
                Value::Array(items) => Value::Array(items.iter().map(|item| translate(item, root)).collect()),
                other => translate(other, root),
            },
        };
        translated.insert(keyword.clone(), value);
    }
    let required = required_of(keywords);
    if !required.is_empty() {
        translated.insert("required".to_owned(), Value::Array(required));
    }
    let Some(reference) = keywords.get("$ref") else { return Value::Object(translated) };
    let reference = match reference.as_str() {
        Some(reference) if leads_somewhere(reference, root) => json!({ "$ref": reference }),
        _ => json!({"not": {}}),
    };
    if translated.is_empty() {
        return reference;
    }
    // Draft 4 would not look at what stands beside a reference; StackStorm does.
    json!({"allOf": [reference, Value::Object(translated)]})
}

fn each(schemas: &Value, root: &Value) -> Value {
    match schemas {
        Value::Object(schemas) => {
            Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), translate(schema, root))).collect())
        }
        other => other.clone(),
    }
}

fn required_of(keywords: &Map<String, Value>) -> Vec<Value> {
    let Some(Value::Object(properties)) = keywords.get("properties") else { return Vec::new() };
    properties
        .iter()
        .filter(|(_, property)| property.get("required").is_some_and(crate::python::is_true))
        .map(|(name, _)| Value::String(name.clone()))
        .collect()
}

fn leads_somewhere(reference: &str, root: &Value) -> bool {
    reference.strip_prefix('#').is_some_and(|pointer| root.pointer(pointer).is_some_and(Value::is_object))
}
