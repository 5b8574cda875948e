//! Adds compiler flags to those the caller has set.

use std::env;

/// The environment variable to set, and its value, so that `flags` come after the caller's own.
///
/// `variable` is `RUSTFLAGS` or `RUSTDOCFLAGS`. Cargo prefers the encoded form of either (`CARGO_ENCODED_RUSTFLAGS`)
/// and then ignores the plain one, so it is the encoded form that is added to when there is one.
pub(crate) fn appended(variable: &str, flags: &[&str]) -> (String, String) {
    let encoded = format!("CARGO_ENCODED_{variable}");
    if let Ok(own) = env::var(&encoded) {
        (encoded, joined(&own, flags, "\x1f"))
    } else {
        let own = env::var(variable).unwrap_or_default();
        (variable.to_owned(), joined(&own, flags, " "))
    }
}

fn joined(own: &str, flags: &[&str], separator: &str) -> String {
    let own = (!own.is_empty()).then_some(own);
    own.into_iter().chain(flags.iter().copied()).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_alone_when_the_caller_has_none() {
        assert_eq!(joined("", &["-D", "warnings"], " "), "-D warnings");
    }

    #[test]
    fn the_callers_flags_stay_in_front() {
        assert_eq!(joined("-C debuginfo=1", &["--cfg", "x"], " "), "-C debuginfo=1 --cfg x");
        assert_eq!(joined("-C\x1fopt-level=1", &["--cfg", "x"], "\x1f"), "-C\x1fopt-level=1\x1f--cfg\x1fx");
    }
}
