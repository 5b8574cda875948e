//! The closing table: each step, its seconds, whether it passed.

use std::fmt::Write;
use std::time::Duration;

use crate::steps::Outcome;

/// The table as text, without a newline at its end.
pub(crate) fn rendered(outcomes: &[Outcome]) -> String {
    let total = Outcome {
        name: "total",
        took: outcomes.iter().map(|outcome| outcome.took).sum(),
        passed: outcomes.iter().all(|outcome| outcome.passed),
    };
    let rows = || outcomes.iter().chain([&total]);
    let width = rows().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  {:>8}  result", "step", "seconds");
    for row in rows() {
        let result = if row.passed { "pass" } else { "FAIL" };
        let seconds = seconds(row.took);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{:<width$}  {seconds:>8}  {result}", row.name);
    }
    text
}

fn seconds(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_total() {
        let outcomes = [outcome("format", 432, true), outcome("broken guards", 61_250, false)];
        assert_eq!(
            rendered(&outcomes).lines().collect::<Vec<_>>(),
            [
                "step            seconds  result",
                "format              0.4  pass",
                "broken guards      61.2  FAIL",
                "total              61.7  FAIL",
            ]
        );
    }

    #[test]
    fn the_total_passes_when_every_step_does() {
        let text = rendered(&[outcome("format", 100, true), outcome("docs", 100, true)]);
        assert!(!text.contains("FAIL"), "{text}");
        assert!(text.ends_with("total        0.2  pass"), "{text}");
    }

    fn outcome(name: &'static str, milliseconds: u64, passed: bool) -> Outcome {
        Outcome { name, took: Duration::from_millis(milliseconds), passed }
    }
}
