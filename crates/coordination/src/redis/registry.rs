//! The service registry in Redis, as tooz has it; `<ns>` is the url's namespace, or `_tooz`.
//!
//! ```text
//! <ns>_groups            a set: the groups
//! <ns>_group:<group>     a hash: __created__, and the members with what they say of themselves
//! <ns>_beats:<member>    there while the member is alive; whoever reads a group removes members that have none
//! ```
//!
//! So with each beat the member is written again, too: somebody may have looked while the beat was late.

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::session::{self, Problem};
use super::settings::Settings;
use crate::registry::{Group, Member, Seen};
use crate::store::{Lengths, Store};

/// Where the url has no namespace.
const NAMESPACE: &str = "_tooz";
/// A field of each group that is no member.
const CREATED: &[u8] = b"__created__";
/// What a beat says; any text will do.
const BEAT: &str = "Not dead!";

/// A member's place.
pub(crate) struct Place {
    way: Way,
    names: Names,
    group: String,
    member: String,
    ttl_millis: u64,
}

impl Place {
    /// A place that is still to be taken.
    pub(crate) fn new(store: &Store, member: &Member) -> Result<Self, Problem> {
        Ok(Self {
            way: Way::new(store, member.lengths())?,
            names: Names::new(store),
            group: member.group.clone(),
            member: member.id.clone(),
            ttl_millis: u64::try_from(member.ttl.as_millis()).unwrap_or(u64::MAX).max(1),
        })
    }

    /// Writes the member, its group and its beat, all at once.
    pub(crate) async fn put(&mut self, value: &[u8]) -> Result<(), Problem> {
        let Self { names, group, member, ttl_millis, .. } = self;
        let mut all = redis::pipe();
        all.atomic();
        all.cmd("SET").arg(names.beat(member.as_bytes())).arg(BEAT).arg("PX").arg(*ttl_millis).ignore();
        all.cmd("SADD").arg(names.groups()).arg(group.as_str()).ignore();
        let hash = all.cmd("HSET").arg(names.group(group.as_bytes())).arg(CREATED).arg("1");
        hash.arg(member.as_str()).arg(value).ignore();
        self.way.ask(&all).await
    }

    /// Removes the member and its beat.
    pub(crate) async fn leave(mut self) {
        let Self { names, group, member, .. } = &self;
        let mut all = redis::pipe();
        all.atomic();
        all.cmd("HDEL").arg(names.group(group.as_bytes())).arg(member.as_str()).ignore();
        all.cmd("DEL").arg(names.beat(member.as_bytes())).ignore();
        if let Err(problem) = self.way.ask::<()>(&all).await {
            tracing::debug!(problem, "the service registry may show this member a little longer");
        }
    }
}

/// All groups, and those of their members that are alive.
pub(crate) async fn list(store: &Store, lengths: Lengths) -> Result<Vec<Group>, Problem> {
    let (mut way, names) = (Way::new(store, lengths)?, Names::new(store));
    let mut all = redis::pipe();
    all.cmd("SMEMBERS").arg(names.groups());
    let (groups,): (Vec<Vec<u8>>,) = way.ask(&all).await?;
    let mut listed = Vec::with_capacity(groups.len());
    for group in groups {
        let mut fields = redis::pipe();
        fields.cmd("HGETALL").arg(names.group(&group));
        let (mut fields,): (Vec<(Vec<u8>, Vec<u8>)>,) = way.ask(&fields).await?;
        fields.retain(|(member, _)| member != CREATED);
        let mut beats = redis::pipe();
        for (member, _) in &fields {
            beats.cmd("GET").arg(names.beat(member));
        }
        let beats: Vec<Option<Vec<u8>>> = if fields.is_empty() { Vec::new() } else { way.ask(&beats).await? };
        let alive = fields.iter().zip(beats).filter(|(_, beat)| beat.as_ref().is_some_and(|beat| !beat.is_empty()));
        let members = alive.map(|((member, value), _)| Seen::new(member, value)).collect();
        listed.push(Group { name: String::from_utf8_lossy(&group).into_owned(), members });
    }
    Ok(listed)
}

/// The keys.
struct Names {
    namespace: String,
}

impl Names {
    fn new(store: &Store) -> Self {
        Self { namespace: store.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned()) }
    }

    fn groups(&self) -> String {
        format!("{}_groups", self.namespace)
    }

    fn group(&self, group: &[u8]) -> Vec<u8> {
        [self.namespace.as_bytes(), b"_group:", group].concat()
    }

    fn beat(&self, member: &[u8]) -> Vec<u8> {
        [self.namespace.as_bytes(), b"_beats:", member].concat()
    }
}

/// One connection to whichever server takes what is asked of it: another one is tried after each failure.
struct Way {
    settings: Settings,
    turn: usize,
    connection: Option<(MultiplexedConnection, JoinSet<()>)>,
}

impl Way {
    fn new(store: &Store, lengths: Lengths) -> Result<Self, Problem> {
        Ok(Self { settings: Settings::new(store, lengths)?, turn: 0, connection: None })
    }

    async fn ask<T: FromRedisValue>(&mut self, all: &Pipeline) -> Result<T, Problem> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        // Whatever ends this without an answer ends the connection.
        let answer = all.query_async(&mut connection.0).await;
        match answer {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(error) => {
                self.turn += 1;
                Err(error.to_string())
            }
        }
    }

    /// Tries each server once.
    async fn connect(&mut self) -> Result<(MultiplexedConnection, JoinSet<()>), Problem> {
        let Self { settings, turn, .. } = self;
        let mut problems = Vec::new();
        for _ in &settings.servers {
            let server = &settings.servers[*turn % settings.servers.len()];
            let connecting = async {
                let address = match &settings.sentinel {
                    Some(name) => session::master(settings, server, name).await?,
                    None => server.clone(),
                };
                let mut driver = JoinSet::new();
                let connection = session::connection(settings, &address, &mut driver).await?;
                Ok((connection, driver))
            };
            let silent = |_| Err(format!("no answer in {} ms", settings.deadline.as_millis()));
            match timeout(settings.deadline, connecting).await.unwrap_or_else(silent) {
                Ok(connection) => return Ok(connection),
                Err(problem) => problems.push(format!("{server}: {problem}")),
            }
            *turn += 1;
        }
        Err(problems.join("; "))
    }
}
