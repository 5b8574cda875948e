//! The defaults of a configuration schema, filled in as StackStorm fills them in: recursively, objects and lists that
//! are missing created first; by `properties`, then `patternProperties`, then `additionalProperties`.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value};

/// How many bytes of defaults may be copied into one configuration: four times the largest file.
const MAXIMUM_COPIED_BYTES: usize = 4 * 1024 * 1024;
/// What a value costs beside its text.
const VALUE_BYTES: usize = 16;

/// Fills `config`. Returns the patterns that are none, or nothing when the defaults would be too large.
pub(super) fn fill(config: &mut Map<String, Value>, schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    let mut filler = Filler { bytes_left: MAXIMUM_COPIED_BYTES, bad_patterns: BTreeSet::new() };
    for (name, item) in schema {
        filler.member(config, name, item)?;
    }
    Some(filler.bad_patterns)
}

struct Filler {
    bytes_left: usize,
    bad_patterns: BTreeSet<String>,
}

impl Filler {
    fn member(&mut self, config: &mut Map<String, Value>, name: &str, item: &Value) -> Option<()> {
        if !config.contains_key(name)
            && let Some(default) = item.get("default")
        {
            config.insert(name.to_owned(), self.copy(default)?);
        }
        let Some(empty) = container(item) else { return Some(()) };
        let value = config.entry(name.to_owned()).or_insert(Value::Null);
        if !crate::python::is_true(value) {
            *value = self.copy(&empty)?;
        }
        self.inside(value, item)
    }

    fn inside(&mut self, value: &mut Value, item: &Value) -> Option<()> {
        match value {
            Value::Object(members) => {
                for (name, item) in self.schemas_of_members(members, item)? {
                    self.member(members, &name, &item)?;
                }
            }
            Value::Array(items) => {
                let schemas = schemas_of_items(item, items.len());
                for (index, item) in schemas.into_iter().enumerate() {
                    self.list_item(items, index, item)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn list_item(&mut self, items: &mut Vec<Value>, index: usize, item: &Value) -> Option<()> {
        if index == items.len()
            && let Some(default) = item.get("default")
        {
            items.push(self.copy(default)?);
        }
        let (Some(value), Some(empty)) = (items.get_mut(index), container(item)) else { return Some(()) };
        if !crate::python::is_true(value) {
            *value = self.copy(&empty)?;
        }
        self.inside(value, item)
    }

    /// Each member's schema: its property's, else that of the patterns that match it, else the one for all others.
    fn schemas_of_members(&mut self, members: &Map<String, Value>, item: &Value) -> Option<Vec<(String, Value)>> {
        let nothing = Map::new();
        let properties = item.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        let patterns = self.patterns(item);
        let others = item.get("additionalProperties").filter(|others| others.is_object());

        let mut schemas = Vec::new();
        for name in members.keys().filter(|name| !properties.contains_key(*name)) {
            let mut of_patterns = Map::new();
            for (_, schema) in patterns.iter().filter(|(pattern, _)| pattern.is_match(name)) {
                let Value::Object(schema) = self.copy(schema)? else { continue };
                of_patterns.extend(schema);
            }
            if !of_patterns.is_empty() {
                schemas.push((name.clone(), Value::Object(of_patterns)));
            } else if let Some(others) = others {
                schemas.push((name.clone(), self.copy(others)?));
            }
        }
        for (name, schema) in properties {
            schemas.push((name.clone(), self.copy(schema)?));
        }
        Some(schemas)
    }

    fn patterns<'a>(&mut self, item: &'a Value) -> Vec<(Regex, &'a Value)> {
        let mut compiled = Vec::new();
        for (pattern, schema) in item.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
            match Regex::new(pattern) {
                Ok(regex) => compiled.push((regex, schema)),
                Err(_) => {
                    self.bad_patterns.insert(pattern.clone());
                }
            }
        }
        compiled
    }

    fn copy(&mut self, value: &Value) -> Option<Value> {
        self.bytes_left = self.bytes_left.checked_sub(size(value))?;
        Some(value.clone())
    }
}

/// The empty value that StackStorm creates for an item with parts of its own.
fn container(item: &Value) -> Option<Value> {
    let any = |names: &[&str]| names.iter().any(|name| item.get(name).is_some_and(crate::python::is_true));
    match item.get("type").and_then(Value::as_str) {
        Some("object") if any(&["properties", "patternProperties", "additionalProperties"]) => {
            Some(Value::Object(Map::new()))
        }
        Some("array") if any(&["items", "additionalItems"]) => Some(Value::Array(Vec::new())),
        _ => None,
    }
}

/// Each item's schema: one for all, or by position and then the one for the rest.
fn schemas_of_items(item: &Value, count: usize) -> Vec<&Value> {
    match item.get("items") {
        Some(one) if one.is_object() => vec![one; count],
        other => {
            let mut schemas: Vec<&Value> = other.and_then(Value::as_array).into_iter().flatten().collect();
            if let Some(rest) = item.get("additionalItems").filter(|rest| rest.is_object()) {
                schemas.resize(schemas.len().max(count), rest);
            }
            schemas
        }
    }
}

fn size(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(members) => members.iter().map(|(name, member)| name.len() + size(member)).sum(),
            _ => 0,
        }
}
