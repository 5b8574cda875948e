//! Sensors' values: the datastore.
//!
//! Values are stored one request at a time. One that was given up may still be on its way, through another member of
//! etcd, say: before the next request the barrier's key is set, which every request compares, so that what lands late
//! fails instead of turning a value back. A value with a ttl holds when its time is over, and hangs on a lease that
//! ends soon after, so that etcd removes it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use st2sa_core::engine::Token;
use st2sa_core::time::Span;
use tokio::time::Instant;
use tonic::Code;

use super::api::{KeyValue, RequestOp, TxnRequest};
use super::client::{Failure, Repeat};
use super::leadership::{is_leader_in, too_large};
use super::{Inner, Trouble, names, reads, text};
use crate::{PAGE_BYTES, Still, StoreError, StoredValue, ValueWrite, codec};

/// A lease outlasts its values by an eighth of their time, and by this at least: values of about the same time share
/// one, so that a sensor that sets one at each poll has eight leases, not thousands.
const LEASE_LONGER: Duration = Duration::from_secs(10);
/// No lease of etcd is longer, in seconds.
const LEASE_SECONDS_AT_MOST: u64 = 9_000_000_000;

/// What one request leaves for the next.
#[derive(Default)]
pub(super) struct Storing {
    /// The revision of the barrier's key, and under which leadership it was set; not known after a request whose
    /// outcome is not known.
    barrier: Option<(Token, i64)>,
    /// Leases for values, by when they end.
    leases: BTreeMap<Instant, i64>,
}

impl Inner {
    pub(super) async fn value(&self, name: &str) -> Result<Option<String>, Trouble> {
        let (found, _) = self.client.get(self.names.value(name)).await?;
        let Some(found) = found else { return Ok(None) };
        let (value, until) = codec::stored(name, text(&found)?)?;
        Ok(is_current(until).then_some(value))
    }

    pub(super) async fn values(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredValue>, Trouble> {
        let mut range = reads::all_below(self.names.value(prefix), reads::LARGE_KEYS);
        if let Some(after) = after.filter(|after| *after >= prefix) {
            range.key = reads::behind(&self.names.value(after));
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            let page = self.client.range(range.clone()).await?;
            for pair in &page.kvs {
                if found.len() >= limit || bytes >= PAGE_BYTES {
                    return Ok(found);
                }
                if let Some(value) = self.stored_value(pair)? {
                    bytes += value.name.len() + value.value.len();
                    found.push(value);
                }
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(found) };
            range.key = reads::behind(&last.key);
        }
    }

    pub(super) async fn store(&self, under: &Token, still: Still, writes: Vec<ValueWrite>) -> Result<(), StoreError> {
        let mut storing = self.storing.lock().await;
        let mut success = BTreeMap::new();
        for write in writes {
            let (key, operation) = self.value_operation(&mut storing.leases, write).await?;
            // etcd takes a key once in a transaction: of several writes the last counts.
            success.insert(key, operation);
        }
        let success: Vec<_> = success.into_values().collect();
        let failure = vec![names::get(self.names.leader())];
        let compare = vec![self.is_led_by(under), names::is_at(self.names.barrier(), i64::MAX)];
        let mut request = TxnRequest { compare, success, failure };
        if let Some((what, limit)) = too_large(&request) {
            return Err(StoreError::TooLarge { what, limit });
        }
        let barrier = match storing.barrier.take() {
            Some((token, revision)) if token == *under => revision,
            _ => self.raise_barrier(under).await?,
        };
        request.compare = vec![self.is_led_by(under), names::is_at(self.names.barrier(), barrier)];
        let done = self.client.transaction_if(still, request).await;
        if done.as_ref().map_or_else(Failure::is_undone, |answer| answer.succeeded) {
            storing.barrier = Some((under.clone(), barrier));
        }
        match done {
            Ok(answer) if answer.succeeded => Ok(()),
            Ok(answer) if is_leader_in(&answer, under) => {
                Err(self.failed("storing values", "an earlier request of the same kind has just been given up".into()))
            }
            Ok(_) | Err(Failure::Unwanted) => Err(StoreError::NotLeader),
            Err(failure) => {
                if matches!(failure, Failure::Refused { code: Code::NotFound, .. }) {
                    // A lease that we thought was there.
                    storing.leases.clear();
                }
                Err(self.failed("storing values", failure.into()))
            }
        }
    }

    /// From here on nothing that was sent before is carried out.
    async fn raise_barrier(&self, under: &Token) -> Result<i64, StoreError> {
        let success = vec![names::put(self.names.barrier(), codec::encode_token(under), 0)];
        let request = TxnRequest { compare: vec![self.is_led_by(under)], success, failure: Vec::new() };
        match self.client.transaction(Repeat::IfUndone, request).await {
            Ok(answer) if answer.succeeded => Ok(answer.header.map_or(0, |header| header.revision)),
            Ok(_) => Err(StoreError::NotLeader),
            Err(failure) => Err(self.failed("storing values", failure.into())),
        }
    }

    async fn value_operation(
        &self,
        leases: &mut BTreeMap<Instant, i64>,
        write: ValueWrite,
    ) -> Result<(Vec<u8>, RequestOp), StoreError> {
        Ok(match write {
            ValueWrite::Set { name, value, ttl } => {
                let lease = match ttl {
                    Some(ttl) => self.lease_for(leases, ttl).await?,
                    None => 0,
                };
                let until = ttl.map_or(0, |ttl| unix_millis().saturating_add(ttl.as_millis()));
                let key = self.names.value(&name);
                (key.clone(), names::put(key, codec::encode_stored(&value, until), lease))
            }
            ValueWrite::Delete { name } => {
                let key = self.names.value(&name);
                (key.clone(), names::delete(key))
            }
        })
    }

    /// A lease that ends soon after the ttl.
    async fn lease_for(&self, leases: &mut BTreeMap<Instant, i64>, ttl: Span) -> Result<i64, StoreError> {
        let ttl = Duration::from_nanos(ttl.0);
        let (now, longer) = (Instant::now(), (ttl / 8).max(LEASE_LONGER));
        // What has ended, and what may end on its way.
        *leases = leases.split_off(&now);
        if let Some((_, lease)) = leases.range(now + ttl..=now + ttl + longer).next() {
            return Ok(*lease);
        }
        let seconds = (ttl + longer).as_secs().min(LEASE_SECONDS_AT_MOST);
        let granted = self.client.grant(i64::try_from(seconds).unwrap_or(i64::MAX)).await;
        let granted = granted.map_err(|failure| self.failed("storing values", failure.into()))?;
        leases.insert(now + Duration::from_secs(seconds), granted.id);
        Ok(granted.id)
    }

    fn stored_value(&self, found: &KeyValue) -> Result<Option<StoredValue>, Trouble> {
        let name = self.names.short(&found.key);
        let name = name.strip_prefix(names::VALUES).unwrap_or(name);
        let (value, until) = codec::stored(name, text(found)?)?;
        let ttl = (until != 0).then(|| Span::from_millis(until.saturating_sub(unix_millis())));
        Ok(is_current(until).then(|| StoredValue { name: name.to_owned(), value, ttl }))
    }
}

/// Whether a value's time is not over. People set these times, so they are counted in wall-clock time.
fn is_current(until: u64) -> bool {
    until == 0 || unix_millis() < until
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
