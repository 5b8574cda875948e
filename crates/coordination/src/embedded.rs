//! The embedded engine: files of one machine, for one arbitrator.
//!
//! The term stands in a file of its own, written, synced and renamed before a leadership begins; all the
//! rest is in one `redb` database whose commits are synced. The folder is locked, so whoever opens it knows
//! that every earlier leadership is over: the term rises at each campaign, and a leadership lasts until the
//! next one.
//!
//! Renewing touches no disk, and waits for nobody who does. What the disk refuses (it is full, say) is
//! [`Reply::Unknown`]; the database is then opened anew for the next request, since redb gives itself up at
//! the first error.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use st2sa_core::engine::{
    Electors, Journal, Key, LeaderSeen, Reply, Request, Snapshot, Token, Transaction, Value, Write,
};
use st2sa_core::names::{SensorRef, Term};
use st2sa_core::time::Span;
use st2sa_machine::files::{self, FileError};

use tokio::sync::Semaphore;

use crate::{Answer, Datastore, Engine, PAGE_BYTES, Still, StoreError, StoredValue, ValueWrite, codec};

/// The durable keys: text, under a version that rises with every transaction.
const KEYS: TableDefinition<&str, (u64, &str)> = TableDefinition::new("keys");
/// Sensors' values, each with when its time is over (milliseconds of Unix time; 0 for never).
const VALUES: TableDefinition<&str, (u64, &str)> = TableDefinition::new("values");
/// Numbers: the last version given, the format of these tables, and a copy of the term.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const TERM: &str = "term";
const VERSION: &str = "version";
const FORMAT: &str = "format";
/// Of the tables and values above.
const THIS_FORMAT: u64 = 1;
/// The term's file holds a word and a number.
const TERM_BYTES_AT_MOST: u64 = 64;

/// The engine of one arbitrator on one machine.
#[derive(Clone, Debug)]
pub struct Embedded {
    store: Arc<Store>,
    /// Values are stored one request at a time, in the order in which they came: a late one never overtakes, and
    /// leadership waits for one of them at the most.
    storing: Arc<Semaphore>,
}

#[derive(Debug)]
struct Store {
    folder: PathBuf,
    /// None from an error on until it can be opened again.
    database: RwLock<Option<Database>>,
    state: Mutex<State>,
    /// Held over every change on the disk: whoever changes something checks the leadership under it, and whoever
    /// begins or ends one waits for what is under way.
    changes: Mutex<()>,
}

#[derive(Debug)]
struct State {
    term: Term,
    leader: Option<Token>,
    /// The last try for leadership: one that comes later than its successor is too late.
    tried: Option<Token>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of the folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database.
    #[error(
        "cannot open the database `{}`; put a copy of it back, or move it and the file `term` beside it away to begin \
         anew without sensors' values and operators' intents",
        path.display()
    )]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// It was there, and is not any more.
    #[error(
        "the database `{}` is gone or empty, though the file `term` beside it says that there was one; put it back, or \
         move `term` away to begin anew without sensors' values and operators' intents",
        path.display()
    )]
    Lost {
        /// Which.
        path: PathBuf,
    },
    /// It was written by a later release.
    #[error("`{}` has format {found}; this release knows formats up to {THIS_FORMAT}: use the release that wrote it", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

/// Inside one database call: what went wrong, or that the answer is no.
enum Trouble {
    Store(Box<redb::Error>),
    Damaged(codec::Damaged),
    /// It could not be opened again.
    Closed,
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl Embedded {
    /// Opens, or makes, the engine's files in a folder that the caller has locked.
    ///
    /// # Errors
    /// When a file cannot be used; nothing is ever thrown away to make it usable.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("engine.redb");
        let term = read_term(&folder.join("term"))?;
        if term > Term(0) && !std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(OpenError::Lost { path });
        }
        let opened = |source: redb::Error| OpenError::Database { path: path.clone(), source: Box::new(source) };
        // What cannot be opened may have been changed in the attempt to mend it.
        let kept = kept_copy(&path);
        let begun = Database::create(&path).map_err(redb::Error::from);
        let begun = begun.and_then(|database| first_use(&database).map(|found| (database, found)));
        let (database, (format, copy)) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                put_back(kept.as_deref(), &path);
                return Err(opened(error));
            }
        };
        if let Some(kept) = kept {
            // One that stays is written over at the next start.
            let _ = std::fs::remove_file(kept);
        }
        if format > THIS_FORMAT {
            return Err(OpenError::Newer { path, found: format });
        }
        if term < copy {
            tracing::warn!(folder = %folder.display(), %term, %copy, "the term's file is older than its copy, which counts");
        }
        let state = State { term: term.max(copy), leader: None, tried: None };
        let store = Store {
            folder: folder.to_owned(),
            database: RwLock::new(Some(database)),
            state: Mutex::new(state),
            changes: Mutex::default(),
        };
        Ok(Self { store: Arc::new(store), storing: Arc::new(Semaphore::new(1)) })
    }
}

impl Engine for Embedded {
    fn ask(&self, request: Request) -> Answer<'_, Reply> {
        let store = Arc::clone(&self.store);
        // Every answer may take as long as the disk.
        let work = tokio::task::spawn_blocking(move || store.answer(request));
        Box::pin(async move { work.await.unwrap_or(Reply::Unknown) })
    }

    fn describe(&self) -> String {
        format!("embedded in {}", self.store.folder.display())
    }

    fn forgetful(&self) -> bool {
        false
    }

    fn exclusive(&self) -> bool {
        true
    }
}

impl Datastore for Embedded {
    fn get(&self, name: String) -> Answer<'_, Result<Option<String>, StoreError>> {
        self.blocking("reading a value", move |store| store.value(&name))
    }

    fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<StoredValue>, StoreError>> {
        self.blocking("listing values", move |store| store.values(&prefix, after.as_deref(), limit))
    }

    fn apply(&self, under: Token, still: Still, writes: Vec<ValueWrite>) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let place = Arc::clone(&self.storing).acquire_owned().await;
            let work = self.blocking("storing values", move |store| {
                // Kept to the end, also when whoever asked has gone.
                let _place = place;
                let _changes = store.changing();
                if !store.is_led_by(&under) || !still() {
                    return Ok(false);
                }
                store.store_values(&writes).map(|()| true)
            });
            if work.await? { Ok(()) } else { Err(StoreError::NotLeader) }
        })
    }
}

impl Embedded {
    fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Store) -> Result<T, Trouble> + Send + 'static,
    ) -> Answer<'_, Result<T, StoreError>> {
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || work(&store));
        let doing = format!("{doing} in {}", self.store.folder.display());
        Box::pin(async move {
            let failed = |source| StoreError::Failed { doing, source };
            match task.await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(Trouble::Store(error))) => Err(failed(error)),
                Ok(Err(Trouble::Damaged(error))) => Err(failed(Box::new(error))),
                Ok(Err(Trouble::Closed)) => Err(failed("it is closed".into())),
                Err(error) => Err(failed(Box::new(error))),
            }
        })
    }
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has not changed half of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_led_by(&self, token: &Token) -> bool {
        self.state().leader.as_ref() == Some(token)
    }

    /// Works on the database; one that has failed is closed, and opened again for the next to come.
    fn database<T>(&self, work: impl FnOnce(&Database) -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.open_again()?;
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let done = open.as_ref().map_or(Err(Trouble::Closed), work);
        drop(open);
        if matches!(done, Err(Trouble::Store(_))) {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        done
    }

    fn open_again(&self) -> Result<(), Trouble> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut closed = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if closed.is_none() {
            *closed = Some(Database::create(self.folder.join("engine.redb"))?);
        }
        Ok(())
    }

    fn answer(&self, request: Request) -> Reply {
        let done = match request {
            Request::Campaign { token, above, session_ttl, .. } => return self.campaign(token, above, session_ttl),
            Request::Renew { token } | Request::Retake { token, .. } => {
                return if self.is_led_by(&token) { Reply::Done } else { Reply::NotLeader };
            }
            Request::Resign { token } => {
                let _changes = self.changing();
                self.state().leader.take_if(|leader| *leader == token);
                return Reply::Done;
            }
            Request::Observe => {
                let state = self.state();
                let seen = |token: &Token| LeaderSeen { arbitrator: token.arbitrator.clone(), term: state.term };
                return Reply::Observed { leader: state.leader.as_ref().map(seen) };
            }
            Request::ReadAll => self.snapshot().map(|snapshot| Reply::All(Box::new(snapshot))),
            Request::ReadJournal { sensor } => self.journal(&sensor).map(|journal| Reply::Journal(Box::new(journal))),
            Request::Transact(transaction) => {
                let _changes = self.changing();
                if !self.is_led_by(&transaction.token) {
                    return Reply::NotLeader;
                }
                self.transact(&transaction)
            }
        };
        done.unwrap_or_else(|trouble| self.unknown(&trouble))
    }

    /// What cannot be read or written is neither success nor failure; people are told why.
    fn unknown(&self, trouble: &Trouble) -> Reply {
        let folder = self.folder.display();
        match trouble {
            Trouble::Store(error) => tracing::error!(%folder, %error, "the engine's files cannot be used"),
            Trouble::Damaged(error) => tracing::error!(%folder, %error, "the engine's files are damaged"),
            Trouble::Closed => tracing::error!(%folder, "the engine's files are closed"),
        }
        Reply::Unknown
    }

    fn campaign(&self, token: Token, above: Term, session_ttl: Span) -> Reply {
        let _changes = self.changing();
        let term = {
            let mut state = self.state();
            let later = |tried: &Token| tried.incarnation == token.incarnation && tried.attempt > token.attempt;
            if state.tried.as_ref().is_some_and(later) {
                let seen = |token: &Token| LeaderSeen { arbitrator: token.arbitrator.clone(), term: state.term };
                return Reply::NotWon { leader: state.leader.as_ref().map(seen), elector: true };
            }
            state.tried = Some(token.clone());
            // The leader of before, if any, was an earlier leadership of this very process.
            state.leader = None;
            Term(state.term.max(above).0.saturating_add(1))
        };
        let path = self.folder.join("term");
        if let Err(error) = files::write_whole(&path, format!("term {term}\n").as_bytes()) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the new term cannot be stored");
            return Reply::Unknown;
        }
        self.state().term = term;
        match self.begin_term(term, session_ttl) {
            Ok(longest_ttl) => {
                self.state().leader = Some(token);
                Reply::Won { term, longest_ttl }
            }
            Err(trouble) => self.unknown(&trouble),
        }
    }

    /// Notes the term, and the longest `session_ttl` that may still be running.
    fn begin_term(&self, term: Term, own: Span) -> Result<Span, Trouble> {
        self.database(|database| {
            let name = codec::key(&Key::LongestTtl);
            let transaction = database.begin_write()?;
            let longest = {
                let mut keys = transaction.open_table(KEYS)?;
                let stored = match keys.get(name.as_str())? {
                    Some(stored) => codec::ttl(&name, stored.value().1).map_err(Trouble::Damaged)?,
                    None => Span::ZERO,
                };
                let longest = stored.max(own);
                let version = next_version(&transaction)?;
                keys.insert(name.as_str(), (version, codec::encode(&Value::Ttl(longest)).as_str()))?;
                transaction.open_table(NUMBERS)?.insert(TERM, term.0)?;
                longest
            };
            transaction.commit()?;
            Ok(longest)
        })
    }

    fn transact(&self, asked: &Transaction) -> Result<Reply, Trouble> {
        self.database(|database| {
            let transaction = database.begin_write()?;
            let version = {
                let mut keys = transaction.open_table(KEYS)?;
                for check in &asked.checks {
                    let stored = keys.get(codec::key(&check.key).as_str())?.map_or(0, |stored| stored.value().0);
                    if stored != check.version {
                        return Ok(Reply::CheckFailed);
                    }
                }
                let version = next_version(&transaction)?;
                for write in &asked.writes {
                    match write {
                        Write::Put(key, value) => {
                            drop(keys.insert(codec::key(key).as_str(), (version, codec::encode(value).as_str()))?);
                        }
                        Write::Delete(key) => drop(keys.remove(codec::key(key).as_str())?),
                    }
                }
                version
            };
            transaction.commit()?;
            Ok(Reply::Applied { version })
        })
    }

    fn snapshot(&self) -> Result<Snapshot, Trouble> {
        let mut snapshot = Snapshot::default();
        let name = codec::key(&Key::Electors);
        self.each(&name, |version, key, text| {
            if key == name {
                snapshot.electors = (codec::electors(key, text)?, version);
            }
            Ok(())
        })?;
        self.each(codec::CONTAINERS, |version, key, text| {
            let registered = codec::registered(key, text)?;
            snapshot.register.insert(codec::container(key, codec::CONTAINERS), (registered, version));
            Ok(())
        })?;
        self.each(codec::PAUSES, |_, key, text| {
            snapshot.paused.insert(codec::sensor(key, codec::PAUSES), codec::intent(key, text)?);
            Ok(())
        })?;
        self.each(codec::DRAINS, |_, key, text| {
            snapshot.drained.insert(codec::container(key, codec::DRAINS), codec::intent(key, text)?);
            Ok(())
        })?;
        self.each(codec::CODE, |_, key, text| {
            snapshot.code.insert(codec::sensor(key, codec::CODE), codec::digest(key, text)?);
            Ok(())
        })?;
        if snapshot.electors.1 == 0 {
            snapshot.electors.0 = Electors::default();
        }
        Ok(snapshot)
    }

    fn journal(&self, sensor: &SensorRef) -> Result<Journal, Trouble> {
        let mut journal = Journal::default();
        let name = codec::key(&Key::Record(sensor.clone()));
        let entries = codec::entries(sensor);
        self.each(&name, |version, key, text| {
            if key == name {
                journal.record = codec::record(key, text)?;
                journal.version = version;
            } else if key.starts_with(&entries) {
                journal.unapplied.push(codec::entry(key, text)?);
            }
            Ok(())
        })?;
        Ok(journal)
    }

    /// Every key that begins with `prefix`, in order.
    fn each(
        &self,
        prefix: &str,
        mut take: impl FnMut(u64, &str, &str) -> Result<(), codec::Damaged>,
    ) -> Result<(), Trouble> {
        self.database(|database| {
            let transaction = database.begin_read()?;
            let keys = transaction.open_table(KEYS)?;
            for row in keys.range(prefix..)? {
                let (key, row) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let (version, text) = row.value();
                take(version, key.value(), text).map_err(Trouble::Damaged)?;
            }
            Ok(())
        })
    }

    fn value(&self, name: &str) -> Result<Option<String>, Trouble> {
        self.database(|database| {
            let transaction = database.begin_read()?;
            let values = transaction.open_table(VALUES)?;
            let Some(row) = values.get(name)? else { return Ok(None) };
            let (until, value) = row.value();
            Ok(is_current(until).then(|| value.to_owned()))
        })
    }

    fn values(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<StoredValue>, Trouble> {
        self.database(|database| {
            let transaction = database.begin_read()?;
            let values = transaction.open_table(VALUES)?;
            let first = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                Some(_) | None => Bound::Included(prefix),
            };
            let (mut found, mut bytes) = (Vec::new(), 0);
            for row in values.range::<&str>((first, Bound::Unbounded))? {
                let (name, row) = row?;
                if !name.value().starts_with(prefix) || found.len() >= limit || bytes >= PAGE_BYTES {
                    break;
                }
                let (until, value) = row.value();
                if is_current(until) {
                    bytes += name.value().len() + value.len();
                    let ttl = (until != 0).then(|| Span::from_millis(until.saturating_sub(unix_millis())));
                    found.push(StoredValue { name: name.value().to_owned(), value: value.to_owned(), ttl });
                }
            }
            Ok(found)
        })
    }

    fn store_values(&self, writes: &[ValueWrite]) -> Result<(), Trouble> {
        self.database(|database| {
            let transaction = database.begin_write()?;
            {
                let mut values = transaction.open_table(VALUES)?;
                for write in writes {
                    match write {
                        ValueWrite::Set { name, value, ttl } => {
                            let until = ttl.map_or(0, |ttl| unix_millis().saturating_add(ttl.as_millis()));
                            drop(values.insert(name.as_str(), (until, value.as_str()))?);
                        }
                        ValueWrite::Delete { name } => drop(values.remove(name.as_str())?),
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

/// A copy of the database beside it; none where there is no database yet, or no room.
fn kept_copy(path: &Path) -> Option<PathBuf> {
    if !path.exists() {
        return None;
    }
    let kept = path.with_extension("redb.kept");
    match std::fs::copy(path, &kept) {
        Ok(_) => Some(kept),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "there is no room to keep a copy while the database is opened");
            // What was copied until then.
            let _ = std::fs::remove_file(kept);
            None
        }
    }
}

/// Leaves the database as it was found.
fn put_back(kept: Option<&Path>, path: &Path) {
    if let Some(kept) = kept
        && let Err(error) = std::fs::rename(kept, path)
    {
        tracing::error!(kept = %kept.display(), %error, "the database as it was found stays here");
    }
}

/// Makes the tables on first use; returns the format of what is there, and its copy of the term.
fn first_use(database: &Database) -> Result<(u64, Term), redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        transaction.open_table(KEYS)?;
        // What is over takes no room.
        transaction.open_table(VALUES)?.retain(|_, (until, _)| is_current(until))?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        let term = numbers.get(TERM)?.map_or(0, |stored| stored.value());
        let stored = numbers.get(FORMAT)?.map(|stored| stored.value());
        if stored.is_none() {
            numbers.insert(FORMAT, THIS_FORMAT)?;
        }
        (stored.unwrap_or(THIS_FORMAT), Term(term))
    };
    transaction.commit()?;
    Ok(format)
}

fn next_version(transaction: &redb::WriteTransaction) -> Result<u64, Trouble> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let version = numbers.get(VERSION)?.map_or(0, |stored| stored.value()).saturating_add(1);
    numbers.insert(VERSION, version)?;
    Ok(version)
}

fn read_term(path: &Path) -> Result<Term, FileError> {
    let Some(text) = files::read_small(path, TERM_BYTES_AT_MOST)? else { return Ok(Term(0)) };
    let number = text.strip_prefix("term ").and_then(|rest| rest.trim_end().parse().ok());
    number.map(Term).ok_or_else(|| FileError::Damaged {
        path: path.to_owned(),
        problem: "it should read `term NUMBER`; write a number there that is higher than any term in the logs \
                  and in the history, and start again"
            .to_owned(),
    })
}

/// Whether a value's time is not over. People set these times, so they are counted in wall-clock time.
pub(crate) fn is_current(until: u64) -> bool {
    until == 0 || unix_millis() < until
}

/// The wall clock, in milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
