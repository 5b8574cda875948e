//! What an operator enables or disables against a pack's word: `overrides/_global.yaml`, then `overrides/PACK.yaml`.

use std::path::Path;

use serde_json::Value;

use super::Hint;
use crate::yaml;

/// The overrides that concern one pack's sensors.
#[derive(Default)]
pub(super) struct Overrides {
    /// For all its sensors, from `_global.yaml` and the pack's own file, in this order.
    defaults: Vec<Value>,
    /// By class name, from the pack's own file.
    exceptions: Option<Value>,
}

/// Reads what `folder` says of `pack`.
pub(super) fn read(folder: Option<&Path>, pack: &str, hints: &mut Vec<Hint>) -> Overrides {
    let mut overrides = Overrides::default();
    let Some(folder) = folder else { return overrides };
    for (name, of_pack) in [("_global", false), (pack, true)] {
        let file = folder.join(format!("{name}.yaml"));
        let Some(sensors) = sensors_of(&file, hints) else { continue };
        overrides.defaults.extend(sensors.get("defaults").and_then(|defaults| defaults.get("enabled")).cloned());
        if of_pack {
            overrides.exceptions = sensors.get("exceptions").cloned();
        }
    }
    overrides
}

impl Overrides {
    /// What `enabled` is for this class, where the overrides say.
    pub(super) fn enabled(&self, class_name: &str) -> Option<&Value> {
        let exception = self.exceptions.as_ref().and_then(|all| all.get(class_name)?.get("enabled"));
        exception.or(self.defaults.last())
    }
}

fn sensors_of(file: &Path, hints: &mut Vec<Hint>) -> Option<Value> {
    if !file.try_exists().unwrap_or(true) {
        return None;
    }
    match yaml::read(file) {
        Ok(document) => document.value.get("sensors").cloned(),
        Err(error) => {
            hints.push(Hint::new(file, error.line(), format!("these overrides are not applied: {}", error.problem())));
            None
        }
    }
}
