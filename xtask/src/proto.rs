//! The Rust code of the gRPC contracts: made from the `.proto` files, committed, compared by the gate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Contracts, and the code made from them.
struct Contracts {
    /// Where they are, relative to the root: what `import` lines start from.
    folder: &'static str,
    /// The code, relative to the root.
    code: &'static str,
    /// Whether we serve them, too.
    served: bool,
}

const ALL: [Contracts; 2] = [
    // Between our own processes.
    Contracts { folder: "crates/proto/proto", code: "crates/proto/src/generated/st2sa.v1.rs", served: true },
    // What is used of etcd's.
    Contracts {
        folder: "crates/coordination/proto",
        code: "crates/coordination/src/generated/etcdserverpb.rs",
        served: false,
    },
];

/// Fails if the committed code is not what the contracts make.
pub(crate) fn check() -> Result<()> {
    for contracts in &ALL {
        let Contracts { folder, code, .. } = contracts;
        let committed = fs::read(workspace::root().join(code)).with_context(|| format!("failed to read `{code}`"))?;
        if committed != made(contracts)? {
            bail!("`{code}` is not what `{folder}` makes: run `cargo xtask fix`");
        }
    }
    Ok(())
}

/// Writes the code anew.
pub(crate) fn write() -> Result<()> {
    for contracts in &ALL {
        let code = made(contracts)?;
        let path = workspace::root().join(contracts.code);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
        }
        fs::write(&path, code).with_context(|| format!("failed to write `{}`", contracts.code))?;
    }
    Ok(())
}

fn made(contracts: &Contracts) -> Result<Vec<u8>> {
    let Contracts { folder, code, served } = contracts;
    let sources = workspace::root().join(folder);
    let files = protox::Compiler::new([&sources])
        .context("failed to start the protobuf compiler")?
        // Comments are part of it: they become the documentation.
        .include_source_info(true)
        .include_imports(true)
        .open_files(found(&sources)?)
        .with_context(|| format!("failed to compile `{folder}`"))?
        .file_descriptor_set();
    let directory = workspace::target_dir().join("contracts");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    tonic_prost_build::configure()
        .build_server(*served)
        .out_dir(&directory)
        // A map whose order is not chance's.
        .btree_map(".")
        .compile_fds(files)
        .with_context(|| format!("failed to make Rust code of `{folder}`"))?;
    let name = Path::new(code).file_name().context("the code has no file name")?;
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
