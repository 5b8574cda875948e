//! The history of who was ACTIVE, in records of seven fields, and the auditor that proves it consistent.

use std::collections::BTreeMap;
use std::fmt;

use crate::names::{ContainerName, Fence, SensorRef};
use crate::time::Time;

/// One change of one sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// When, by the leader's clock; the shell writes wall-clock time for people beside it.
    pub at: Time,
    /// Which sensor.
    pub sensor: SensorRef,
    /// Where it was ACTIVE before.
    pub from: Option<ContainerName>,
    /// Where it is ACTIVE now. The same container as `from`: it goes on under a new fence.
    pub to: Option<ContainerName>,
    /// The fence given, or the one that ended.
    pub fence: Fence,
    /// Why.
    pub cause: Cause,
    /// Who wanted it: an operator, or the arbiter itself.
    pub who: String,
}

/// Why a sensor's status changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It ran nowhere and was given a place.
    Placed,
    /// A new leader, or a new session, found it running and let it go on.
    Adopted,
    /// An operator moved it.
    Moved,
    /// Its container is drained.
    Drained,
    /// It failed there.
    Failed,
    /// Its container was struck from the register.
    Lost,
    /// Its container was restarted and says that all it ran has stopped.
    Restarted,
    /// It was paused, and is no more.
    Resumed,
    /// It had failed, and an operator wants it tried again.
    Retried,
    /// Moved for balance.
    Balanced,
    /// Moved, or started again, for newer code.
    NewCode,
    /// Paused.
    Paused,
    /// Its container does not offer it (any more), or may not run it.
    NotOffered,
    /// It stopped by itself without having failed.
    Stopped,
    /// It was found unfrozen later than its lease allowed: it may have overlapped its successor.
    PossibleOverlap,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placed => "placed",
            Self::Adopted => "adopted",
            Self::Moved => "moved",
            Self::Drained => "drained",
            Self::Failed => "failed",
            Self::Lost => "container lost",
            Self::Restarted => "container restarted",
            Self::Resumed => "resumed",
            Self::Retried => "retried",
            Self::Balanced => "balanced",
            Self::NewCode => "new code",
            Self::Paused => "paused",
            Self::NotOffered => "not offered",
            Self::Stopped => "stopped",
            Self::PossibleOverlap => "possible overlap",
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |container: &Option<ContainerName>| container.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let (from, to) = (name(&self.from), name(&self.to));
        write!(f, "{} {from} -> {to} fence {} ({}, {})", self.sensor, self.fence, self.cause, self.who)
    }
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// A grant's fence is not above the sensor's last one.
    FenceNotAbove(Record, Fence),
    /// A sensor was given to a container while another still held it.
    GivenWhileHeld(Record, ContainerName),
    /// A record ends what another container, or nobody, held.
    EndsWhatWasNotHeld(Record, Option<ContainerName>),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FenceNotAbove(record, last) => write!(f, "{record}: its fence is not above {last}"),
            Self::GivenWhileHeld(record, holder) => write!(f, "{record}: given while {holder} held it"),
            Self::EndsWhatWasNotHeld(record, holder) => {
                let holder = holder.as_ref().map_or("nobody", ContainerName::as_str);
                write!(f, "{record}: ends what {holder} held")
            }
        }
    }
}

/// Reads a history record by record, in the order of fences, and reports what cannot have been.
///
/// Records of several leaders are merged by fence first: terms order them, clocks do not.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    sensors: BTreeMap<SensorRef, Held>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    by: Option<ContainerName>,
    fence: Fence,
}

impl Auditor {
    /// Takes the next record.
    pub fn read(&mut self, record: &Record) -> Option<Finding> {
        let held = self.sensors.entry(record.sensor.clone()).or_default();
        if record.cause == Cause::PossibleOverlap {
            return None;
        }
        let finding = if record.to.is_some() && record.fence <= held.fence {
            Some(Finding::FenceNotAbove(record.clone(), held.fence))
        } else if record.from.is_none() && held.by.is_some() && held.fence.term == record.fence.term {
            held.by.clone().map(|by| Finding::GivenWhileHeld(record.clone(), by))
        } else if record.from.is_some() && record.from != held.by && held.fence.term == record.fence.term {
            Some(Finding::EndsWhatWasNotHeld(record.clone(), held.by.clone()))
        } else {
            None
        };
        held.by.clone_from(&record.to);
        held.fence = held.fence.max(record.fence);
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Term;

    fn record(from: Option<&str>, to: Option<&str>, term: u64, n: u64) -> Record {
        Record {
            at: Time(0),
            sensor: SensorRef::new("pack.Sensor"),
            from: from.map(ContainerName::new),
            to: to.map(ContainerName::new),
            fence: Fence { term: Term(term), n },
            cause: Cause::Placed,
            who: "arbiter".to_owned(),
        }
    }

    fn audit(records: &[Record]) -> Vec<Finding> {
        let mut auditor = Auditor::default();
        records.iter().filter_map(|record| auditor.read(record)).collect()
    }

    #[test]
    fn a_move_by_break_before_make_is_in_order() {
        let records = [record(None, Some("a"), 1, 1), record(Some("a"), None, 1, 1), record(None, Some("b"), 1, 2)];
        assert_eq!(audit(&records), vec![]);
    }

    #[test]
    fn a_second_holder_is_found() {
        let records = [record(None, Some("a"), 1, 1), record(None, Some("b"), 1, 2)];
        assert_eq!(audit(&records), vec![Finding::GivenWhileHeld(records[1].clone(), ContainerName::new("a"))]);
    }

    #[test]
    fn a_fence_given_twice_is_found() {
        let records = [record(None, Some("a"), 1, 1), record(Some("a"), None, 1, 1), record(None, Some("b"), 1, 1)];
        let last = Fence { term: Term(1), n: 1 };
        assert_eq!(audit(&records), vec![Finding::FenceNotAbove(records[2].clone(), last)]);
    }

    #[test]
    fn an_end_of_what_another_held_is_found() {
        let records = [record(None, Some("a"), 1, 1), record(Some("b"), None, 1, 1)];
        let holder = Some(ContainerName::new("a"));
        assert_eq!(audit(&records), vec![Finding::EndsWhatWasNotHeld(records[1].clone(), holder)]);
    }

    #[test]
    fn a_new_term_starts_from_what_its_leader_found() {
        let records = [record(None, Some("a"), 1, 1), record(None, Some("b"), 2, 1)];
        assert_eq!(audit(&records), vec![]);
    }
}
