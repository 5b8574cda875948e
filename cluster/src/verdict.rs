//! What a scene has shown, in a line.

use std::fmt;
use std::time::{Duration, Instant};

use st2sa_testbed::{Placement, longest_gap};

use crate::cluster::Cluster;
use st2sa_testbed::failure::fail;

/// What a swamped machine may take on top of any bound: probes' pythons and nine daemons share its cores.
const SLACK: Duration = Duration::from_secs(2);

/// What is watched from the moment something is done to a cluster.
pub(crate) struct Watch {
    what: String,
    since: Instant,
    before: Placement,
    bound: Duration,
    notes: Vec<String>,
}

/// Whether sensors may have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moves {
    /// None.
    None,
    /// Those of what was cut off, and the ones that come back are not asked to.
    Allowed,
}

/// A line.
pub(crate) struct Verdict(String);

impl Watch {
    /// From now on; `bound` is how long polling may pause, but for slack.
    #[track_caller]
    pub(crate) fn of(cluster: &Cluster, what: impl Into<String>, bound: Duration) -> Self {
        let before = cluster.until_whole();
        Self { what: what.into(), since: Instant::now(), before, bound, notes: Vec::new() }
    }

    /// When it began.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The bound with the slack.
    pub(crate) fn bound(&self) -> Duration {
        self.bound + SLACK
    }

    /// Something else that was seen.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Waits until everything is whole again, and says what was seen; the scene fails if any of it is wrong.
    #[track_caller]
    pub(crate) fn end(self, cluster: &Cluster, moves: Moves) -> Verdict {
        let healed = Instant::now();
        cluster.servers.until_all_serve();
        let store = healed.elapsed();
        let after = cluster.until_whole();
        let whole = healed.elapsed();
        let (polls, until) = (cluster.source.polls(), Instant::now());
        let gap = |sensor: &String| longest_gap(&polls, sensor, self.since, until);
        let pause = cluster.sensors.iter().map(gap).max().unwrap_or_default();
        let moved = self.before.iter().filter(|(sensor, place)| after.get(*sensor) != Some(place)).count();
        let overlaps = cluster.source.overlaps();
        let late = pause > self.bound();
        let bad = late || !overlaps.is_empty() || (moves == Moves::None && moved > 0);
        let verdict = if bad { "FAIL" } else { "PASS" };
        let mut line = format!(
            "{verdict}  {}: polling paused for {} at the most (bound {} and {}), {moved} of {} sensors moved, {} overlaps, whole again {} \
             after healing (the store {})",
            self.what,
            Seconds(pause),
            Seconds(self.bound),
            Seconds(SLACK),
            cluster.sensors.len(),
            overlaps.len(),
            Seconds(whole),
            Seconds(store),
        );
        for note in &self.notes {
            line = format!("{line}; {note}");
        }
        for overlap in &overlaps {
            line = format!("{line}\n      {overlap}");
        }
        if bad {
            fail(line);
        }
        Verdict(line)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A length of time, as people read it.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}
