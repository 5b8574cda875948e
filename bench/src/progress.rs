//! One line on the terminal that says how far a measurement is.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often the line is written while time passes.
const EVERY: Duration = Duration::from_secs(1);

/// The line; it is gone when this is dropped.
pub(crate) struct Progress {
    what: &'static str,
    width: usize,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, width: 0 }
    }

    /// So many of so many.
    pub(crate) fn at(&mut self, done: usize, of: usize) {
        self.say(&format!("{}: {done} of {of}", self.what));
    }

    fn say(&mut self, line: &str) {
        // A log has no use for it.
        if std::io::stderr().is_terminal() {
            eprint!("\r{line:<width$}", width = self.width);
            self.width = line.chars().count();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
        }
    }
}

/// Lets time pass: what is measured is that time, and no condition can tell that nothing happened in it.
pub(crate) fn wait_out(what: &'static str, time: Duration) {
    let (mut progress, since) = (Progress::new(what), Instant::now());
    while since.elapsed() < time {
        progress.say(&format!("{what}: {:.0} of {:.0} s", since.elapsed().as_secs_f64(), time.as_secs_f64()));
        std::thread::sleep(EVERY.min(time.saturating_sub(since.elapsed())));
    }
}
