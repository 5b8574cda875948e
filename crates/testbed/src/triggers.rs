//! What containers dispatched, read back from the file that all of one testbed write to.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::failure::OrFail;

/// One trigger, as the file sink writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// When: RFC 3339, UTC, with milliseconds.
    pub at: String,
    /// The sensor's reference.
    pub sensor: String,
    /// The container on which it was ACTIVE.
    pub container: String,
    /// The fence, "term.n".
    pub fence: String,
    /// The event's id.
    pub id: String,
    /// The trigger's reference.
    pub trigger: Value,
    /// The payload.
    pub payload: Value,
    /// The trace context.
    pub trace_context: Value,
}

/// All of a file, oldest first; a line that is being written is left out.
#[track_caller]
pub(crate) fn read(path: &Path) -> Vec<Trigger> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        read => read.or_fail(format!("read `{}`", path.display())),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).or_fail(format!("understand the line `{line}`"))).collect()
}
