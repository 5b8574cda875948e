//! Small files of a data folder: written whole or not at all, and the lock that keeps a second process out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// An operation on it failed.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process holds the folder, or the file.
    #[error("`{}` is in use by {holder}; one process at a time may use it", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Which process, as it has written into the lock.
        holder: String,
    },
    /// It does not hold what it should.
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl FileError {
    /// Names what was done to which file.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Writes a file so that at every moment either the old or the new content is there, and the new one is
/// on the disk when this returns.
///
/// # Errors
/// When any step fails; the old content is then still there.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o644)
}

/// The same for a secret: nobody but the file's owner may read it, at no moment.
///
/// # Errors
/// When any step fails; the old content is then still there.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o600)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    // One that was left behind may have been made with another mode.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", &new)(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new);
    let mut file = file.map_err(FileError::io("create", &new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(FileError::io("write", &new))?;
    std::fs::rename(&new, path).map_err(FileError::io("replace", path))?;
    let folder_file = File::open(folder).map_err(FileError::io("open", folder))?;
    folder_file.sync_all().map_err(FileError::io("sync", folder))
}

/// A small file's content; `None` where there is no such file.
///
/// # Errors
/// When it is there and cannot be read, or is larger than `bytes_at_most`.
pub fn read_small(path: &Path, bytes_at_most: u64) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("open", path)(error)),
    };
    let mut text = String::new();
    file.take(bytes_at_most + 1).read_to_string(&mut text).map_err(FileError::io("read", path))?;
    if text.len() as u64 > bytes_at_most {
        let problem = format!("it is larger than {bytes_at_most} bytes");
        return Err(FileError::Damaged { path: path.to_owned(), problem });
    }
    Ok(Some(text))
}

/// Keeps other processes out of a folder for as long as it, or a copy of its descriptor, is open.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a folder, without waiting.
    ///
    /// # Errors
    /// [`FileError::InUse`] with who holds it; [`FileError::Io`] where the file cannot be made.
    pub fn take(folder: &Path, who: &str) -> Result<Self, FileError> {
        Self::at(&folder.join("lock"), folder, who)
    }

    /// Takes the lock of one file, without waiting: another file beside it.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn of(file: &Path, who: &str) -> Result<Self, FileError> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        Self::at(Path::new(&path), file, who)
    }

    fn at(path: &Path, locked: &Path, who: &str) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(FileError::io("open", path))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = read_small(path, 4096)?.filter(|text| !text.is_empty());
            let holder = holder.unwrap_or_else(|| "another process".to_owned());
            return Err(FileError::InUse { folder: locked.to_owned(), holder: holder.trim().to_owned() });
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(who.as_bytes()))
            .map_err(FileError::io("write", path))?;
        Ok(Self { file })
    }

    /// The locked file: whoever inherits a copy of its descriptor holds the lock, too.
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("term");
        assert_eq!(read_small(&path, 10).unwrap(), None);
        write_whole(&path, b"1").unwrap();
        write_whole(&path, b"22").unwrap();
        assert_eq!(read_small(&path, 10).unwrap().as_deref(), Some("22"));
        assert!(matches!(read_small(&path, 1), Err(FileError::Damaged { .. })));
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "arbitrator, process 7").unwrap();
        let error = Lock::take(folder.path(), "another").unwrap_err().to_string();
        assert!(error.ends_with("is in use by arbitrator, process 7; one process at a time may use it"), "{error}");
        drop(first);
        Lock::take(folder.path(), "another").unwrap();
    }
}
