//! Leadership: an ephemeral node `leader`, and the persistent node `term` beside it.
//!
//! A campaign makes `leader` and raises the version of `term` in one write. So while `leader` is there *and* `term` is
//! at the version of our campaign, the leadership in force is ours: whoever else makes `leader` raises `term`. That is
//! the fence of every write here: a step that checks `term` at that version, and one that needs `leader` to be there.
//! The version of `leader` would not do: it begins at 0 again when the node is made again. The version of `term` alone
//! would not do either: it stands until the next campaign, also when our session is over.
//!
//! A leadership belongs to the session that made `leader`, and ends with it: nothing but a retake makes the
//! node again. The client keeps a session alive by pings, whether anybody renews or not; so a leadership that was not
//! renewed for as long as a session lasts is given up, session and all.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use st2sa_core::engine::{Key, Reply, Token, Value};
use st2sa_core::names::Term;
use st2sa_core::time::Span;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zookeeper_client::Client;

use super::link::{self, Link};
use super::nodes::{self, Step, Written};
use super::record::TermRecord;
use super::trouble::Trouble;
use super::{Inner, TRIES_AT_MOST, locked, values};
use crate::codec;

/// A leadership in force, as far as this engine knows.
#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) record: TermRecord,
    pub(super) term_version: i32,
    /// The session that made the leader's node.
    pub(super) client: Client,
    /// When the last confirmed renewal was sent; the campaign is the first.
    renewed: Mutex<Instant>,
    /// Transactions wait for each other: they are applied in the order in which they came.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// What goes on beside it, and ends with it.
    tasks: Mutex<JoinSet<()>>,
}

impl Leadership {
    fn new(record: TermRecord, term_version: i32, client: Client, sent: Instant) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { record, term_version, client, renewed: Mutex::new(sent), turn, tasks: Mutex::default() }
    }

    /// What fences every write.
    pub(super) fn fence(&self, engine: &Inner) -> [Step; 2] {
        [Step::Check(engine.paths.term(), Some(self.term_version)), Step::Check(engine.paths.leader(), None)]
    }

    fn lasts_until(&self) -> Instant {
        *locked(&self.renewed) + self.client.session_timeout()
    }
}

impl Inner {
    /// Tries to take the leadership.
    pub(super) async fn campaign(
        self: &Arc<Self>,
        token: Token,
        above: Term,
        session_ttl: Span,
        only_as_first: bool,
    ) -> Result<Reply, Trouble> {
        self.note_try(&token);
        for _ in 0..TRIES_AT_MOST {
            let reader = self.reading.connected().await?;
            let found = self.standing(&reader).await?;
            let none = found.electors.members.is_empty();
            let elector = none || found.electors.members.contains(&token.arbitrator);
            let leader = found.leader.as_ref().and_then(|(record, _)| record.seen());
            let not_won = Reply::NotWon { leader, elector };
            if found.leader.is_some() || !elector || only_as_first && !none {
                return Ok(not_won);
            }
            let Some((stored, term_version)) = found.term else {
                // The store was wiped. The next term is above all that its asker knows of, as ever.
                super::prepare(&reader, &self.servers, &self.paths).await?;
                continue;
            };
            let client = self.leading.connected_or_new().await?;
            if self.is_late(&token) {
                return Ok(not_won);
            }
            let record =
                TermRecord { term: Term(stored.term.max(above).0.saturating_add(1)), token: Some(token.clone()) };
            let longest_ttl = found.longest_ttl.map_or(session_ttl, |(stored, _)| stored.max(session_ttl));
            let ttl_path = self.paths.key(&Key::LongestTtl);
            let ttl = codec::encode(&Value::Ttl(longest_ttl)).into_bytes();
            let steps = [
                // Whatever was read above was written under an earlier version of this.
                Step::Set(self.paths.term(), record.encode(), Some(term_version)),
                Step::CreateEphemeral(self.paths.leader(), record.encode()),
                match found.longest_ttl {
                    Some((_, version)) => Step::Set(ttl_path, ttl, Some(version)),
                    None => Step::Create(ttl_path, ttl),
                },
            ];
            if self.take(client, record.clone(), &steps).await? {
                return Ok(Reply::Won { term: record.term, longest_ttl });
            }
        }
        Err(Trouble::Contended)
    }

    /// Renews a leadership: the quorum agrees that it is in force, by a write. A ping or a read would be answered by a
    /// server that is cut off, too, for seconds.
    pub(super) async fn renew(self: &Arc<Self>, token: &Token) -> Result<Reply, Trouble> {
        let Some(leadership) = self.held(token) else { return self.not_held(token).await };
        if link::connected(&leadership.client).await.is_err() {
            return self.not_held(token).await;
        }
        let sent = Instant::now();
        let [term, _] = leadership.fence(self);
        // Whatever the version of `leader` is: its being there says enough, and what becomes of a renewal that was
        // not answered makes no difference to the next.
        let steps = [term, Step::Set(self.paths.leader(), leadership.record.encode(), None)];
        match nodes::write(&leadership.client, self.servers.acls(), &steps).await? {
            Written::Done(_) => {
                *locked(&leadership.renewed) = sent;
                Ok(Reply::Done)
            }
            Written::Refused { .. } => {
                self.forget(&leadership);
                Ok(Reply::NotLeader)
            }
        }
    }

    /// Takes the leader's key again in the same term, if no other term began.
    pub(super) async fn retake(self: &Arc<Self>, token: &Token, term: Term) -> Result<Reply, Trouble> {
        for _ in 0..TRIES_AT_MOST {
            let reader = self.reading.connected().await?;
            let found = self.standing(&reader).await?;
            let Some((record, term_version)) =
                found.term.filter(|(record, _)| record.term == term && record.is_of(token))
            else {
                return Ok(Reply::NotLeader);
            };
            let client = self.leading.connected_or_new().await?;
            let mut steps = vec![
                // The same again, for its version: a campaign that has looked before this must not win behind it.
                Step::Set(self.paths.term(), record.encode(), Some(term_version)),
                Step::CreateEphemeral(self.paths.leader(), record.encode()),
            ];
            if let Some((leader, version)) = found.leader {
                if !leader.is_of(token) {
                    return Ok(Reply::NotLeader);
                }
                // Of a session that we have lost, and that the servers still wait for.
                steps.insert(1, Step::Delete(self.paths.leader(), Some(version)));
            }
            if self.take(client, record, &steps).await? {
                return Ok(Reply::Done);
            }
        }
        Err(Trouble::Contended)
    }

    /// Gives a leadership up.
    pub(super) async fn resign(self: &Arc<Self>, token: &Token) -> Result<Reply, Trouble> {
        let Some(leadership) = self.held(token) else {
            self.remove(token).await?;
            return Ok(Reply::Done);
        };
        self.forget(&leadership);
        // Should nobody hear of it, the session goes, and the key with it.
        let unheard = Unheard::new(&self.leading, &leadership.client);
        link::connected(&leadership.client).await?;
        let [term, _] = leadership.fence(self);
        let steps = [term, Step::Delete(self.paths.leader(), None)];
        nodes::write(&leadership.client, self.servers.acls(), &steps).await?;
        unheard.heard();
        Ok(Reply::Done)
    }

    /// The leadership of this token, if this engine holds it.
    pub(super) fn held(&self, token: &Token) -> Option<Arc<Leadership>> {
        let held = locked(&self.held).clone().filter(|held| held.record.is_of(token))?;
        if held.client.state().is_terminated() {
            self.forget(&held);
            return None;
        }
        Some(held)
    }

    /// Says what there is to say about a leadership that this engine does not hold: it is nobody's, once the store can
    /// be asked. The session in which it was ours is over for us; if the servers still wait for it, the key that keeps
    /// all others out goes now.
    pub(super) async fn not_held(&self, token: &Token) -> Result<Reply, Trouble> {
        let was_ours = locked(&self.lost).as_ref() == Some(token);
        if was_ours {
            self.remove(token).await?;
            return Ok(Reply::NotLeader);
        }
        let reader = self.reading.connected().await?;
        let found = self.standing(&reader).await?;
        if found.leader.is_some_and(|(leader, _)| leader.is_of(token)) {
            Err(Trouble::Ended)
        } else {
            Ok(Reply::NotLeader)
        }
    }

    /// Holds it no more; its session may go on.
    pub(super) fn forget(&self, leadership: &Arc<Leadership>) {
        let taken = locked(&self.held).take_if(|held| Arc::ptr_eq(held, leadership));
        if taken.is_some() {
            locked(&self.lost).clone_from(&leadership.record.token);
        }
    }

    /// Writes what makes a leadership ours. False: something has changed meanwhile.
    async fn take(self: &Arc<Self>, client: Client, record: TermRecord, steps: &[Step]) -> Result<bool, Trouble> {
        // A leadership that nobody hears of goes with its session, also if it is won later.
        let unheard = Unheard::new(&self.leading, &client);
        let sent = Instant::now();
        let written = nodes::write(&client, self.servers.acls(), steps).await?;
        let Written::Done(results) = written else {
            unheard.heard();
            return Ok(false);
        };
        let Some(term) = nodes::set_by(&results, 0) else {
            return Err(Trouble::Broken { path: self.paths.term() });
        };
        unheard.heard();
        let leadership = Arc::new(Leadership::new(record, term.version, client, sent));
        let mut tasks = JoinSet::new();
        tasks.spawn(give_up_when_not_renewed(Arc::downgrade(self), Arc::downgrade(&leadership)));
        tasks.spawn(values::sweep(Arc::downgrade(self), Arc::downgrade(&leadership)));
        *locked(&leadership.tasks) = tasks;
        *locked(&self.held) = Some(leadership);
        Ok(true)
    }

    /// Removes the leader's key, if it is this token's.
    async fn remove(&self, token: &Token) -> Result<(), Trouble> {
        for _ in 0..TRIES_AT_MOST {
            let client = self.reading.connected().await?;
            let found = self.standing(&client).await?;
            let leader = found.leader.filter(|(leader, _)| leader.is_of(token));
            let (Some((_, version)), Some((_, term_version))) = (leader, found.term) else { return Ok(()) };
            let steps =
                [Step::Check(self.paths.term(), Some(term_version)), Step::Delete(self.paths.leader(), Some(version))];
            if let Written::Done(_) = nodes::write(&client, self.servers.acls(), &steps).await? {
                return Ok(());
            }
        }
        Err(Trouble::Contended)
    }

    fn note_try(&self, token: &Token) {
        let mut tried = locked(&self.tried);
        let is_later = tried.as_ref().is_none_or(|tried| !is_before(token, tried));
        if is_later {
            *tried = Some(token.clone());
        }
    }

    /// Whether its asker has tried again since: nobody waits for this one.
    fn is_late(&self, token: &Token) -> bool {
        locked(&self.tried).as_ref().is_some_and(|tried| is_before(token, tried))
    }
}

fn is_before(token: &Token, other: &Token) -> bool {
    token.incarnation == other.incarnation && token.attempt < other.attempt
}

/// What may have been written without anybody hearing of it: unless it is heard, its session goes.
struct Unheard<'a> {
    link: &'a Link,
    client: Option<Client>,
}

impl<'a> Unheard<'a> {
    fn new(link: &'a Link, client: &Client) -> Self {
        Self { link, client: Some(client.clone()) }
    }

    fn heard(mut self) {
        self.client = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            self.link.discard(client);
        }
    }
}

/// Ends a leadership that nobody renews.
async fn give_up_when_not_renewed(engine: Weak<Inner>, leadership: Weak<Leadership>) {
    while let Some(until) = leadership.upgrade().map(|leadership| leadership.lasts_until()) {
        tokio::time::sleep_until(until).await;
        let (Some(engine), Some(leadership)) = (engine.upgrade(), leadership.upgrade()) else { return };
        let over_for = Instant::now().saturating_duration_since(leadership.lasts_until());
        let is_held = locked(&engine.held).as_ref().is_some_and(|held| Arc::ptr_eq(held, &leadership));
        if !is_held {
            return;
        }
        if over_for > Duration::ZERO {
            tracing::warn!(term = %leadership.record.term, "nobody has renewed this leadership: it is given up");
            engine.forget(&leadership);
            engine.leading.discard(&leadership.client);
            return;
        }
    }
}
