//! The durable keys and values as text: one encoding for every engine, readable by people.

use serde::{Deserialize, Serialize};
use serde_json::json;
use st2sa_core::engine::{Body, Electors, Entry, Intent, Key, Record, Registered, Token, Value};
use st2sa_core::names::SensorRef;
use st2sa_core::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, Term,
};
use st2sa_core::time::Span;

/// Registered containers.
pub(crate) const CONTAINERS: &str = "containers/";
/// Paused sensors.
pub(crate) const PAUSES: &str = "intent/pause/";
/// Drained containers.
pub(crate) const DRAINS: &str = "intent/drain/";
/// Newest digests.
pub(crate) const CODE: &str = "code/";

/// A value that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the value of `{key}` is damaged")]
pub(crate) struct Damaged {
    key: String,
    #[source]
    source: serde_json::Error,
}

/// A key's name below the engine's prefix.
pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::LongestTtl => "longest_ttl".to_owned(),
        Key::Electors => "electors".to_owned(),
        Key::Register(name) => format!("{CONTAINERS}{name}"),
        Key::Pause(sensor) => format!("{PAUSES}{sensor}"),
        Key::Drain(name) => format!("{DRAINS}{name}"),
        Key::Code(sensor) => format!("{CODE}{sensor}"),
        Key::Record(sensor) => format!("journal/{sensor}"),
        Key::Entry(sensor, sequence) => format!("{}{sequence:020}", entries(sensor)),
    }
}

/// What the names of a sensor's entries begin with.
pub(crate) fn entries(sensor: &SensorRef) -> String {
    format!("journal/{sensor}/")
}

/// A value as text.
pub(crate) fn encode(value: &Value) -> String {
    let json = match value {
        Value::Ttl(span) => json!({ "nanoseconds": span.0 }),
        Value::Electors(electors) => {
            let members: Vec<&str> = electors.members.iter().map(ArbitratorId::as_str).collect();
            json!({ "members": members, "fail_safe": electors.fail_safe })
        }
        Value::Registered(registered) => json!({
            "incarnation": registered.incarnation.0,
            "registration": FenceText::from(registered.registration.0),
            "machine": registered.machine.0,
        }),
        Value::Intent(intent) => json!({ "who": intent.who, "at": intent.at }),
        Value::Digest(digest) => json!({ "digest": digest.0 }),
        Value::Record(record) => json!({
            "sequence": record.sequence,
            "last": record.last.map(EntryText::from),
            "sealed": FenceText::from(record.sealed),
            "values": BodyText::from(&record.values),
        }),
        Value::Entry(entry) => json!({
            "id": EntryText::from(entry.id),
            "follows": entry.follows.map(EntryText::from),
            "sequence": entry.sequence,
            "fence": FenceText::from(entry.fence),
            "values": BodyText::from(&entry.values),
            "effects": BodyText::from(&entry.effects),
            "part_of": entry.part_of.map(EntryText::from),
        }),
    };
    json.to_string()
}

/// A leadership's token as text; equal tokens are equal texts.
pub(crate) fn encode_token(token: &Token) -> String {
    json!(TokenText::from(token)).to_string()
}

/// A leadership's token.
pub(crate) fn token(key: &str, text: &str) -> Result<Token, Damaged> {
    read(key, text).map(TokenText::into)
}

/// The term's record as text: the term, and whose it is.
pub(crate) fn encode_term(term: Term, token: &Token) -> String {
    json!({ "term": term.0, "token": TokenText::from(token) }).to_string()
}

/// The term's record.
pub(crate) fn term(key: &str, text: &str) -> Result<(Term, Token), Damaged> {
    #[derive(Deserialize)]
    struct Text {
        term: u64,
        token: TokenText,
    }
    read(key, text).map(|Text { term, token }| (Term(term), token.into()))
}

/// A sensor's value as text, with when its time is over (milliseconds of Unix time; 0 for never).
pub(crate) fn encode_stored(value: &str, until: u64) -> String {
    json!({ "value": value, "until": until }).to_string()
}

/// A sensor's value, and when its time is over.
pub(crate) fn stored(key: &str, text: &str) -> Result<(String, u64), Damaged> {
    #[derive(Deserialize)]
    struct Text {
        value: String,
        #[serde(default)]
        until: u64,
    }
    read(key, text).map(|Text { value, until }| (value, until))
}

/// The longest `session_ttl` still running.
pub(crate) fn ttl(key: &str, text: &str) -> Result<Span, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        nanoseconds: u64,
    }
    read(key, text).map(|Text { nanoseconds }| Span(nanoseconds))
}

/// The electors.
pub(crate) fn electors(key: &str, text: &str) -> Result<Electors, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        members: Vec<String>,
        fail_safe: bool,
    }
    read(key, text).map(|Text { members, fail_safe }| Electors {
        members: members.iter().map(ArbitratorId::new).collect(),
        fail_safe,
    })
}

/// An entry of the register.
pub(crate) fn registered(key: &str, text: &str) -> Result<Registered, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        incarnation: u64,
        registration: FenceText,
        machine: u64,
    }
    read(key, text).map(|Text { incarnation, registration, machine }| Registered {
        incarnation: Incarnation(incarnation),
        registration: Registration(registration.into()),
        machine: Machine(machine),
    })
}

/// An operator's intent.
pub(crate) fn intent(key: &str, text: &str) -> Result<Intent, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        who: String,
        #[serde(default)]
        at: u64,
    }
    read(key, text).map(|Text { who, at }| Intent { who, at })
}

/// A digest.
pub(crate) fn digest(key: &str, text: &str) -> Result<Digest, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        digest: u64,
    }
    read(key, text).map(|Text { digest }| Digest(digest))
}

/// A journal's record.
pub(crate) fn record(key: &str, text: &str) -> Result<Record, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        sequence: u64,
        last: Option<EntryText>,
        sealed: FenceText,
        values: BodyText,
    }
    read(key, text).map(|Text { sequence, last, sealed, values }| Record {
        sequence,
        last: last.map(EntryId::from),
        sealed: sealed.into(),
        values: values.into(),
    })
}

/// A journal's entry.
pub(crate) fn entry(key: &str, text: &str) -> Result<Entry, Damaged> {
    #[derive(Deserialize)]
    struct Text {
        id: EntryText,
        follows: Option<EntryText>,
        sequence: u64,
        fence: FenceText,
        values: BodyText,
        effects: BodyText,
        #[serde(default)]
        part_of: Option<EntryText>,
    }
    read(key, text).map(|Text { id, follows, sequence, fence, values, effects, part_of }| Entry {
        id: id.into(),
        follows: follows.map(EntryId::from),
        sequence,
        fence: fence.into(),
        values: values.into(),
        effects: effects.into(),
        part_of: part_of.map(EntryId::from),
    })
}

/// The container of a register's or drain's key.
pub(crate) fn container(name: &str, prefix: &str) -> ContainerName {
    ContainerName::new(name.strip_prefix(prefix).unwrap_or(name))
}

/// The sensor of an intent's or digest's key.
pub(crate) fn sensor(name: &str, prefix: &str) -> SensorRef {
    SensorRef::new(name.strip_prefix(prefix).unwrap_or(name))
}

fn read<'a, T: Deserialize<'a>>(key: &str, text: &'a str) -> Result<T, Damaged> {
    serde_json::from_str(text).map_err(|source| Damaged { key: key.to_owned(), source })
}

/// A token in words.
#[derive(Serialize, Deserialize)]
struct TokenText {
    arbitrator: String,
    incarnation: u64,
    attempt: u64,
}

impl From<&Token> for TokenText {
    fn from(token: &Token) -> Self {
        let Token { arbitrator, incarnation, attempt } = token;
        Self { arbitrator: arbitrator.as_str().to_owned(), incarnation: incarnation.0, attempt: *attempt }
    }
}

impl From<TokenText> for Token {
    fn from(text: TokenText) -> Self {
        let TokenText { arbitrator, incarnation, attempt } = text;
        Self { arbitrator: ArbitratorId::new(arbitrator), incarnation: Incarnation(incarnation), attempt }
    }
}

/// A fence as two numbers.
#[derive(Serialize, Deserialize)]
struct FenceText {
    term: u64,
    n: u64,
}

impl From<Fence> for FenceText {
    fn from(fence: Fence) -> Self {
        Self { term: fence.term.0, n: fence.n }
    }
}

impl From<FenceText> for Fence {
    fn from(text: FenceText) -> Self {
        Self { term: Term(text.term), n: text.n }
    }
}

/// An entry's id in hexadecimal: JSON's numbers are not wide enough.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct EntryText(u128);

impl From<EntryId> for EntryText {
    fn from(id: EntryId) -> Self {
        Self(id.0)
    }
}

impl From<EntryText> for EntryId {
    fn from(text: EntryText) -> Self {
        Self(text.0)
    }
}

impl From<EntryText> for String {
    fn from(text: EntryText) -> Self {
        format!("{:032x}", text.0)
    }
}

impl Clone for EntryText {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl TryFrom<String> for EntryText {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// Bytes: as they are where they are text, which is what containers write, else in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BodyText {
    Text(String),
    Hex(String),
}

impl From<&Body> for BodyText {
    fn from(body: &Body) -> Self {
        use std::fmt::Write as _;
        if let Ok(text) = std::str::from_utf8(body.bytes()) {
            return Self::Text(text.to_owned());
        }
        let mut hex = String::with_capacity(body.bytes().len() * 2);
        for byte in body.bytes() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self::Hex(hex)
    }
}

impl From<BodyText> for Body {
    fn from(text: BodyText) -> Self {
        match text {
            BodyText::Text(text) => Self::new(text.as_bytes()),
            BodyText::Hex(hex) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).map_or(0, |digit| digit.to_le_bytes()[0]);
                let bytes: Vec<u8> =
                    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
                Self::new(&bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence() -> Fence {
        Fence { term: Term(5), n: 12 }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let electors_ = Electors { members: [ArbitratorId::new("a"), ArbitratorId::new("b")].into(), fail_safe: true };
        assert_eq!(electors("k", &encode(&Value::Electors(electors_.clone()))).unwrap(), electors_);
        let registered_ =
            Registered { incarnation: Incarnation(u64::MAX), registration: Registration(fence()), machine: Machine(7) };
        assert_eq!(registered("k", &encode(&Value::Registered(registered_.clone()))).unwrap(), registered_);
        let intent_ = Intent { who: "anne \"the\" operator".to_owned(), at: 7 };
        assert_eq!(intent("k", &encode(&Value::Intent(intent_.clone()))).unwrap(), intent_);
        assert_eq!(digest("k", &encode(&Value::Digest(Digest(u64::MAX)))).unwrap(), Digest(u64::MAX));
        assert_eq!(ttl("k", &encode(&Value::Ttl(Span(9)))).unwrap(), Span(9));
        let token_ = Token { arbitrator: ArbitratorId::new("a"), incarnation: Incarnation(u64::MAX), attempt: 3 };
        assert_eq!(token("k", &encode_token(&token_)).unwrap(), token_);
        assert_eq!(term("k", &encode_term(Term(7), &token_)).unwrap(), (Term(7), token_));
        assert_eq!(stored("k", &encode_stored("a \"b\"", 9)).unwrap(), ("a \"b\"".to_owned(), 9));
        for bytes in [&b"{\"a\": 1}"[..], &[0xFF, 0x00, 0x7F], b""] {
            let entry_ = Entry {
                id: EntryId(u128::MAX),
                follows: Some(EntryId(1)),
                sequence: 3,
                fence: fence(),
                values: Body::new(bytes),
                effects: Body::new(b"e"),
                part_of: Some(EntryId(9)),
            };
            assert_eq!(entry("k", &encode(&Value::Entry(entry_.clone()))).unwrap(), entry_);
            let record_ = Record { sequence: 3, last: Some(EntryId(2)), sealed: fence(), values: Body::new(bytes) };
            assert_eq!(record("k", &encode(&Value::Record(record_.clone()))).unwrap(), record_);
        }
    }

    #[test]
    fn bodies_that_are_text_stay_readable() {
        let entry = Value::Record(Record { values: Body::new(b"cursor 7"), ..Record::default() });
        let stored: serde_json::Value = serde_json::from_str(&encode(&entry)).unwrap();
        assert_eq!(stored["values"]["text"], "cursor 7");
    }

    #[test]
    fn entries_of_a_sensor_sort_by_their_number() {
        let sensor = SensorRef::new("p.X");
        let (nine, ten) = (key(&Key::Entry(sensor.clone(), 9)), key(&Key::Entry(sensor.clone(), 10)));
        assert!(nine < ten && nine.starts_with(&entries(&sensor)));
    }

    #[test]
    fn a_damaged_value_names_its_key() {
        let error = intent("intent/pause/p.X", "{").unwrap_err();
        assert_eq!(error.to_string(), "the value of `intent/pause/p.X` is damaged");
    }
}
