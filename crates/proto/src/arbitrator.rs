//! What an arbitrator says.

use st2sa_core::message::{Activation, Status, ToContainer};
use st2sa_core::names::{ArbitratorId, EntryId, Machine, SensorRef, SessionId, Term};
use st2sa_core::policy::MAX_ERRORS;
use st2sa_core::time::{Span, Time};

use crate::checked::{self, Malformed, Within};
use crate::journal::{decode_journal, encode_journal};
use crate::names::{
    decode_entry_id, decode_fence, decode_registration, decode_token, encode_entry_id, encode_fence, encode_token,
    sensor,
};
use crate::v1;
use crate::v1::from_arbitrator::Message;

/// From an arbitrator to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromArbitrator {
    /// Another run holds the container's name.
    NameTaken {
        /// The machine of the run that holds it.
        machine: Machine,
        /// That machine's host name; empty where it is not known.
        host: String,
        /// The process id of the run that holds it; zero where it is not known.
        pid: u32,
    },
    /// What the operators' policy says of sensors that the container offers; of the others nothing changes.
    Policies(Vec<InstancePolicy>),
    /// Anything else that core says. Never that a name is taken: [`Self::encode`] makes one that names no host.
    Message(ToContainer),
}

/// What the operators' policy says of one sensor, as far as its container is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePolicy {
    /// The sensor.
    pub sensor: SensorRef,
    /// A standby has no process: it is started when the sensor becomes ACTIVE.
    pub cold_standby: bool,
    /// Memory that each of its processes may have, in bytes; as much as there is, if not given.
    pub memory_bytes: Option<u64>,
}

impl FromArbitrator {
    /// As it goes over the wire.
    pub fn encode(&self) -> v1::FromArbitrator {
        let message = match self {
            Self::NameTaken { machine, host, pid } => {
                Message::NameTaken(v1::NameTaken { machine: machine.0, host: host.clone(), pid: *pid })
            }
            Self::Policies(policies) => Message::Policies(v1::InstancePolicies {
                policies: policies
                    .iter()
                    .map(|policy| v1::InstancePolicy {
                        sensor: policy.sensor.to_string(),
                        cold_standby: policy.cold_standby,
                        memory_bytes: policy.memory_bytes,
                    })
                    .collect(),
            }),
            Self::Message(message) => encode_message(message),
        };
        v1::FromArbitrator { message: Some(message) }
    }

    /// From the wire; nothing where a newer arbitrator says what this release does not know.
    ///
    /// # Errors
    /// If a required part is absent, or a part is over its bound or of a wrong shape.
    pub fn decode(message: v1::FromArbitrator) -> Result<Option<Self>, Malformed> {
        let Some(message) = message.message else {
            return Ok(None);
        };
        let message = match message {
            Message::NameTaken(taken) => return decode_name_taken(taken).within("name_taken").map(Some),
            Message::Policies(policies) => return decode_policies(policies).within("policies").map(Some),
            Message::PollNow(v1::PollNow { sensor: name, fence }) => ToContainer::PollNow {
                sensor: sensor(&name).within("poll_now")?,
                fence: decode_fence(fence, "fence").within("poll_now")?,
            },
            Message::NotLeader(not_leader) => decode_not_leader(&not_leader).within("not_leader")?,
            Message::Welcome(welcome) => decode_welcome(welcome).within("welcome")?,
            Message::Ack(v1::Ack { session, sequence, sent_at_ns }) => {
                ToContainer::Ack { session: SessionId(session), sequence, sent_at: Time(sent_at_ns) }
            }
            Message::NotYet(v1::NotYet { session, sent_at_ns }) => {
                ToContainer::NotYet { session: SessionId(session), sent_at: Time(sent_at_ns) }
            }
            Message::SetStatus(set_status) => decode_set_status(set_status).within("set_status")?,
            Message::Committed(v1::Committed { sensor, entry }) => {
                let (sensor, entry) = decode_subject(&sensor, &entry).within("committed")?;
                ToContainer::Committed { sensor, entry }
            }
            Message::CommitRefused(v1::CommitRefused { sensor, entry }) => {
                let (sensor, entry) = decode_subject(&sensor, &entry).within("commit_refused")?;
                ToContainer::CommitRefused { sensor, entry }
            }
            Message::Marked(v1::Marked { sensor, entry }) => {
                let (sensor, entry) = decode_subject(&sensor, &entry).within("marked")?;
                ToContainer::Marked { sensor, entry }
            }
            Message::Resigning(v1::Resigning {}) => ToContainer::Resigning,
            Message::Left(v1::Left {}) => ToContainer::Left,
        };
        Ok(Some(Self::Message(message)))
    }
}

fn encode_message(message: &ToContainer) -> Message {
    match message {
        ToContainer::NotLeader { leader } => {
            Message::NotLeader(v1::NotLeader { leader: leader.as_ref().map(ToString::to_string) })
        }
        ToContainer::NameTaken { machine } => {
            Message::NameTaken(v1::NameTaken { machine: machine.0, host: String::new(), pid: 0 })
        }
        ToContainer::Welcome { term, leadership, session, registration, session_ttl, heartbeat } => {
            Message::Welcome(v1::Welcome {
                term: term.0,
                leadership: Some(encode_token(leadership)),
                session: session.0,
                registration: Some(encode_fence(registration.0)),
                session_ttl_ns: session_ttl.0,
                heartbeat_ns: heartbeat.0,
            })
        }
        ToContainer::Ack { session, sequence, sent_at } => {
            Message::Ack(v1::Ack { session: session.0, sequence: *sequence, sent_at_ns: sent_at.0 })
        }
        ToContainer::NotYet { session, sent_at } => {
            Message::NotYet(v1::NotYet { session: session.0, sent_at_ns: sent_at.0 })
        }
        ToContainer::SetStatus { sensor, fence, status } => Message::SetStatus(v1::SetStatus {
            sensor: sensor.to_string(),
            fence: Some(encode_fence(*fence)),
            status: Some(encode_status(status)),
        }),
        ToContainer::Committed { sensor, entry } => {
            Message::Committed(v1::Committed { sensor: sensor.to_string(), entry: encode_entry_id(*entry) })
        }
        ToContainer::CommitRefused { sensor, entry } => {
            Message::CommitRefused(v1::CommitRefused { sensor: sensor.to_string(), entry: encode_entry_id(*entry) })
        }
        ToContainer::Marked { sensor, entry } => {
            Message::Marked(v1::Marked { sensor: sensor.to_string(), entry: encode_entry_id(*entry) })
        }
        ToContainer::PollNow { sensor, fence } => {
            Message::PollNow(v1::PollNow { sensor: sensor.to_string(), fence: Some(encode_fence(*fence)) })
        }
        ToContainer::Resigning => Message::Resigning(v1::Resigning {}),
        ToContainer::Left => Message::Left(v1::Left {}),
    }
}

fn decode_name_taken(taken: v1::NameTaken) -> Result<FromArbitrator, Malformed> {
    checked::words(&taken.host, "host")?;
    let v1::NameTaken { machine, host, pid } = taken;
    Ok(FromArbitrator::NameTaken { machine: Machine(machine), host, pid })
}

fn decode_policies(policies: v1::InstancePolicies) -> Result<FromArbitrator, Malformed> {
    let policy = |policy: v1::InstancePolicy| {
        Ok(InstancePolicy {
            sensor: sensor(&policy.sensor)?,
            cold_standby: policy.cold_standby,
            memory_bytes: policy.memory_bytes,
        })
    };
    checked::list(policies.policies, "policies", policy).map(FromArbitrator::Policies)
}

fn decode_not_leader(not_leader: &v1::NotLeader) -> Result<ToContainer, Malformed> {
    let leader = not_leader.leader.as_deref().map(|leader| checked::name(leader, "leader")).transpose()?;
    Ok(ToContainer::NotLeader { leader: leader.map(ArbitratorId::new) })
}

fn decode_welcome(welcome: v1::Welcome) -> Result<ToContainer, Malformed> {
    Ok(ToContainer::Welcome {
        term: Term(welcome.term),
        leadership: decode_token(welcome.leadership)?,
        session: SessionId(welcome.session),
        registration: decode_registration(welcome.registration)?,
        session_ttl: Span(welcome.session_ttl_ns),
        heartbeat: Span(welcome.heartbeat_ns),
    })
}

fn decode_set_status(set_status: v1::SetStatus) -> Result<ToContainer, Malformed> {
    Ok(ToContainer::SetStatus {
        sensor: sensor(&set_status.sensor)?,
        fence: decode_fence(set_status.fence, "fence")?,
        status: decode_status(checked::required(set_status.status, "status")?)?,
    })
}

fn encode_status(status: &Status) -> v1::set_status::Status {
    match status {
        Status::Active(activation) => v1::set_status::Status::Active(v1::Active {
            activation: activation.as_deref().map(|activation| v1::Activation {
                journal: activation.journal.as_ref().map(encode_journal),
                polled_ago_ns: activation.polled_ago.map(|span| span.0),
                timeout_ns: activation.timeout.0,
                max_errors: activation.max_errors,
            }),
        }),
        Status::Standby => v1::set_status::Status::Standby(v1::Standby {}),
    }
}

fn decode_status(status: v1::set_status::Status) -> Result<Status, Malformed> {
    match status {
        v1::set_status::Status::Active(v1::Active { activation }) => {
            let activation = activation.map(decode_activation).transpose().within("activation")?;
            Ok(Status::Active(activation.map(Box::new)))
        }
        v1::set_status::Status::Standby(v1::Standby {}) => Ok(Status::Standby),
    }
}

fn decode_activation(activation: v1::Activation) -> Result<Activation, Malformed> {
    Ok(Activation {
        journal: activation.journal.map(decode_journal).transpose().within("journal")?,
        polled_ago: activation.polled_ago_ns.map(Span),
        timeout: Span(activation.timeout_ns),
        max_errors: if activation.max_errors == 0 { MAX_ERRORS } else { activation.max_errors },
    })
}

fn decode_subject(name: &str, entry: &[u8]) -> Result<(SensorRef, EntryId), Malformed> {
    Ok((sensor(name)?, decode_entry_id(entry, "entry")?))
}
