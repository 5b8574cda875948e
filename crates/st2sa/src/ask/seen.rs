//! What was shown already: after a reconnection an arbitrator says the newest lines again.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use st2sa_proto::rest::{HistoryRecord, LogLine};

/// How many records of the history, and lines of a log, are asked for when a connection stands again: what is more
/// than that behind is not shown. Two megabytes of records.
pub(crate) const SAID_AGAIN: usize = 10_000;

/// Tells new lines from repeated ones.
pub(crate) trait Seen<T> {
    /// A connection stands again: what comes may be a repetition.
    fn again(&mut self);

    /// Whether this was not shown yet; from then on it was.
    fn is_new(&mut self, line: &T) -> bool;
}

/// The newest records of a history.
///
/// A record is told by what it says beside its time: its fence rises with each grant of its sensor. Kept are twice
/// as many as are said again, so whatever is said again and not among them is new.
#[derive(Default)]
pub(crate) struct SeenRecords {
    order: VecDeque<u64>,
    known: HashSet<u64, BuildHasherDefault<DefaultHasher>>,
    /// The time of the first record; another arbitrator may remember older ones.
    since: Option<String>,
    /// Whether such older ones may come.
    repeating: bool,
}

impl Seen<HistoryRecord> for SeenRecords {
    fn again(&mut self) {
        self.repeating = true;
    }

    fn is_new(&mut self, record: &HistoryRecord) -> bool {
        let HistoryRecord { at, sensor, from, to, fence, cause, who } = record;
        let since = self.since.get_or_insert_with(|| at.clone());
        // Only as long as older ones come: a later leader's clock may be behind.
        self.repeating &= *at < *since;
        if self.repeating {
            return false;
        }
        let hash = self.known.hasher().hash_one((sensor, from, to, fence, cause, who));
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > 2 * SAID_AGAIN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// How far the log was shown, of each container by its own clock.
#[derive(Default)]
pub(crate) struct SeenLines {
    /// The time of the last line of each container, and how many lines had that time.
    shown: BTreeMap<String, (String, usize)>,
    /// The time of the oldest line: what another container said before is not shown either.
    since: Option<String>,
    /// While lines may be repetitions: how many more, and how many there were of each container's last time.
    repeating: Option<(usize, BTreeMap<String, usize>)>,
}

impl Seen<LogLine> for SeenLines {
    fn again(&mut self) {
        self.repeating = Some((SAID_AGAIN, BTreeMap::new()));
    }

    fn is_new(&mut self, line: &LogLine) -> bool {
        let is_new = !self.is_repeated(line);
        if is_new {
            self.show(line);
        }
        is_new
    }
}

impl SeenLines {
    fn is_repeated(&mut self, line: &LogLine) -> bool {
        let Some((left, met)) = &mut self.repeating else {
            return false;
        };
        *left -= 1;
        let repeated = match self.shown.get(&line.container) {
            None => self.since.as_ref().is_some_and(|since| line.at < *since),
            Some((last, count)) if line.at == *last => {
                let met = met.entry(line.container.clone()).or_default();
                *met += 1;
                *met <= *count
            }
            Some((last, _)) => line.at < *last,
        };
        // A clock that was set back must not silence its container for long.
        if *left == 0 {
            self.repeating = None;
        }
        repeated
    }

    fn show(&mut self, line: &LogLine) {
        /// More than a sensor has containers; a stranger's answer does not fill the memory.
        const CONTAINERS_AT_MOST: usize = 10_000;
        self.since.get_or_insert_with(|| line.at.clone());
        if let Some((last, count)) = self.shown.get_mut(&line.container) {
            if *last == line.at {
                *count += 1;
            } else {
                (*last, *count) = (line.at.clone(), 1);
            }
        } else if self.shown.len() < CONTAINERS_AT_MOST {
            self.shown.insert(line.container.clone(), (line.at.clone(), 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u32, sensor: &str, fence: &str, to: Option<&str>) -> HistoryRecord {
        HistoryRecord {
            at: format!("2026-03-01T10:00:00.{at:03}Z"),
            sensor: sensor.to_owned(),
            from: None,
            to: to.map(str::to_owned),
            fence: fence.to_owned(),
            cause: "placed".to_owned(),
            who: "arbiter".to_owned(),
        }
    }

    fn new_ones<T>(seen: &mut impl Seen<T>, lines: &[T]) -> Vec<bool> {
        lines.iter().map(|line| seen.is_new(line)).collect()
    }

    #[test]
    fn records_said_again_are_not_new() {
        let mut seen = SeenRecords::default();
        let given = record(1, "p.A", "5.1", Some("a"));
        let ended = record(2, "p.A", "5.1", None);
        assert_eq!(new_ones(&mut seen, &[given.clone(), ended.clone()]), [true, true]);
        seen.again();
        let next = record(3, "p.A", "5.2", Some("b"));
        assert_eq!(new_ones(&mut seen, &[given, ended, next]), [false, false, true]);
    }

    #[test]
    fn a_record_is_the_same_though_its_time_was_reckoned_anew() {
        let mut seen = SeenRecords::default();
        assert!(seen.is_new(&record(1, "p.A", "5.1", Some("a"))));
        seen.again();
        assert!(!seen.is_new(&record(2, "p.A", "5.1", Some("a"))));
    }

    #[test]
    fn the_same_fence_of_another_sensor_is_another_record() {
        let mut seen = SeenRecords::default();
        assert!(seen.is_new(&record(1, "p.A", "5.1", Some("a"))));
        seen.again();
        assert!(seen.is_new(&record(1, "p.B", "5.1", Some("a"))));
    }

    #[test]
    fn what_another_arbitrator_remembers_from_before_is_not_new() {
        let mut seen = SeenRecords::default();
        assert!(seen.is_new(&record(5, "p.A", "5.1", Some("a"))));
        seen.again();
        assert!(!seen.is_new(&record(4, "p.A", "4.9", Some("b"))));
        assert!(seen.is_new(&record(6, "p.A", "5.2", Some("b"))));
    }

    #[test]
    fn a_new_leader_whose_clock_is_behind_is_believed() {
        let mut seen = SeenRecords::default();
        assert!(seen.is_new(&record(500, "p.A", "5.1", Some("a"))));
        seen.again();
        assert!(!seen.is_new(&record(500, "p.A", "5.1", Some("a"))));
        assert!(seen.is_new(&record(100, "p.A", "6.1", Some("b"))));
    }

    #[test]
    fn a_thousandfold_history_is_forgotten_from_its_beginning() {
        let mut seen = SeenRecords::default();
        for n in 0..3 * SAID_AGAIN {
            assert!(seen.is_new(&record(1, "p.A", &format!("5.{n}"), Some("a"))));
        }
        assert_eq!((seen.order.len(), seen.known.len()), (2 * SAID_AGAIN, 2 * SAID_AGAIN));
        for n in 2 * SAID_AGAIN..3 * SAID_AGAIN {
            assert!(!seen.is_new(&record(1, "p.A", &format!("5.{n}"), Some("a"))));
        }
    }

    fn line(container: &str, at: u32, text: &str) -> LogLine {
        LogLine {
            at: format!("2026-03-01T10:00:00.{at:03}Z"),
            container: container.to_owned(),
            sensor: "p.A".to_owned(),
            stream: "stdout".to_owned(),
            level: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_said_again_are_not_new_even_where_they_are_alike() {
        let mut seen = SeenLines::default();
        let shown = [line("a", 1, "x"), line("a", 2, "x"), line("a", 2, "x")];
        assert_eq!(new_ones(&mut seen, &shown), [true, true, true]);
        seen.again();
        let [first, second, third] = shown;
        let again = [first, second, third, line("a", 2, "x"), line("a", 3, "y")];
        assert_eq!(new_ones(&mut seen, &again), [false, false, false, true, true]);
    }

    #[test]
    fn each_container_has_its_own_clock() {
        let mut seen = SeenLines::default();
        assert_eq!(new_ones(&mut seen, &[line("b", 100, "x"), line("a", 500, "x")]), [true, true]);
        seen.again();
        let again = [line("b", 100, "x"), line("b", 101, "new"), line("a", 500, "x"), line("a", 499, "x")];
        assert_eq!(new_ones(&mut seen, &again), [false, true, false, false]);
    }

    #[test]
    fn what_an_unseen_container_said_before_the_first_line_is_not_new() {
        let mut seen = SeenLines::default();
        assert!(seen.is_new(&line("a", 100, "x")));
        seen.again();
        assert_eq!(new_ones(&mut seen, &[line("b", 50, "old"), line("b", 150, "new")]), [false, true]);
    }

    #[test]
    fn several_reconnections_are_no_different_from_one() {
        let mut seen = SeenLines::default();
        assert!(seen.is_new(&line("a", 1, "x")));
        for at in 2..5 {
            seen.again();
            assert_eq!(new_ones(&mut seen, &[line("a", at - 1, "x"), line("a", at, "x")]), [false, true]);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_silences_its_container_for_a_while_only() {
        let mut seen = SeenLines::default();
        assert!(seen.is_new(&line("a", 500, "x")));
        seen.again();
        for _ in 0..SAID_AGAIN {
            assert!(!seen.is_new(&line("a", 1, "x")));
        }
        assert!(seen.is_new(&line("a", 1, "x")));
    }
}
