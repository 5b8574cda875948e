//! `st2sa-contender`, for tests: a process that contends for a leadership as an arbitrator does.
//!
//! Its arguments: `ARBITRATOR KIND SERVERS NAMESPACE LEADER_TTL DEADLINE`, such as
//! `a redis 127.0.0.1:6379 mine 2s 400ms`; servers that are sentinels are written `MASTER@SERVERS`. It says `ready`, then obeys one command a line and answers each with one:
//! a word, then `name=value` pairs, with moments of this machine's boot clock in nanoseconds.
//!
//! | command | answers |
//! |---|---|
//! | `campaign ATTEMPT ABOVE` | `won term=`, `lost`, `unknown` |
//! | `renew ATTEMPT`, `retake ATTEMPT TERM`, `resign ATTEMPT` | `done`, `not-leader`, `unknown` |
//! | `transact ATTEMPT NAME WHO` | pauses a sensor: `applied`, `check-failed`, `not-leader`, `unknown` |
//! | `observe` | `observed arbitrator= term=` (neither where nobody leads), `unknown` |
//! | `pauses` | `pauses NAME=WHO …`, `unknown` |
//! | `contend HOLD` | campaigns, renews, and resigns `HOLD` after it won, again and again, and says what happens |
//! | `contend HOLD writes` | the same, and writes meanwhile: names of its own, every third under a check that fails |
//! | `fire ATTEMPT NAME` | writes without a pause, whether it leads or not; `WHO` counts up |
//! | `stop` | ends contending and firing: `stopped` |

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use st2sa_coordination::Engine;
use st2sa_coordination::store::{Kind, Lengths, Store};
use st2sa_core::engine::{Check, Intent, Key, Reply, Request, Token, Transaction, Value, Write};
use st2sa_core::names::{ArbitratorId, Incarnation, SensorRef, Term};
use st2sa_core::time::{Span, Time};
use st2sa_core::timing::Timing;
use st2sa_machine::clock;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (arbitrator, store, lengths) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    // A store that is slow to answer is waited for, as an arbitrator does.
    let engine = loop {
        match st2sa_coordination::open(&store, lengths).await {
            Ok((engine, _)) => break engine,
            Err(error) => eprintln!("{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    };
    let leader_ttl = engine.leader_ttl().unwrap_or(lengths.leader_ttl);
    let contender = Arc::new(Contender {
        engine,
        arbitrator: ArbitratorId::new(arbitrator),
        incarnation: Incarnation(getrandom::u64().unwrap_or_default()),
        patience: clock::duration(lengths.deadline),
        timing: Timing { leader_ttl, ..Timing::default() },
        stopped: AtomicBool::new(false),
        written: AtomicU64::default(),
    });
    println!("ready ttl={} acts_for={}", leader_ttl.0, contender.timing.acts_for().0);
    let (tell, mut lines) = unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let mut working: Option<JoinHandle<()>> = None;
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["contend", hold] => working = Some(tokio::spawn(Arc::clone(&contender).contend(span(hold), false))),
            ["contend", hold, "writes"] => {
                working = Some(tokio::spawn(Arc::clone(&contender).contend(span(hold), true)));
            }
            ["fire", attempt, name] => {
                working = Some(tokio::spawn(Arc::clone(&contender).fire(number(attempt), (*name).to_owned())));
            }
            ["stop"] => {
                contender.stopped.store(true, Ordering::Relaxed);
                if let Some(working) = working.take() {
                    // One that panicked has said so.
                    let _ = working.await;
                }
                contender.stopped.store(false, Ordering::Relaxed);
                println!("stopped");
            }
            words => contender.obey(words).await,
        }
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Result<(&str, Store, Lengths), String> {
    let [arbitrator, kind, servers, namespace, leader_ttl, deadline] = arguments else {
        return Err("give ARBITRATOR KIND SERVERS NAMESPACE LEADER_TTL DEADLINE".to_owned());
    };
    let kind = match kind.as_str() {
        "redis" => Kind::Redis,
        "etcd" => Kind::Etcd,
        "zookeeper" => Kind::ZooKeeper,
        other => return Err(format!("`{other}` is no kind of store")),
    };
    let (sentinel, servers) = match servers.split_once('@') {
        Some((master, sentinels)) => (Some(master.to_owned()), sentinels),
        None => (None, servers.as_str()),
    };
    let store = Store {
        kind,
        servers: servers.split(',').map(str::to_owned).collect(),
        user: None,
        password: None,
        tls: None,
        namespace: Some(namespace.clone()),
        database: 0,
        sentinel,
    };
    let length = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
    let lengths = Lengths { leader_ttl: length(leader_ttl)?, deadline: length(deadline)? };
    Ok((arbitrator, store, lengths))
}

struct Contender {
    engine: Arc<dyn Engine>,
    arbitrator: ArbitratorId,
    incarnation: Incarnation,
    /// How long it waits for an answer.
    patience: Duration,
    timing: Timing,
    stopped: AtomicBool,
    written: AtomicU64,
}

impl Contender {
    async fn obey(&self, words: &[&str]) {
        let sent = clock::now();
        let reply = match words {
            ["campaign", attempt, above] => self.campaign(number(attempt), Term(number(above))).await,
            ["renew", attempt] => self.ask(Request::Renew { token: self.token(number(attempt)) }).await,
            ["retake", attempt, term] => {
                self.ask(Request::Retake { token: self.token(number(attempt)), term: Term(number(term)) }).await
            }
            ["resign", attempt] => self.ask(Request::Resign { token: self.token(number(attempt)) }).await,
            ["transact", attempt, name, who] => self.write(number(attempt), name, who, None).await,
            ["observe"] => self.ask(Request::Observe).await,
            ["pauses"] => self.ask(Request::ReadAll).await,
            other => {
                println!("unheard-of {other:?}");
                return;
            }
        };
        let at = clock::now();
        let said = said(&reply);
        println!("{said} sent={} at={} until={}", sent.0, at.0, self.until(sent).0);
    }

    /// Until when whoever asked at `sent` acts, if that was granted.
    fn until(&self, sent: Time) -> Time {
        sent + self.timing.acts_for()
    }

    /// What an arbitrator does, and all that it could know.
    async fn contend(self: Arc<Self>, hold: Span, writes: bool) {
        let (mut attempt, mut highest) = (1_000, Term(0));
        while !self.stopped.load(Ordering::Relaxed) {
            attempt += 1;
            let sent = clock::now();
            match self.campaign(attempt, highest).await {
                Reply::Won { term, .. } => {
                    let at = clock::now();
                    let until = self.until(sent);
                    println!("won term={term} above={highest} sent={} at={} until={}", sent.0, at.0, until.0);
                    highest = highest.max(term);
                    self.lead(attempt, term, until, at + hold, writes).await;
                }
                Reply::NotWon { leader: Some(leader), .. } => highest = highest.max(leader.term),
                _ => {}
            }
            // As core waits, but shorter: other contenders come between.
            sleep(Duration::from_millis(5 + u64::from(getrandom::u32().unwrap_or_default() % 25))).await;
        }
    }

    async fn lead(&self, attempt: u64, term: Term, mut until: Time, resign_at: Time, writes: bool) {
        let mut renew_at = clock::now() + self.timing.renew_every();
        loop {
            let now = clock::now();
            if now >= until {
                return;
            }
            if now >= resign_at || self.stopped.load(Ordering::Relaxed) {
                println!("over term={term} at={}", now.0);
                self.ask(Request::Resign { token: self.token(attempt) }).await;
                return;
            }
            if now >= renew_at {
                renew_at = now + self.timing.renew_every();
                match self.ask(Request::Renew { token: self.token(attempt) }).await {
                    Reply::Done => {
                        until = until.max(self.until(now));
                        println!("renewed term={term} sent={} at={} until={}", now.0, clock::now().0, until.0);
                    }
                    Reply::NotLeader => return,
                    _ => {}
                }
            }
            if writes {
                let number = self.written.fetch_add(1, Ordering::Relaxed);
                let name = format!("{}.{number}", self.arbitrator);
                // It is absent: its version is none.
                let version = (number % 3 == 2).then_some(1);
                let said = said(&self.write(attempt, &name, "w", version).await);
                println!("{said} name={name} at={}", clock::now().0);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn fire(self: Arc<Self>, attempt: u64, name: String) {
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.written.fetch_add(1, Ordering::Relaxed);
            let said = said(&self.write(attempt, &name, &number.to_string(), None).await);
            println!("{said} number={number} at={}", clock::now().0);
        }
    }

    async fn campaign(&self, attempt: u64, above: Term) -> Reply {
        let token = self.token(attempt);
        let session_ttl = self.timing.session_ttl;
        self.ask(Request::Campaign { token, above, session_ttl, only_as_first: false }).await
    }

    async fn write(&self, attempt: u64, name: &str, who: &str, version: Option<u64>) -> Reply {
        let key = Key::Pause(SensorRef::new(name));
        let checks = version.map(|version| Check { key: key.clone(), version }).into_iter().collect();
        let writes = vec![Write::Put(key, Value::Intent(Intent { who: who.to_owned(), at: 0 }))];
        self.ask(Request::Transact(Transaction { token: self.token(attempt), checks, writes })).await
    }

    /// Asks, and waits no longer than an arbitrator's shell does.
    async fn ask(&self, request: Request) -> Reply {
        timeout(self.patience, self.engine.ask(request)).await.unwrap_or(Reply::Unknown)
    }

    fn token(&self, attempt: u64) -> Token {
        Token { arbitrator: self.arbitrator.clone(), incarnation: self.incarnation, attempt }
    }
}

fn said(reply: &Reply) -> String {
    match reply {
        Reply::Won { term, .. } => format!("won term={term}"),
        Reply::NotWon { .. } => "lost".to_owned(),
        Reply::Done => "done".to_owned(),
        Reply::NotLeader => "not-leader".to_owned(),
        Reply::Observed { leader: None } => "observed".to_owned(),
        Reply::Observed { leader: Some(leader) } => {
            format!("observed arbitrator={} term={}", leader.arbitrator, leader.term)
        }
        Reply::All(snapshot) => {
            let pauses = snapshot.paused.iter().map(|(name, intent)| format!(" {name}={}", intent.who));
            format!("pauses{}", pauses.collect::<String>())
        }
        Reply::Journal(_) => "journal".to_owned(),
        Reply::Applied { .. } => "applied".to_owned(),
        Reply::CheckFailed => "check-failed".to_owned(),
        Reply::Unknown => "unknown".to_owned(),
    }
}

/// A test that gives a number that is none finds no such attempt or term.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

fn span(text: &str) -> Span {
    text.parse().unwrap_or_default()
}
