//! Sensors' values: one node each.

use std::sync::Weak;
use std::time::Duration;

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

/// A sweep pauses so long between as many: a new leader has better things to do, and so have the servers.
const BETWEEN_SOME: Duration = Duration::from_secs(1);

/// What is over may take room for this long.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

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

    async fn value_paths(&self) -> Result<Vec<String>, Trouble> {
        let client = self.reading.connected().await?;
        let folder = self.paths.values();
        Ok(client.list_children(&folder).await?.iter().map(|component| format!("{folder}/{component}")).collect())
    }

    /// Removes those of some values whose time is over. False: the leadership is over.
    async fn remove_over(&self, token: &Token, paths: &[String]) -> Result<bool, Trouble> {
        let client = self.reading.connected().await?;
        for (path, content) in paths.iter().zip(nodes::contents(&client, paths).await?) {
            let Some((data, stat)) = content else { continue };
            if is_current(decode(path, &data)?.until) {
                continue;
            }
            // Unless it was set anew meanwhile.
            let checks = vec![(path.clone(), nodes::version(&stat))];
            let change = Change { checks, writes: [(path.clone(), None)].into() };
            if self.change(token, &change, None).await? == Outcome::NotLeader {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Removes values whose time is over, now and then, as long as a leadership is held: they take no room for ever.
pub(super) async fn sweep(engine: Weak<Inner>, leadership: Weak<Leadership>) {
    let Some(token) = leadership.upgrade().and_then(|leadership| leadership.record.token.clone()) else { return };
    loop {
        let Some(sweeping) = engine.upgrade() else { return };
        // What fails is done the next time.
        let paths = sweeping.within_long(sweeping.value_paths()).await.unwrap_or_default();
        drop(sweeping);
        for some in paths.chunks(VALUES_AT_ONCE) {
            let Some(sweeping) = engine.upgrade().filter(|_| leadership.strong_count() > 0) else { return };
            if let Ok(false) = sweeping.within_long(sweeping.remove_over(&token, some)).await {
                return;
            }
            drop(sweeping);
            tokio::time::sleep(BETWEEN_SOME).await;
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

fn decode(path: &str, data: &[u8]) -> Result<ValueText, Trouble> {
    serde_json::from_slice(data).map_err(|_| Trouble::Broken { path: path.to_owned() })
}
