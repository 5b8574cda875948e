//! The service registry in ZooKeeper: `/<ns>/<group>`, for ever, and `/<ns>/<group>/<member>`, which goes with its
//! session; `<ns>` is the url's namespace, or `tooz`.
//!
//! Beside the members of a group tooz keeps its leader's lock, `leader`, and beside the groups all other locks, `locks`:
//! neither is there for a session alone.

use std::time::Duration;

use st2sa_core::time::Span;
use tokio::time::Instant;
use zookeeper_client::{Client, CreateMode, Error};

use super::link;
use super::make;
use super::nodes::{self, Step, Written};
use super::servers::Servers;
use super::trouble::Trouble;
use crate::registry::{Group, Member, Seen};
use crate::store::{Lengths, Store};

/// Where the url has no namespace.
const NAMESPACE: &str = "tooz";
/// Where tooz keeps a group's leader.
const LEADER: &str = "leader";
/// Where tooz keeps locks.
const LOCKS: &str = "locks";
/// Somebody else may make or remove the node between two looks at it.
const TRIES_AT_MOST: usize = 3;

/// A member's place.
pub(crate) struct Place {
    servers: Servers,
    /// The nodes above the member's.
    above: [String; 2],
    member: String,
    ttl: Duration,
    session: Option<Session>,
}

/// The session that the member's node goes with.
struct Session {
    client: Client,
    answered: Instant,
}

impl Place {
    /// A place that is still to be taken.
    pub(crate) fn new(store: &Store, member: &Member) -> Result<Self, String> {
        let top = top(store);
        let group = format!("{top}/{}", member.group);
        Ok(Self {
            servers: servers(store, member.lengths())?,
            member: format!("{group}/{}", member.id),
            above: [top, group],
            ttl: member.ttl,
            session: None,
        })
    }

    /// Sees to it that the session is open, and that its node is there and says this.
    pub(crate) async fn put(&mut self, value: &[u8]) -> Result<(), String> {
        // One without an answer for so long is over, whether it knows or not.
        let ttl = self.ttl;
        self.session.take_if(|session| session.answered.elapsed() >= ttl);
        let mut put = self.put_once(value).await;
        if matches!(put, Err(Trouble::Ended)) {
            self.session = None;
            put = self.put_once(value).await;
        }
        put.map_err(text)
    }

    async fn put_once(&mut self, value: &[u8]) -> Result<(), Trouble> {
        let session = match &mut self.session {
            Some(session) => {
                link::connected(&session.client).await?;
                session
            }
            None => self.session.insert(Session { client: self.servers.connect().await?, answered: Instant::now() }),
        };
        let client = &session.client;
        for _ in 0..TRIES_AT_MOST {
            let is_done = match nodes::content(client.get_data(&self.member)).await? {
                Some((data, stat)) if stat.ephemeral_owner == client.session_id().0 => {
                    data == value || is_written(client.set_data(&self.member, value, None).await)?
                }
                // Of a session of before: this host has one process of this number.
                Some(_) => {
                    let steps = [
                        Step::Delete(self.member.clone(), None),
                        Step::CreateEphemeral(self.member.clone(), value.to_vec()),
                    ];
                    matches!(nodes::write(client, self.servers.acls(), &steps).await?, Written::Done(_))
                }
                None => {
                    let mode = CreateMode::Ephemeral.with_acls(self.servers.acls());
                    let is_done = is_written(client.create(&self.member, value, &mode).await)?;
                    if !is_done {
                        for node in &self.above {
                            make(client, node, b"", self.servers.acls()).await?;
                        }
                    }
                    is_done
                }
            };
            session.answered = Instant::now();
            if is_done {
                return Ok(());
            }
        }
        Err(Trouble::Contended)
    }

    /// Removes the node, and closes the session.
    pub(crate) async fn leave(self) {
        if let Some(session) = self.session
            && let Err(error) = session.client.delete(&self.member, None).await
        {
            tracing::debug!(%error, "the service registry may show this member a little longer");
        }
    }
}

/// All groups and members.
pub(crate) async fn list(store: &Store, lengths: Lengths) -> Result<Vec<Group>, String> {
    let within = Duration::from_nanos(lengths.deadline.0);
    let listed = tokio::time::timeout(within, listed(store, lengths)).await;
    listed.unwrap_or_else(|_| Err(format!("no server answers within {} ms", within.as_millis())))
}

async fn listed(store: &Store, lengths: Lengths) -> Result<Vec<Group>, String> {
    let client = servers(store, lengths)?.connect().await.map_err(text)?;
    // Whichever server answers, it has what was written before.
    client.sync("/").await.map_err(text)?;
    let top = top(store);
    let mut listed = Vec::new();
    for name in children(&client, &top).await? {
        let group = format!("{top}/{name}");
        let ids = children(&client, &group).await?;
        let paths: Vec<String> = ids.iter().map(|id| format!("{group}/{id}")).collect();
        let contents = nodes::contents(&client, &paths).await.map_err(text)?;
        // A member that is not there any more has left meanwhile.
        let found = ids.into_iter().zip(contents).filter_map(|(id, content)| content.map(|content| (id, content)));
        let is_member = |id: &str, owner: i64| owner != 0 || id != LEADER && name != LOCKS;
        let found = found.filter(|(id, (_, stat))| is_member(id, stat.ephemeral_owner));
        let members: Vec<Seen> = found.map(|(id, (data, _))| Seen::new(id.as_bytes(), &data)).collect();
        if name != LOCKS || !members.is_empty() {
            listed.push(Group { name, members });
        }
    }
    Ok(listed)
}

async fn children(client: &Client, path: &str) -> Result<Vec<String>, String> {
    match client.list_children(path).await {
        Ok(names) => Ok(names),
        Err(Error::NoNode) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a node was written; not where it is gone, or there is one already, or none above it.
fn is_written<T>(answer: Result<T, Error>) -> Result<bool, Trouble> {
    match answer {
        Ok(_) => Ok(true),
        Err(Error::NoNode | Error::NodeExists) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn top(store: &Store) -> String {
    format!("/{}", store.namespace.as_deref().unwrap_or(NAMESPACE))
}

/// Sessions that last as long as asked: those of leaders are asked to last half as long again.
fn servers(store: &Store, lengths: Lengths) -> Result<Servers, String> {
    let leader_ttl = Span(lengths.leader_ttl.0 / 3 * 2);
    Servers::new(store, Lengths { leader_ttl, ..lengths }).map_err(text)
}

fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = format!("{text}: {source}");
    }
    text
}
