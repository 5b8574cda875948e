//! The walk through the packs folders: pack by pack, file by file, in one order on every machine.

use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::digest::PackDigest;
use super::sensor::{self, Surroundings};
use super::{Disabled, Folders, Hint, Pack, Packs, TriggerType, folder, manifest, overrides, trigger_type};
use crate::config;
use crate::file::with_causes;
use crate::triggers::Triggers;
use crate::yaml;

pub(super) fn read(folders: &Folders) -> Packs {
    let mut packs = Packs::default();
    for base in &folders.packs {
        for folder in pack_folders(base, &mut packs.hints) {
            read_pack(folders, &folder, &mut packs);
        }
    }
    packs.triggers = Triggers::read(&packs.packs, &packs.trigger_types, &mut packs.hints);
    packs.disabled.sort();
    packs.hints.sort();
    packs.hints.dedup();
    packs
}

/// `base` itself if it is a pack, else the packs in it.
fn pack_folders(base: &Path, hints: &mut Vec<Hint>) -> Vec<PathBuf> {
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    if base.join(manifest::FILE_NAME).is_file() {
        return vec![base];
    }
    match folder::entries(&base) {
        Ok(mut folders) => {
            folders.retain(|folder| folder.join(manifest::FILE_NAME).is_file());
            folders
        }
        Err(error) => {
            hints.push(Hint::new(&base, None, format!("this packs folder cannot be read: {error}")));
            Vec::new()
        }
    }
}

fn read_pack(folders: &Folders, folder: &Path, packs: &mut Packs) {
    let file = folder.join(manifest::FILE_NAME);
    let folder_name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let manifest = match manifest::read(&file, &folder_name, &mut packs.hints) {
        Ok(manifest) => manifest,
        Err(problem) => return packs.disabled.push(problem.disables(&folder_name, &file, None)),
    };
    let pack = match packs.packs.entry(manifest.reference.clone()) {
        Entry::Occupied(first) => {
            let text = format!("pack `{}` is also in `{}`, which counts", first.key(), first.get().folder.display());
            return packs.hints.push(Hint::new(folder, None, text));
        }
        Entry::Vacant(place) => {
            place.insert(Pack { reference: manifest.reference, folder: folder.to_owned(), version: manifest.version })
        }
    };
    if pack.version.is_empty() {
        packs.hints.push(Hint::new(&file, None, "the pack has no `version`: StackStorm does not register it"));
    }
    let surroundings = surroundings(folders, pack, &mut packs.hints);

    for file in metadata_files(&surroundings, "triggers", &mut packs.disabled) {
        match declared_trigger_type(&surroundings.pack, &file, &mut packs.hints) {
            Ok(kind) => declare(packs, kind),
            Err((line, problem)) => {
                packs.hints.push(Hint::new(&file, line, format!("this trigger type is left out: {problem}")));
            }
        }
    }
    for file in metadata_files(&surroundings, "sensors", &mut packs.disabled) {
        let found = sensor::read(&surroundings, &file, &mut packs.hints);
        for kind in found.trigger_types {
            declare(packs, kind);
        }
        let sensor = match found.sensor {
            Ok(sensor) => sensor,
            Err(problem) => {
                packs.disabled.push(problem.disables(&surroundings.pack, &file, found.reference));
                continue;
            }
        };
        match packs.sensors.entry(sensor.reference.clone()) {
            Entry::Vacant(place) => {
                place.insert(sensor);
            }
            Entry::Occupied(first) => packs.disabled.push(Disabled {
                pack: sensor.pack,
                file: sensor.metadata_file,
                line: None,
                reference: Some(sensor.reference),
                reason: format!("`{}` declares the same sensor", first.get().metadata_file.display()),
                cure: "remove one of the two files, or name another class".to_owned(),
            }),
        }
    }
}

fn surroundings(folders: &Folders, pack: &Pack, hints: &mut Vec<Hint>) -> Surroundings {
    let file_name = format!("{}.yaml", pack.reference);
    let config_file = folders.configs.as_ref().map(|configs| configs.join(file_name));
    let config = config::read(config_file.as_deref(), &pack.folder.join("config.schema.yaml"), hints);
    let own_python = folders.virtualenvs.as_ref().map(|all| all.join(&pack.reference).join("bin").join("python"));
    Surroundings {
        pack: pack.reference.clone(),
        digest: PackDigest::of(&pack.folder, &pack.version),
        config: config.map_err(|error| with_causes(&error)),
        overrides: overrides::read(folders.overrides.as_deref(), &pack.reference, hints),
        library_path: Some(pack.folder.join("lib")).filter(|path| path.is_dir()),
        python: own_python.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("python3")),
        folder: pack.folder.clone(),
    }
}

fn metadata_files(pack: &Surroundings, kind: &str, disabled: &mut Vec<Disabled>) -> Vec<PathBuf> {
    let folder = pack.folder.join(kind);
    folder::metadata_files(&folder).unwrap_or_else(|error| {
        disabled.push(Disabled {
            pack: pack.pack.clone(),
            file: folder,
            line: None,
            reference: None,
            reason: format!("this folder cannot be read: {error}"),
            cure: "let this user read it".to_owned(),
        });
        Vec::new()
    })
}

/// A file of `triggers/`, which is one trigger type.
fn declared_trigger_type(
    pack: &str,
    file: &Path,
    hints: &mut Vec<Hint>,
) -> Result<Arc<TriggerType>, (Option<usize>, String)> {
    let document = yaml::read(file).map_err(|error| (error.line(), error.problem()))?;
    if let Some(other) = document.value.get("pack").and_then(Value::as_str).filter(|other| *other != pack) {
        let problem = format!("its `pack` is `{other}`, and the file is in pack `{pack}`");
        return Err((Some(document.line_of(&["pack"])), problem));
    }
    trigger_type::read(pack, &document.value, file, document.line_of(&["name"]), hints)
        .map_err(|(key, problem)| (Some(document.line_of(&[key.unwrap_or_default()])), problem))
}

/// Of several declarations of one trigger type the last counts.
fn declare(packs: &mut Packs, kind: Arc<TriggerType>) {
    if let Some(before) = packs.trigger_types.get(&kind.reference)
        && (&before.payload_schema, &before.parameters_schema) != (&kind.payload_schema, &kind.parameters_schema)
    {
        let file = before.file.display();
        let text = format!("`{}` is declared differently in `{file}`: what this file says counts", kind.reference);
        packs.hints.push(Hint::new(&kind.file, None, text));
    }
    packs.trigger_types.insert(kind.reference.clone(), kind);
}
