//! Why a sensor is placed where it is: the planner's own record, and how it reads in English.

use std::fmt;

use crate::names::ContainerName;

/// The rule that decided one sensor's placement. Displays as a fragment of a sentence, without a full stop.
///
/// Loads are sums of weights, as they are when the whole plan is carried out unless the variant says otherwise.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// An operator paused it.
    Paused,
    /// No container that is here offers it.
    NobodyOffers,
    /// Containers offer it, but none of them can take it.
    NobodyEligible {
        /// Each container that offers it, and what stands against it.
        reasons: Vec<(ContainerName, Reason)>,
    },
    /// Its container is eligible and nothing asks for a move.
    Stays {
        /// Where it is.
        on: ContainerName,
    },
    /// Its container drains, but no other can run it.
    StaysDraining {
        /// Where it is.
        on: ContainerName,
    },
    /// It failed there, but it failed elsewhere too or no other can run it: it is retried where it is.
    StaysFailing {
        /// Where it is.
        on: ContainerName,
    },
    /// The code there is stale, but it may not be moved for newer code alone, or nobody has room for it with newer code.
    StaysStaleCode {
        /// Where it is.
        on: ContainerName,
    },
    /// Its container carries more than its capacity, but no other can take it.
    StaysFull {
        /// Where it is.
        on: ContainerName,
        /// What that container carries.
        load: u64,
        /// What it should carry at the most.
        capacity: u64,
    },
    /// An operator wants it there.
    Wanted {
        /// Where it goes or stays.
        on: ContainerName,
    },
    /// It was ACTIVE nowhere and goes where there is most room for it.
    Placed {
        /// Where it goes.
        on: ContainerName,
        /// What that container carries beside it.
        beside: u64,
    },
    /// It goes to a container that is not fully eligible, because nothing better can run it.
    LastResort {
        /// Where it goes.
        on: ContainerName,
        /// What stands against that container.
        despite: Reason,
    },
    /// Its container drains.
    LeavesDraining {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
    },
    /// It failed on its container.
    LeavesFailed {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
    },
    /// Its container's code is stale.
    LeavesStaleCode {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
    },
    /// Its container is gone, offers it no more, or lost a label that it requires.
    LeavesLost {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
    },
    /// Its container carried more than its capacity.
    LeavesFull {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
        /// What the container it leaves carried before.
        load: u64,
        /// What that container should carry at the most.
        capacity: u64,
    },
    /// It makes room for another sensor that would fit nowhere otherwise.
    MakesRoom {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
    },
    /// It moves to even out the load.
    Balances {
        /// Where it was.
        from: ContainerName,
        /// Where it goes.
        to: ContainerName,
        /// What `from` carried before.
        from_load: u64,
        /// What `to` carried before.
        to_load: u64,
    },
}

/// What stands against one container for one sensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// It does not offer the sensor, or is not here.
    NotOffered,
    /// It drains.
    Draining,
    /// It lacks a label that the sensor requires.
    Label {
        /// The label's key.
        key: String,
        /// The value that it must have.
        value: String,
    },
    /// The sensor's weight would bring it above its capacity, or it is above it already.
    Full {
        /// What it carries without the sensor.
        load: u64,
        /// The sensor's weight.
        weight: u64,
        /// What it should carry at the most.
        capacity: u64,
    },
    /// The sensor failed there.
    FailedThere,
    /// It would run code that is not the newest.
    StaleCode,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => write!(f, "is paused by an operator"),
            Self::NobodyOffers => write!(f, "runs nowhere: no container offers it"),
            Self::NobodyEligible { reasons } => {
                write!(f, "runs nowhere: no container that offers it can take it (")?;
                for (index, (container, reason)) in reasons.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{container}: {reason}")?;
                }
                write!(f, ")")
            }
            Self::Stays { on } => write!(f, "stays on {on}"),
            Self::StaysDraining { on } => {
                write!(f, "stays on {on} although that drains: no other container can run it")
            }
            Self::StaysFailing { on } => write!(
                f,
                "stays on {on} although it failed there: it failed elsewhere too, or no other container can run it"
            ),
            Self::StaysStaleCode { on } => write!(
                f,
                "stays on {on} although the code there is stale: nobody has room with newer code, or it may not be moved for that"
            ),
            Self::StaysFull { on, load, capacity } => {
                write!(f, "stays on {on} although that carries {load} of {capacity}: no other container can take it")
            }
            Self::Wanted { on } => write!(f, "runs on {on} because an operator wants it there"),
            Self::Placed { on, beside } => write!(f, "is placed on {on} beside a load of {beside}"),
            Self::LastResort { on, despite } => {
                write!(f, "goes to {on} although that is not fit for it ({despite}): nothing better can run it")
            }
            Self::LeavesDraining { from, to } => write!(f, "leaves {from}, which drains, for {to}"),
            Self::LeavesFailed { from, to } => {
                write!(f, "leaves {from}, where it failed, for {to}")
            }
            Self::LeavesStaleCode { from, to } => {
                write!(f, "leaves {from}, where the code is stale, for {to}")
            }
            Self::LeavesLost { from, to } => {
                write!(f, "leaves {from}, which can run it no longer, for {to}")
            }
            Self::LeavesFull { from, to, load, capacity } => {
                write!(f, "leaves {from}, which carried {load} of {capacity}, for {to}")
            }
            Self::MakesRoom { from, to } => {
                write!(f, "leaves {from} for {to} to make room for another sensor")
            }
            Self::Balances { from, to, from_load, to_load } => {
                write!(f, "moves from {from} (load {from_load}) to {to} (load {to_load}) to even out the load")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => write!(f, "does not offer it"),
            Self::Draining => write!(f, "is draining"),
            Self::Label { key, value } => write!(f, "lacks the label {key}={value}"),
            Self::Full { load, weight, capacity } => {
                write!(f, "is full: {load} and its {weight} exceed {capacity}")
            }
            Self::FailedThere => write!(f, "it failed there"),
            Self::StaleCode => write!(f, "its code is stale"),
        }
    }
}
