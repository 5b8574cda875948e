//! What is read: who leads, what a new leader needs, journals.
//!
//! While this engine leads, it reads in the session that leads: that sees all that its campaign came after, and all
//! that it wrote since, whichever server it is with. Any other read is preceded by a `sync`, by which a server that
//! lags behind catches up with the leader of the servers.

use st2sa_core::engine::{Electors, Journal, Key, Snapshot};
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::time::Span;
use zookeeper_client::{Client, Stat};

use super::record::TermRecord;
use super::trouble::Trouble;
use super::{Inner, TRIES_AT_MOST, link, locked, nodes, paths};
use crate::codec;

/// What a campaign looks at; each with the version of its node.
pub(super) struct Standing {
    /// None in a store that has lost everything.
    pub(super) term: Option<(TermRecord, i32)>,
    pub(super) leader: Option<(TermRecord, i32)>,
    pub(super) electors: Electors,
    pub(super) longest_ttl: Option<(Span, i32)>,
}

impl Inner {
    /// Who leads, and who may.
    pub(super) async fn standing(&self, client: &Client) -> Result<Standing, Trouble> {
        let [electors, longest_ttl] = [Key::Electors, Key::LongestTtl].map(|key| self.paths.key(&key));
        // The term first: what is read behind it is no older than the version that a campaign finds it at.
        let paths = [self.paths.term(), self.paths.leader(), electors.clone(), longest_ttl.clone()];
        let synced = client.sync(self.paths.root());
        let mut found = nodes::contents(client, &paths).await?;
        synced.await?;
        let mut next = || found.remove(0);
        let (term, leader) = (next(), next());
        let electors = match next() {
            Some((data, _)) => codec::electors(&electors, text(&electors, &data)?)?,
            None => Electors::default(),
        };
        let longest_ttl = match next() {
            Some((data, stat)) => Some((codec::ttl(&longest_ttl, text(&longest_ttl, &data)?)?, stat.version)),
            None => None,
        };
        Ok(Standing { term: record(&paths[0], term)?, leader: record(&paths[1], leader)?, electors, longest_ttl })
    }

    /// Everything that a new leader needs.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Trouble> {
        let client = self.reader().await?;
        let electors = self.paths.key(&Key::Electors);
        let folders = [self.paths.containers(), self.paths.pauses(), self.paths.drains(), self.paths.code()];
        let synced = client.sync(self.paths.root());
        let read = client.get_data(&electors);
        let lists: Vec<_> = folders.iter().map(|folder| client.list_children(folder)).collect();
        synced.await?;
        let mut snapshot = Snapshot::default();
        if let Some((data, stat)) = nodes::content(read).await? {
            snapshot.electors = (codec::electors(&electors, text(&electors, &data)?)?, nodes::version(&stat));
        }
        let mut all = Vec::new();
        let mut names = Vec::new();
        for (place, list) in lists.into_iter().enumerate() {
            for component in list.await? {
                names.push((place, paths::decode(&component)));
                all.push(format!("{}/{component}", folders[place]));
            }
        }
        let found = nodes::contents(&client, &all).await?;
        for (((place, name), path), found) in names.into_iter().zip(&all).zip(found) {
            // What was removed meanwhile is not there.
            let Some((data, stat)) = found else { continue };
            let text = text(path, &data)?;
            match place {
                0 => {
                    let entry = (codec::registered(path, text)?, nodes::version(&stat));
                    snapshot.register.insert(ContainerName::new(name), entry);
                }
                1 => drop(snapshot.paused.insert(SensorRef::new(name), codec::intent(path, text)?)),
                2 => drop(snapshot.drained.insert(ContainerName::new(name), codec::intent(path, text)?)),
                _ => drop(snapshot.code.insert(SensorRef::new(name), codec::digest(path, text)?)),
            }
        }
        Ok(snapshot)
    }

    /// A sensor's record and its unapplied entries, as they were at one moment.
    pub(super) async fn journal(&self, sensor: &SensorRef) -> Result<Journal, Trouble> {
        let client = self.reader().await?;
        let record = self.paths.key(&Key::Record(sensor.clone()));
        for _ in 0..TRIES_AT_MOST {
            let synced = client.sync(self.paths.root());
            let read = client.get_data(&record);
            let list = client.list_children(&record);
            synced.await?;
            let Some((data, stat)) = nodes::content(read).await? else { return Ok(Journal::default()) };
            let mut entries: Vec<String> = match list.await {
                Ok(components) => components.iter().map(|component| format!("{record}/{component}")).collect(),
                // Removed between the two reads.
                Err(zookeeper_client::Error::NoNode) => continue,
                Err(error) => return Err(error.into()),
            };
            entries.sort_unstable();
            let found = nodes::contents(&client, &entries).await?;
            let after = client.check_stat(&record).await?;
            // A commit changes the record and what stands below it, together.
            if !after.is_some_and(|after| after.mzxid == stat.mzxid && after.pzxid == stat.pzxid) {
                continue;
            }
            let mut journal = Journal::default();
            if !data.is_empty() {
                journal.record = codec::record(&record, text(&record, &data)?)?;
                journal.version = nodes::version(&stat);
            }
            for (path, (data, _)) in entries.iter().zip(found.into_iter().flatten()) {
                journal.unapplied.push(codec::entry(path, text(path, &data)?)?);
            }
            return Ok(journal);
        }
        Err(Trouble::Contended)
    }

    /// The session to read in.
    pub(super) async fn reader(&self) -> Result<Client, Trouble> {
        let held = locked(&self.held).clone();
        match held {
            Some(held) if !held.client.state().is_terminated() => {
                link::connected(&held.client).await?;
                Ok(held.client.clone())
            }
            _ => self.reading.connected().await,
        }
    }
}

fn record(path: &str, found: Option<(Vec<u8>, Stat)>) -> Result<Option<(TermRecord, i32)>, Trouble> {
    found.map(|(data, stat)| Ok((TermRecord::decode(path, &data)?, stat.version))).transpose()
}

/// A node's content as text.
pub(super) fn text<'a>(path: &str, data: &'a [u8]) -> Result<&'a str, Trouble> {
    std::str::from_utf8(data).map_err(|_| Trouble::Broken { path: path.to_owned() })
}
