//! What the source noted of polls, and whether any two of one sensor overlap.

use std::fmt;
use std::time::{Duration, Instant};

use st2sa_machine::processes::Process;

/// One poll, as the source saw it.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The sensor's reference.
    pub sensor: String,
    /// The process that polled.
    pub process: Process,
    /// Its connection to the source: one a poll.
    pub connection: u64,
    /// When it began.
    pub begun: Instant,
    /// When it ended, and how; `None` while it goes on.
    pub ended: Option<(Instant, End)>,
    /// Which other processes were inside a poll of the same sensor when it began.
    pub beside: Vec<Beside>,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sensor said so.
    Returned,
    /// The connection broke: its process died, as far as the source can know.
    CutOff,
}

/// Another process that was inside a poll of the same sensor when one began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its connection.
    pub connection: u64,
    /// Whether it could act: it lived, and was neither stopped nor frozen.
    pub acting: bool,
}

/// Two polls of one sensor by two processes, of which one had not ended its acting when the other began.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// The one that began first.
    pub first: Poll,
    /// The one that began while the first went on.
    pub second: Poll,
    /// What is wrong with that.
    pub why: &'static str,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was polled by process {} {} ms after process {} had begun to: {}",
            self.second.sensor,
            self.second.process.pid,
            self.second.begun.saturating_duration_since(self.first.begun).as_millis(),
            self.first.process.pid,
            self.why
        )
    }
}

/// Every overlap: a poll begun while another process was inside one and could act, or one that was inside (stopped,
/// perhaps) and went on to return later, as if nobody else had begun.
pub fn overlaps(polls: &[Poll]) -> Vec<Overlap> {
    let mut found = Vec::new();
    for second in polls {
        for first in polls.iter().filter(|first| first.sensor == second.sensor && first.process != second.process) {
            let why = if second.beside.contains(&Beside { connection: first.connection, acting: true }) {
                "that one could act"
            } else if returned_after(first, second.begun) {
                "that one went on all the same, and returned later"
            } else {
                continue;
            };
            found.push(Overlap { first: first.clone(), second: second.clone(), why });
        }
    }
    found
}

/// The longest time without a beginning of a poll of `sensor`, between `from` and `until`.
pub fn longest_gap(polls: &[Poll], sensor: &str, from: Instant, until: Instant) -> Duration {
    let begun = polls.iter().filter(|poll| poll.sensor == sensor).map(|poll| poll.begun);
    let mut moments: Vec<Instant> = begun.filter(|begun| (from..until).contains(begun)).collect();
    moments.extend([from, until]);
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn returned_after(poll: &Poll, at: Instant) -> bool {
    poll.begun <= at && matches!(poll.ended, Some((ended, End::Returned)) if ended > at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process's only poll, from and to so many milliseconds after `zero`.
    fn poll(zero: Instant, process: i32, from: u64, to: Option<(u64, End)>, beside: &[(i32, bool)]) -> Poll {
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let connection = |process: i32| u64::try_from(process).unwrap();
        Poll {
            sensor: "p.X".to_owned(),
            process: Process { pid: process, began: 1 },
            connection: connection(process),
            begun: at(from),
            ended: to.map(|(to, how)| (at(to), how)),
            beside: beside
                .iter()
                .map(|(process, acting)| Beside { connection: connection(*process), acting: *acting })
                .collect(),
        }
    }

    #[test]
    fn polls_that_follow_one_another_do_not_overlap() {
        let zero = Instant::now();
        let polls = [
            poll(zero, 1, 0, Some((10, End::Returned)), &[]),
            poll(zero, 1, 20, Some((30, End::Returned)), &[]),
            poll(zero, 2, 30, None, &[]),
        ];
        assert_eq!(overlaps(&polls).len(), 0);
    }

    #[test]
    fn a_poll_begun_while_another_process_can_act_inside_one_overlaps() {
        let zero = Instant::now();
        for ended in [None, Some((25, End::CutOff)), Some((25, End::Returned))] {
            let polls = [poll(zero, 1, 0, ended, &[]), poll(zero, 2, 20, None, &[(1, true)])];
            let found = overlaps(&polls);
            assert_eq!(found.len(), 1, "{ended:?}");
            let text = "p.X was polled by process 2 20 ms after process 1 had begun to: that one could act";
            assert_eq!(found[0].to_string(), text);
        }
    }

    #[test]
    fn one_that_was_stopped_overlaps_only_if_it_goes_on_later() {
        let zero = Instant::now();
        let second = || poll(zero, 2, 20, Some((25, End::Returned)), &[(1, false)]);
        let killed = [poll(zero, 1, 0, Some((40, End::CutOff)), &[]), second()];
        assert_eq!(overlaps(&killed).len(), 0);
        let thawed = [poll(zero, 1, 0, Some((40, End::Returned)), &[]), second()];
        assert_eq!(overlaps(&thawed).len(), 1);
    }

    #[test]
    fn polls_of_other_sensors_or_of_the_same_process_never_overlap() {
        let zero = Instant::now();
        let other = Poll { sensor: "p.Y".to_owned(), ..poll(zero, 2, 5, None, &[]) };
        let same = poll(zero, 1, 5, Some((10, End::Returned)), &[]);
        assert_eq!(overlaps(&[poll(zero, 1, 0, Some((10, End::Returned)), &[]), other, same]).len(), 0);
    }

    #[test]
    fn the_longest_gap_counts_the_ends_of_the_time_looked_at() {
        let zero = Instant::now();
        let at = |milliseconds| zero + Duration::from_millis(milliseconds);
        let polls = [poll(zero, 1, 10, None, &[]), poll(zero, 1, 30, None, &[])];
        let gap = |until| longest_gap(&polls, "p.X", zero, at(until)).as_millis();
        assert_eq!((gap(35), gap(100)), (20, 70));
        assert_eq!(longest_gap(&polls, "p.Y", zero, at(50)).as_millis(), 50);
    }
}
