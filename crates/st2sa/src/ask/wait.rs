//! Says on a terminal what is being waited for, once it takes long.

use std::time::Duration;

use super::paper::Paper;

/// Sooner than this nobody wonders.
const LONG: Duration = Duration::from_secs(2);

/// Waits for `work`; a line on stderr says for what while it lasts, where somebody watches.
pub(crate) async fn for_it<T>(paper: &Paper, what: &str, work: impl Future<Output = T>) -> T {
    if !paper.watched {
        return work.await;
    }
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(LONG, &mut work).await {
        return done;
    }
    let line = Line::new(what);
    let done = work.await;
    drop(line);
    done
}

/// The line, for as long as it stands there.
struct Line;

impl Line {
    fn new(what: &str) -> Self {
        eprint!("waiting for {what} ...");
        Self
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        /// To the beginning of the line, and clear it.
        const CLEAR: &str = "\r\u{1b}[K";
        eprint!("{CLEAR}");
    }
}
