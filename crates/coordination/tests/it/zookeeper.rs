//! ZooKeeper as an engine: the suite, leaderships that end, servers that fail.

mod contest;
mod servers;
mod sessions;
pub(crate) mod shared;
mod values;

use std::time::{Duration, Instant};

use st2sa_coordination::Engine;
use st2sa_coordination::store::{Kind, Lengths, Store};
use st2sa_coordination::zookeeper::ZooKeeper;
use st2sa_core::engine::{Check, Intent, Key, Reply, Request, Token, Transaction, Value, Write};
use st2sa_core::names::{ArbitratorId, Incarnation, SensorRef, Term};
use st2sa_core::time::Span;

use self::shared::shared;
use crate::conformance;

/// What is waited for comes within this, also on a machine that is swamped.
const SOON: Duration = Duration::from_secs(30);

/// The session of a leadership that is to end lasts half as long again: 1.5 s.
const SHORT: Span = Span::from_secs(1);

/// A leadership that must not end while the machine is busy with other tests.
const LONG: Span = Span::from_secs(20);

/// An answer comes within this, or not at all.
const DEADLINE: Span = Span::from_secs(10);

fn store(servers: &[String], namespace: &str) -> Store {
    Store {
        kind: Kind::ZooKeeper,
        servers: servers.to_vec(),
        user: None,
        password: None,
        tls: None,
        namespace: Some(namespace.to_owned()),
        database: 0,
        sentinel: None,
    }
}

async fn open(server: &str, namespace: &str, leader_ttl: Span) -> ZooKeeper {
    let lengths = Lengths { leader_ttl, deadline: DEADLINE };
    ZooKeeper::open(&store(&[server.to_owned()], namespace), lengths).await.unwrap()
}

/// A leadership of another process than the suite's.
fn token(process: u64, attempt: u64) -> Token {
    Token { arbitrator: ArbitratorId::new(format!("arbitrator {process}")), incarnation: Incarnation(process), attempt }
}

async fn campaign(engine: &ZooKeeper, token: &Token) -> Reply {
    let session_ttl = Span::from_secs(2);
    engine.ask(Request::Campaign { token: token.clone(), above: Term(0), session_ttl, only_as_first: false }).await
}

/// Campaigns until it is won; returns the term.
async fn win(engine: &ZooKeeper, process: u64) -> (Token, Term) {
    let since = Instant::now();
    for attempt in 1.. {
        let token = token(process, attempt);
        match campaign(engine, &token).await {
            Reply::Won { term, .. } => return (token, term),
            last => assert!(since.elapsed() < SOON, "not won: {last:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("attempts do not run out")
}

async fn renew(engine: &ZooKeeper, token: &Token) -> Reply {
    engine.ask(Request::Renew { token: token.clone() }).await
}

async fn put(engine: &ZooKeeper, token: &Token, sensor: &str, checks: Vec<Check>) -> Reply {
    let intent = Value::Intent(Intent { who: "anne".to_owned(), at: 7 });
    let writes = vec![Write::Put(Key::Pause(SensorRef::new(sensor)), intent)];
    engine.ask(Request::Transact(Transaction { token: token.clone(), checks, writes })).await
}

/// The paused sensors.
async fn paused(engine: &ZooKeeper) -> Vec<String> {
    match engine.ask(Request::ReadAll).await {
        Reply::All(all) => all.paused.keys().map(ToString::to_string).collect(),
        other => panic!("not read: {other:?}"),
    }
}

/// Asks again until the answer is as it should be.
async fn until<F: Future<Output = Reply>>(mut ask: impl FnMut() -> F, is_right: impl Fn(&Reply) -> bool) -> Reply {
    let since = Instant::now();
    loop {
        let reply = ask().await;
        if is_right(&reply) {
            return reply;
        }
        assert!(since.elapsed() < SOON, "still {reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One test a case of the suite, each in a namespace of its own.
macro_rules! conforms {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            let server = shared();
            conformance::$case(&open(server.address(), stringify!($case), LONG).await).await;
        }
    )*};
}

conforms!(
    terms_rise,
    a_deposed_leadership_changes_nothing,
    transactions_are_whole,
    everything_is_read_back,
    journals_are_apart,
    values_are_kept,
    pages_end_when_they_are_full,
    versions_never_come_back
);
