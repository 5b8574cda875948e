//! Core's requests as commands, and Redis' answers as replies.

use std::sync::Arc;

use redis::{Cmd, Value};
use st2sa_core::engine::{Electors, Journal, Key, LeaderSeen, Reply, Request, Snapshot, Token, Transaction, Write};
use st2sa_core::names::{ArbitratorId, SensorRef, Term};
use st2sa_core::time::Span;
use st2sa_machine::clock;

use super::Redis;
use super::link::{Link, TRIES_AT_START};
use super::session::{Counts, Lane, Session, Trouble};
use crate::codec::{self, Damaged};
use crate::store::OpenError;

/// Of the keys and their values.
pub(super) const THIS_FORMAT: u64 = 1;
/// Checks and writes of one transaction, and writes of values at a time. A script is alone on the server while it runs:
/// this many take some ten milliseconds. Core's largest transactions have 64.
pub(super) const OPERATIONS_AT_MOST: usize = 10_000;
/// The bytes of one request. Redis takes 512 MiB in one value, but this much passes in a deadline only on a network
/// that does 1 Gbit/s; a sensor's largest value is far below.
pub(super) const REQUEST_BYTES_AT_MOST: usize = 32 << 20;

/// A script with the names of its keys and its arguments.
pub(super) fn script<K: AsRef<[u8]>>(text: &str, keys: &[K]) -> Cmd {
    // With its text each time: no server, new master or restarted one, ever lacks it, so no error means that.
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    command
}

/// A token as one text, unique for each.
pub(super) fn token_text(token: &Token) -> String {
    format!("{} {:016x} {}", token.arbitrator, token.incarnation.0, token.attempt)
}

/// Reads an answer of strings.
pub(super) fn texts(answer: Value) -> Result<Vec<String>, Trouble> {
    redis::from_redis_value(answer).map_err(|error| Trouble::Unreadable(error.to_string()))
}

/// Who leads, and for how many milliseconds yet without a renewal.
pub(super) async fn observe(link: &Link) -> Result<Option<(LeaderSeen, u64)>, Trouble> {
    let command = script(include_str!("scripts/observe.lua"), &[link.settings.names.leader()]);
    let said = texts(link.ask(Lane::Leading, command, Counts::AsSaid).await?)?;
    match said.as_slice() {
        [] => Ok(None),
        [arbitrator, term, left] => Ok(Some((seen(arbitrator, term)?, left.parse().unwrap_or_default()))),
        other => Err(Trouble::Unreadable(format!("{other:?}"))),
    }
}

impl Redis {
    /// Notes the format on first use; refuses a later one.
    pub(super) async fn check_format(&self, at: &str) -> Result<(), OpenError> {
        let format = self.names().format();
        let unusable = |trouble: Trouble| OpenError::Unusable { at: at.to_owned(), problem: trouble.to_string() };
        let mut note = redis::cmd("SET");
        note.arg(&format).arg(THIS_FORMAT).arg("NX");
        // A replica may take its time to confirm it: a busy one, or one that has just come.
        let mut tries = 1;
        while let Err(trouble) = self.link().ask(Lane::Leading, note.clone(), Counts::FromMaster).await {
            if tries == TRIES_AT_START {
                return Err(unusable(trouble));
            }
            tries += 1;
        }
        let mut get = redis::cmd("GET");
        get.arg(&format);
        let found = self.link().ask(Lane::Leading, get, Counts::AsSaid).await.map_err(unusable)?;
        match redis::from_redis_value::<Option<u64>>(found) {
            Ok(Some(found)) if found > THIS_FORMAT => {
                Err(OpenError::Newer { at: at.to_owned(), found, known: THIS_FORMAT })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(unusable(Trouble::Unreadable(error.to_string()))),
        }
    }

    pub(super) async fn answer(&self, request: Request) -> Reply {
        let answered = match request {
            Request::Campaign { token, above, session_ttl, only_as_first } => {
                self.campaign(&token, above, session_ttl, only_as_first).await
            }
            Request::Renew { token } => self.renew(&token).await,
            Request::Retake { token, term } => self.retake(&token, term).await,
            Request::Resign { token } => self.resign(&token).await,
            Request::Observe => {
                observe(self.link()).await.map(|held| Reply::Observed { leader: held.map(|(seen, _)| seen) })
            }
            Request::ReadAll => self.read_all().await.map(|snapshot| Reply::All(Box::new(snapshot))),
            Request::ReadJournal { sensor } => {
                self.read_journal(&sensor).await.map(|journal| Reply::Journal(Box::new(journal)))
            }
            Request::Transact(transaction) => self.transact(&transaction).await,
        };
        answered.unwrap_or_else(|trouble| {
            // Of others the link has told.
            if let Trouble::Unreadable(_) | Trouble::Damaged(_) = &trouble {
                let trouble: &dyn std::error::Error = &trouble;
                tracing::error!(trouble, "what Redis holds for us cannot be read");
            }
            Reply::Unknown
        })
    }

    async fn campaign(
        &self,
        token: &Token,
        above: Term,
        session_ttl: Span,
        only_as_first: bool,
    ) -> Result<Reply, Trouble> {
        if i64::try_from(above.0).map_or(true, |above| above == i64::MAX) {
            tracing::error!(%above, "no term can be above this one in Redis");
            return Ok(Reply::Unknown);
        }
        let names = self.names();
        let longest = codec::encode(&st2sa_core::engine::Value::Ttl(session_ttl));
        let wanted_for = u64::try_from(self.link().settings.deadline.as_millis()).unwrap_or(u64::MAX);
        let mut asked = None;
        let command = |session: &Arc<Session>| {
            asked = Some(Arc::clone(session));
            let keys = [names.leader(), names.term(), names.keys(), names.format()];
            let mut command = script(include_str!("scripts/campaign.lua"), &keys);
            command.arg(token_text(token)).arg(token.arbitrator.as_str()).arg(above.0);
            command.arg(self.link().settings.leader_ttl).arg(longest).arg(u8::from(only_as_first));
            // One that lands later than anybody waits for it must not win.
            command.arg(session.clock_in(wanted_for)).arg(names.leader()).arg(THIS_FORMAT);
            Some(command)
        };
        let answer = self.link().ask_if(Lane::Leading, command, Counts::FromMaster).await?;
        let received_at = clock::now();
        let said = texts(answer.unwrap_or(Value::Nil))?;
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let note_clock = |clock: &str| {
            if let (Some(session), Ok(clock)) = (&asked, clock.parse()) {
                session.set_clock(clock, received_at);
            }
        };
        match said.as_slice() {
            ["won", term, longest] => {
                let longest_ttl = codec::ttl("longest_ttl", longest)?;
                Ok(Reply::Won { term: number(term).map(Term)?, longest_ttl })
            }
            ["lost", elector, arbitrator, term, clock] => {
                note_clock(clock);
                let leader =
                    if arbitrator.is_empty() && term.is_empty() { None } else { Some(seen(arbitrator, term)?) };
                Ok(Reply::NotWon { leader, elector: *elector == "1" })
            }
            // Its clock was set, or it took long: the next try says a later time.
            ["late", clock] => {
                note_clock(clock);
                Ok(Reply::NotWon { leader: None, elector: true })
            }
            ["newer", format] => {
                tracing::error!(format, "a later release has written to this store: it is not led from here");
                Ok(Reply::Unknown)
            }
            other => Err(Trouble::Unreadable(format!("{other:?}"))),
        }
    }

    async fn renew(&self, token: &Token) -> Result<Reply, Trouble> {
        let mut command = script(include_str!("scripts/renew.lua"), &[self.names().leader(), self.names().barrier()]);
        command.arg(token_text(token)).arg(self.link().settings.leader_ttl);
        done_or_not(&self.link().ask(Lane::Leading, command, Counts::FromMaster).await?)
    }

    async fn retake(&self, token: &Token, term: Term) -> Result<Reply, Trouble> {
        let names = self.names();
        let keys = [names.leader(), names.term(), names.barrier()];
        let mut command = script(include_str!("scripts/retake.lua"), &keys);
        command.arg(token_text(token)).arg(token.arbitrator.as_str()).arg(term.0);
        command.arg(self.link().settings.leader_ttl).arg(names.leader());
        done_or_not(&self.link().ask(Lane::Leading, command, Counts::FromMaster).await?)
    }

    async fn resign(&self, token: &Token) -> Result<Reply, Trouble> {
        let mut command = script(include_str!("scripts/resign.lua"), &[self.names().leader()]);
        command.arg(token_text(token)).arg(self.names().leader());
        done_or_not(&self.link().ask(Lane::Leading, command, Counts::FromMaster).await?)
    }

    async fn read_all(&self) -> Result<Snapshot, Trouble> {
        let mut snapshot = Snapshot { electors: (Electors::default(), 0), ..Snapshot::default() };
        for (key, version, text) in self.rows(self.names().keys()).await? {
            add(&mut snapshot, &key, version, &text)?;
        }
        Ok(snapshot)
    }

    async fn read_journal(&self, sensor: &SensorRef) -> Result<Journal, Trouble> {
        let mut journal = Journal::default();
        let hash = self.names().journal(sensor.as_str());
        let mut rows = self.rows(hash.clone()).await?;
        rows.sort();
        for (field, version, text) in rows {
            if field == RECORD {
                journal.record = codec::record(&hash, &text)?;
                journal.version = version;
            } else {
                journal.unapplied.push(codec::entry(&format!("{hash} {field}"), &text)?);
            }
        }
        Ok(journal)
    }

    /// Every row of a hash, as it stood at one moment: its field, version and text.
    async fn rows(&self, hash: String) -> Result<Vec<(String, u64, String)>, Trouble> {
        let mut command = redis::cmd("HGETALL");
        command.arg(hash);
        let said = texts(self.link().ask(Lane::Journal, command, Counts::ReadFromMaster).await?)?;
        let mut said = said.into_iter();
        let mut rows = Vec::with_capacity(said.len() / 2);
        while let (Some(field), Some(row)) = (said.next(), said.next()) {
            let Some((version, text)) = row.split_once(' ') else {
                return Err(Trouble::Unreadable(format!("`{field}` has no version")));
            };
            rows.push((field, number(version)?, text.to_owned()));
        }
        Ok(rows)
    }

    async fn transact(&self, asked: &Transaction) -> Result<Reply, Trouble> {
        let names = self.names();
        let mut keys = vec![names.leader(), names.term(), names.barrier()];
        let mut arguments = vec![token_text(&asked.token), asked.checks.len().to_string()];
        for check in &asked.checks {
            let (hash, field) = self.place(&check.key);
            keys.push(hash);
            arguments.extend([field, check.version.to_string()]);
        }
        for write in &asked.writes {
            let (key, does, text) = match write {
                Write::Put(key, value) => (key, "put", codec::encode(value)),
                Write::Delete(key) => (key, "delete", String::new()),
            };
            let (hash, field) = self.place(key);
            keys.push(hash);
            arguments.extend([field, does.to_owned(), text]);
        }
        let operations = asked.checks.len() + asked.writes.len();
        let bytes: usize = keys.iter().chain(&arguments).map(String::len).sum();
        if operations > OPERATIONS_AT_MOST || bytes > REQUEST_BYTES_AT_MOST {
            tracing::error!(
                operations,
                bytes,
                "a transaction is larger than Redis is asked to take: {OPERATIONS_AT_MOST} checks and writes, \
                 {REQUEST_BYTES_AT_MOST} bytes; it is not sent"
            );
            return Ok(Reply::Unknown);
        }
        let mut command = script(include_str!("scripts/transact.lua"), &keys);
        command.arg(arguments);
        let said = texts(self.link().ask(Lane::Journal, command, Counts::FromMaster).await?)?;
        match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["applied", version] => Ok(Reply::Applied { version: number(version)? }),
            ["refused"] => Ok(Reply::CheckFailed),
            ["deposed"] => Ok(Reply::NotLeader),
            other => Err(Trouble::Unreadable(format!("{other:?}"))),
        }
    }

    /// Which hash a key is in, and as what.
    fn place(&self, key: &Key) -> (String, String) {
        match key {
            Key::Record(sensor) => (self.names().journal(sensor.as_str()), RECORD.to_owned()),
            Key::Entry(sensor, sequence) => (self.names().journal(sensor.as_str()), format!("{sequence:020}")),
            other => (self.names().keys(), codec::key(other)),
        }
    }
}

/// A journal's record, beside its entries, which are named by their number: as many digits for each, so they sort.
const RECORD: &str = "record";

fn add(snapshot: &mut Snapshot, key: &str, version: u64, text: &str) -> Result<(), Damaged> {
    if key == codec::key(&Key::Electors) {
        snapshot.electors = (codec::electors(key, text)?, version);
    } else if key.starts_with(codec::CONTAINERS) {
        let registered = codec::registered(key, text)?;
        snapshot.register.insert(codec::container(key, codec::CONTAINERS), (registered, version));
    } else if key.starts_with(codec::PAUSES) {
        snapshot.paused.insert(codec::sensor(key, codec::PAUSES), codec::intent(key, text)?);
    } else if key.starts_with(codec::DRAINS) {
        snapshot.drained.insert(codec::container(key, codec::DRAINS), codec::intent(key, text)?);
    } else if key.starts_with(codec::CODE) {
        snapshot.code.insert(codec::sensor(key, codec::CODE), codec::digest(key, text)?);
    }
    Ok(())
}

fn done_or_not(answer: &Value) -> Result<Reply, Trouble> {
    match answer {
        Value::Int(1) => Ok(Reply::Done),
        Value::Int(0) => Ok(Reply::NotLeader),
        other => Err(Trouble::Unreadable(format!("{other:?}"))),
    }
}

fn seen(arbitrator: &str, term: &str) -> Result<LeaderSeen, Trouble> {
    Ok(LeaderSeen { arbitrator: ArbitratorId::new(arbitrator), term: number(term).map(Term)? })
}

fn number(text: &str) -> Result<u64, Trouble> {
    text.parse().map_err(|_| Trouble::Unreadable(format!("`{text}` is no number")))
}
