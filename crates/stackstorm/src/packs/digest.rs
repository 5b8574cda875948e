//! The digest of what a sensor would run: so that the arbitrator can tell new code from old.
//!
//! It covers, in this order and each with its name in the pack: the pack's version, `config.schema.yaml`,
//! `requirements.txt`, `*.py` directly in `sensors/`, `*.py` under `lib/`; then the sensor's metadata file and its
//! entry point. Nothing that running writes: no `__pycache__`, no clone, no log. Not the configuration either.

use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use st2sa_core::names::Digest;

use super::folder;
use crate::file;

/// How much of one file counts: a file of code is never larger.
const MAXIMUM_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What all sensors of a pack share.
#[derive(Clone)]
pub(super) struct PackDigest(Sha256);

impl PackDigest {
    pub(super) fn of(pack: &Path, version: &str) -> Self {
        let mut hash = Sha256::new();
        add_part(&mut hash, "version", version.as_bytes());
        let mut files = vec![pack.join("config.schema.yaml"), pack.join("requirements.txt")];
        files.extend(folder::python_files(&pack.join("sensors")));
        files.extend(folder::python_files_below(&pack.join("lib")));
        for file in files {
            add_file(&mut hash, pack, &file);
        }
        Self(hash)
    }

    pub(super) fn with_sensor(&self, pack: &Path, metadata_file: &Path, entry_point: &Path) -> Digest {
        let mut hash = self.0.clone();
        add_file(&mut hash, pack, metadata_file);
        add_file(&mut hash, pack, entry_point);
        let folded = hash.finalize().iter().take(8).fold(0, |folded, byte| folded << 8 | u64::from(*byte));
        Digest(folded)
    }
}

fn add_file(hash: &mut Sha256, pack: &Path, path: &Path) {
    let mut bytes = Vec::new();
    let read = file::open_regular(path).map(|file| file.take(MAXIMUM_FILE_BYTES).read_to_end(&mut bytes));
    // A file that is not there is left out; one that cannot be read counts by its name.
    if read.is_ok() {
        let name = path.strip_prefix(pack).unwrap_or(path);
        add_part(hash, &name.to_string_lossy(), &bytes);
    }
}

/// With lengths, so that no two lists of parts look the same.
fn add_part(hash: &mut Sha256, name: &str, content: &[u8]) {
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name);
    hash.update((content.len() as u64).to_be_bytes());
    hash.update(content);
}
