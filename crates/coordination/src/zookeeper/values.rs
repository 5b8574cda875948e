//! Sensors' values: one node each.

use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};
use st2sa_core::engine::Token;
use st2sa_core::time::Span;

use super::leadership::Leadership;
use super::transaction::{Change, Outcome};
use super::trouble::Trouble;
use super::{Inner, nodes, paths};
use crate::embedded::{is_current, unix_millis};
use crate::{PAGE_BYTES, Still, StoredValue, ValueWrite};

/// Values that are read at once: each may be as large as a request may be.
const VALUES_AT_ONCE: usize = 32;

/// A value as it is stored.
#[derive(Serialize, Deserialize)]
struct ValueText {
    value: String,
    /// When its time is over, in milliseconds of Unix time; 0 for never.
    until: u64,
}

impl Inner {
    /// The value of a name.
    pub(super) async fn value(&self, name: &str) -> Result<Option<String>, Trouble> {
        let client = self.reader().await?;
        let path = self.paths.value(name);
        let synced = client.sync(self.paths.root());
        let read = client.get_data(&path);
        synced.await?;
        let Some((data, _)) = nodes::content(read).await? else { return Ok(None) };
        let stored = decode(&path, &data)?;
        Ok(is_current(stored.until).then_some(stored.value))
    }

    /// A page of values in the order of their names.
    pub(super) async fn values(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredValue>, Trouble> {
        let client = self.reader().await?;
        let folder = self.paths.values();
        let synced = client.sync(self.paths.root());
        let list = client.list_children(&folder);
        synced.await?;
        // ZooKeeper lists a node's children whole, and in no order.
        let mut names: Vec<String> = list.await?.iter().map(|component| paths::decode(component)).collect();
        names.retain(|name| name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after));
        names.sort_unstable();
        let (mut found, mut bytes) = (Vec::new(), 0);
        for some in names.chunks(VALUES_AT_ONCE) {
            let paths: Vec<String> = some.iter().map(|name| self.paths.value(name)).collect();
            let contents = nodes::contents(&client, &paths).await?;
            for ((name, path), content) in some.iter().zip(&paths).zip(contents) {
                if found.len() >= limit || bytes >= PAGE_BYTES {
                    return Ok(found);
                }
                let Some((data, _)) = content else { continue };
                let ValueText { value, until } = decode(path, &data)?;
                if is_current(until) {
                    bytes += name.len() + value.len();
                    let ttl = (until != 0).then(|| Span::from_millis(until.saturating_sub(unix_millis())));
                    found.push(StoredValue { name: name.clone(), value, ttl });
                }
            }
        }
        Ok(found)
    }

    /// Applies all writes or none, while this leadership is in force.
    pub(super) async fn store_values(
        &self,
        under: &Token,
        still: Still,
        writes: Vec<ValueWrite>,
    ) -> Result<Outcome, Trouble> {
        let mut change = Change::default();
        for write in writes {
            match write {
                ValueWrite::Set { name, value, ttl } => {
                    let until = ttl.map_or(0, |ttl| unix_millis().saturating_add(ttl.as_millis()).max(1));
                    let text = serde_json::json!(ValueText { value, until }).to_string();
                    change.writes.insert(self.paths.value(&name), Some(text.into_bytes()));
                }
                ValueWrite::Delete { name } => drop(change.writes.insert(self.paths.value(&name), None)),
            }
        }
        self.change(under, &change, Some(still)).await
    }

    /// Removes the values whose time is over, so that they take no room for ever.
    async fn sweep(&self, token: &Token) -> Result<usize, Trouble> {
        let client = self.reading.connected().await?;
        let listed = client.list_children(&self.paths.values()).await?;
        let paths: Vec<String> =
            listed.iter().map(|component| format!("{}/{component}", self.paths.values())).collect();
        let mut removed = 0;
        for some in paths.chunks(VALUES_AT_ONCE) {
            for (path, content) in some.iter().zip(nodes::contents(&client, some).await?) {
                let Some((data, stat)) = content else { continue };
                if is_current(decode(path, &data)?.until) {
                    continue;
                }
                // Unless it was set anew meanwhile.
                let checks = vec![(path.clone(), nodes::version(&stat))];
                let change = Change { checks, writes: [(path.clone(), None)].into() };
                match self.change(token, &change, None).await? {
                    Outcome::Applied(_) => removed += 1,
                    Outcome::CheckFailed => {}
                    Outcome::NotLeader => return Ok(removed),
                }
            }
        }
        Ok(removed)
    }
}

/// Sweeps once, as long as this leadership is held.
pub(super) async fn sweep(engine: Weak<Inner>, leadership: Weak<Leadership>) {
    let Some(token) = leadership.upgrade().and_then(|leadership| leadership.record.token.clone()) else { return };
    let Some(engine): Option<Arc<Inner>> = engine.upgrade() else { return };
    match engine.within(engine.sweep(&token)).await {
        Ok(removed) => tracing::debug!(removed, "values whose time is over are removed"),
        Err(error) => tracing::debug!(%error, "values whose time is over stay until the next leadership"),
    }
}

fn decode(path: &str, data: &[u8]) -> Result<ValueText, Trouble> {
    serde_json::from_slice(data).map_err(|_| Trouble::Broken { path: path.to_owned() })
}
