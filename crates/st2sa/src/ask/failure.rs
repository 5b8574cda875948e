//! What ends a question early, the exit code that says so, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;

use super::words;

/// Why there is no more to write.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The question failed.
    Failure(Failure),
    /// The answer could not be written.
    Output(io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A question that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
    hint: Option<String>,
}

/// How a question fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The answer is no.
    No,
    /// No answer.
    Unreachable,
    /// Not an answer that is understood.
    Unexpected,
    /// It would have to ask, and cannot; or what it was given cannot be used.
    Usage,
    /// It may have been done.
    Unknown,
    /// The person said no.
    NotConfirmed,
    /// It was ordered, and is not done yet.
    NotDone,
}

impl Failure {
    /// The arbitrator knows no such thing.
    pub(crate) fn no(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: Kind::No, text: text.into(), hint }
    }

    /// No arbitrator answers.
    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        let hint = "is the arbitrator's service running there? --arbitrator, or ST2SA_ARBITRATOR, says where to ask";
        Self { kind: Kind::Unreachable, text: text.into(), hint: Some(hint.to_owned()) }
    }

    /// One of the other kinds.
    pub(crate) fn of(kind: Kind, text: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self { kind, text: text.into(), hint: hint.into() }
    }

    /// Something answers, but not as expected.
    pub(crate) fn unexpected(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: Kind::Unexpected, text: text.into(), hint }
    }

    /// What does not read as an arbitrator's answer.
    pub(crate) fn not_understood(text: impl Into<String>) -> Self {
        let hint = "is that an st2sa arbitrator, and of this release?";
        Self::unexpected(text, Some(hint.to_owned()))
    }

    /// How it failed.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What failed, without a hint.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// As promised below the options of every question.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            Kind::Unexpected => 4,
            Kind::Unknown => 5,
            Kind::NotConfirmed => 6,
            Kind::NotDone => 7,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", words::plain(&self.text))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", words::plain(hint)),
            None => Ok(()),
        }
    }
}

/// The innermost reason: what stands around it says only which library was at work.
pub(crate) fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    // "(os error 111)" tells a person nothing.
    text.split_once(" (os error").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_what_failed_and_what_to_do() {
        let failure = Failure::unreachable("failed to reach an arbitrator at a:1: Connection refused");
        assert_eq!(
            failure.to_string(),
            "error: failed to reach an arbitrator at a:1: Connection refused\n\
             hint: is the arbitrator's service running there? --arbitrator, or ST2SA_ARBITRATOR, says where to ask"
        );
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn what_a_stranger_says_cannot_move_the_cursor() {
        assert_eq!(Failure::no("no\u{1b}[2J", None).to_string(), "error: no\u{fffd}[2J");
    }

    #[test]
    fn the_innermost_reason_is_given_without_its_number() {
        let error = io::Error::from_raw_os_error(111);
        let outer = anyhow::Error::new(error).context("outer");
        assert_eq!(root(outer.as_ref()), "Connection refused");
    }
}
