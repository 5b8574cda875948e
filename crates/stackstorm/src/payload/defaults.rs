//! A payload with the defaults of its schema, as it stands when StackStorm validates it (and only then).

use serde_json::{Map, Value};

/// The payload with the defaults filled in; nothing when it is the same as without.
pub(super) fn fill(payload: &Value, schema: &Value) -> Option<Value> {
    let of_object = schema.get("type").and_then(Value::as_str) == Some("object");
    if !payload.is_object() || !of_object || !has_default(schema) {
        return None;
    }
    let mut filled = payload.clone();
    fill_in(&mut filled, schema);
    Some(filled)
}

fn has_default(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.contains_key("default") || members.values().any(has_default),
        Value::Array(items) => items.iter().any(has_default),
        _ => false,
    }
}

fn fill_in(instance: &mut Value, schema: &Value) {
    match instance {
        Value::Object(members) => fill_object(members, schema),
        Value::Array(items) => fill_list(items, schema),
        _ => {}
    }
}

fn fill_object(members: &mut Map<String, Value>, schema: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let missing = members.get(name).is_none_or(Value::is_null);
        if missing
            && let Some(default) = property.get("default")
            && dependencies_are_met(members, schema, name)
        {
            members.insert(name.clone(), default.clone());
        }
        if let Some(member) = members.get_mut(name) {
            descend(member, property);
        }
    }
}

fn fill_list(items: &mut [Value], schema: &Value) {
    match schema.get("items") {
        Some(Value::Array(schemas)) => {
            for (item, schema) in items.iter_mut().zip(schemas) {
                fill_item(item, schema);
            }
        }
        Some(schema) => {
            for item in items {
                fill_item(item, schema);
            }
        }
        None => {}
    }
}

fn fill_item(item: &mut Value, schema: &Value) {
    if item.is_null()
        && let Some(default) = schema.get("default")
    {
        *item = default.clone();
    }
    descend(item, schema);
}

/// Into lists and objects that the schema says are such.
fn descend(value: &mut Value, schema: &Value) {
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        _ => return,
    };
    let says_so = match schema.get("type") {
        Some(Value::String(name)) => name == kind,
        Some(Value::Array(names)) => names.iter().any(|name| name == kind),
        _ => false,
    };
    if says_so {
        fill_in(value, schema);
    }
}

/// A property's default waits for the properties that it depends on, unless those have defaults of their own.
fn dependencies_are_met(members: &Map<String, Value>, schema: &Value, name: &str) -> bool {
    let Some(needed) = schema.get("dependencies").and_then(|all| all.get(name)).and_then(Value::as_array) else {
        return true;
    };
    needed.iter().filter_map(Value::as_str).all(|needed| {
        let has_default = schema.get("properties").and_then(|all| all.get(needed)?.get("default")).is_some();
        has_default || members.contains_key(needed)
    })
}
