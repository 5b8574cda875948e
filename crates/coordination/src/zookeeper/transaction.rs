//! The fenced transaction: nodes are looked at, and written in one go if nothing has changed since.
//!
//! ZooKeeper has no "set, whether it is there or not", and its version of a node begins at 0 again when the node is
//! made again, so each transaction looks first. What it has seen still holds when it is written, because every
//! transaction writes the node `writes` too, at the version that it was at before the look: of two that cross, one is
//! refused, and looks again. Nobody else writes while this leadership is in force. (That version is a number of 32 bits
//! and begins again from below; what counts is that it is another one.)

use std::collections::{BTreeMap, BTreeSet};

use st2sa_core::engine::{Token, Transaction, Write};
use zookeeper_client::{SessionState, Stat};

use super::nodes::{self, Step, Written};
use super::paths::Paths;
use super::trouble::Trouble;
use super::{Inner, TRIES_AT_MOST, link};
use crate::{Still, codec};

/// What one transaction may weigh, in bytes. A server cuts the connection of whoever sends a request above 0xfffff
/// bytes (`jute.maxbuffer`), without a word; below that is room for what is not counted here, and for the header that
/// servers put before it among themselves.
pub(super) const BYTES_AT_MOST: usize = 1_000_000;

/// What a step weighs besides its path and its data: lengths, versions, the access list; 46 bytes and less.
const BYTES_OF_A_STEP: usize = 64;

/// The step that writes the node `writes`: behind the two of the fence.
const WRITES: usize = 2;

/// What is to be written, by path.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Nodes that must be at a version; 0 is a node that is absent.
    pub(super) checks: Vec<(String, u64)>,
    /// Nodes to set, or to remove.
    pub(super) writes: BTreeMap<String, Option<Vec<u8>>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is written; all that it set has this version.
    Applied(u64),
    /// A check does not hold; nothing is written.
    CheckFailed,
    /// The leadership is not in force; nothing is written.
    NotLeader,
}

impl Change {
    /// Takes a transaction of core.
    pub(super) fn of(paths: &Paths, transaction: &Transaction) -> Self {
        let checks = transaction.checks.iter().map(|check| (paths.key(&check.key), check.version)).collect();
        let write = |write: &Write| match write {
            Write::Put(key, value) => (paths.key(key), Some(codec::encode(value).into_bytes())),
            Write::Delete(key) => (paths.key(key), None),
        };
        // Of several writes of one key the last one counts.
        Self { checks, writes: transaction.writes.iter().map(write).collect() }
    }

    /// Refuses what would not fit into one request.
    pub(super) fn fits(&self) -> Result<(), Trouble> {
        let checks = self.checks.iter().map(|(path, _)| path.len() + BYTES_OF_A_STEP);
        // A record that is made for its entries is counted with them.
        let write = |(path, data): (&String, &Option<Vec<u8>>)| {
            path.len() * 2 + data.as_ref().map_or(0, Vec::len) + BYTES_OF_A_STEP * 2
        };
        let bytes: usize = checks.chain(self.writes.iter().map(write)).sum();
        if bytes > BYTES_AT_MOST {
            return Err(Trouble::TooLarge { what: "the bytes of one request", limit: BYTES_AT_MOST });
        }
        Ok(())
    }

    /// All nodes that it depends on.
    fn touched(&self, paths: &Paths) -> Vec<String> {
        let checks = self.checks.iter().map(|(path, _)| path.as_str());
        let writes = self.writes.keys().flat_map(|path| [Some(path.as_str()), paths.record_above(path)]);
        let touched: BTreeSet<&str> = checks.chain(writes.flatten()).collect();
        touched.into_iter().map(str::to_owned).collect()
    }

    /// The steps that bring it about; `None` where a check does not hold.
    fn steps(&self, paths: &Paths, found: &BTreeMap<String, Stat>) -> Option<Vec<Step>> {
        let version =
            |path: &String| found.get(path).filter(|stat| is_there(paths, path, stat)).map_or(0, nodes::version);
        if !self.checks.iter().all(|(path, expected)| version(path) == *expected) {
            return None;
        }
        let checked = self.checks.iter().filter(|(path, _)| !self.writes.contains_key(path));
        let mut steps: Vec<Step> =
            checked.filter_map(|(path, _)| Some(Step::Check(path.clone(), Some(found.get(path)?.version)))).collect();
        let mut sets = BTreeMap::new();
        // From the last to the first: entries before the record that they stand below.
        for (path, data) in self.writes.iter().rev() {
            let stat = found.get(path);
            match (data, stat) {
                (Some(data), _) => {
                    sets.insert(path.clone(), data.clone());
                    if let Some(record) = paths.record_above(path)
                        && !found.contains_key(record)
                    {
                        // It has to be there for its entries; empty, it is no record.
                        sets.entry(record.to_owned()).or_default();
                    }
                }
                (None, Some(stat)) if paths.is_record(path) && self.children_left(paths, path, stat) => {
                    sets.insert(path.clone(), Vec::new());
                }
                (None, Some(stat)) => steps.push(Step::Delete(path.clone(), Some(stat.version))),
                (None, None) => {}
            }
        }
        for (path, data) in sets {
            steps.push(match found.get(&path) {
                Some(stat) => Step::Set(path, data, Some(stat.version)),
                None => Step::Create(path, data),
            });
        }
        Some(steps)
    }

    /// Whether entries stand below a record when this is done.
    fn children_left(&self, paths: &Paths, record: &str, stat: &Stat) -> bool {
        let mut deletes = 0;
        for (path, data) in &self.writes {
            if paths.record_above(path) == Some(record) {
                match data {
                    Some(_) => return true,
                    None => deletes += 1,
                }
            }
        }
        // One that deletes what is not there may leave an empty node behind, which does no harm.
        stat.num_children > deletes
    }
}

/// A record's node may be there for its entries alone: then it is empty.
fn is_there(paths: &Paths, path: &str, stat: &Stat) -> bool {
    stat.data_length > 0 || !paths.is_record(path)
}

impl Inner {
    /// Writes a change while the leadership of this token is in force. `still` is asked right before it is handed to
    /// the network.
    pub(super) async fn change(
        &self,
        token: &Token,
        change: &Change,
        mut still: Option<Still>,
    ) -> Result<Outcome, Trouble> {
        change.fits()?;
        let Some(leadership) = self.held(token) else {
            return self.not_held(token).await.map(|_| Outcome::NotLeader);
        };
        let _turn = leadership.turn.lock().await;
        let client = &leadership.client;
        let mut touched = vec![self.paths.writes()];
        touched.extend(change.touched(&self.paths));
        let asked_once = still.is_some();
        for _ in 0..TRIES_AT_MOST {
            if link::connected(client).await.is_err() {
                return self.not_held(token).await.map(|_| Outcome::NotLeader);
            }
            let stats = nodes::stats(client, &touched).await?;
            let Some(Some(writes)) = stats.first().copied() else {
                return Err(Trouble::Broken { path: self.paths.writes() });
            };
            let there = touched.iter().cloned().zip(stats).skip(1);
            let found = there.filter_map(|(path, stat)| Some((path, stat?))).collect();
            let steps = change.steps(&self.paths, &found);
            let holds = steps.is_some();
            if client.state() != SessionState::SyncConnected {
                // The client would keep it until there is a connection, also when nobody waits for it any more.
                continue;
            }
            if let Some(still) = still.take()
                && !still()
            {
                return Ok(Outcome::NotLeader);
            }
            let mut all = Vec::from(leadership.fence(self));
            all.push(Step::Set(self.paths.writes(), Vec::new(), Some(writes.version)));
            // Where a check does not hold this is written all the same: only a leadership in force may say so.
            all.extend(steps.unwrap_or_default());
            match nodes::write(client, self.servers.acls(), &all).await? {
                Written::Done(results) if holds => {
                    let Some(stat) = nodes::set_by(&results, WRITES) else {
                        return Err(Trouble::Broken { path: self.paths.writes() });
                    };
                    return Ok(Outcome::Applied(nodes::version(&stat)));
                }
                Written::Done(_) => return Ok(Outcome::CheckFailed),
                Written::Refused { step } if step < WRITES => {
                    self.forget(&leadership);
                    return Ok(Outcome::NotLeader);
                }
                Written::Refused { .. } if asked_once => return Err(Trouble::Contended),
                Written::Refused { .. } => {}
            }
        }
        Err(Trouble::Contended)
    }
}
