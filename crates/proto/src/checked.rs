//! Reads parts of hostile messages: bounds, required parts, and the path of what is wrong.

use std::fmt;

/// A message that cannot be taken: which field of it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` {fault}")]
pub struct Malformed {
    field: String,
    fault: Fault,
}

impl Malformed {
    /// The field, with the messages that it is in: `heartbeat.binds.holds.sensor`.
    pub fn field(&self) -> &str {
        &self.field
    }

    pub(crate) fn new(field: &str, fault: Fault) -> Self {
        Self { field: field.to_owned(), fault }
    }
}

/// What may be wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Absent,
    Empty,
    Unknown(i32),
    Long { length: usize, at_most: usize },
    Size { length: usize, wanted: usize },
    Control,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "is absent"),
            Self::Empty => write!(f, "is empty"),
            Self::Unknown(value) => write!(f, "has the unknown value {value}"),
            Self::Long { length, at_most } => write!(f, "has a length of {length}, over {at_most}"),
            Self::Size { length, wanted } => write!(f, "has a length of {length}, not {wanted}"),
            Self::Control => write!(f, "has control characters in it"),
        }
    }
}

/// Says which message a malformed field is in.
pub(crate) trait Within<T> {
    /// Puts `outer` before the field's name.
    fn within(self, outer: &str) -> Result<T, Malformed>;
}

impl<T> Within<T> for Result<T, Malformed> {
    fn within(self, outer: &str) -> Self {
        self.map_err(|Malformed { field, fault }| Malformed { field: format!("{outer}.{field}"), fault })
    }
}

/// The part that has to be there.
pub(crate) fn required<T>(part: Option<T>, field: &str) -> Result<T, Malformed> {
    part.ok_or_else(|| Malformed::new(field, Fault::Absent))
}

/// A name: not empty, short, and harmless on a terminal.
pub(crate) fn name<'a>(text: &'a str, field: &str) -> Result<&'a str, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(field, Fault::Empty));
    }
    words(text, field)
}

/// A short text, harmless on a terminal; it may be empty.
pub(crate) fn words<'a>(text: &'a str, field: &str) -> Result<&'a str, Malformed> {
    /// Longer than any pack and class (StackStorm's own columns hold 255 characters), or any host's name.
    const BYTES_AT_MOST: usize = 512;
    if text.len() > BYTES_AT_MOST {
        return Err(Malformed::new(field, Fault::Long { length: text.len(), at_most: BYTES_AT_MOST }));
    }
    if text.chars().any(char::is_control) {
        return Err(Malformed::new(field, Fault::Control));
    }
    Ok(text)
}

/// Each of a list.
pub(crate) fn list<T, U>(
    items: Vec<T>,
    field: &str,
    mut read: impl FnMut(T) -> Result<U, Malformed>,
) -> Result<Vec<U>, Malformed> {
    /// Ten times what the largest installations have in sensors.
    const ITEMS_AT_MOST: usize = 100_000;
    bounded(items.len(), ITEMS_AT_MOST, field)?;
    items.into_iter().map(|item| read(item).within(field)).collect()
}

/// Whether a length is within its bound.
pub(crate) fn bounded(length: usize, at_most: usize, field: &str) -> Result<(), Malformed> {
    if length > at_most { Err(Malformed::new(field, Fault::Long { length, at_most })) } else { Ok(()) }
}

/// The beginning of a text that may be long: at most 4 KiB, whole characters.
pub(crate) fn cut(text: &str) -> &str {
    /// A traceback's last lines, which say what was wrong, fit; a thousand failing sensors make 4 MiB.
    const BYTES_AT_MOST: usize = 4_096;
    text.get(..text.floor_char_boundary(BYTES_AT_MOST)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_grows_from_the_inside() {
        let malformed = Err::<(), _>(Malformed::new("sensor", Fault::Empty)).within("holds").within("heartbeat");
        let malformed = malformed.unwrap_err();
        assert_eq!(malformed.field(), "heartbeat.holds.sensor");
        assert_eq!(malformed.to_string(), "field `heartbeat.holds.sensor` is empty");
    }

    #[test]
    fn a_name_has_512_bytes_at_the_most() {
        assert!(name(&"a".repeat(512), "name").is_ok());
        assert_eq!(
            name(&"a".repeat(513), "name").unwrap_err().to_string(),
            "field `name` has a length of 513, over 512"
        );
    }

    #[test]
    fn a_name_that_would_move_the_cursor_is_refused() {
        assert_eq!(name("a\u{1b}[2J", "name"), Err(Malformed::new("name", Fault::Control)));
        assert_eq!(name("a\nb", "name"), Err(Malformed::new("name", Fault::Control)));
        assert_eq!(name("Wächter ✓", "name"), Ok("Wächter ✓"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let text = format!("{}é", "a".repeat(4_095));
        assert_eq!(cut(&text), "a".repeat(4_095));
        assert_eq!(cut(&"a".repeat(5_000)).len(), 4_096);
    }
}
