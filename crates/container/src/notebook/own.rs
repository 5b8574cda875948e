//! A sensor's own values, as its journal's record keeps them, and what they were before.
//!
//! The datastore has a copy of them, for people and for other programs. Writes to it may be late: one that a container sent
//! before it stood still can land after its successor's. So a value that is found there is compared with what the sensor itself has
//! written before: if it is one of those it is late, and the record holds; if not, somebody else has written it, and is obeyed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use st2sa_core::engine::Body;
use st2sa_core::names::SensorRef;

use crate::datastore::Stored;
use crate::effects::ValueWrite;

/// The record, in bytes of JSON: with as much of effects it fits into one transaction of any store.
const BYTES_AT_MOST: usize = 256 * 1024;
/// Earlier values of a name that are remembered: a write is late by one or two of them.
const EARLIER_AT_MOST: usize = 16;
/// Deleted names that are remembered.
const DELETED_AT_MOST: usize = 256;
/// What one of them takes, as JSON.
const MARK_BYTES: usize = 19;
/// In the place of an earlier value: the sensor had deleted it.
const ABSENT: &str = "-";

/// The values of one sensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// What its names begin with.
    prefix: String,
    kept: Kept,
    /// Bytes of it as JSON, more or less.
    bytes: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    values: BTreeMap<String, String>,
    /// What they were before, the newest last: the beginning of SHA-256.
    earlier: BTreeMap<String, VecDeque<String>>,
    /// Names that the sensor has deleted, the newest last.
    deleted: VecDeque<String>,
}

impl Own {
    /// Reads them; an empty record has none.
    pub(super) fn read(body: &Body, sensor: &SensorRef) -> Self {
        let kept =
            if body.is_empty() { Kept::default() } else { serde_json::from_slice(body.bytes()).unwrap_or_default() };
        Self { prefix: format!("{sensor}:"), kept, bytes: body.bytes().len() }
    }

    /// As the record keeps them.
    pub(super) fn body(&self) -> Body {
        // Texts can always be written.
        Body::new(&serde_json::to_vec(&self.kept).unwrap_or_default())
    }

    /// Whether this is one of the sensor's own names.
    fn is_own(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    /// A value, or that there is none any more; nothing is known of names that were never its own.
    #[expect(
        clippy::option_option,
        reason = "to know of a name that it has no value is not the same as not to know it"
    )]
    pub(super) fn get(&self, name: &str) -> Option<Option<String>> {
        let value = self.kept.values.get(name).cloned();
        (value.is_some() || self.kept.earlier.contains_key(name)).then_some(value)
    }

    /// All that is known.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, Option<String>)> {
        let gone = self.kept.deleted.iter().map(|name| (name.clone(), None));
        self.kept.values.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).chain(gone)
    }

    /// Takes note of a write; whether it is one to the sensor's own values. What ends by itself is none of those any more.
    pub(super) fn see(&mut self, write: &ValueWrite) -> Result<bool, String> {
        if self.is_own(&write.name) && write.ttl_ms.is_none() {
            return self.write(&write.name, write.value.as_deref()).map(|()| true);
        }
        self.give_up(&write.name);
        Ok(false)
    }

    /// Sets or deletes a value.
    fn write(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        // Its name may stand there three times, and one more earlier value.
        let added = value.map_or(0, written) + 3 * written(name) + MARK_BYTES;
        let freed = self.kept.values.get(name).map_or(0, |value| written(value));
        if self.bytes + added > BYTES_AT_MOST + freed {
            self.bytes = self.body().bytes().len();
        }
        if self.bytes + added > BYTES_AT_MOST + freed {
            let bound = BYTES_AT_MOST / 1024;
            return Err(format!(
                "a sensor's own values may have {bound} KiB in all: store less, or set `effects: direct` for it in the policy"
            ));
        }
        self.bytes = self.bytes + added - freed;
        self.remember(name);
        match value {
            Some(value) => {
                self.kept.deleted.retain(|deleted| deleted != name);
                self.kept.values.insert(name.to_owned(), value.to_owned());
            }
            None => self.delete(name),
        }
        Ok(())
    }

    /// A name is no part of the record any more.
    fn give_up(&mut self, name: &str) {
        self.kept.values.remove(name);
        self.kept.earlier.remove(name);
        self.kept.deleted.retain(|deleted| deleted != name);
    }

    /// Compares them with what the datastore has: takes what somebody else has written there, and names what is to be written
    /// over, since it is late.
    pub(super) fn take(&mut self, copy: Vec<Stored>) -> Vec<String> {
        let mut late = Vec::new();
        let copy: BTreeMap<String, Stored> = copy
            .into_iter()
            .filter(|stored| self.is_own(&stored.name))
            .map(|stored| (stored.name.clone(), stored))
            .collect();
        let names: BTreeSet<&String> = self.kept.values.keys().chain(copy.keys()).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        for name in names {
            let found = copy.get(&name);
            if found.is_some_and(|stored| stored.ends) {
                self.give_up(&name);
                continue;
            }
            let found = found.map(|stored| stored.value.clone());
            if found.as_ref() == self.kept.values.get(&name) {
                continue;
            }
            let seen = found.as_deref().map_or_else(|| ABSENT.to_owned(), mark);
            let is_late = self.kept.earlier.get(&name).is_some_and(|earlier| earlier.contains(&seen));
            match found {
                _ if is_late => late.push(name),
                Some(value) => {
                    // Too large to be kept: the sensor goes on from what it had; what it never had it reads where it is.
                    if self.write(&name, Some(&value)).is_err() && self.get(&name).is_some() {
                        late.push(name);
                    }
                }
                None => {
                    self.remember(&name);
                    self.kept.values.remove(&name);
                }
            }
        }
        late
    }

    /// What is the value now becomes an earlier one.
    fn remember(&mut self, name: &str) {
        let earlier = self.kept.earlier.entry(name.to_owned()).or_default();
        let before = match self.kept.values.get(name) {
            Some(value) => Some(mark(value)),
            None => self.kept.deleted.iter().any(|deleted| deleted == name).then(|| ABSENT.to_owned()),
        };
        if let Some(before) = before.filter(|before| earlier.back() != Some(before)) {
            earlier.push_back(before);
        }
        if earlier.len() > EARLIER_AT_MOST {
            earlier.pop_front();
        }
    }

    fn delete(&mut self, name: &str) {
        self.kept.values.remove(name);
        self.kept.deleted.retain(|deleted| deleted != name);
        self.kept.deleted.push_back(name.to_owned());
        while self.kept.deleted.len() > DELETED_AT_MOST {
            if let Some(oldest) = self.kept.deleted.pop_front() {
                self.kept.earlier.remove(&oldest);
            }
        }
    }
}

/// Bytes of a text as JSON.
fn written(text: &str) -> usize {
    serde_json::to_string(text).map_or(text.len(), |text| text.len()) + 2
}

fn mark(value: &str) -> String {
    Sha256::digest(value.as_bytes()).iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
