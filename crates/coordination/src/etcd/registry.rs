//! The service registry in etcd: `tooz/groups/<group>/`, for ever, and `tooz/groups/<group>/<member>` on a lease.
//!
//! tooz's own heart makes a new lease where the old one is gone, and forgets the key on it. Here both are put again.

use std::collections::BTreeMap;

use super::api::{PutRequest, RequestOp, TxnRequest, request_op};
use super::client::{Client, Repeat};
use super::{names, reads};
use crate::registry::{Group, Member, Seen};
use crate::store::{Lengths, Store};

/// All groups. A key that ends with a slash is a group; any other is a member of the longest one that it begins with.
const GROUPS: &[u8] = b"tooz/groups/";
/// Members of one answer: each is some hundred bytes.
const MEMBERS_AT_ONCE: i64 = 1_000;

/// A member's place.
pub(crate) struct Place {
    client: Client,
    group: Vec<u8>,
    member: Vec<u8>,
    seconds: i64,
    lease: Option<i64>,
}

impl Place {
    /// A place that is still to be taken.
    pub(crate) fn new(store: &Store, member: &Member) -> Result<Self, String> {
        let group = [GROUPS, member.group.as_bytes(), b"/"].concat();
        Ok(Self {
            client: client(store, member.lengths())?,
            member: [group.as_slice(), member.id.as_bytes()].concat(),
            group,
            // A lease has whole seconds.
            seconds: i64::try_from(member.ttl.as_secs()).unwrap_or(i64::MAX).max(1),
            lease: None,
        })
    }

    /// Keeps the lease alive, and sees to it that the member hangs on it and says this.
    pub(crate) async fn put(&mut self, value: &[u8]) -> Result<(), String> {
        if let Some(lease) = self.lease {
            let kept = self.client.keep_alive(lease).await.map_err(text)?;
            if kept.ttl <= 0 {
                self.lease = None;
            }
            let (found, _) = self.client.get(self.member.clone()).await.map_err(text)?;
            if found.is_some_and(|found| Some(found.lease) == self.lease && found.value == value) {
                return Ok(());
            }
        }
        let lease = match self.lease {
            Some(lease) => lease,
            None => *self.lease.insert(self.client.grant(self.seconds).await.map_err(text)?.id),
        };
        let member = put(self.member.clone(), value.to_vec(), lease);
        let request = TxnRequest {
            compare: vec![names::is_at(self.group.clone(), 0)],
            success: vec![put(self.group.clone(), self.group.clone(), 0), member.clone()],
            failure: vec![member],
        };
        let written = self.client.transaction(Repeat::Freely, request).await;
        // Whatever went wrong, the next try begins with a new lease: the old one may be what is wrong.
        written.map(drop).inspect_err(|_| self.lease = None).map_err(text)
    }

    /// Ends the lease, and the member with it.
    pub(crate) async fn leave(self) {
        if let Some(lease) = self.lease
            && let Err(failure) = self.client.revoke(lease).await
        {
            tracing::debug!(%failure, "the service registry may show this member a little longer");
        }
    }
}

/// All groups and members.
pub(crate) async fn list(store: &Store, lengths: Lengths) -> Result<Vec<Group>, String> {
    let client = client(store, lengths)?;
    let range = reads::all_below(GROUPS.to_vec(), MEMBERS_AT_ONCE);
    let found = reads::read_all(&client, vec![range]).await.map_err(text)?;
    let is_group = |key: &[u8]| key.len() > GROUPS.len() && key.ends_with(b"/");
    let mut groups: BTreeMap<Vec<u8>, Vec<Seen>> =
        found.iter().filter(|found| is_group(&found.key)).map(|found| (found.key.clone(), Vec::new())).collect();
    for found in found.iter().filter(|found| !is_group(&found.key)) {
        let ends = (0..found.key.len()).rev().filter(|at| found.key[*at] == b'/');
        // One of no group is nobody's member, to tooz neither.
        if let Some(end) = ends.map(|at| at + 1).find(|end| groups.contains_key(&found.key[..*end]))
            && let Some(members) = groups.get_mut(&found.key[..end])
        {
            members.push(Seen::new(&found.key[end..], &found.value));
        }
    }
    let name = |key: &[u8]| String::from_utf8_lossy(&key[GROUPS.len()..key.len() - 1]).into_owned();
    Ok(groups.into_iter().map(|(key, members)| Group { name: name(&key), members }).collect())
}

fn client(store: &Store, lengths: Lengths) -> Result<Client, String> {
    Client::new(store, std::time::Duration::from_nanos(lengths.deadline.0)).map_err(text)
}

fn put(key: Vec<u8>, value: Vec<u8>, lease: i64) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestPut(PutRequest { key, value, lease })) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
