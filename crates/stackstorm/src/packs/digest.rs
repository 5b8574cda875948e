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
/// How much of all files of one pack counts. The largest published pack has a hundredth of it.
const MAXIMUM_PACK_BYTES: u64 = 64 * 1024 * 1024;

/// What all sensors of a pack share.
#[derive(Clone)]
pub(super) struct PackDigest(Sum);

#[derive(Clone)]
struct Sum {
    hash: Sha256,
    bytes_left: u64,
}

impl PackDigest {
    pub(super) fn of(pack: &Path, version: &str) -> Self {
        let mut sum = Sum { hash: Sha256::new(), bytes_left: MAXIMUM_PACK_BYTES };
        sum.add_part("version", version.as_bytes());
        let mut files = vec![pack.join("config.schema.yaml"), pack.join("requirements.txt")];
        files.extend(folder::python_files(&pack.join("sensors")));
        files.extend(folder::python_files_below(&pack.join("lib")));
        for file in files {
            sum.add_file(pack, &file);
        }
        Self(sum)
    }

    pub(super) fn with_sensor(&self, pack: &Path, metadata_file: &Path, entry_point: &Path) -> Digest {
        // The sensor's own files count, however much there is beside them.
        let mut sum = Sum { bytes_left: 2 * MAXIMUM_FILE_BYTES, ..self.0.clone() };
        sum.add_file(pack, metadata_file);
        sum.add_file(pack, entry_point);
        let folded = sum.hash.finalize().iter().take(8).fold(0, |folded, byte| folded << 8 | u64::from(*byte));
        Digest(folded)
    }
}

impl Sum {
    fn add_file(&mut self, pack: &Path, path: &Path) {
        let mut bytes = Vec::new();
        let limit = MAXIMUM_FILE_BYTES.min(self.bytes_left);
        let read = file::open_regular(path).map(|file| file.take(limit).read_to_end(&mut bytes));
        // A file that is not there is left out; one that cannot be read counts by its name.
        if read.is_ok() {
            let name = path.strip_prefix(pack).unwrap_or(path);
            self.add_part(&name.to_string_lossy(), &bytes);
            self.bytes_left -= bytes.len() as u64;
        }
    }

    /// With lengths, so that no two lists of parts look the same.
    fn add_part(&mut self, name: &str, content: &[u8]) {
        self.hash.update((name.len() as u64).to_be_bytes());
        self.hash.update(name);
        self.hash.update((content.len() as u64).to_be_bytes());
        self.hash.update(content);
    }
}
