//! The lines between a container and its processes (`docs/sensor-protocol.md`), as types.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest line, in bytes, in either direction.
pub(crate) const LINE_BYTES_AT_MOST: usize = 16 * 1024 * 1024;
/// What is kept of an error's text and of a traceback.
const TEXT_BYTES_AT_MOST: usize = 8 * 1024;

/// The first line of a connection.
#[derive(Debug, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) hello: Hello,
}

/// Who connects, and for what.
#[derive(Debug, Deserialize)]
pub(crate) struct Hello {
    pub(crate) token: String,
    pub(crate) channel: Channel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channel {
    Control,
    Stdout,
    Stderr,
}

/// What a container tells a process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Operation {
    /// An operation.
    Do(Do),
    /// The answer to a call that went well.
    Result { reply: u64, result: Value },
    /// The answer to a call that did not.
    Error { reply: u64, error: CallError },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Do {
    Fork { process: u64, token: String },
    Load { sensor: Box<Load> },
    Activate { triggers: Vec<Value> },
    AddTrigger { trigger: Value },
    UpdateTrigger { trigger: Value },
    RemoveTrigger { trigger: Value },
    Poll { number: u64 },
    Stop,
}

/// What a sensor process is to load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Load {
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    pub(crate) pack: String,
    pub(crate) class_name: String,
    pub(crate) entry_point: String,
    pub(crate) poll_interval: Option<f64>,
    pub(crate) trigger_types: Vec<String>,
    pub(crate) config: Value,
    pub(crate) library_path: Option<String>,
    pub(crate) virtualenv: Option<String>,
}

/// Why a call failed, as Python is to raise it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CallError {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A line from a process.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Call(Call),
    Event(Event),
}

/// A call, answered once.
#[derive(Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) call: u64,
    /// From another thread than the one that polls.
    #[serde(default)]
    pub(crate) beside: bool,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Ask {
    Dispatch {
        trigger: Value,
        #[serde(default)]
        payload: Value,
        #[serde(default)]
        trace_context: Value,
    },
    Get {
        name: String,
        #[serde(default = "yes")]
        local: bool,
    },
    Set {
        name: String,
        value: String,
        #[serde(default = "yes")]
        local: bool,
        #[serde(default)]
        ttl: Option<f64>,
        #[serde(default)]
        encrypt: bool,
    },
    Delete {
        name: String,
        #[serde(default = "yes")]
        local: bool,
    },
    List {
        #[serde(default)]
        prefix: Option<String>,
        #[serde(default = "yes")]
        local: bool,
        #[serde(default)]
        limit: Option<i64>,
    },
}

fn yes() -> bool {
    true
}

/// What a process says of itself.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    Forked {
        process: u64,
        pid: i32,
    },
    ForkFailed {
        process: u64,
        error: String,
    },
    Exited {
        process: u64,
        #[serde(default)]
        status: i32,
    },
    Ready {
        kind: Kind,
        #[serde(default)]
        poll_interval: Option<f64>,
        /// Its code both reads and writes the datastore.
        #[serde(default)]
        keeps_cursor: bool,
    },
    Activated {
        #[serde(default)]
        poll_interval: Option<f64>,
    },
    PollReturned {
        number: u64,
        ok: bool,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        traceback: Option<String>,
        #[serde(default)]
        poll_interval: Option<f64>,
    },
    RunReturned,
    Failed {
        phase: String,
        error: String,
        #[serde(default)]
        file: Option<String>,
        #[serde(default)]
        line: Option<u64>,
        #[serde(default)]
        hint: Option<String>,
        #[serde(default)]
        traceback: Option<String>,
    },
    Log {
        level: String,
        #[serde(default)]
        logger: String,
        message: String,
    },
    /// Of a later protocol.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Polling,
    Passive,
}

/// A call whose arguments are not understood has a number all the same: whoever waits for it is told.
#[derive(Debug, Deserialize)]
pub(crate) struct Unread {
    pub(crate) call: u64,
}

/// The levels of Python's logging; any other counts as information.
pub(crate) fn level(name: &str) -> &'static str {
    match name {
        "CRITICAL" => "CRITICAL",
        "ERROR" => "ERROR",
        "WARNING" => "WARNING",
        "DEBUG" => "DEBUG",
        _ => "INFO",
    }
}

/// A text from a process, cut to what is worth keeping.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_AT_MOST {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_AT_MOST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_the_protocol_has_them() {
        let written = |operation: Operation| serde_json::to_string(&operation).unwrap();
        assert_eq!(written(Operation::Do(Do::Poll { number: 7 })), r#"{"op":"poll","number":7}"#);
        assert_eq!(written(Operation::Do(Do::Stop)), r#"{"op":"stop"}"#);
        let error = CallError { kind: "ValueError".to_owned(), message: "no".to_owned() };
        assert_eq!(
            written(Operation::Error { reply: 3, error }),
            r#"{"reply":3,"error":{"type":"ValueError","message":"no"}}"#
        );
    }

    #[test]
    fn lines_are_read_as_the_protocol_has_them() {
        let read = |line: &str| serde_json::from_str::<Line>(line).unwrap();
        let Line::Call(Call { call: 31, beside: false, ask: Ask::Get { name, local: true } }) =
            read(r#"{"call": 31, "op": "get", "name": "cursor", "later": 1}"#)
        else {
            panic!("not a call");
        };
        assert_eq!(name, "cursor");
        let Line::Event(event) = read(r#"{"event": "ready", "kind": "polling", "poll_interval": 5}"#) else {
            panic!("not an event");
        };
        assert_eq!(event, Event::Ready { kind: Kind::Polling, poll_interval: Some(5.0), keeps_cursor: false });
        assert!(matches!(read(r#"{"event": "of a later protocol", "x": 1}"#), Line::Event(Event::Unknown)));
        assert!(serde_json::from_str::<Line>(r#"{"neither": 1}"#).is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = cut("ä".repeat(TEXT_BYTES_AT_MOST));
        assert!(text.len() <= TEXT_BYTES_AT_MOST + '…'.len_utf8() && text.ends_with('…'));
    }
}
