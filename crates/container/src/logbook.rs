//! What sensors print and log: kept for a while in memory, followed by whoever asks, and in the container's log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_proto::rest::{LogLine, word};
use tokio::sync::broadcast;

/// Lines kept of each sensor: enough to see what went on before a failure.
const LINES_AT_MOST: usize = 1_000;
/// Bytes kept of each sensor; a container of a thousand sensors stays within its 256 MiB.
const BYTES_AT_MOST: usize = 128 * 1024;
/// The longest line kept; the rest of a longer one is left out.
pub(crate) const LINE_BYTES_AT_MOST: usize = 8 * 1024;
/// Lines that a sensor may write into the container's log at once, and a second after that: what is more is left out there
/// and counted. A hundred sensors that flood at once write some 4 MB a second, which any disk takes.
const BURST_LINES: u32 = 2_000;
const LINES_A_SECOND: u32 = 200;
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
    /// Lines that may go into the container's log right now, as of when, and those that did not go.
    allowance: f64,
    as_of: Instant,
    left_out: u64,
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

    /// Writes a line; `false` where the sensor writes so much that the line is in memory alone.
    pub(crate) fn write(&self, sensor: &SensorRef, stream: Stream, level: Option<&'static str>, text: &str) -> bool {
        let text = text.get(..text.floor_char_boundary(LINE_BYTES_AT_MOST)).unwrap_or_default();
        let logged = self.pages().entry(sensor.clone()).or_default().admit(Instant::now(), sensor);
        if logged {
            Self::log(sensor, level, text);
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
        self.pages().entry(sensor.clone()).or_default().keep(line);
        logged
    }

    /// Lines of a flood were thrown away unread.
    pub(crate) fn leave_out(&self, sensor: &SensorRef, lines: u64) {
        self.pages().entry(sensor.clone()).or_default().left_out += lines;
    }

    fn log(sensor: &SensorRef, level: Option<&'static str>, text: &str) {
        // A level of the sensor's own: what StackStorm's operators see in st2sensorcontainer.log.
        match level {
            Some("CRITICAL" | "ERROR") => tracing::error!(target: "sensor", %sensor, "{text}"),
            Some("WARNING") => tracing::warn!(target: "sensor", %sensor, "{text}"),
            Some("DEBUG") => tracing::debug!(target: "sensor", %sensor, "{text}"),
            Some(_) | None => tracing::info!(target: "sensor", %sensor, "{text}"),
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

impl Page {
    /// Whether another line may go into the container's log; says once how many did not when that is over.
    fn admit(&mut self, now: Instant, sensor: &SensorRef) -> bool {
        let elapsed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.allowance = (self.allowance + elapsed * f64::from(LINES_A_SECOND)).min(f64::from(BURST_LINES));
        self.as_of = now;
        // After a flood a second's worth has to gather first: else its end would never be told.
        let enough = if self.left_out == 0 { 1.0 } else { f64::from(LINES_A_SECOND) };
        if self.allowance < enough {
            self.left_out += 1;
            return false;
        }
        self.allowance -= 1.0;
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            tracing::warn!(
                target: "sensor", %sensor,
                "{left_out} lines of it are left out here: it may write {LINES_A_SECOND} a second; `st2sa logs {sensor}` has the last"
            );
        }
        true
    }

    fn keep(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        // Nobody may be following.
        let _ = self.followers.send(line.clone());
        self.lines.push_back(line);
        while self.lines.len() > LINES_AT_MOST || self.bytes > BYTES_AT_MOST {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            allowance: f64::from(BURST_LINES),
            as_of: Instant::now(),
            left_out: 0,
            followers: broadcast::Sender::new(FOLLOWER_LAGS_AT_MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn a_flood_reaches_the_containers_log_in_part_and_its_end_is_told_once() {
        let (start, x) = (Instant::now(), SensorRef::new("p.X"));
        let mut page = Page { as_of: start, ..Page::default() };
        let burst = (0..BURST_LINES + 500).filter(|_| page.admit(start, &x)).count();
        assert_eq!((burst, page.left_out), (2_000, 500));
        assert!(!page.admit(start + Duration::from_millis(100), &x));
        assert!(page.admit(start + Duration::from_secs(2), &x));
        assert_eq!(page.left_out, 0);
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
