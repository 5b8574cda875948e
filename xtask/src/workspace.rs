//! Where things are: the workspace root, the target directory, the files git tracks.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::Program;

/// The workspace root.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory for programs started in the root.
pub(crate) fn target_dir() -> PathBuf {
    let named = env::var_os("CARGO_TARGET_DIR").filter(|directory| !directory.is_empty());
    root().join(named.unwrap_or_else(|| "target".into()))
}

/// Where tools that are no part of the workspace are installed.
pub(crate) fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// The tracked files that match a git pattern such as `*.py`, relative to the root; deleted ones are left out.
pub(crate) fn tracked(pattern: &str) -> Result<Vec<PathBuf>> {
    let listed = Program::new("git")
        .hint("install git")
        .args(["ls-files", "-z", "--", pattern])
        .read()
        .context("failed to list the tracked files: this task needs a git checkout")?;
    Ok(listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect())
}
