//! A line of JSON a trigger, appended to a file that several containers may share.
//!
//! A line is there whole or not at all: appending is done under the file's lock, an append that fails is cut
//! off again, and one that was cut short by a crash is removed before the next (it was never confirmed).

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::local::Sink;
use super::{Record, SinkError};

/// Of the file's end, looked at in pieces of this size for where its last whole line ends.
const PIECE: u64 = 64 * 1024;

/// Others hold the lock for one append; then it is said who does.
const LOCKED_WITHIN: Duration = Duration::from_millis(500);
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// An open file.
pub(super) struct File {
    path: PathBuf,
    file: std::fs::File,
}

impl File {
    /// Opens, or makes, the file.
    pub(super) fn open(path: &Path) -> Result<Self, SinkError> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(SinkError::io(format!("open `{}`", path.display())))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let failed = SinkError::io(format!("use `{}` for triggers", path.display()));
            return Err(failed(io::Error::other("it is no ordinary file; for the standard output there is `stdout`")));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut whole = self.whole_lines()?;
        if self.file.metadata()?.len() > whole {
            if self.is_ours(whole)? {
                self.file.set_len(whole)?;
            } else {
                self.file.write_all(b"\n")?;
                whole = self.file.metadata()?.len();
            }
        }
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.file.set_len(whole)?;
        }
        written
    }

    /// Whether what stands there is the beginning of a record of ours, which a crash cut short.
    fn is_ours(&mut self, from: u64) -> io::Result<bool> {
        const BEGINNING: &[u8] = b"{\"at\":\"";
        let mut found = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&mut self.file).take(BEGINNING.len() as u64).read_to_end(&mut found)?;
        Ok(BEGINNING.starts_with(&found))
    }

    /// How long the file is up to its last line's end.
    fn whole_lines(&mut self) -> io::Result<u64> {
        let mut end = self.file.metadata()?.len();
        let mut piece = Vec::new();
        while end > 0 {
            // Almost always the very last byte is that end.
            let length = if piece.is_empty() { 1 } else { PIECE.min(end) };
            piece.clear();
            self.file.seek(SeekFrom::Start(end - length))?;
            (&mut self.file).take(length).read_to_end(&mut piece)?;
            if let Some(position) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(end - length + position as u64 + 1);
            }
            end -= length;
        }
        Ok(0)
    }
}

impl Sink for File {
    fn ready(&mut self) -> Result<(), SinkError> {
        let since = Instant::now();
        let failed = SinkError::io(format!("lock `{}`", self.path.display()));
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) if since.elapsed() < LOCKED_WITHIN => std::thread::sleep(LOCK_AGAIN_AFTER),
                Err(Errno::AGAIN) => return Err(failed(io::Error::other(self.holder()))),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn put(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let lines: Vec<u8> = batch.iter().flat_map(Record::line).collect();
        let failed = SinkError::io(format!("append to `{}`", self.path.display()));
        self.append(&lines).map_err(failed)
    }

    fn rest(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(path = %self.path.display(), %error, "the file could not be unlocked");
        }
    }

    fn describe(&self) -> String {
        format!("file:{}", self.path.display())
    }
}

impl File {
    /// Who keeps the file locked, as the kernel lists it: a container that was stopped right then, say.
    fn holder(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let file = self.file.metadata().map_or(0, |metadata| metadata.ino()).to_string();
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        // "1: FLOCK  ADVISORY  WRITE 4711 08:01:INODE 0 EOF"
        let holder = locks.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let same = fields.get(5)?.rsplit(':').next() == Some(file.as_str());
            (fields.get(1) == Some(&"FLOCK") && same).then(|| fields.get(4).copied()).flatten()
        });
        let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        format!("{holder} keeps it locked; if that one is stopped, let it go on or end it")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn record(id: &str) -> Record {
        Record { id: id.to_owned(), ..Record::for_test() }
    }

    #[test]
    fn each_trigger_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        let mut sink = File::open(&path).unwrap();
        sink.put(&[record("1"), record("2")]).unwrap();
        sink.put(&[record("3")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let ids: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
        assert_eq!(ids, ["1", "2", "3"]);
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"at":"2026-11-23T00:00:00.000Z","sensor":"p.X","container":"a","fence":"1.2","id":"1","trigger":"p.t","payload":{"text":"two\nlines"},"trace_context":null}"#
        );
    }

    #[test]
    fn what_somebody_else_wrote_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        std::fs::write(&path, "no end of line").unwrap();
        File::open(&path).unwrap().put(&[record("1")]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("no end of line\n{\"at\""));
        assert!(File::open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_file_that_somebody_keeps_locked_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        let (mut one, mut other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        one.ready().unwrap();
        let error = other.ready().unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.starts_with(&format!("process {} keeps it locked", std::process::id())), "{why}");
        one.rest();
        other.ready().unwrap();
    }

    #[test]
    fn what_a_crash_cut_short_is_removed_before_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        let long = format!("{{\"at\":\"{}", "x".repeat(200_000));
        for torn in ["{\"at\":\"20", "{\"a", &long] {
            std::fs::write(&path, format!("{{}}\n{torn}")).unwrap();
            File::open(&path).unwrap().put(&[record("1")]).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), 2);
            assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
        std::fs::write(&path, &long).unwrap();
        File::open(&path).unwrap().put(&[record("1")]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
