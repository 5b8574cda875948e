//! Dead letters: what a sink has refused for good, kept in the container's state folder for people.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::Record;

/// A file is put aside when it would grow beyond this; the one put aside before goes. So the folder, which is in memory as
/// a rule, holds at most twice as much; it is enough for the greatest trigger that a sensor can dispatch, or for some ten
/// thousand usual ones.
const BYTES_AT_MOST: u64 = 17 * 1024 * 1024;
const NAME: &str = "dead-letters.jsonl";
const BEFORE: &str = "dead-letters.1.jsonl";

/// Appends to one file, and puts it aside when it is full.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters {
    folder: Arc<PathBuf>,
    one_at_a_time: Arc<Mutex<()>>,
}

/// One line.
#[derive(Serialize)]
struct Letter<'a> {
    #[serde(flatten)]
    record: &'a Record,
    refused: &'a str,
}

impl DeadLetters {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: Arc::new(folder.to_owned()), one_at_a_time: Arc::default() }
    }

    /// Where they are.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Keeps one, and why it was refused.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self, record: &Record, refused: &str) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Letter { record, refused })?;
        line.push(b'\n');
        let _one = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        if file.metadata()?.len() + line.len() as u64 > BYTES_AT_MOST {
            std::fs::rename(self.path(), self.folder.join(BEFORE))?;
            file = self.open()?;
        }
        if line.len() as u64 > BYTES_AT_MOST {
            return Err(io::Error::other(format!("it is longer than {BYTES_AT_MOST} bytes")));
        }
        file.write_all(&line)?;
        file.sync_data()
    }

    fn open(&self) -> io::Result<File> {
        // A payload may hold what is nobody else's business.
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.path())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_one_before_goes() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path());
        let record =
            |id: &str, text: &str| Record { id: id.to_owned(), payload: json!({ "text": text }), ..Record::for_test() };
        let long = "x".repeat(6 * 1024 * 1024);
        for id in ["1", "2", "3", "4", "5"] {
            letters.keep(&record(id, &long), "400").unwrap();
        }
        let ids = |name: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect()
        };
        assert_eq!((ids(BEFORE), ids(NAME)), (vec![json!("3"), json!("4")], vec![json!("5")]));
        let last: Value = serde_json::from_str(&std::fs::read_to_string(letters.path()).unwrap()).unwrap();
        assert_eq!((&last["refused"], &last["sensor"]), (&json!("400"), &json!("p.X")));
    }
}
