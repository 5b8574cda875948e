//! Redis: the suite, and what is its own.

mod contest;
mod failures;
mod replicas;
mod security;

use std::time::Duration;

use st2sa_coordination::redis::Redis;
use st2sa_coordination::store::{Kind, Lengths, OpenError, Secret, Store};
use st2sa_coordination::{Datastore as _, Engine as _, StoreError, ValueWrite};
use st2sa_core::engine::{Check, Intent, Key, Reply, Request, Transaction, Value, Write};
use st2sa_core::names::{Digest, SensorRef, Term};
use st2sa_core::time::Span;
use st2sa_testbed::RedisServer;

use crate::conformance::{self, campaign, eventually, token};

/// A server's database, for one test.
pub(crate) fn store(address: &str, namespace: &str) -> Store {
    Store {
        kind: Kind::Redis,
        servers: vec![address.to_owned()],
        user: None,
        password: None,
        tls: None,
        namespace: Some(namespace.to_owned()),
        database: 0,
        sentinel: None,
    }
}

/// Long enough that none runs out by itself, also on a machine that is swamped.
const LONG: Lengths = Lengths { leader_ttl: Span::from_secs(120), deadline: Span::from_secs(20) };
/// The same where there is no answer to wait for.
const PATIENT: Lengths = Lengths { deadline: Span::from_millis(500), ..LONG };
/// Short enough to wait for.
const SHORT: Lengths = Lengths { leader_ttl: Span::from_secs(1), deadline: Span::from_millis(300) };

async fn open(store: &Store, lengths: Lengths) -> Redis {
    Redis::open(store, lengths).await.unwrap()
}

/// One test a case of the suite.
macro_rules! conforms {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            let server = RedisServer::start();
            conformance::$case(&open(&store(&server.address(), stringify!($case)), LONG).await).await;
        }
    )*};
}

conforms!(
    terms_rise,
    a_deposed_leadership_changes_nothing,
    transactions_are_whole,
    everything_is_read_back,
    journals_are_apart,
    values_are_kept
);

fn pause(sensor: &str) -> Write {
    Write::Put(Key::Pause(SensorRef::new(sensor)), Value::Intent(Intent { who: "anne".to_owned(), at: 1 }))
}

async fn transact(engine: &Redis, attempt: u64, writes: Vec<Write>) -> Reply {
    engine.ask(Request::Transact(Transaction { token: token(attempt), checks: vec![], writes })).await
}

async fn paused(engine: &Redis) -> Vec<String> {
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    all.paused.keys().map(ToString::to_string).collect()
}

fn set(name: &str, value: &str) -> ValueWrite {
    ValueWrite::Set { name: name.to_owned(), value: value.to_owned(), ttl: None }
}

#[tokio::test]
async fn namespaces_and_databases_are_apart() {
    let server = RedisServer::start();
    let (one, other) = (store(&server.address(), "one"), store(&server.address(), "other"));
    let elsewhere = Store { database: 3, ..one.clone() };
    let unnamed = Store { namespace: None, ..one.clone() };
    for store in [one, other, elsewhere, unnamed] {
        let engine = open(&store, LONG).await;
        assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { term: Term(1), .. }), "{store:?}");
    }
    assert_eq!(server.command(&["HGET", "st2sa/default/leader", "term"]).trim(), "1");
}

#[tokio::test]
async fn two_engines_are_of_one_mind() {
    let server = RedisServer::start();
    let store = store(&server.address(), "two");
    let (one, other) = (open(&store, LONG).await, open(&store, LONG).await);
    assert!(matches!(campaign(&one, 1, 0).await, Reply::Won { .. }));
    let Reply::NotWon { leader: Some(leader), elector: true } = campaign(&other, 2, 0).await else { panic!("won") };
    assert_eq!((leader.arbitrator.as_str(), leader.term), ("a", Term(1)));
    assert!(matches!(transact(&one, 1, vec![pause("p.X")]).await, Reply::Applied { .. }));
    assert_eq!(paused(&other).await, ["p.X"]);
    assert_eq!(transact(&other, 2, vec![pause("p.Y")]).await, Reply::NotLeader);
}

#[tokio::test]
async fn only_electors_campaign_and_the_first_only_where_there_are_none() {
    use st2sa_core::engine::Electors;
    use st2sa_core::names::ArbitratorId;
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "electors"), LONG).await;
    let as_first = |attempt| Request::Campaign {
        token: token(attempt),
        above: Term(0),
        session_ttl: Span::from_secs(2),
        only_as_first: true,
    };
    assert!(matches!(engine.ask(as_first(1)).await, Reply::Won { .. }));
    let electors = |members: &[&str]| {
        let members = members.iter().map(ArbitratorId::new).collect();
        Write::Put(Key::Electors, Value::Electors(Electors { members, fail_safe: false }))
    };
    transact(&engine, 1, vec![electors(&["b", "a"])]).await;
    engine.ask(Request::Resign { token: token(1) }).await;
    assert_eq!(engine.ask(as_first(2)).await, Reply::NotWon { leader: None, elector: true });
    assert!(matches!(campaign(&engine, 3, 0).await, Reply::Won { .. }));
    transact(&engine, 3, vec![electors(&["b"])]).await;
    engine.ask(Request::Resign { token: token(3) }).await;
    assert_eq!(campaign(&engine, 4, 0).await, Reply::NotWon { leader: None, elector: false });
}

#[tokio::test]
async fn a_leadership_is_taken_again_only_if_no_other_began() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "retake"), LONG).await;
    let retake = |attempt, term| Request::Retake { token: token(attempt), term: Term(term) };
    campaign(&engine, 1, 0).await;
    assert_eq!(engine.ask(retake(1, 1)).await, Reply::Done);
    server.command(&["DEL", "st2sa/retake/leader"]);
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    assert_eq!(engine.ask(retake(1, 2)).await, Reply::NotLeader);
    assert_eq!(engine.ask(retake(2, 1)).await, Reply::NotLeader);
    assert_eq!(engine.ask(retake(1, 1)).await, Reply::Done);
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    engine.ask(Request::Resign { token: token(1) }).await;
    campaign(&engine, 2, 0).await;
    assert_eq!(engine.ask(retake(1, 1)).await, Reply::NotLeader);
}

#[tokio::test]
async fn versions_of_a_key_made_again_are_new() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "versions"), LONG).await;
    campaign(&engine, 1, 0).await;
    let key = Key::Pause(SensorRef::new("p.X"));
    let Reply::Applied { version: first } = transact(&engine, 1, vec![pause("p.X")]).await else { panic!("refused") };
    transact(&engine, 1, vec![Write::Delete(key.clone())]).await;
    transact(&engine, 1, vec![pause("p.X")]).await;
    let checks = vec![Check { key, version: first }];
    let stale = Transaction { token: token(1), checks, writes: vec![pause("p.Y")] };
    assert_eq!(engine.ask(Request::Transact(stale)).await, Reply::CheckFailed);
}

#[tokio::test]
async fn terms_are_exact_where_a_script_would_round() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "large"), LONG).await;
    let large = (1 << 60) + 1;
    assert!(matches!(campaign(&engine, 1, large).await, Reply::Won { term, .. } if term == Term(large + 1)));
    engine.ask(Request::Resign { token: token(1) }).await;
    assert!(matches!(campaign(&engine, 2, large).await, Reply::Won { term, .. } if term == Term(large + 2)));
    engine.ask(Request::Resign { token: token(2) }).await;
    assert_eq!(campaign(&engine, 3, u64::MAX).await, Reply::Unknown);
    assert!(matches!(campaign(&engine, 3, 0).await, Reply::Won { term, .. } if term == Term(large + 3)));
}

#[tokio::test]
async fn ten_thousand_sensors_are_read_at_once() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "many"), LONG).await;
    campaign(&engine, 1, 0).await;
    for part in 0..10 {
        let key = |n: u64| Key::Code(SensorRef::new(format!("pack.Sensor{n}")));
        let writes = (0..1_000).map(|n| Write::Put(key(part * 1_000 + n), Value::Digest(Digest(n)))).collect();
        assert!(matches!(transact(&engine, 1, writes).await, Reply::Applied { .. }));
    }
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.code.len(), 10_000);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "limits"), LONG).await;
    campaign(&engine, 1, 0).await;
    let writes = |count: usize| (0..count).map(|n| set(&format!("n{n}"), "")).collect::<Vec<_>>();
    let apply = async |writes| engine.apply(token(1), Box::new(|| true), writes).await;
    apply(writes(10_000)).await.unwrap();
    let error = apply(writes(10_001)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 10_000, .. }), "{error}");
    let large = |bytes: usize| vec![set("", &"x".repeat(bytes))];
    apply(large(32 << 20)).await.unwrap();
    let error = apply(large((32 << 20) + 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 33_554_432, .. }), "{error}");
    let pauses = |count: usize| (0..count).map(|n| pause(&format!("p.{n}"))).collect();
    assert!(matches!(transact(&engine, 1, pauses(10_000)).await, Reply::Applied { .. }));
    let commands = || server.command(&["INFO", "commandstats"]).matches("cmdstat_eval:").count();
    let before = (commands(), server.command(&["HGET", "st2sa/limits/term", "version"]));
    assert_eq!(transact(&engine, 1, pauses(10_001)).await, Reply::Unknown);
    assert_eq!((commands(), server.command(&["HGET", "st2sa/limits/term", "version"])), before);
}

#[tokio::test]
async fn values_that_are_over_take_no_room() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "ends"), LONG).await;
    campaign(&engine, 1, 0).await;
    let apply = async |writes| engine.apply(token(1), Box::new(|| true), writes).await.unwrap();
    let ends =
        |name: &str| ValueWrite::Set { name: name.to_owned(), value: "1".to_owned(), ttl: Some(Span::from_millis(1)) };
    apply(vec![ends("a"), ends("b"), ends("c"), set("d", "1")]).await;
    // One that is set again for ever does not end; one that was not stays gone.
    apply(vec![set("b", "2")]).await;
    eventually("they are over", async || engine.get("a".to_owned()).await.unwrap().is_none()).await;
    apply(vec![set("e", "1")]).await;
    assert_eq!(server.command(&["HKEYS", "st2sa/ends/values"]).split_whitespace().count(), 3);
    assert_eq!(server.command(&["ZRANGE", "st2sa/ends/values/names", "0", "-1"]), "b\nd\ne\n");
    assert_eq!(server.command(&["ZCARD", "st2sa/ends/values/ends"]).trim(), "0");
}

#[tokio::test]
async fn a_watcher_hears_of_leaders_that_come_go_and_run_out() {
    use std::sync::{Arc, Mutex};
    let server = RedisServer::start();
    let store = store(&server.address(), "watch");
    let (watching, engine) = (open(&store, SHORT).await, open(&store, SHORT).await);
    let heard: Arc<Mutex<Vec<_>>> = Arc::default();
    let hears = Arc::clone(&heard);
    watching.watch(Box::new(move |leader| hears.lock().unwrap().push(leader.map(|seen| seen.term.0))));
    let hear = async |all: &[Option<u64>]| {
        eventually(&format!("{all:?} are told"), async || *heard.lock().unwrap() == all).await;
    };
    hear(&[None]).await;
    campaign(&engine, 1, 0).await;
    hear(&[None, Some(1)]).await;
    engine.ask(Request::Resign { token: token(1) }).await;
    hear(&[None, Some(1), None]).await;
    campaign(&engine, 2, 0).await;
    // Nobody renews it.
    hear(&[None, Some(1), None, Some(2), None]).await;
    // A watcher ends with its engine.
    drop(watching);
    eventually("nobody hears", async || Arc::strong_count(&heard) == 1).await;
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_nothing_behind() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "dropped"), LONG).await;
    engine.watch(Box::new(drop));
    let clients = || server.command(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client")).count();
    eventually("it is connected", async || clients() == 4).await;
    drop(engine);
    eventually("its connections are closed", async || clients() == 0).await;
}

#[tokio::test]
async fn what_the_server_keeps_is_said() {
    let keeps = RedisServer::start();
    let engine = open(&store(&keeps.address(), "words"), LONG).await;
    let at = keeps.address();
    assert_eq!(engine.describe(), format!("redis at {at} (appendonly yes, appendfsync always)"));
    assert!(engine.forgetful() && !engine.exclusive() && engine.leader_ttl().is_none());
    let forgets = RedisServer::start_with(&[]);
    let engine = open(&store(&forgets.address(), "words"), LONG).await;
    let at = forgets.address();
    assert_eq!(engine.describe(), format!("redis at {at} (appendonly no: a restart forgets)"));
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_refused_with_why() {
    let server = RedisServer::start();
    let store = store(&server.address(), "refused");
    server.command(&["SET", "st2sa/refused/format", "2"]);
    let Err(OpenError::Newer { found: 2, known: 1, .. }) = Redis::open(&store, LONG).await else { panic!("opened") };
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let error = Redis::open(&store, LONG).await.unwrap_err().to_string();
    assert!(error.contains("allkeys-lru") && error.contains("set it to noeviction"), "{error}");
    let nobody = Store { servers: vec!["127.0.0.1:1".to_owned()], ..store.clone() };
    let error = Redis::open(&nobody, LONG).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
    let secret = Store { password: Some(Secret::new("hush")), ..store };
    let error = Redis::open(&secret, LONG).await.unwrap_err().to_string();
    assert!(!error.contains("hush"), "{error}");
}

/// What an arbitrator asks of an idle store: renewals every fifth of a ttl, a look every ttl, and a watcher.
#[tokio::test]
async fn an_idle_arbitrator_asks_little() {
    let server = RedisServer::start();
    let store = store(&server.address(), "idle");
    let lengths = Lengths { leader_ttl: Span::from_secs(2), deadline: Span::from_secs(2) };
    let (leader, standby) = (open(&store, lengths).await, open(&store, lengths).await);
    for engine in [&leader, &standby] {
        engine.watch(Box::new(drop));
    }
    assert!(matches!(campaign(&leader, 1, 0).await, Reply::Won { .. }));
    server.command(&["CONFIG", "RESETSTAT"]);
    const SECONDS: u32 = 4;
    let mut ticks = tokio::time::interval(Duration::from_millis(400));
    for tick in 0..SECONDS * 5 / 2 {
        ticks.tick().await;
        assert_eq!(leader.ask(Request::Renew { token: token(1) }).await, Reply::Done);
        if tick % 5 == 0 {
            assert!(matches!(standby.ask(Request::Observe).await, Reply::Observed { leader: Some(_) }));
        }
    }
    let told = server.command(&["INFO", "commandstats"]);
    let calls: Vec<(&str, u32)> = told
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name, rest.split(',').next()?.parse().ok()?))
        })
        .collect();
    println!("in {SECONDS} s of a leader and a standby, scripts and what they call: {calls:?}");
    // What scripts call costs no way there and back.
    let sent: u32 =
        calls.iter().filter(|(name, _)| ["eval", "ping", "info"].contains(name)).map(|(_, calls)| calls).sum();
    assert!(sent < SECONDS * 2 * 5 / 2, "{sent} commands in {SECONDS} s of two: {calls:?}");
}
