//! Names, numbers and small enumerations, to the wire and back.

use st2sa_core::message::{Effects, Kind, State, StopCause};
use st2sa_core::names::{ArbitratorId, EntryId, Fence, Incarnation, Registration, SensorRef, Term};
use st2sa_core::time::Span;

use crate::checked::{self, Fault, Malformed, Within};
use crate::v1;

pub(crate) fn sensor(text: &str) -> Result<SensorRef, Malformed> {
    checked::name(text, "sensor").map(SensorRef::new)
}

pub(crate) fn encode_fence(fence: Fence) -> v1::Fence {
    v1::Fence { term: fence.term.0, n: fence.n }
}

pub(crate) fn decode_fence(fence: Option<v1::Fence>, field: &str) -> Result<Fence, Malformed> {
    checked::required(fence, field).map(plain_fence)
}

pub(crate) fn decode_registration(fence: Option<v1::Fence>) -> Result<Registration, Malformed> {
    decode_fence(fence, "registration").map(Registration)
}

pub(crate) fn plain_fence(fence: v1::Fence) -> Fence {
    Fence { term: Term(fence.term), n: fence.n }
}

pub(crate) fn encode_token(token: &st2sa_core::engine::Token) -> v1::Token {
    v1::Token { arbitrator: token.arbitrator.to_string(), incarnation: token.incarnation.0, attempt: token.attempt }
}

pub(crate) fn decode_token(token: Option<v1::Token>) -> Result<st2sa_core::engine::Token, Malformed> {
    const FIELD: &str = "leadership";
    let token = checked::required(token, FIELD)?;
    Ok(st2sa_core::engine::Token {
        arbitrator: ArbitratorId::new(checked::name(&token.arbitrator, "arbitrator").within(FIELD)?),
        incarnation: Incarnation(token.incarnation),
        attempt: token.attempt,
    })
}

pub(crate) fn encode_entry_id(id: EntryId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

pub(crate) fn decode_entry_id(bytes: &[u8], field: &str) -> Result<EntryId, Malformed> {
    let wanted = size_of::<u128>();
    let bytes = bytes.try_into().map_err(|_| Malformed::new(field, Fault::Size { length: bytes.len(), wanted }))?;
    Ok(EntryId(u128::from_be_bytes(bytes)))
}

pub(crate) fn encode_age((sensor, age): &(SensorRef, Span)) -> v1::SensorAge {
    v1::SensorAge { sensor: sensor.to_string(), age_ns: age.0 }
}

pub(crate) fn decode_age(age: &v1::SensorAge) -> Result<(SensorRef, Span), Malformed> {
    Ok((sensor(&age.sensor)?, Span(age.age_ns)))
}

pub(crate) fn encode_kind(kind: Kind) -> v1::Kind {
    let polling_interval_ns = match kind {
        Kind::Polling { interval } => Some(interval.0),
        Kind::Passive => None,
    };
    v1::Kind { polling_interval_ns }
}

pub(crate) fn decode_kind(kind: v1::Kind) -> Kind {
    kind.polling_interval_ns.map_or(Kind::Passive, |interval| Kind::Polling { interval: Span(interval) })
}

pub(crate) fn encode_effects(effects: Effects) -> v1::Effects {
    match effects {
        Effects::Journal => v1::Effects::Journal,
        Effects::Direct => v1::Effects::Direct,
    }
}

pub(crate) fn decode_effects(value: i32) -> Result<Effects, Malformed> {
    match v1::Effects::try_from(value) {
        Ok(v1::Effects::Journal) => Ok(Effects::Journal),
        Ok(v1::Effects::Direct) => Ok(Effects::Direct),
        Ok(v1::Effects::Unspecified) | Err(_) => Err(Malformed::new("effects", Fault::Unknown(value))),
    }
}

pub(crate) fn encode_state(state: State) -> v1::State {
    match state {
        State::Starting => v1::State::Starting,
        State::Ready => v1::State::Ready,
        State::Running => v1::State::Running,
        State::Draining => v1::State::Draining,
        State::Frozen => v1::State::Frozen,
        State::Backoff => v1::State::Backoff,
        State::Failed => v1::State::Failed,
        State::Stopped => v1::State::Stopped,
    }
}

pub(crate) fn decode_state(value: i32) -> Result<State, Malformed> {
    match v1::State::try_from(value) {
        Ok(v1::State::Starting) => Ok(State::Starting),
        Ok(v1::State::Ready) => Ok(State::Ready),
        Ok(v1::State::Running) => Ok(State::Running),
        Ok(v1::State::Draining) => Ok(State::Draining),
        Ok(v1::State::Frozen) => Ok(State::Frozen),
        Ok(v1::State::Backoff) => Ok(State::Backoff),
        Ok(v1::State::Failed) => Ok(State::Failed),
        Ok(v1::State::Stopped) => Ok(State::Stopped),
        Ok(v1::State::Unspecified) | Err(_) => Err(Malformed::new("state", Fault::Unknown(value))),
    }
}

pub(crate) fn encode_cause(cause: StopCause) -> v1::StopCause {
    match cause {
        StopCause::Asked => v1::StopCause::Asked,
        StopCause::Died => v1::StopCause::Died,
        StopCause::Hung => v1::StopCause::Hung,
        StopCause::Refused => v1::StopCause::Refused,
        StopCause::FrozenTooLong => v1::StopCause::FrozenTooLong,
    }
}

pub(crate) fn decode_cause(value: i32) -> Result<StopCause, Malformed> {
    match v1::StopCause::try_from(value) {
        Ok(v1::StopCause::Asked) => Ok(StopCause::Asked),
        Ok(v1::StopCause::Died) => Ok(StopCause::Died),
        Ok(v1::StopCause::Hung) => Ok(StopCause::Hung),
        Ok(v1::StopCause::Refused) => Ok(StopCause::Refused),
        Ok(v1::StopCause::FrozenTooLong) => Ok(StopCause::FrozenTooLong),
        Ok(v1::StopCause::Unspecified) | Err(_) => Err(Malformed::new("cause", Fault::Unknown(value))),
    }
}
