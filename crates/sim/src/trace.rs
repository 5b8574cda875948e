//! A readable trace of a run.

use crate::clock::{MILLI, Nanos};

/// Where the lines of a run go.
#[derive(Debug, Default)]
pub struct Trace {
    print: bool,
}

impl Trace {
    /// Prints every line to standard output.
    pub fn printing() -> Self {
        Self { print: true }
    }

    /// Drops every line.
    pub fn silent() -> Self {
        Self::default()
    }

    pub(crate) fn on(&self) -> bool {
        self.print
    }

    pub(crate) fn line(&self, now: Nanos, who: &str, what: &str) {
        if self.print {
            let millis = now / MILLI;
            println!("{:>4}.{:03} {who:<14} {what}", millis / 1_000, millis % 1_000);
        }
    }
}
