//! Triggers: trigger types together with the parameters that rules give, as sensors get them and dispatch them.
//!
//! A type without parameters has one trigger, which bears its name. Each different set of parameters that a rule of a
//! pack gives makes one more. StackStorm gives those random names and ids; here both are made from the type and the
//! parameters, so that every container, and each start of one, calls a trigger the same.
//!
//! Rules that were made through StackStorm's API alone are in no file and so not known here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::packs::{Hint, Pack, TriggerType};
use crate::python;
use crate::yaml;

/// All triggers, sorted by type and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Triggers(BTreeMap<(String, String), Trigger>);

#[derive(Clone, Debug, PartialEq)]
struct Trigger {
    pack: String,
    kind: String,
    name: String,
    reference: String,
    uid: String,
    id: String,
    parameters: Value,
}

impl Triggers {
    /// The triggers of `kinds`, those with parameters as the rules of `packs` ask for them.
    pub(crate) fn read(
        packs: &BTreeMap<String, Pack>,
        kinds: &BTreeMap<String, Arc<TriggerType>>,
        hints: &mut Vec<Hint>,
    ) -> Self {
        let mut triggers = Self::default();
        for kind in kinds.values().filter(|kind| kind.parameters_schema.is_none()) {
            triggers.add(Trigger::new(kind, kind.name.clone(), json!({})));
        }
        for pack in packs.values() {
            let folder = pack.folder.join("rules");
            let files = match crate::packs::metadata_files(&folder) {
                Ok(files) => files,
                Err(error) => {
                    hints.push(Hint::new(&folder, None, format!("these rules cannot be read: {error}")));
                    continue;
                }
            };
            for file in files {
                match of_rule(&pack.reference, &file, kinds) {
                    Ok(trigger) => trigger.into_iter().for_each(|trigger| triggers.add(trigger)),
                    Err((line, problem)) => {
                        let text = format!("no sensor hears of this rule's parameters: {problem}");
                        hints.push(Hint::new(&file, line, text));
                    }
                }
            }
        }
        triggers
    }

    /// The triggers of some types, as dictionaries, in the order of the types.
    pub(crate) fn of<'a>(&self, kinds: impl Iterator<Item = &'a str>) -> Vec<Value> {
        let mut triggers = Vec::new();
        for kind in kinds {
            let from = (kind.to_owned(), String::new());
            triggers
                .extend(self.0.range(from..).take_while(|((of, _), _)| of == kind).map(|(_, trigger)| trigger.value()));
        }
        triggers
    }

    /// The reference of the type of `trigger`: by its `type`, else its `id`, else its `uid`; of a text, by its `ref`.
    pub(crate) fn type_of<'a>(&'a self, trigger: &'a Value) -> Option<&'a str> {
        let text = |key: &str| trigger.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(kind) = text("type") {
            return Some(kind);
        }
        let find = |same: &dyn Fn(&Trigger) -> bool| self.0.values().find(|trigger| same(trigger));
        let found = match (trigger.as_str(), text("id"), text("uid")) {
            (Some(reference), ..) => find(&|trigger| trigger.reference == reference),
            (None, Some(id), _) => find(&|trigger| trigger.id == id),
            (None, None, Some(uid)) => find(&|trigger| trigger.uid == uid),
            (None, None, None) => None,
        };
        found.map(|trigger| trigger.kind.as_str())
    }

    fn add(&mut self, trigger: Trigger) {
        self.0.insert((trigger.kind.clone(), trigger.name.clone()), trigger);
    }
}

impl Trigger {
    fn new(kind: &TriggerType, name: String, parameters: Value) -> Self {
        let reference = format!("{}.{name}", kind.pack);
        let md5 = hex(&Md5::digest(python::sorted_json(&parameters)));
        Self {
            pack: kind.pack.clone(),
            kind: kind.reference.clone(),
            uid: format!("trigger:{}:{name}:{md5}", kind.pack),
            id: hex(&Sha256::digest(&reference)).chars().take(24).collect(),
            name,
            reference,
            parameters,
        }
    }

    fn value(&self) -> Value {
        json!({
            "uid": self.uid,
            "ref": self.reference,
            "name": self.name,
            "pack": self.pack,
            "type": self.kind,
            "parameters": self.parameters,
            "id": self.id,
        })
    }
}

/// The trigger with parameters that the rule in `file` asks for; nothing when it asks for none of `kinds`.
fn of_rule(
    pack: &str,
    file: &Path,
    kinds: &BTreeMap<String, Arc<TriggerType>>,
) -> Result<Option<Trigger>, (Option<usize>, String)> {
    let document = yaml::read(file).map_err(|error| (error.line(), error.problem()))?;
    let rule = &document.value;
    let Some(trigger) = rule.get("trigger") else { return Ok(None) };
    let Some(kind) = trigger.get("type").and_then(Value::as_str).and_then(|kind| kinds.get(kind)) else {
        return Ok(None);
    };
    let line = |path: &[&str]| Some(document.line_of(path));
    if let Some(other) = rule.get("pack").filter(|other| python::is_true(other) && **other != pack) {
        return Err((line(&["pack"]), format!("its `pack` is {other}, and the file is in pack `{pack}`")));
    }
    let parameters = match trigger.get("parameters") {
        Some(parameters @ Value::Object(_)) => parameters.clone(),
        None | Some(Value::Null) => json!({}),
        Some(_) => return Err((line(&["trigger", "parameters"]), "they are not a mapping".to_owned())),
    };
    if let Err(problem) = kind.parameters().validate(&parameters) {
        return Err((line(&["trigger", "parameters"]), format!("`{}` does not take them: {problem}", kind.reference)));
    }
    if !python::is_true(&parameters) {
        return match kind.parameters_schema {
            None => Ok(None),
            Some(_) => Err((line(&["trigger"]), format!("`{}` needs parameters, and it gives none", kind.reference))),
        };
    }
    let name = random_looking_uuid(&kind.reference, &parameters);
    Ok(Some(Trigger::new(kind, name, parameters)))
}

/// A version 4 UUID: StackStorm takes a reference that ends in one for a trigger, and any other for a type.
fn random_looking_uuid(kind: &str, parameters: &Value) -> String {
    let digest = Sha256::digest(format!("{kind}\0{}", python::sorted_json(parameters)));
    let mut digits: Vec<char> = hex(&digest).chars().take(32).collect();
    digits[12] = '4';
    digits[16] = match digits[16] {
        '0' | '4' | '8' | 'c' => '8',
        '1' | '5' | '9' | 'd' => '9',
        '2' | '6' | 'a' | 'e' => 'a',
        _ => 'b',
    };
    let part = |from: usize, to: usize| digits[from..to].iter().collect::<String>();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}
