//! YAML 1.1 as `PyYAML`'s `safe_load` means it, which is what StackStorm reads its files with, as JSON values.
//!
//! `yes` and `off` are booleans, `010` is eight, `1:30` is ninety, `1e3` is text, `<<` merges, the last of two equal
//! keys counts. What JSON cannot hold is written so:
//!
//! - a key is what Python's `json.dumps` makes of it: `off:` becomes `"false"`, `8:` becomes `"8"`;
//! - a date or a time becomes its ISO 8601 text, as a value and as a key;
//! - infinity, "not a number" and integers beyond 64 bits stay the text that they are written as;
//! - sets, ordered mappings, pairs and binary values are refused.
//!
//! `PyYAML` refuses some layouts that are read here (tabs between tokens, for one), and reads four that are refused
//! here (`"x"# comment`, `{a: -}`, `{*a: 1}`, the line break U+0085). What both read means the same.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::file;
use nodes::Nodes;

mod construct;
mod nodes;
mod scalar;
mod timestamp;

/// How deep lists and mappings may lie in each other: what a reader of JSON takes by default, too.
pub const MAXIMUM_DEPTH: usize = 128;
/// How many values a document may hold, those that aliases and merges repeat counted each time.
pub const MAXIMUM_VALUES: usize = 200_000;
/// How much text a document's values may hold, repeated text counted each time: four times the largest file.
pub const MAXIMUM_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// One document: its value, and where its parts stand in the file.
#[derive(Clone)]
pub struct Document {
    /// What it says; null for an empty one.
    pub value: Value,
    nodes: Nodes,
}

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself could not be read.
    #[error(transparent)]
    File(#[from] file::Error),
    /// The text is not a document of which a value can be made.
    #[error("{place}: {problem}")]
    Text {
        /// Where.
        place: Place,
        /// What is wrong there. Never a piece of the text: it may be a secret.
        problem: String,
    },
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, where the text came from one.
    pub file: Option<PathBuf>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

/// Reads the one document of a file.
///
/// # Errors
/// When the file cannot be read, or its text not understood.
pub fn read(path: &Path) -> Result<Document, Error> {
    let text = file::read_text(path)?;
    parse(&text).map_err(|error| match error {
        Error::Text { place, problem } => {
            Error::Text { place: Place { file: Some(path.to_owned()), ..place }, problem }
        }
        Error::File(error) => Error::File(error),
    })
}

/// Reads the one document of a text.
///
/// # Errors
/// When the text is not understood, is two documents, or says more than the limits of this module allow.
pub fn parse(text: &str) -> Result<Document, Error> {
    let nodes = nodes::compose(text)?;
    let value = construct::value(&nodes)?;
    Ok(Document { value, nodes })
}

impl Document {
    /// The line on which the value at `path` begins (its key, in a mapping): keys, and indices of lists as text.
    /// Where the path leads nowhere, the line of the last step that led somewhere.
    pub fn line_of(&self, path: &[&str]) -> usize {
        self.nodes.line_of(path)
    }
}

impl Error {
    fn at(line: usize, column: usize, problem: impl Into<String>) -> Self {
        Self::Text { place: Place { file: None, line, column }, problem: problem.into() }
    }

    /// What is wrong, without the place, for messages that name it themselves.
    pub fn problem(&self) -> String {
        match self {
            Self::File(error) => file::with_causes(error),
            Self::Text { problem, .. } => problem.clone(),
        }
    }

    /// The line that is to blame, where one is.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File(_) => None,
            Self::Text { place, .. } => Some(place.line),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}:{}", file.display(), self.line, self.column),
            None => write!(f, "line {}, column {}", self.line, self.column),
        }
    }
}

/// How large it is, not what it says: it may be a configuration.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} nodes)", self.nodes.len())
    }
}
