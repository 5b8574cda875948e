//! How an instance is, for people: nothing is decided by it.

use st2sa_core::message::{Kind, State};
use st2sa_core::names::SensorRef;
use st2sa_core::time::Span;

use crate::checked::{self, Malformed};
use crate::names::{decode_kind, decode_state, encode_kind, encode_state, sensor};
use crate::v1;

/// How one instance is. Counts are since its container started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// The sensor.
    pub sensor: SensorRef,
    /// How it watches, if known.
    pub kind: Option<Kind>,
    /// What it is doing.
    pub state: State,
    /// Its process id, if it has a process.
    pub pid: Option<u32>,
    /// Polls.
    pub polls: u64,
    /// Polls that raised, and processes that died.
    pub errors: u64,
    /// Triggers dispatched.
    pub triggers: u64,
    /// Effects discarded or finally refused.
    pub dropped: u64,
    /// How long ago its last poll began.
    pub last_poll_ago: Option<Span>,
    /// How long its last poll took.
    pub last_poll_duration: Option<Span>,
    /// What went wrong last; what is over 4 KiB of it does not travel.
    pub last_error: Option<String>,
    /// The container has it no more: nothing else counts.
    pub removed: bool,
}

impl InstanceReport {
    pub(crate) fn encode(&self) -> v1::InstanceReport {
        v1::InstanceReport {
            sensor: self.sensor.to_string(),
            kind: self.kind.map(encode_kind),
            state: encode_state(self.state).into(),
            pid: self.pid,
            polls: self.polls,
            errors: self.errors,
            triggers: self.triggers,
            dropped: self.dropped,
            last_poll_ago_ns: self.last_poll_ago.map(|span| span.0),
            last_poll_duration_ns: self.last_poll_duration.map(|span| span.0),
            last_error: self.last_error.as_deref().map(|text| checked::cut(text).to_owned()),
            removed: self.removed,
        }
    }

    pub(crate) fn decode(report: v1::InstanceReport) -> Result<Self, Malformed> {
        Ok(Self {
            sensor: sensor(&report.sensor)?,
            kind: report.kind.map(decode_kind),
            state: decode_state(report.state)?,
            pid: report.pid,
            polls: report.polls,
            errors: report.errors,
            triggers: report.triggers,
            dropped: report.dropped,
            last_poll_ago: report.last_poll_ago_ns.map(Span),
            last_poll_duration: report.last_poll_duration_ns.map(Span),
            // No session ends because a sensor said much.
            last_error: report.last_error.map(|text| checked::cut(&text).to_owned()),
            removed: report.removed,
        })
    }
}
