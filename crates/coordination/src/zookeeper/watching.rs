//! Tells who leads, as soon as that changes.

use std::sync::Weak;

use st2sa_core::engine::LeaderSeen;
use zookeeper_client::OneshotWatcher;

use super::Inner;
use super::nodes;
use super::record::TermRecord;
use super::servers;
use super::trouble::Trouble;
use crate::Watcher;

/// Watches until the engine is gone, of which it keeps no hold while it waits.
pub(super) async fn watch(engine: Weak<Inner>, tell: Watcher) {
    let mut told = None;
    while let Some(looking) = engine.upgrade() {
        let looked = looking.within(looking.look_and_watch()).await;
        drop(looking);
        let Ok((leader, watcher)) = looked else {
            tokio::time::sleep(servers::back_off()).await;
            continue;
        };
        if told.as_ref() != Some(&leader) {
            tell(leader.clone());
            told = Some(leader);
        }
        // The client takes the watch along from server to server, and lets go of it with the session.
        watcher.changed().await;
    }
}

impl Inner {
    /// The leader, and what tells of the next one. Watched is the node above: the leader's own is written at every
    /// renewal.
    async fn look_and_watch(&self) -> Result<(Option<LeaderSeen>, OneshotWatcher), Trouble> {
        let client = self.reading.connected().await?;
        let path = self.paths.leader();
        let watched = client.list_and_watch_children(self.paths.root());
        let read = client.get_data(&path);
        let (_, watcher) = watched.await?;
        let leader = match nodes::content(read).await? {
            Some((data, _)) => TermRecord::decode(&path, &data)?.seen(),
            None => None,
        };
        Ok((leader, watcher))
    }
}
