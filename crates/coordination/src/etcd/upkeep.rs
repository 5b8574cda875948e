//! Keeping etcd from filling up: it remembers every change until somebody has it forget.
//!
//! Whoever leads does so, now and then: a leadership's renewals notice the store's revision, and what was there an hour
//! ago is forgotten. The quota cannot be read, so half of the default one is warned of.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Failure;
use super::{Inner, locked};

/// What is older is forgotten: long after anybody's pages and watches.
const KEEP: Duration = Duration::from_hours(1);
/// Between two looks.
const EVERY: Duration = Duration::from_mins(5);
/// Half of etcd's default quota (2 GiB). Beyond the quota it takes no writes, ours or StackStorm's.
const BYTES_TO_WARN_OF: u64 = 1 << 30;

/// What is to be known for it.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Revisions, and when they were seen: one each `EVERY`, oldest first; no more than an hour of them.
    seen: Mutex<VecDeque<(Instant, i64)>>,
    looks: Mutex<Looks>,
    database_bytes: AtomicU64,
}

#[derive(Default)]
struct Looks {
    last: Option<Instant>,
    /// What is to be forgotten, where a look is due; 0: there is nothing yet, but the size is looked at.
    due: Option<i64>,
}

impl Upkeep {
    /// The store was at this revision.
    pub(super) fn note(&self, revision: i64) {
        note(&mut locked(&self.seen), Instant::now(), revision);
    }

    /// A renewal has found it at this revision.
    pub(super) fn renewed(&self, revision: i64) {
        self.note(revision);
        let (now, mut looks) = (Instant::now(), locked(&self.looks));
        if looks.last.is_none_or(|last| now.duration_since(last) >= EVERY) {
            looks.last = Some(now);
            looks.due = Some(forgettable(&mut locked(&self.seen), now).unwrap_or_default());
        }
    }

    /// For people, where there is something to say.
    pub(super) fn warning(&self) -> Option<String> {
        let bytes = self.database_bytes.load(Ordering::Relaxed);
        let mebibytes = bytes >> 20;
        (bytes > BYTES_TO_WARN_OF).then(|| format!("its database has {mebibytes} MiB; the default quota is 2048 MiB"))
    }
}

impl Inner {
    /// The upkeep that a renewal has found due, if any: to be done beside it.
    pub(super) fn take_upkeep(&self) -> Option<i64> {
        locked(&self.upkeep.looks).due.take()
    }

    /// Forgets what was before a revision, and looks how large the database is.
    pub(super) async fn keep_up(&self, revision: i64) {
        if revision > 0 {
            match self.client.compact(revision).await {
                Ok(()) => tracing::debug!(revision, "etcd forgets what is older than an hour"),
                // Somebody else has had it forget that already.
                Err(Failure::Refused { message, .. }) if message.contains("compacted") => {}
                Err(failure) => tracing::warn!(%failure, "etcd could not be made to forget old revisions"),
            }
        }
        if let Ok(bytes) = self.client.database_bytes().await {
            self.upkeep.database_bytes.store(bytes, Ordering::Relaxed);
        }
        if let Some(warning) = self.upkeep.warning() {
            tracing::warn!(at = self.at, "etcd fills up: {warning}; beyond it nothing can be stored: defragment it");
        }
    }
}

/// Notes a revision where it is time to.
fn note(seen: &mut VecDeque<(Instant, i64)>, now: Instant, revision: i64) {
    if seen.back().is_none_or(|(at, _)| now.duration_since(*at) >= EVERY) {
        seen.push_back((now, revision));
        // One that does not lead forgets what it has seen long ago.
        while seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= KEEP) {
            seen.pop_front();
        }
    }
}

/// The newest revision that is old enough, once.
fn forgettable(seen: &mut VecDeque<(Instant, i64)>, now: Instant) -> Option<i64> {
    let (at, revision) = seen.front()?;
    let (old, revision) = (now.duration_since(*at) >= KEEP, *revision);
    old.then(|| {
        seen.pop_front();
        revision
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::api::{RangeRequest, TxnRequest};
    use crate::etcd::client::Repeat;

    #[test]
    fn what_was_there_an_hour_ago_is_forgotten() {
        let (zero, mut seen) = (Instant::now(), VecDeque::new());
        let at = |minutes| zero + Duration::from_mins(minutes);
        for minute in 0..60 {
            note(&mut seen, at(minute), 100 + i64::try_from(minute).unwrap());
            assert_eq!(forgettable(&mut seen, at(minute)), None);
        }
        assert_eq!(seen.len(), 12);
        note(&mut seen, at(60), 160);
        assert_eq!(forgettable(&mut seen, at(60)), Some(100));
        assert_eq!(forgettable(&mut seen, at(60)), None);
        note(&mut seen, at(65), 165);
        assert_eq!(forgettable(&mut seen, at(65)), Some(105));
    }

    #[test]
    fn one_that_never_leads_keeps_an_hour_at_the_most() {
        let (zero, mut seen) = (Instant::now(), VecDeque::new());
        for minute in 0..600 {
            note(&mut seen, zero + Duration::from_mins(minute), i64::try_from(minute).unwrap());
        }
        assert_eq!(seen.len(), 13);
        assert_eq!(forgettable(&mut seen, zero + Duration::from_mins(599)), Some(535));
        assert_eq!(forgettable(&mut seen, zero + Duration::from_mins(599)), None);
    }

    #[tokio::test]
    async fn etcd_forgets_and_says_how_large_it_is() {
        let server = st2sa_testbed::Etcd::start();
        let store = crate::store::Store::parse(&server.url()).unwrap().store;
        let (leader_ttl, deadline) = (st2sa_core::time::Span::from_secs(2), st2sa_core::time::Span::from_secs(5));
        let engine = crate::etcd::Etcd::open(&store, crate::store::Lengths { leader_ttl, deadline }).await.unwrap();
        let (inner, key) = (&engine.inner, engine.inner.names.format());
        let (_, before) = inner.observe().await.unwrap();
        let success = vec![crate::etcd::names::put(key.clone(), "1".to_owned(), 0)];
        let request = TxnRequest { success, ..TxnRequest::default() };
        inner.client.transaction(Repeat::Freely, request).await.unwrap();
        let as_of = |revision| RangeRequest { key: key.clone(), revision, ..RangeRequest::default() };
        assert_eq!(inner.client.range(as_of(before)).await.unwrap().kvs.len(), 1);
        inner.keep_up(before + 1).await;
        // By somebody else, too.
        inner.keep_up(before + 1).await;
        let forgotten = inner.client.range(as_of(before)).await.unwrap_err();
        assert!(matches!(&forgotten, Failure::Refused { message, .. } if message.contains("compacted")), "{forgotten}");
        assert!(inner.upkeep.database_bytes.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn half_of_the_default_quota_is_warned_of() {
        let upkeep = Upkeep::default();
        upkeep.database_bytes.store(1 << 30, Ordering::Relaxed);
        assert_eq!(upkeep.warning(), None);
        upkeep.database_bytes.store((1 << 30) + (100 << 20), Ordering::Relaxed);
        assert_eq!(upkeep.warning().unwrap(), "its database has 1124 MiB; the default quota is 2048 MiB");
    }
}
