//! What answers and notes are written on: how wide it is, whether it takes colour.

use std::env;
use std::io::{self, BufRead, BufReader, IsTerminal, Read as _, Write};

/// Of a terminal that does not say how wide it is.
const WIDTH: usize = 100;
/// Where nobody looks but another program: nothing is cut, and nothing is left out.
pub(crate) const WHOLE: usize = usize::MAX;
/// A reply is a word.
const REPLY_BYTES_AT_MOST: u64 = 256;

/// Stdout for the answer, stderr for the notes.
pub(crate) struct Paper {
    /// Columns of the answer; [`WHOLE`] where it goes to no terminal.
    pub(crate) width: usize,
    /// Whether the answer may be coloured.
    pub(crate) colour: bool,
    /// Whether somebody watches the notes.
    pub(crate) watched: bool,
    /// Where a person answers, if one can be asked.
    replies: Option<Box<dyn BufRead + Send>>,
    answer: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
}

impl Paper {
    /// The process's own.
    pub(crate) fn of_the_terminal() -> Self {
        let stdout = io::stdout();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        Self {
            width: match columns {
                _ if !stdout.is_terminal() => WHOLE,
                0 => WIDTH,
                columns => columns,
            },
            colour: stdout.is_terminal() && !plain,
            watched: io::stderr().is_terminal(),
            replies: (io::stdin().is_terminal() && io::stderr().is_terminal())
                .then(|| Box::new(BufReader::new(io::stdin())) as Box<dyn BufRead + Send>),
            answer: Box::new(stdout),
            notes: Box::new(io::stderr()),
        }
    }

    /// One of a fixed width, without colour.
    #[cfg(test)]
    pub(crate) fn of(width: usize, answer: Box<dyn Write + Send>, notes: Box<dyn Write + Send>) -> Self {
        Self { width, colour: false, watched: false, replies: None, answer, notes }
    }

    /// One on which a person answers so.
    #[cfg(test)]
    pub(crate) fn replied(mut self, reply: &'static str) -> Self {
        self.replies = Some(Box::new(reply.as_bytes()));
        self
    }

    /// Asks a person; `None` where there is nobody to be asked.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        let Some(replies) = &mut self.replies else { return Ok(None) };
        write!(self.notes, "{question} [y/N] ")?;
        self.notes.flush()?;
        let mut reply = String::new();
        replies.take(REPLY_BYTES_AT_MOST).read_line(&mut reply)?;
        Ok(Some(reply))
    }

    /// Writes a part of the answer, at once.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.answer.write_all(text.as_bytes())?;
        self.answer.flush()
    }

    /// Writes a part of the answer as JSON, on lines of its own.
    pub(crate) fn write_json(&mut self, document: &serde_json::Value) -> io::Result<()> {
        self.write(&format!("{document:#}\n"))
    }

    /// Writes a part of the answer as JSON on one line.
    pub(crate) fn write_json_line(&mut self, document: &serde_json::Value) -> io::Result<()> {
        self.write(&format!("{document}\n"))
    }

    /// Says something beside the answer.
    pub(crate) fn note(&mut self, text: &str) {
        // Nobody can be told that nobody can be told.
        let _ = writeln!(self.notes, "{text}");
    }
}
