//! References that lead back to themselves without going deeper into the payload: following them would never end.

use serde_json::Value;

/// How many steps the search may take. A schema in which references multiply each other needs more.
const MAXIMUM_STEPS: usize = 100_000;

/// Refuses a draft 4 schema of which a check would not end, or take very long.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut search = Search { root: schema, steps_left: MAXIMUM_STEPS };
    search.below(schema, &mut Vec::new())
}

struct Search<'a> {
    root: &'a Value,
    steps_left: usize,
}

impl<'a> Search<'a> {
    /// Starts a search at every schema, also those deeper in the payload.
    fn below(&mut self, value: &'a Value, path: &mut Vec<&'a str>) -> Result<(), String> {
        self.in_place(value, path)?;
        let parts: Vec<&Value> = match value {
            Value::Object(members) => members.values().collect(),
            Value::Array(items) => items.iter().collect(),
            _ => return Ok(()),
        };
        parts.into_iter().try_for_each(|part| self.below(part, path))
    }

    /// Follows what is checked against the same part of the payload; `path` holds the references taken so far.
    fn in_place(&mut self, schema: &'a Value, path: &mut Vec<&'a str>) -> Result<(), String> {
        let Value::Object(keywords) = schema else { return Ok(()) };
        self.steps_left = self
            .steps_left
            .checked_sub(1)
            .ok_or_else(|| "its references multiply each other: checking a payload would take too long".to_owned())?;
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    if path.contains(&reference.as_str()) {
                        return Err(format!("the reference `{reference}` leads back to itself"));
                    }
                    let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
                    if let Some(target) = target {
                        path.push(reference);
                        self.in_place(target, path)?;
                        path.pop();
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(choices)) => {
                    for choice in choices {
                        self.in_place(choice, path)?;
                    }
                }
                ("not", negated) => self.in_place(negated, path)?,
                ("dependencies", Value::Object(schemas)) => {
                    for schema in schemas.values() {
                        self.in_place(schema, path)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
