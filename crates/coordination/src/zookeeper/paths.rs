//! Where things stand in ZooKeeper: a path for each key, every name in one component of it.

use std::fmt::Write as _;

use st2sa_core::engine::Key;

use crate::codec::{CODE, CONTAINERS, DRAINS, PAUSES};

/// Everything of ours, of every namespace. tooz keeps to `/tooz` or `/<its namespace>`.
const TOP: &str = "/st2sa";
/// The namespace where none is given.
const DEFAULT_NAMESPACE: &str = "default";
/// Journals: each record is a node, with the sensor's unapplied entries below it.
const JOURNALS: &str = "journal/";
/// Sensors' values.
const VALUES: &str = "values/";

/// The paths of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    root: String,
}

impl Paths {
    /// Those of a namespace.
    pub(super) fn of(namespace: Option<&str>) -> Self {
        Self { root: format!("{TOP}/{}", encode(namespace.unwrap_or(DEFAULT_NAMESPACE))) }
    }

    /// The node that all namespaces share.
    pub(super) fn top() -> &'static str {
        TOP
    }

    /// The node above all others of this namespace.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The nodes that hold others, each behind the one that holds it; made at the first start.
    pub(super) fn folders(&self) -> Vec<String> {
        let names = ["containers", "intent", "intent/pause", "intent/drain", "code", "journal", "values"];
        names.iter().map(|name| format!("{}/{name}", self.root)).collect()
    }

    /// The number of this layout.
    pub(super) fn format(&self) -> String {
        format!("{}/format", self.root)
    }

    /// The term's record.
    pub(super) fn term(&self) -> String {
        format!("{}/term", self.root)
    }

    /// The leader's key: there while a leadership is in force.
    pub(super) fn leader(&self) -> String {
        format!("{}/leader", self.root)
    }

    /// The node that every transaction writes, so that two never cross.
    pub(super) fn writes(&self) -> String {
        format!("{}/writes", self.root)
    }

    /// The registered containers.
    pub(super) fn containers(&self) -> String {
        self.folder(CONTAINERS)
    }

    /// The paused sensors.
    pub(super) fn pauses(&self) -> String {
        self.folder(PAUSES)
    }

    /// The drained containers.
    pub(super) fn drains(&self) -> String {
        self.folder(DRAINS)
    }

    /// The newest digests.
    pub(super) fn code(&self) -> String {
        self.folder(CODE)
    }

    /// The sensors' values.
    pub(super) fn values(&self) -> String {
        self.folder(VALUES)
    }

    /// A sensor's value.
    pub(super) fn value(&self, name: &str) -> String {
        format!("{}/{VALUES}{}", self.root, encode(name))
    }

    /// The node of a key.
    pub(super) fn key(&self, key: &Key) -> String {
        let below = match key {
            Key::LongestTtl => "longest_ttl".to_owned(),
            Key::Electors => "electors".to_owned(),
            Key::Register(name) => format!("{CONTAINERS}{}", encode(name.as_str())),
            Key::Pause(sensor) => format!("{PAUSES}{}", encode(sensor.as_str())),
            Key::Drain(name) => format!("{DRAINS}{}", encode(name.as_str())),
            Key::Code(sensor) => format!("{CODE}{}", encode(sensor.as_str())),
            Key::Record(sensor) => format!("{JOURNALS}{}", encode(sensor.as_str())),
            Key::Entry(sensor, sequence) => format!("{JOURNALS}{}/{sequence:020}", encode(sensor.as_str())),
        };
        format!("{}/{below}", self.root)
    }

    /// The record that an entry's node stands below; `None` for every other node.
    pub(super) fn record_above<'a>(&self, path: &'a str) -> Option<&'a str> {
        let below = path.strip_prefix(&self.root)?.strip_prefix('/')?.strip_prefix(JOURNALS)?;
        let sequence = below.split_once('/')?.1;
        Some(&path[..path.len() - sequence.len() - 1])
    }

    /// Whether a node is a journal's record.
    pub(super) fn is_record(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.root).and_then(|path| path.strip_prefix('/'));
        below.and_then(|below| below.strip_prefix(JOURNALS)).is_some_and(|name| !name.contains('/'))
    }

    fn folder(&self, prefix: &str) -> String {
        format!("{}/{}", self.root, prefix.trim_end_matches('/'))
    }
}

/// A name as one component of a path: what ZooKeeper or its tools would stumble over is percent-encoded, byte by byte.
pub(super) fn encode(name: &str) -> String {
    // No component is empty, and no other name is written so.
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut encoded = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        // ZooKeeper refuses components `.` and `..`, and keeps `zookeeper` to itself.
        let special = place == 0 && matches!(name, "zookeeper" | ".") || name == "..";
        if special || !matches!(byte, b' '..=b'~') || matches!(byte, b'/' | b'%') {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        } else {
            encoded.push(char::from(byte));
        }
    }
    encoded
}

/// The name behind a component; one that we have not written is taken as it is.
pub(super) fn decode(component: &str) -> String {
    if component == "%" {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let [first, more @ ..] = rest {
        let pair = more.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| component.to_owned())
}

#[cfg(test)]
mod tests {
    use st2sa_core::names::SensorRef;

    use super::*;

    #[test]
    fn names_fit_into_one_component_and_come_back() {
        let long = "ü".repeat(150);
        for name in
            ["", ".", "..", "...", "zookeeper", "a/b", "50%", "%41", "%", "a b", "\0\u{7F}\u{1F980}", "ä", &long]
        {
            let encoded = encode(name);
            assert!(!encoded.is_empty() && !encoded.contains('/') && encoded.is_ascii(), "{name}: {encoded}");
            assert!(!matches!(encoded.as_str(), "." | ".." | "zookeeper"), "{name}");
            assert_eq!(decode(&encoded), name);
        }
        assert_eq!(encode("pack.Class:name"), "pack.Class:name");
    }

    #[test]
    fn entries_stand_below_their_record() {
        let paths = Paths::of(None);
        let sensor = SensorRef::new("p.X");
        let record = paths.key(&Key::Record(sensor.clone()));
        let entry = paths.key(&Key::Entry(sensor.clone(), 7));
        assert_eq!(paths.record_above(&entry), Some(record.as_str()));
        assert_eq!(paths.record_above(&record), None);
        assert!(paths.is_record(&record) && !paths.is_record(&entry));
        assert!(!paths.is_record(&paths.key(&Key::Code(sensor))));
    }
}
