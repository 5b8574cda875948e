//! The Rust code of the gRPC contracts: made from the `.proto` files, committed, compared by the gate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Where the contracts are, relative to the root: what `import` lines start from.
const CONTRACTS: &str = "crates/proto/proto";

/// Where the code made from them is, relative to the root.
const CODE: &str = "crates/proto/src/generated/st2sa.v1.rs";

/// Fails if the committed code is not what the contracts make.
pub(crate) fn check() -> Result<()> {
    let committed = fs::read(workspace::root().join(CODE)).with_context(|| format!("failed to read `{CODE}`"))?;
    if committed != made()? {
        bail!("`{CODE}` is not what `{CONTRACTS}` makes: run `cargo xtask fix`");
    }
    Ok(())
}

/// Writes the code anew.
pub(crate) fn write() -> Result<()> {
    let code = made()?;
    let path = workspace::root().join(CODE);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    }
    fs::write(&path, code).with_context(|| format!("failed to write `{CODE}`"))
}

fn made() -> Result<Vec<u8>> {
    let contracts = workspace::root().join(CONTRACTS);
    let files = protox::Compiler::new([&contracts])
        .context("failed to start the protobuf compiler")?
        // Comments are part of it: they become the documentation.
        .include_source_info(true)
        .include_imports(true)
        .open_files(found(&contracts)?)
        .with_context(|| format!("failed to compile `{CONTRACTS}`"))?
        .file_descriptor_set();
    let directory = workspace::target_dir().join("contracts");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    tonic_prost_build::configure()
        .out_dir(&directory)
        // A map whose order is not chance's.
        .btree_map(".")
        .compile_fds(files)
        .context("failed to make Rust code of the contracts")?;
    let name = Path::new(CODE).file_name().context("the code has no file name")?;
    let path = directory.join(name);
    fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))
}

fn found(contracts: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![contracts.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("failed to list `{}`", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("failed to list `{}`", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path);
            }
        }
    }
    // The order of a folder is chance's.
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_make_the_committed_code() {
        check().unwrap();
    }
}
