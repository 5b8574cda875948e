//! Checks of the files themselves: their size, and that every crate takes the workspace's lints.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A file over this is noted: the time to think about splitting it.
const LONG_LINES: usize = 600;

/// A file over this fails: nobody reads it as a whole any more.
const MAX_LINES: usize = 1000;

/// Checks the tracked sources and every crate's manifest.
pub(crate) fn check() -> Result<()> {
    let mut faults = Vec::new();
    for path in [workspace::tracked("*.rs")?, workspace::tracked("*.py")?].concat() {
        if is_generated(&path) {
            continue;
        }
        let lines = line_count(&read(&path)?);
        let name = path.display();
        match length(lines) {
            Length::Fine => {}
            Length::Long => eprintln!("note: {name} has {lines} lines, over {LONG_LINES}"),
            Length::TooLong => faults.push(format!("{name} has {lines} lines, over {MAX_LINES}")),
        }
    }
    for path in manifests()? {
        if !takes_workspace_lints(&String::from_utf8_lossy(&read(&path)?)) {
            faults.push(format!("{} lacks `[lints] workspace = true`", path.display()));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

fn manifests() -> Result<Vec<PathBuf>> {
    let crates = Path::new("crates");
    let mut found = vec![PathBuf::from("xtask/Cargo.toml")];
    let entries = fs::read_dir(workspace::root().join(crates)).context("failed to list `crates`")?;
    for entry in entries {
        let name = entry.context("failed to list `crates`")?.file_name();
        let manifest = crates.join(name).join("Cargo.toml");
        if workspace::root().join(&manifest).is_file() {
            found.push(manifest);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether nobody reads the file: what it is made from is read instead.
fn is_generated(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "generated")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(workspace::root().join(path)).with_context(|| format!("failed to read `{}`", path.display()))
}

fn line_count(content: &[u8]) -> usize {
    content.split_inclusive(|byte| *byte == b'\n').count()
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Fine,
    Long,
    TooLong,
}

fn length(lines: usize) -> Length {
    if lines > MAX_LINES {
        Length::TooLong
    } else if lines > LONG_LINES {
        Length::Long
    } else {
        Length::Fine
    }
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut table = "";
    for line in manifest.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            table = line;
        }
        let setting: String = line.split_whitespace().collect();
        match (table, setting.as_str()) {
            ("[lints]", "workspace=true") | ("", "lints.workspace=true") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_with_and_without_a_last_newline() {
        assert_eq!(line_count(b""), 0);
        assert_eq!(line_count(b"a\nb"), 2);
        assert_eq!(line_count(b"a\nb\n"), 2);
    }

    #[test]
    fn a_file_is_long_over_600_lines_and_too_long_over_1000() {
        assert_eq!(length(600), Length::Fine);
        assert_eq!(length(601), Length::Long);
        assert_eq!(length(1000), Length::Long);
        assert_eq!(length(1001), Length::TooLong);
    }

    #[test]
    fn a_generated_file_is_known_by_its_folder() {
        assert!(is_generated(Path::new("crates/proto/src/generated/st2sa.v1.rs")));
        assert!(!is_generated(Path::new("crates/proto/src/generated.rs")));
    }

    #[test]
    fn workspace_lints_are_recognised_in_their_own_table_only() {
        assert!(takes_workspace_lints("[package]\n\n[lints]\nworkspace = true # all\n"));
        assert!(takes_workspace_lints("lints.workspace = true\n[package]\n"));
        assert!(!takes_workspace_lints("[package]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[lints]\nworkspace = false\n"));
        assert!(!takes_workspace_lints("[lints]\n[dependencies]\nworkspace = true\n"));
        assert!(!takes_workspace_lints(""));
    }
}
