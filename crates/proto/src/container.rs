//! What a container says.

use st2sa_core::message::{Binding, Claim, Heartbeat, Hello, Offer, Report, ToArbitrator};
use st2sa_core::names::{ContainerName, Digest, Incarnation, Machine, Registration, SessionId, Term};
use st2sa_core::placement::Labels;
use st2sa_core::time::{Span, Time};

use crate::checked::{self, Malformed, Within};
use crate::instance::InstanceReport;
use crate::journal::{decode_entry, encode_entry};
use crate::names::{
    decode_age, decode_cause, decode_effects, decode_entry_id, decode_fence, decode_kind, decode_state, decode_token,
    encode_age, encode_cause, encode_effects, encode_entry_id, encode_fence, encode_kind, encode_state, encode_token,
    plain_fence, sensor,
};
use crate::v1;
use crate::v1::from_container::Message;

/// What a container is, for people and for later releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The protocol that it speaks.
    pub protocol: u32,
    /// Its release.
    pub version: String,
    /// The machine's host name.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Where its own HTTP server answers, `host:port`; empty where it has none.
    pub address: String,
}

/// From a container to an arbitrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromContainer {
    /// The greeting, and who greets.
    Hello(Box<Hello>, About),
    /// Anything else that core says. Never a greeting: [`Self::encode`] makes one that names no protocol.
    Message(ToArbitrator),
    /// How the instances are.
    Instances(Vec<InstanceReport>),
}

impl FromContainer {
    /// As it goes over the wire.
    pub fn encode(&self) -> v1::FromContainer {
        let message = match self {
            Self::Hello(hello, about) => Message::Hello(encode_hello(hello, Some(about))),
            Self::Message(message) => encode_message(message),
            Self::Instances(reports) => Message::Instances(v1::InstanceReports {
                instances: reports.iter().map(InstanceReport::encode).collect(),
            }),
        };
        v1::FromContainer { message: Some(message) }
    }

    /// From the wire; nothing where a newer container says what this release does not know.
    ///
    /// # Errors
    /// If a required part is absent, or a part is over its bound or of a wrong shape.
    pub fn decode(message: v1::FromContainer) -> Result<Option<Self>, Malformed> {
        let Some(message) = message.message else {
            return Ok(None);
        };
        let message = match message {
            Message::Hello(hello) => return decode_hello(hello).within("hello").map(Some),
            Message::Instances(reports) => {
                let reports = checked::list(reports.instances, "instances", InstanceReport::decode)?;
                return Ok(Some(Self::Instances(reports)));
            }
            Message::Offers(offers) => {
                ToArbitrator::Offers(checked::list(offers.offers, "offers", |offer| decode_offer(&offer))?)
            }
            Message::Heartbeat(heartbeat) => {
                ToArbitrator::Heartbeat(Box::new(decode_heartbeat(heartbeat).within("heartbeat")?))
            }
            Message::Applied(applied) => decode_applied(&applied).within("applied")?,
            Message::Stopped(stopped) => decode_stopped(&stopped).within("stopped")?,
            Message::Commit(commit) => decode_commit(commit).within("commit")?,
            Message::Mark(mark) => decode_mark(&mark).within("mark")?,
            Message::Leaving(v1::Leaving {}) => ToArbitrator::Leaving,
        };
        Ok(Some(Self::Message(message)))
    }
}

fn encode_message(message: &ToArbitrator) -> Message {
    match message {
        ToArbitrator::Hello(hello) => Message::Hello(encode_hello(hello, None)),
        ToArbitrator::Offers(offers) => {
            Message::Offers(v1::Offers { offers: offers.iter().map(encode_offer).collect() })
        }
        ToArbitrator::Heartbeat(heartbeat) => Message::Heartbeat(encode_heartbeat(heartbeat)),
        ToArbitrator::Applied { sensor, fence, state } => Message::Applied(v1::Applied {
            sensor: sensor.to_string(),
            fence: Some(encode_fence(*fence)),
            state: encode_state(*state).into(),
        }),
        ToArbitrator::Stopped { sensor, fence, cause, polled_ago } => Message::Stopped(v1::Stopped {
            sensor: sensor.to_string(),
            fence: Some(encode_fence(*fence)),
            cause: encode_cause(*cause).into(),
            polled_ago_ns: polled_ago.map(|span| span.0),
        }),
        ToArbitrator::Commit { sensor, entry } => {
            Message::Commit(v1::Commit { sensor: sensor.to_string(), entry: Some(encode_entry(entry)) })
        }
        ToArbitrator::Mark { sensor, entry } => {
            Message::Mark(v1::Mark { sensor: sensor.to_string(), entry: encode_entry_id(*entry) })
        }
        ToArbitrator::Leaving => Message::Leaving(v1::Leaving {}),
    }
}

fn encode_hello(hello: &Hello, about: Option<&About>) -> v1::Hello {
    v1::Hello {
        name: hello.name.to_string(),
        incarnation: hello.incarnation.0,
        machine: hello.machine.0,
        registration: hello.registration.map(|registration| encode_fence(registration.0)),
        highest: hello
            .highest
            .as_ref()
            .map(|(term, token)| v1::Seen { term: term.0, leadership: Some(encode_token(token)) }),
        succeeds: hello.succeeds.map(|incarnation| incarnation.0),
        labels: hello.labels.clone(),
        capacity: hello.capacity,
        about: Some(about.map_or_else(v1::About::default, encode_about)),
    }
}

fn decode_hello(hello: v1::Hello) -> Result<FromContainer, Malformed> {
    let about = decode_about(checked::required(hello.about, "about")?).within("about")?;
    let hello = Hello {
        name: ContainerName::new(checked::name(&hello.name, "name")?),
        incarnation: Incarnation(hello.incarnation),
        machine: Machine(hello.machine),
        registration: hello.registration.map(|fence| Registration(plain_fence(fence))),
        highest: hello.highest.map(decode_seen).transpose().within("highest")?,
        succeeds: hello.succeeds.map(Incarnation),
        labels: decode_labels(hello.labels)?,
        capacity: hello.capacity,
    };
    Ok(FromContainer::Hello(Box::new(hello), about))
}

fn encode_about(about: &About) -> v1::About {
    v1::About {
        protocol: about.protocol,
        version: about.version.clone(),
        host: about.host.clone(),
        pid: about.pid,
        address: about.address.clone(),
    }
}

fn decode_about(about: v1::About) -> Result<About, Malformed> {
    checked::words(&about.version, "version")?;
    checked::words(&about.host, "host")?;
    checked::words(&about.address, "address")?;
    let v1::About { protocol, version, host, pid, address } = about;
    Ok(About { protocol, version, host, pid, address })
}

fn decode_seen(seen: v1::Seen) -> Result<(Term, st2sa_core::engine::Token), Malformed> {
    Ok((Term(seen.term), decode_token(seen.leadership)?))
}

fn decode_labels(labels: Labels) -> Result<Labels, Malformed> {
    /// More than a person gives; a policy looks at each.
    const LABELS_AT_MOST: usize = 64;
    checked::bounded(labels.len(), LABELS_AT_MOST, "labels")?;
    for (key, value) in &labels {
        checked::name(key, "key").within("labels")?;
        checked::words(value, "value").within("labels")?;
    }
    Ok(labels)
}

fn encode_offer(offer: &Offer) -> v1::Offer {
    v1::Offer {
        sensor: offer.sensor.to_string(),
        digest: offer.digest.0,
        previous: offer.previous.map(|digest| digest.0),
        kind: Some(encode_kind(offer.kind)),
        effects: encode_effects(offer.effects).into(),
    }
}

fn decode_offer(offer: &v1::Offer) -> Result<Offer, Malformed> {
    Ok(Offer {
        sensor: sensor(&offer.sensor)?,
        digest: Digest(offer.digest),
        previous: offer.previous.map(Digest),
        kind: decode_kind(checked::required(offer.kind, "kind")?),
        effects: decode_effects(offer.effects)?,
    })
}

fn encode_heartbeat(heartbeat: &Heartbeat) -> v1::Heartbeat {
    v1::Heartbeat {
        session: heartbeat.session.0,
        sequence: heartbeat.sequence,
        sent_at_ns: heartbeat.sent_at.0,
        lapsed: heartbeat.lapsed,
        draining: heartbeat.draining,
        binds: heartbeat.binds.as_ref().map(encode_binding),
        polled: heartbeat.polled.iter().map(encode_age).collect(),
        reports: heartbeat.reports.iter().map(encode_report).collect(),
    }
}

fn decode_heartbeat(heartbeat: v1::Heartbeat) -> Result<Heartbeat, Malformed> {
    Ok(Heartbeat {
        session: SessionId(heartbeat.session),
        sequence: heartbeat.sequence,
        sent_at: Time(heartbeat.sent_at_ns),
        lapsed: heartbeat.lapsed,
        draining: heartbeat.draining,
        binds: heartbeat.binds.map(decode_binding).transpose().within("binds")?,
        polled: checked::list(heartbeat.polled, "polled", |age| decode_age(&age))?,
        // A report of a newer kind frees nothing either: the rest of the heartbeat counts.
        reports: checked::list(heartbeat.reports, "reports", decode_report)?.into_iter().flatten().collect(),
    })
}

fn encode_binding(binding: &Binding) -> v1::Binding {
    let claim = |claim: &Claim| v1::Claim {
        sensor: claim.sensor.to_string(),
        fence: Some(encode_fence(claim.fence)),
        polled_ago_ns: claim.polled_ago.map(|span| span.0),
    };
    v1::Binding {
        holds: binding.holds.iter().map(claim).collect(),
        failed: binding.failed.iter().map(encode_age).collect(),
    }
}

fn decode_binding(binding: v1::Binding) -> Result<Binding, Malformed> {
    let claim = |claim: v1::Claim| {
        Ok(Claim {
            sensor: sensor(&claim.sensor)?,
            fence: decode_fence(claim.fence, "fence")?,
            polled_ago: claim.polled_ago_ns.map(Span),
        })
    };
    Ok(Binding {
        holds: checked::list(binding.holds, "holds", claim)?,
        failed: checked::list(binding.failed, "failed", |age| decode_age(&age))?,
    })
}

fn encode_report(report: &Report) -> v1::Report {
    let report = match report {
        Report::Failing { sensor, fence } => {
            v1::report::Report::Failing(v1::Failing { sensor: sensor.to_string(), fence: Some(encode_fence(*fence)) })
        }
        Report::Recovered { sensor } => v1::report::Report::Recovered(v1::Recovered { sensor: sensor.to_string() }),
        Report::PossibleOverlap { sensor, fence, late_by } => {
            v1::report::Report::PossibleOverlap(v1::PossibleOverlap {
                sensor: sensor.to_string(),
                fence: Some(encode_fence(*fence)),
                late_by_ns: late_by.0,
            })
        }
    };
    v1::Report { report: Some(report) }
}

fn decode_report(report: v1::Report) -> Result<Option<Report>, Malformed> {
    Ok(match report.report {
        None => None,
        Some(v1::report::Report::Failing(failing)) => {
            Some(Report::Failing { sensor: sensor(&failing.sensor)?, fence: decode_fence(failing.fence, "fence")? })
        }
        Some(v1::report::Report::Recovered(recovered)) => {
            Some(Report::Recovered { sensor: sensor(&recovered.sensor)? })
        }
        Some(v1::report::Report::PossibleOverlap(overlap)) => Some(Report::PossibleOverlap {
            sensor: sensor(&overlap.sensor)?,
            fence: decode_fence(overlap.fence, "fence")?,
            late_by: Span(overlap.late_by_ns),
        }),
    })
}

fn decode_applied(applied: &v1::Applied) -> Result<ToArbitrator, Malformed> {
    Ok(ToArbitrator::Applied {
        sensor: sensor(&applied.sensor)?,
        fence: decode_fence(applied.fence, "fence")?,
        state: decode_state(applied.state)?,
    })
}

fn decode_stopped(stopped: &v1::Stopped) -> Result<ToArbitrator, Malformed> {
    Ok(ToArbitrator::Stopped {
        sensor: sensor(&stopped.sensor)?,
        fence: decode_fence(stopped.fence, "fence")?,
        cause: decode_cause(stopped.cause)?,
        polled_ago: stopped.polled_ago_ns.map(Span),
    })
}

fn decode_commit(commit: v1::Commit) -> Result<ToArbitrator, Malformed> {
    Ok(ToArbitrator::Commit {
        sensor: sensor(&commit.sensor)?,
        entry: decode_entry(checked::required(commit.entry, "entry")?).within("entry")?,
    })
}

fn decode_mark(mark: &v1::Mark) -> Result<ToArbitrator, Malformed> {
    Ok(ToArbitrator::Mark { sensor: sensor(&mark.sensor)?, entry: decode_entry_id(&mark.entry, "entry")? })
}
