//! Files of packs and operators, read whole: regular ones, of bounded size, in UTF-8.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest file that is read as text. The largest metadata file of any published pack is a tenth of it.
pub const MAXIMUM_TEXT_BYTES: u64 = 1024 * 1024;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot read `{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("`{}` is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// More than [`MAXIMUM_TEXT_BYTES`].
    #[error("`{}` is larger than {MAXIMUM_TEXT_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("`{}` is not UTF-8 text: see byte {offset}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not.
        offset: usize,
    },
}

/// The whole of a text file.
///
/// # Errors
/// When it is not there, not regular, too large or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let refused = |source| Error::Refused { path: path.to_owned(), source };
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAXIMUM_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > MAXIMUM_TEXT_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::NotText { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

/// Opens a regular file. The check comes first: opening a pipe would wait for its other end.
pub(crate) fn open_regular(path: &Path) -> Result<File, Error> {
    let refused = |source| Error::Refused { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err(Error::NotRegular { path: path.to_owned() });
    }
    File::open(path).map_err(refused)
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
