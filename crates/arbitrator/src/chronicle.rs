//! The history on the arbitrator's own disk: a line of JSON a change, the last ones in memory, followed by
//! whoever asks.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use st2sa_machine::files::FileError;
use st2sa_proto::rest::HistoryRecord;
use tokio::sync::broadcast;

/// Records kept in memory, and read back at a start.
const RECORDS_AT_MOST: usize = 10_000;
/// A file of this size is put aside, and the one put aside before it is removed: some 200,000 changes.
const FILE_BYTES_AT_MOST: u64 = 16 * 1024 * 1024;
/// What is read back of the file: enough for the records kept.
const TAIL_BYTES_AT_MOST: u64 = 4 * 1024 * 1024;
/// Records that a follower may be behind before it has to ask again.
const FOLLOWER_LAGS_AT_MOST: usize = 4_096;

/// The history of one arbitrator.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    bytes: u64,
    last: VecDeque<HistoryRecord>,
    followers: broadcast::Sender<HistoryRecord>,
}

impl Chronicle {
    /// Opens, or begins, the history in a folder.
    ///
    /// # Errors
    /// When its file cannot be opened or read.
    pub(crate) fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join("history.jsonl");
        let mut file = append(&path)?;
        let (last, bytes) = read_back(&mut file).map_err(FileError::io("read", &path))?;
        let followers = broadcast::Sender::new(FOLLOWER_LAGS_AT_MOST);
        Ok(Self { inner: Arc::new(Mutex::new(Inner { path, file, bytes, last, followers })) })
    }

    /// Adds a record. What cannot be written is in memory and in the log all the same.
    pub(crate) fn add(&self, record: HistoryRecord) {
        let mut inner = self.inner();
        if let Err(error) = inner.write(&record) {
            tracing::error!(path = %inner.path.display(), %error, "the history cannot be written");
        }
        // Nobody may be following.
        let _ = inner.followers.send(record.clone());
        inner.last.push_back(record);
        if inner.last.len() > RECORDS_AT_MOST {
            inner.last.pop_front();
        }
    }

    /// Adds a record that another arbitrator has told, unless it is there.
    pub(crate) fn add_unless_known(&self, record: HistoryRecord) {
        if !self.inner().last.iter().rev().any(|known| *known == record) {
            self.add(record);
        }
    }

    /// The last `limit` records that `wanted` takes, oldest first, and all that follow.
    pub(crate) fn read(
        &self,
        limit: usize,
        wanted: impl Fn(&HistoryRecord) -> bool,
    ) -> (Vec<HistoryRecord>, broadcast::Receiver<HistoryRecord>) {
        let inner = self.inner();
        let mut records: Vec<_> =
            inner.last.iter().rev().filter(|record| wanted(record)).take(limit).cloned().collect();
        records.reverse();
        (records, inner.followers.subscribe())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, record: &HistoryRecord) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.bytes >= FILE_BYTES_AT_MOST {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            self.file = append(&self.path).map_err(std::io::Error::other)?;
            self.bytes = 0;
        }
        self.file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().create(true).read(true).append(true).open(path).map_err(FileError::io("open", path))
}

/// The last records, and the file's length. A line that a crash cut short is ended, and left out.
fn read_back(file: &mut File) -> std::io::Result<(VecDeque<HistoryRecord>, u64)> {
    let mut bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES_AT_MOST)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_AT_MOST).read_to_end(&mut tail)?;
    if tail.last().is_some_and(|byte| *byte != b'\n') {
        file.write_all(b"\n")?;
        bytes += 1;
    }
    let lines = tail.split(|byte| *byte == b'\n');
    let mut last: VecDeque<HistoryRecord> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let surplus = last.len().saturating_sub(RECORDS_AT_MOST);
    last.drain(..surplus);
    Ok((last, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fence: &str) -> HistoryRecord {
        HistoryRecord {
            at: "2026-11-23T00:00:00.000Z".to_owned(),
            sensor: "p.X".to_owned(),
            from: None,
            to: Some("a".to_owned()),
            fence: fence.to_owned(),
            cause: "placed".to_owned(),
            who: "arbiter".to_owned(),
        }
    }

    fn fences(records: &[HistoryRecord]) -> Vec<&str> {
        records.iter().map(|record| record.fence.as_str()).collect()
    }

    #[test]
    fn a_restart_knows_what_was_and_a_torn_line_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let chronicle = Chronicle::open(folder.path()).unwrap();
        chronicle.add(record("1.1"));
        drop(chronicle);
        append(&folder.path().join("history.jsonl")).unwrap().write_all(b"{\"at\": \"20").unwrap();
        let chronicle = Chronicle::open(folder.path()).unwrap();
        chronicle.add(record("2.1"));
        let chronicle = Chronicle::open(folder.path()).unwrap();
        assert_eq!(fences(&chronicle.read(10, |_| true).0), ["1.1", "2.1"]);
    }

    #[test]
    fn the_last_records_are_given_in_order_and_later_ones_follow() {
        let folder = tempfile::tempdir().unwrap();
        let chronicle = Chronicle::open(folder.path()).unwrap();
        for fence in ["1.1", "1.2", "1.3"] {
            chronicle.add(record(fence));
        }
        let (last, mut followed) = chronicle.read(2, |record| record.fence != "1.3");
        assert_eq!(fences(&last), ["1.1", "1.2"]);
        // What is known already is not added again.
        chronicle.add_unless_known(record("1.2"));
        chronicle.add_unless_known(record("1.4"));
        assert_eq!(followed.try_recv().unwrap().fence, "1.4");
    }
}
