//! The INI dialect of `st2.conf`, as oslo.config reads it: several files, the later ones win.
//!
//! Sections in brackets (`DEFAULT` as written, all others in any case), `key = value` or `key: value`, comments from
//! `#` or `;` at the start of a line, continuation by indentation, one pair of quotes taken off. Of a repeated key the
//! last counts. References to other options (`$name`) are left as they stand: they need the options' defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::file;

/// Why a configuration file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself could not be read.
    #[error(transparent)]
    File(#[from] file::Error),
    /// One line is not of this dialect.
    #[error("{}:{line}: {problem}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what would be right. Never the line itself: it may hold a password.
        problem: &'static str,
    },
}

/// What one or several files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ini {
    sections: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// One key's value, and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value; lines of a continued one are separated by line feeds.
    pub value: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// The line of its key, counted from 1.
    pub line: usize,
}

impl Ini {
    /// Reads `paths` in order: what a later one says replaces what an earlier one said of the same key.
    ///
    /// # Errors
    /// When a file cannot be read, or a line of it is neither section, key, comment nor continuation.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut ini = Self::default();
        for path in paths {
            ini.add(path, &file::read_text(path)?)?;
        }
        Ok(ini)
    }

    /// Adds what `text`, the content of `path`, says.
    ///
    /// # Errors
    /// As [`Ini::read`].
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let error = |line, problem| Error::Line { file: path.to_owned(), line, problem };
        let mut section: Option<String> = None;
        let mut open: Option<(String, Entry)> = None;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);

        for (index, line) in text.split('\n').enumerate() {
            let number = index + 1;
            let line = line.trim_end();
            if line.is_empty() {
                self.close(section.as_deref(), open.take());
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let Some((_, entry)) = &mut open else {
                    return Err(error(
                        number,
                        "a continuation of nothing: a key or a section starts at the line's start",
                    ));
                };
                entry.value.push('\n');
                entry.value.push_str(line.trim_start());
                continue;
            }
            self.close(section.as_deref(), open.take());
            if line.starts_with('[') {
                section = Some(section_name(line).map_err(|problem| error(number, problem))?);
            } else if !line.starts_with(['#', ';']) {
                let (key, value) = assignment(line).map_err(|problem| error(number, problem))?;
                if section.is_none() {
                    return Err(error(number, "a key before the first section: write `[DEFAULT]` above it"));
                }
                open = Some((key, Entry { value, file: path.to_owned(), line: number }));
            }
        }
        self.close(section.as_deref(), open);
        Ok(())
    }

    /// What `section` says of `key`.
    pub fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.sections.get(&normalised(section))?.get(key)
    }

    /// The keys of `section`, sorted.
    pub fn keys(&self, section: &str) -> impl Iterator<Item = &str> {
        self.sections.get(&normalised(section)).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// The sections that hold a key, sorted; in lower case but for `DEFAULT`.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    fn close(&mut self, section: Option<&str>, open: Option<(String, Entry)>) {
        if let (Some(section), Some((key, entry))) = (section, open) {
            self.sections.entry(section.to_owned()).or_default().insert(key, entry);
        }
    }
}

/// Where it stands, not what it is: `st2.conf` holds passwords.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}:{})", self.file.display(), self.line)
    }
}

fn normalised(section: &str) -> String {
    if section == "DEFAULT" { section.to_owned() } else { section.to_lowercase() }
}

fn section_name(line: &str) -> Result<String, &'static str> {
    match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        None => Err("a section ends with `]`"),
        Some("") => Err("a section needs a name"),
        Some(name) => Ok(normalised(name)),
    }
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let Some((key, value)) = line.split_once(['=', ':']) else {
        return Err("neither `key = value`, nor a `[section]`, nor a `# comment`");
    };
    let key = key.trim();
    if key.is_empty() {
        return Err("there is no key before the value");
    }
    Ok((key.to_owned(), unquoted(value.trim()).to_owned()))
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        // A lone quote is its own end: oslo.config makes nothing of it.
        if value.len() == 1 && value.starts_with(quote) {
            return "";
        }
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}
