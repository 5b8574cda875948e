//! The modelled engine: one linearisable store that applies fenced transactions, and may stall or forget.

use std::collections::BTreeMap;

use st2sa_core::engine::{
    Electors, Journal, Key, LeaderSeen, Reply, Request, Snapshot, Token, Transaction, Value, Write,
};
use st2sa_core::guard;
use st2sa_core::names::{SensorRef, Term};
use st2sa_core::time::Span;

use crate::clock::Nanos;

/// The store's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    term: Term,
    leader: Option<(Token, Term, Nanos)>,
    keys: BTreeMap<Key, (Value, u64)>,
    version: u64,
    /// How long a leader's key lasts, in the store's own clock.
    leader_ttl: Nanos,
    /// The store's clock, in millionths of true time.
    rate: u64,
}

impl Store {
    /// An empty store.
    pub(crate) fn new(leader_ttl: Span, rate: u64) -> Self {
        Self { leader_ttl: leader_ttl.0, rate, ..Self::default() }
    }

    /// Who holds the leader's key.
    pub(crate) fn leader(&self, now: Nanos) -> Option<LeaderSeen> {
        let (token, term, until) = self.leader.as_ref()?;
        (now < *until).then(|| LeaderSeen { arbitrator: token.arbitrator.clone(), term: *term })
    }

    /// When the leader's key expires.
    pub(crate) fn expires_at(&self) -> Option<Nanos> {
        self.leader.as_ref().map(|(_, _, until)| *until)
    }

    /// A key's value.
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.keys.get(key).map(|(value, _)| value)
    }

    /// How many of a sensor's entries are not marked applied.
    pub(crate) fn unapplied(&self, sensor: &SensorRef) -> usize {
        self.journal(sensor).unapplied.len()
    }

    /// Applies one request.
    pub(crate) fn apply(&mut self, now: Nanos, ask: &Request) -> Reply {
        match ask {
            Request::Campaign { token, above, session_ttl, only_as_first } => {
                self.campaign(now, token, *above, *session_ttl, *only_as_first)
            }
            Request::Renew { token } => {
                if !self.in_force(now, token) {
                    return Reply::NotLeader;
                }
                let until = self.until(now);
                self.leader.iter_mut().for_each(|leader| leader.2 = until);
                Reply::Done
            }
            Request::Retake { token, term } => {
                let free = self.leader(now).is_none() || self.in_force(now, token);
                if !free || self.term != *term {
                    return Reply::NotLeader;
                }
                self.leader = Some((token.clone(), *term, self.until(now)));
                Reply::Done
            }
            Request::Resign { token } => {
                if self.in_force(now, token) {
                    self.leader = None;
                }
                Reply::Done
            }
            Request::Observe => Reply::Observed { leader: self.leader(now) },
            Request::ReadAll => Reply::All(Box::new(self.snapshot())),
            Request::ReadJournal { sensor } => Reply::Journal(Box::new(self.journal(sensor))),
            Request::Transact(transaction) => self.transact(now, transaction),
        }
    }

    fn until(&self, now: Nanos) -> Nanos {
        now + self.leader_ttl / 1_000 * 1_000_000 / self.rate * 1_000
    }

    fn in_force(&self, now: Nanos, token: &Token) -> bool {
        self.leader.as_ref().is_some_and(|(holder, _, until)| holder == token && now < *until)
    }

    fn campaign(&mut self, now: Nanos, token: &Token, above: Term, session_ttl: Span, only_as_first: bool) -> Reply {
        let (electors, _) = self.electors();
        let none = electors.members.is_empty();
        let member = none || electors.members.contains(&token.arbitrator);
        let leader = self.leader(now);
        let may = guard!(ElectorsOnly, member, else true) && (none || !only_as_first);
        if leader.is_some() || !may {
            return Reply::NotWon { leader, elector: member };
        }
        self.term = Term(self.term.max(above).0 + 1);
        self.leader = Some((token.clone(), self.term, self.until(now)));
        let stored = match self.get(&Key::LongestTtl) {
            Some(Value::Ttl(ttl)) => *ttl,
            _ => Span::ZERO,
        };
        let longest_ttl = stored.max(session_ttl);
        self.put(Key::LongestTtl, Value::Ttl(longest_ttl));
        Reply::Won { term: self.term, longest_ttl }
    }

    fn transact(&mut self, now: Nanos, transaction: &Transaction) -> Reply {
        if !self.in_force(now, &transaction.token) {
            return Reply::NotLeader;
        }
        let holds = |key: &Key, version: u64| self.keys.get(key).map_or(0, |(_, stored)| *stored) == version;
        if !transaction.checks.iter().all(|check| holds(&check.key, check.version)) {
            return Reply::CheckFailed;
        }
        self.version += 1;
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => drop(self.keys.insert(key.clone(), (value.clone(), self.version))),
                Write::Delete(key) => drop(self.keys.remove(key)),
            }
        }
        Reply::Applied { version: self.version }
    }

    fn put(&mut self, key: Key, value: Value) {
        self.version += 1;
        self.keys.insert(key, (value, self.version));
    }

    fn electors(&self) -> (Electors, u64) {
        match self.keys.get(&Key::Electors) {
            Some((Value::Electors(electors), version)) => (electors.clone(), *version),
            _ => (Electors::default(), 0),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { electors: self.electors(), ..Snapshot::default() };
        for (key, (value, version)) in &self.keys {
            match (key.clone(), value.clone()) {
                (Key::Register(name), Value::Registered(entry)) => {
                    snapshot.register.insert(name, (entry, *version));
                }
                (Key::Pause(sensor), Value::Intent(intent)) => drop(snapshot.paused.insert(sensor, intent)),
                (Key::Drain(name), Value::Intent(intent)) => drop(snapshot.drained.insert(name, intent)),
                (Key::Code(sensor), Value::Digest(digest)) => drop(snapshot.code.insert(sensor, digest)),
                _ => {}
            }
        }
        snapshot
    }

    fn journal(&self, sensor: &SensorRef) -> Journal {
        let mut journal = Journal::default();
        if let Some((Value::Record(record), version)) = self.keys.get(&Key::Record(sensor.clone())) {
            journal.record = record.clone();
            journal.version = *version;
        }
        let entries = Key::Entry(sensor.clone(), 0)..=Key::Entry(sensor.clone(), u64::MAX);
        for (_, (value, _)) in self.keys.range(entries) {
            if let Value::Entry(entry) = value {
                journal.unapplied.push(entry.clone());
            }
        }
        journal
    }
}
