//! What was measured, as a line of a table.

use std::time::Duration;

/// Writes the table's head: what is measured, and how.
pub(crate) fn head(what: &str) {
    println!("{what:<58} {:>4} {:>8} {:>8} {:>8}", "n", "min", "p50", "max");
}

/// Writes one line.
pub(crate) fn line(what: &str, samples: &[Duration]) {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let millis = |sample: Option<&Duration>| {
        sample.map_or_else(|| "-".to_owned(), |sample| format!("{:.0} ms", sample.as_secs_f64() * 1_000.0))
    };
    let middle = sorted.get(sorted.len().saturating_sub(1) / 2);
    println!(
        "{what:<58} {:>4} {:>8} {:>8} {:>8}",
        sorted.len(),
        millis(sorted.first()),
        millis(middle),
        millis(sorted.last())
    );
}
