//! Folders, listed in one order on every machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many entries of one folder, and how many folders and files below one, are looked at.
const MAXIMUM_ENTRIES: usize = 10_000;
/// How deep folders may lie in each other.
const MAXIMUM_DEPTH: usize = 16;

/// What lies in `folder`, sorted by name.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAXIMUM_ENTRIES) {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

/// The metadata files of `folder` as StackStorm finds them: `*.yaml` and `*.yml`, not hidden, not in sub-folders.
/// A folder that is not there has none.
pub(crate) fn metadata_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = entries(folder)?;
    files.retain(|file| {
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    Ok(files)
}

/// Python files directly in `folder`.
pub(super) fn python_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder).unwrap_or_default();
    files.retain(|file| is_python(file) && file.is_file());
    files
}

/// Python files in `folder` and below it, links followed but no folder entered twice.
pub(super) fn python_files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, 0, &mut BTreeSet::new(), &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, depth: usize, seen: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) {
    let Ok(real) = folder.canonicalize() else { return };
    if depth > MAXIMUM_DEPTH || seen.len() >= MAXIMUM_ENTRIES || !seen.insert(real) {
        return;
    }
    for entry in entries(folder).unwrap_or_default() {
        if files.len() >= MAXIMUM_ENTRIES {
            return;
        }
        if entry.is_dir() {
            collect(&entry, depth + 1, seen, files);
        } else if is_python(&entry) && entry.is_file() {
            files.push(entry);
        }
    }
}

fn is_python(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py")
}
