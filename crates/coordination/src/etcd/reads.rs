//! What is read as a whole: everything that a new leader needs, and a sensor's journal.

use st2sa_core::engine::{Electors, Journal, Key, Snapshot};
use st2sa_core::names::SensorRef;

use super::api::{KeyValue, RangeRequest, RangeResponse, TxnRequest};
use super::client::{Client, Repeat};
use super::names::{self, Names};
use super::{Trouble, text};
use crate::codec;

/// Keys of one answer where each is small: 1,000 entries of the register are 200 KiB.
const SMALL_KEYS: i64 = 1_000;
/// Keys of one answer where each may be as large as a request (1.5 MiB): 48 MiB.
pub(super) const LARGE_KEYS: i64 = 32;

/// Everything that a new leader needs, as it was at one moment.
pub(super) async fn snapshot(client: &Client, names: &Names) -> Result<Snapshot, Trouble> {
    const PARTS: [&str; 4] = [codec::CONTAINERS, codec::PAUSES, codec::DRAINS, codec::CODE];
    let mut ranges: Vec<RangeRequest> = PARTS.iter().map(|part| all_below(names.own(part), SMALL_KEYS)).collect();
    ranges.push(RangeRequest { key: names.of(&Key::Electors), ..RangeRequest::default() });
    let mut snapshot = Snapshot::default();
    for found in read_all(client, ranges).await? {
        let (name, text, version) = (names.short(&found.key), text(&found)?, version(&found));
        if name == codec::key(&Key::Electors) {
            snapshot.electors = (codec::electors(name, text)?, version);
        } else if name.starts_with(codec::CONTAINERS) {
            let registered = codec::registered(name, text)?;
            snapshot.register.insert(codec::container(name, codec::CONTAINERS), (registered, version));
        } else if name.starts_with(codec::PAUSES) {
            snapshot.paused.insert(codec::sensor(name, codec::PAUSES), codec::intent(name, text)?);
        } else if name.starts_with(codec::DRAINS) {
            snapshot.drained.insert(codec::container(name, codec::DRAINS), codec::intent(name, text)?);
        } else {
            snapshot.code.insert(codec::sensor(name, codec::CODE), codec::digest(name, text)?);
        }
    }
    Ok(snapshot)
}

/// A sensor's record and its unapplied entries, as they were at one moment.
pub(super) async fn journal(client: &Client, names: &Names, sensor: &SensorRef) -> Result<Journal, Trouble> {
    let record = names.of(&Key::Record(sensor.clone()));
    let entries = all_below(names.own(&codec::entries(sensor)), LARGE_KEYS);
    let ranges = vec![RangeRequest { key: record.clone(), ..RangeRequest::default() }, entries];
    let mut journal = Journal::default();
    for found in read_all(client, ranges).await? {
        let (name, text) = (names.short(&found.key), text(&found)?);
        if found.key == record {
            journal.record = codec::record(name, text)?;
            journal.version = version(&found);
        } else {
            journal.unapplied.push(codec::entry(name, text)?);
        }
    }
    Ok(journal)
}

/// The electors of a key, and its version; none where there is no key.
pub(super) fn electors(found: Option<&KeyValue>, names: &Names) -> Result<(Electors, i64), Trouble> {
    let Some(found) = found else { return Ok((Electors::default(), 0)) };
    Ok((codec::electors(names.short(&found.key), text(found)?)?, found.mod_revision))
}

/// The keys that begin so.
pub(super) fn all_below(prefix: Vec<u8>, limit: i64) -> RangeRequest {
    let range_end = names::end_of(&prefix);
    RangeRequest { key: prefix, range_end, limit, ..RangeRequest::default() }
}

/// Reads ranges whole, page by page, all as of the moment of the first.
pub(super) async fn read_all(client: &Client, ranges: Vec<RangeRequest>) -> Result<Vec<KeyValue>, Trouble> {
    let success = ranges.iter().cloned().map(names::range).collect();
    let request = TxnRequest { success, ..TxnRequest::default() };
    let answer = client.transaction(Repeat::Freely, request).await?;
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    let mut found = Vec::new();
    for (mut range, mut page) in ranges.into_iter().zip(names::read(answer)) {
        range.revision = revision;
        while let Some(next) = next_page(&mut range, &page) {
            found.append(&mut page.kvs);
            page = client.range(next).await?;
        }
        found.append(&mut page.kvs);
    }
    Ok(found)
}

/// The page behind this one, if there is more.
fn next_page(range: &mut RangeRequest, page: &RangeResponse) -> Option<RangeRequest> {
    let last = page.kvs.last().filter(|_| page.more)?;
    range.key = behind(&last.key);
    Some(range.clone())
}

/// The first key that may be behind this one.
pub(super) fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn version(found: &KeyValue) -> u64 {
    // Revisions are never negative.
    u64::try_from(found.mod_revision).unwrap_or_default()
}
