//! Who leads: campaigns, renewals, and the fenced transaction.
//!
//! The leader's key holds the leadership's token and hangs on its lease; the term's record says which term it is, and
//! stays. Both are written by one transaction, which holds only if nothing that the campaign looked at has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use st2sa_core::engine::{Electors, Key, LeaderSeen, Reply, Token, Transaction, Value, Write};
use st2sa_core::names::Term;
use st2sa_core::time::Span;

use super::api::{Compare, KeyValue, RangeResponse, RequestOp, TxnRequest, TxnResponse};
use super::client::Repeat;
use super::{Inner, OPERATIONS_AT_MOST, REQUEST_BYTES_AT_MOST, Trouble, names, reads, text};
use crate::codec;

/// A campaign looks again where something has changed meanwhile: so often, then it is given up.
const LOOKS_AT_MOST: usize = 3;

/// What a campaign looks at, at one moment.
struct Standing {
    leader: Option<KeyValue>,
    /// The term's record; 0 and nobody's before the first.
    term: (Term, Option<Token>),
    electors: Electors,
    longest_ttl: Span,
    /// That nothing of it but the leader's key has changed.
    unchanged: Vec<Compare>,
}

impl Standing {
    fn seen(&self) -> Result<Option<LeaderSeen>, Trouble> {
        let Some(leader) = &self.leader else { return Ok(None) };
        let token = codec::token("leader", text(leader)?)?;
        Ok(Some(LeaderSeen { arbitrator: token.arbitrator, term: self.term.0 }))
    }
}

impl Inner {
    pub(super) async fn campaign(
        self: &Arc<Self>,
        token: Token,
        above: Term,
        session_ttl: Span,
        only_as_first: bool,
    ) -> Result<Reply, Trouble> {
        self.tries(&token);
        for _ in 0..LOOKS_AT_MOST {
            let standing = self.standing().await?;
            let none = standing.electors.members.is_empty();
            let elector = none || standing.electors.members.contains(&token.arbitrator);
            let may = elector && (none || !only_as_first) && self.is_last_try(&token);
            if standing.leader.is_some() || !may {
                return Ok(Reply::NotWon { leader: standing.seen()?, elector });
            }
            let term = Term(standing.term.0.max(above).0.saturating_add(1));
            let longest_ttl = standing.longest_ttl.max(session_ttl);
            let lease = self.grant().await?;
            // Whatever ends this without a win ends the lease: what lands later finds none, and fails.
            let mut unwon = Unwon { inner: self, lease: Some(lease) };
            if !self.is_last_try(&token) {
                return Ok(Reply::NotWon { leader: None, elector });
            }
            let mut compare = standing.unchanged;
            compare.push(names::is_at(self.names.leader(), 0));
            let success = vec![
                names::put(self.names.leader(), codec::encode_token(&token), lease),
                names::put(self.names.term(), codec::encode_term(term, &token), 0),
                names::put(self.names.of(&Key::LongestTtl), codec::encode(&Value::Ttl(longest_ttl)), 0),
            ];
            let request = TxnRequest { compare, success, failure: Vec::new() };
            if self.client.transaction(Repeat::IfUndone, request).await?.succeeded {
                unwon.lease = None;
                self.hold(token, lease);
                return Ok(Reply::Won { term, longest_ttl });
            }
        }
        Ok(Reply::Unknown)
    }

    /// A leader of etcd that has been deposed and does not know it may still answer a keep-alive (later releases of etcd
    /// ask the others first), and that its successor does not know of. So what counts is that afterwards the same member
    /// has read, with a quorum, while it had applied nothing of a later term: then whoever kept the lease alive still
    /// led etcd at that moment.
    pub(super) async fn renew(&self, token: &Token) -> Result<Reply, Trouble> {
        let value = codec::encode_token(token);
        for _ in 0..LOOKS_AT_MOST {
            let lease = match self.lease_of(token) {
                Some(lease) => lease,
                None => match self.client.get(self.names.leader()).await?.0 {
                    Some(leader) if leader.value == value.as_bytes() => leader.lease,
                    _ => return Ok(Reply::NotLeader),
                },
            };
            let kept = self.client.keep_alive(lease).await?;
            let (leader, answer) = self.client.get(self.names.leader()).await?;
            let Some(leader) = leader.filter(|leader| leader.value == value.as_bytes()) else {
                self.let_go(token);
                return Ok(Reply::NotLeader);
            };
            self.hold(token.clone(), leader.lease);
            let (Some(kept_by), Some(read_by)) = (kept.header, answer.header) else { continue };
            let same = (kept_by.member_id, kept_by.raft_term) == (read_by.member_id, read_by.raft_term);
            if same && leader.lease == lease && kept.ttl >= self.ttl_seconds {
                self.upkeep.renewed(read_by.revision);
                return Ok(Reply::Done);
            }
        }
        Ok(Reply::Unknown)
    }

    pub(super) async fn retake(&self, token: &Token, term: Term) -> Result<Reply, Trouble> {
        let value = codec::encode_token(token);
        for _ in 0..LOOKS_AT_MOST {
            let standing = self.standing().await?;
            if standing.term != (term, Some(token.clone())) {
                return Ok(Reply::NotLeader);
            }
            match standing.leader {
                Some(leader) if leader.value == value.as_bytes() => return self.renew(token).await,
                Some(_) => return Ok(Reply::NotLeader),
                None => {}
            }
            let lease = self.grant().await?;
            let mut compare = standing.unchanged;
            compare.push(names::is_at(self.names.leader(), 0));
            let success = vec![names::put(self.names.leader(), value.clone(), lease)];
            let request = TxnRequest { compare, success, failure: Vec::new() };
            // One that lands late is taken for what it is by the next renewal.
            if self.client.transaction(Repeat::IfUndone, request).await?.succeeded {
                self.hold(token.clone(), lease);
                return Ok(Reply::Done);
            }
        }
        Ok(Reply::Unknown)
    }

    pub(super) async fn resign(&self, token: &Token) -> Result<Reply, Trouble> {
        let compare = vec![self.is_led_by(token)];
        let success = vec![names::delete(self.names.leader())];
        let request = TxnRequest { compare, success, failure: Vec::new() };
        self.client.transaction(Repeat::Freely, request).await?;
        self.let_go(token);
        Ok(Reply::Done)
    }

    pub(super) async fn transact(&self, asked: &Transaction) -> Result<Reply, Trouble> {
        let mut compare = vec![self.is_led_by(&asked.token)];
        for check in &asked.checks {
            // A revision that etcd cannot have had is never the key's.
            let revision = i64::try_from(check.version).unwrap_or(i64::MAX);
            compare.push(names::is_at(self.names.of(&check.key), revision));
        }
        // etcd takes a key once in a transaction: of several writes the last counts.
        let mut writes = BTreeMap::new();
        for write in &asked.writes {
            let (key, operation) = self.operation(write);
            writes.insert(key, operation);
        }
        let success = writes.into_values().collect();
        let failure = vec![names::get(self.names.leader())];
        let request = TxnRequest { compare, success, failure };
        if let Some((what, limit)) = too_large(&request) {
            tracing::error!(what, limit, "a transaction is larger than etcd takes: it is not written");
            return Ok(Reply::Unknown);
        }
        let answer = self.client.transaction(Repeat::IfUndone, request).await?;
        if answer.succeeded {
            let revision = answer.header.map_or(0, |header| header.revision);
            return Ok(Reply::Applied { version: u64::try_from(revision).unwrap_or_default() });
        }
        Ok(if is_leader_in(&answer, &asked.token) { Reply::CheckFailed } else { Reply::NotLeader })
    }

    /// Who leads.
    pub(super) async fn observe(&self) -> Result<(Option<LeaderSeen>, i64), Trouble> {
        let success = vec![names::get(self.names.leader()), names::get(self.names.term())];
        let answer = self.client.transaction(Repeat::Freely, TxnRequest { success, ..TxnRequest::default() }).await?;
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        self.upkeep.note(revision);
        let mut found = names::read(answer);
        let (leader, term) = (first(found.next()), first(found.next()));
        let (Some(leader), Some(term)) = (leader, term) else { return Ok((None, revision)) };
        let token = codec::token("leader", text(&leader)?)?;
        let (term, _) = codec::term("term", text(&term)?)?;
        Ok((Some(LeaderSeen { arbitrator: token.arbitrator, term }), revision))
    }

    /// That this leadership is in force.
    pub(super) fn is_led_by(&self, token: &Token) -> Compare {
        names::holds(self.names.leader(), &codec::encode_token(token))
    }

    fn operation(&self, write: &Write) -> (Vec<u8>, RequestOp) {
        match write {
            Write::Put(key, value) => {
                let name = self.names.of(key);
                (name.clone(), names::put(name, codec::encode(value), 0))
            }
            Write::Delete(key) => {
                let name = self.names.of(key);
                (name.clone(), names::delete(name))
            }
        }
    }

    async fn standing(&self) -> Result<Standing, Trouble> {
        let keys =
            [self.names.leader(), self.names.term(), self.names.of(&Key::Electors), self.names.of(&Key::LongestTtl)];
        let success = keys.iter().cloned().map(names::get).collect();
        let answer = self.client.transaction(Repeat::Freely, TxnRequest { success, ..TxnRequest::default() }).await?;
        let mut found: Vec<Option<KeyValue>> = names::read(answer).map(|range| first(Some(range))).collect();
        found.resize(keys.len(), None);
        let unchanged = keys.into_iter().zip(&found).skip(1);
        let unchanged = unchanged
            .map(|(key, found)| names::is_at(key, found.as_ref().map_or(0, |found| found.mod_revision)))
            .collect();
        let term = match &found[1] {
            Some(found) => codec::term("term", text(found)?).map(|(term, token)| (term, Some(token)))?,
            None => (Term(0), None),
        };
        let (electors, _) = reads::electors(found[2].as_ref(), &self.names)?;
        let longest_ttl = match &found[3] {
            Some(found) => codec::ttl("longest_ttl", text(found)?)?,
            None => Span::ZERO,
        };
        Ok(Standing { leader: found.swap_remove(0), term, electors, longest_ttl, unchanged })
    }

    async fn grant(&self) -> Result<i64, Trouble> {
        let granted = self.client.grant(self.ttl_seconds).await?;
        if granted.ttl < self.ttl_seconds {
            // Leaders count on what was granted at the start.
            return Err(Trouble::Odd(format!("etcd grants leases of {} s, not {} s", granted.ttl, self.ttl_seconds)));
        }
        Ok(granted.id)
    }
}

/// A campaign's lease, until it is won.
struct Unwon<'a> {
    inner: &'a Arc<Inner>,
    lease: Option<i64>,
}

impl Drop for Unwon<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.inner.revoke_soon(lease);
        }
    }
}

/// Whether a transaction that failed has read that this leadership is in force.
pub(super) fn is_leader_in(answer: &TxnResponse, token: &Token) -> bool {
    names::read_value(answer) == Some(codec::encode_token(token).as_bytes())
}

/// What of a transaction is more than etcd takes.
pub(super) fn too_large(request: &TxnRequest) -> Option<(&'static str, usize)> {
    if request.compare.len().max(request.success.len()) > OPERATIONS_AT_MOST {
        return Some(("the checks or writes of one request", OPERATIONS_AT_MOST));
    }
    (request.encoded_len() > REQUEST_BYTES_AT_MOST).then_some(("the bytes of one request", REQUEST_BYTES_AT_MOST))
}

fn first(range: Option<RangeResponse>) -> Option<KeyValue> {
    range?.kvs.into_iter().next()
}
