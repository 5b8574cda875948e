//! Times in words, and texts of strangers made harmless.

/// How long ago something was.
pub(crate) fn ago(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |milliseconds| format!("{} ago", seconds_at_least(milliseconds)))
}

/// How long something took.
pub(crate) fn took(milliseconds: Option<u64>) -> String {
    match milliseconds {
        None => "-".to_owned(),
        Some(milliseconds @ ..1_000) => format!("{milliseconds} ms"),
        Some(milliseconds) => seconds_at_least(milliseconds),
    }
}

/// For how long something has been so.
pub(crate) fn length(milliseconds: u64) -> String {
    seconds_at_least(milliseconds)
}

/// A text that comes from elsewhere, harmless on a terminal: it moves no cursor and hides nothing.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            letter if letter.is_control() || is_invisible(letter) => char::REPLACEMENT_CHARACTER,
            letter => letter,
        })
        .collect()
}

/// Such a text on one line.
pub(crate) fn one_line(text: &str) -> String {
    plain(text.trim()).replace(['\n', '\t'], " ")
}

/// The line of an error that says most: a traceback's last; what is wrong before where.
pub(crate) fn gist(error: &str) -> String {
    let line = one_line(error.trim().lines().next_back().unwrap_or_default());
    match line.split_once(": ") {
        Some((place, problem)) if place.starts_with('/') && !place.contains(' ') => format!("{problem} ({place})"),
        _ => line,
    }
}

/// Letters that turn the direction of writing, or have no width.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn seconds_at_least(milliseconds: u64) -> String {
    const SECOND: u64 = 1_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match milliseconds {
        0..10_000 => format!("{}.{} s", milliseconds / SECOND, milliseconds % SECOND / 100),
        10_000..MINUTE => format!("{} s", milliseconds / SECOND),
        MINUTE..HOUR => format!("{} min", milliseconds / MINUTE),
        HOUR..DAY => format!("{} h {} min", milliseconds / HOUR, milliseconds % HOUR / MINUTE),
        DAY.. => format!("{} d {} h", milliseconds / DAY, milliseconds % DAY / HOUR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_as_exact_as_they_are_young() {
        let table = [
            (0, "0.0 s ago"),
            (240, "0.2 s ago"),
            (9_999, "9.9 s ago"),
            (10_000, "10 s ago"),
            (59_999, "59 s ago"),
            (60_000, "1 min ago"),
            (3_600_000, "1 h 0 min ago"),
            (7_500_000, "2 h 5 min ago"),
            (90_000_000, "1 d 1 h ago"),
            (u64::MAX, "213503982334 d 14 h ago"),
        ];
        for (milliseconds, words) in table {
            assert_eq!(ago(Some(milliseconds)), words);
        }
        assert_eq!(ago(None), "-");
    }

    #[test]
    fn short_lengths_are_in_milliseconds() {
        assert_eq!(took(Some(12)), "12 ms");
        assert_eq!(took(Some(1_230)), "1.2 s");
        assert_eq!(took(None), "-");
        assert_eq!(length(61_000), "1 min");
    }

    #[test]
    fn texts_of_strangers_are_harmless() {
        assert_eq!(plain("a\u{1b}[31mb\r\u{202e}c\u{2064}é\n\td"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c\u{fffd}é\n\td");
        assert_eq!(one_line(" a\nb\tc "), "a b c");
    }

    #[test]
    fn the_gist_of_a_traceback_is_its_last_line() {
        assert_eq!(gist("Traceback:\n  File x\nValueError: no such host\n\n"), "ValueError: no such host");
        assert_eq!(gist("/p/s.py:3: No module named 'x'"), "No module named 'x' (/p/s.py:3)");
        assert_eq!(gist(""), "");
    }
}
