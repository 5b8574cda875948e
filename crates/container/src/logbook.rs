//! What sensors print and log: kept for a while in memory, followed by whoever asks, and in the container's log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_proto::rest::{LogLine, word};
use tokio::sync::broadcast;

/// Lines kept of each sensor: enough to see what went on before a failure.
const LINES_AT_MOST: usize = 1_000;
/// Bytes kept of each sensor; a container of a thousand sensors stays within its 256 MiB.
const BYTES_AT_MOST: usize = 128 * 1024;
/// The longest line kept; the rest of a longer one is left out.
pub(crate) const LINE_BYTES_AT_MOST: usize = 8 * 1024;
/// Lines that a follower may be behind before it loses some.
const FOLLOWER_LAGS_AT_MOST: usize = 1_024;

/// The log of one container's sensors.
#[derive(Clone, Debug)]
pub(crate) struct Logbook {
    container: ContainerName,
    pages: Arc<Mutex<BTreeMap<SensorRef, Page>>>,
}

#[derive(Debug)]
struct Page {
    lines: VecDeque<LogLine>,
    bytes: usize,
    followers: broadcast::Sender<LogLine>,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Log,
}

impl Logbook {
    pub(crate) fn new(container: ContainerName) -> Self {
        Self { container, pages: Arc::default() }
    }

    /// Writes a line.
    pub(crate) fn write(&self, sensor: &SensorRef, stream: Stream, level: Option<&'static str>, text: &str) {
        let text = text.get(..text.floor_char_boundary(LINE_BYTES_AT_MOST)).unwrap_or_default();
        // A level of the sensor's own: what StackStorm's operators see in st2sensorcontainer.log.
        match level {
            Some("CRITICAL" | "ERROR") => tracing::error!(target: "sensor", %sensor, "{text}"),
            Some("WARNING") => tracing::warn!(target: "sensor", %sensor, "{text}"),
            Some("DEBUG") => tracing::debug!(target: "sensor", %sensor, "{text}"),
            Some(_) | None => tracing::info!(target: "sensor", %sensor, "{text}"),
        }
        let line = LogLine {
            at: format!("{:.3}", jiff::Timestamp::now()),
            container: self.container.as_str().to_owned(),
            sensor: sensor.as_str().to_owned(),
            stream: match stream {
                Stream::Stdout => word::STDOUT,
                Stream::Stderr => word::STDERR,
                Stream::Log => word::LOG,
            }
            .to_owned(),
            level: level.map(str::to_owned),
            text: text.to_owned(),
        };
        let mut pages = self.pages();
        let page = pages.entry(sensor.clone()).or_default();
        page.bytes += line.text.len();
        // Nobody may be following.
        let _ = page.followers.send(line.clone());
        page.lines.push_back(line);
        while page.lines.len() > LINES_AT_MOST || page.bytes > BYTES_AT_MOST {
            let Some(oldest) = page.lines.pop_front() else { break };
            page.bytes -= oldest.text.len();
        }
    }

    /// Begins a sensor's page: there are no others.
    pub(crate) fn begin(&self, sensor: &SensorRef) {
        self.pages().entry(sensor.clone()).or_default();
    }

    /// The last `lines` lines of a sensor, and all that follow; `None` where there is no such sensor.
    pub(crate) fn read(
        &self,
        sensor: &SensorRef,
        lines: usize,
    ) -> Option<(Vec<LogLine>, broadcast::Receiver<LogLine>)> {
        let pages = self.pages();
        let page = pages.get(sensor)?;
        let skipped = page.lines.len().saturating_sub(lines);
        Some((page.lines.iter().skip(skipped).cloned().collect(), page.followers.subscribe()))
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<SensorRef, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, followers: broadcast::Sender::new(FOLLOWER_LAGS_AT_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (Logbook, SensorRef) {
        (Logbook::new(ContainerName::new("a")), SensorRef::new("p.X"))
    }

    #[test]
    fn the_last_lines_are_kept_and_later_ones_follow() {
        let (book, x) = book();
        for number in 0..3 {
            book.write(&x, Stream::Stdout, None, &format!("line {number}"));
        }
        let (last, mut followed) = book.read(&x, 2).unwrap();
        assert_eq!(last.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["line 1", "line 2"]);
        book.write(&x, Stream::Log, Some("ERROR"), "line 3");
        assert_eq!(followed.try_recv().unwrap().level.as_deref(), Some("ERROR"));
    }

    #[test]
    fn a_flood_is_bounded_in_lines_and_in_bytes() {
        let (book, x) = book();
        for _ in 0..LINES_AT_MOST + 10 {
            book.write(&x, Stream::Stdout, None, "x");
        }
        assert_eq!(book.read(&x, usize::MAX).unwrap().0.len(), LINES_AT_MOST);
        let long = "ä".repeat(LINE_BYTES_AT_MOST);
        for _ in 0..100 {
            book.write(&x, Stream::Stdout, None, &long);
        }
        let kept = book.read(&x, usize::MAX).unwrap().0;
        assert!(kept.iter().map(|line| line.text.len()).sum::<usize>() <= BYTES_AT_MOST);
        assert!(kept.iter().all(|line| line.text.len() <= LINE_BYTES_AT_MOST));
    }
}
