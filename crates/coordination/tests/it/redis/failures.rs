//! Redis that stands still, dies, forgets, or is cut off.

use std::time::{Duration, Instant};

use st2sa_coordination::{Datastore as _, Engine as _};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::names::Term;
use st2sa_testbed::{RedisServer, Signal};

use super::{LONG, PATIENT, SHORT, open, pause, paused, set, store, transact};
use crate::conformance::{campaign, eventually, token};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_leadership_that_is_not_renewed_runs_out() {
    let server = RedisServer::start();
    let store = store(&server.address(), "lost");
    let (one, other) = (open(&store, SHORT).await, open(&store, SHORT).await);
    assert!(matches!(campaign(&one, 1, 0).await, Reply::Won { term: Term(1), .. }));
    let since = Instant::now();
    assert_eq!(one.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    eventually("another wins", async || matches!(campaign(&other, 2, 0).await, Reply::Won { term: Term(2), .. })).await;
    assert!(since.elapsed() >= Duration::from_secs(1), "after {:?}", since.elapsed());
    assert_eq!(one.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    assert_eq!(transact(&one, 1, vec![pause("p.X")]).await, Reply::NotLeader);
    assert_eq!(one.ask(Request::Resign { token: token(1) }).await, Reply::Done);
    assert_eq!(other.ask(Request::Renew { token: token(2) }).await, Reply::Done);
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_until_the_deadline() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "still"), SHORT).await;
    server.signal(Signal::STOP);
    for request in [Request::Observe, Request::ReadAll, Request::Renew { token: token(1) }] {
        let since = Instant::now();
        assert_eq!(engine.ask(request).await, Reply::Unknown);
        assert!(since.elapsed() < Duration::from_millis(1_300), "after {:?}", since.elapsed());
    }
    assert!(engine.get("a".to_owned()).await.is_err());
    server.signal(Signal::CONT);
    eventually("it works again", async || matches!(campaign(&engine, 1, 0).await, Reply::Won { .. })).await;
}

/// Whoever asks gives up sooner than the engine would: the next one must not wait behind what was given up.
#[tokio::test]
async fn a_server_that_was_frozen_serves_those_who_ask_after_others_gave_up() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "given-up"), LONG).await;
    server.signal(Signal::STOP);
    for _ in 0..5 {
        let asked = tokio::time::timeout(Duration::from_millis(20), engine.ask(Request::Observe)).await;
        assert!(asked.is_err());
    }
    server.signal(Signal::CONT);
    assert_eq!(engine.ask(Request::Observe).await, Reply::Observed { leader: None });
}

#[tokio::test]
async fn a_campaign_that_lands_late_is_not_won() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "late"), SHORT).await;
    server.signal(Signal::STOP);
    assert_eq!(campaign(&engine, 1, 0).await, Reply::Unknown);
    server.signal(Signal::CONT);
    eventually("it answers", async || engine.ask(Request::Observe).await != Reply::Unknown).await;
    assert_eq!(server.command(&["EXISTS", "st2sa/late/term"]).trim(), "0");
    eventually("the next one wins", async || matches!(campaign(&engine, 2, 0).await, Reply::Won { .. })).await;
}

#[tokio::test]
async fn a_value_that_is_stored_late_does_not_overtake() {
    let server = RedisServer::start();
    let proxy = Proxy::before(&server.address());
    let engine = open(&store(proxy.address(), "order"), SHORT).await;
    let direct = open(&store(&server.address(), "order"), LONG).await;
    assert!(matches!(campaign(&direct, 1, 0).await, Reply::Won { .. }));
    let apply = async |value| engine.apply(token(1), Box::new(|| true), vec![set("cursor", value)]).await;
    apply("1").await.unwrap();
    // This one is on its way when it is given up, with the connection that carries it.
    proxy.hold_requests();
    apply("2").await.unwrap_err();
    proxy.hold_only_the_old();
    eventually("the next one is stored", async || apply("3").await.is_ok()).await;
    let evals =
        || server.command(&["INFO", "commandstats"]).lines().find(|line| line.contains("_eval:")).map(str::to_owned);
    let before = evals();
    proxy.pass();
    eventually("the late one has come", async || evals() != before).await;
    assert_eq!(direct.get("cursor".to_owned()).await.unwrap().as_deref(), Some("3"));
}

#[tokio::test]
async fn a_server_that_is_started_again_has_kept_everything() {
    let mut server = RedisServer::start();
    let engine = open(&store(&server.address(), "kept"), LONG).await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { term: Term(1), .. }));
    assert!(matches!(transact(&engine, 1, vec![pause("p.X")]).await, Reply::Applied { .. }));
    engine.apply(token(1), Box::new(|| true), vec![set("a", "1")]).await.unwrap();
    server.kill();
    assert_eq!(engine.ask(Request::Observe).await, Reply::Unknown);
    server.start_again();
    eventually("it leads on", async || engine.ask(Request::Renew { token: token(1) }).await == Reply::Done).await;
    assert_eq!(paused(&engine).await, ["p.X"]);
    assert_eq!(engine.get("a".to_owned()).await.unwrap().as_deref(), Some("1"));
    engine.ask(Request::Resign { token: token(1) }).await;
    assert!(matches!(campaign(&engine, 2, 0).await, Reply::Won { term: Term(2), .. }));
}

/// What Redis does not guarantee with its own defaults: a term is given again, unless somebody shows a higher one.
#[tokio::test]
async fn a_server_without_persistence_forgets_the_term() {
    let mut server = RedisServer::start_with(&[]);
    let engine = open(&store(&server.address(), "forgets"), LONG).await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { term: Term(1), .. }));
    for shown in [0, 1] {
        server.kill();
        server.start_again();
        eventually("it is gone", async || engine.ask(Request::Renew { token: token(1) }).await == Reply::NotLeader)
            .await;
        let given = campaign(&engine, 2, shown).await;
        assert!(matches!(given, Reply::Won { term, .. } if term == Term(shown + 1)), "{given:?}");
    }
}

#[tokio::test]
async fn a_write_whose_connection_is_cut_is_unknown() {
    let server = RedisServer::start();
    let proxy = Proxy::before(&server.address());
    let engine = open(&store(proxy.address(), "cut"), LONG).await;
    campaign(&engine, 1, 0).await;
    proxy.cut_next_answer();
    assert_eq!(transact(&engine, 1, vec![pause("p.Done")]).await, Reply::Unknown);
    // Connected again: what is cut next is the transaction.
    assert_eq!(paused(&engine).await, ["p.Done"]);
    proxy.cut_next_request_after(100);
    assert_eq!(transact(&engine, 1, vec![pause("p.Never")]).await, Reply::Unknown);
    assert!(matches!(transact(&engine, 1, vec![pause("p.After")]).await, Reply::Applied { .. }));
    assert_eq!(paused(&engine).await, ["p.After", "p.Done"]);
    proxy.cut_next_answer();
    let stored = engine.apply(token(1), Box::new(|| true), vec![set("a", "1")]).await;
    assert!(matches!(stored, Err(st2sa_coordination::StoreError::Failed { .. })), "{stored:?}");
    assert_eq!(engine.get("a".to_owned()).await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn what_was_damaged_is_unknown() {
    let server = RedisServer::start();
    let engine = open(&store(&server.address(), "damaged"), LONG).await;
    campaign(&engine, 1, 0).await;
    for row in ["1 {", "none", "x {}"] {
        server.command(&["HSET", "st2sa/damaged/keys", "intent/pause/p.X", row]);
        assert_eq!(engine.ask(Request::ReadAll).await, Reply::Unknown, "{row}");
    }
    server.command(&["HDEL", "st2sa/damaged/keys", "intent/pause/p.X"]);
    assert_eq!(paused(&engine).await, [""; 0]);
    engine.ask(Request::Resign { token: token(1) }).await;
    server.command(&["HSET", "st2sa/damaged/keys", "electors", "1 {"]);
    assert_eq!(campaign(&engine, 2, 0).await, Reply::Unknown);
    assert_eq!(engine.ask(Request::Observe).await, Reply::Observed { leader: None });
}

/// A master that was made a replica says nothing for certain any more.
#[tokio::test]
async fn a_master_that_became_a_replica_deposes_nobody() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let engine = open(&store(&server.address(), "demoted"), PATIENT).await;
    campaign(&engine, 1, 0).await;
    let (host, port) = other.address().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    server.command(&["REPLICAOF", &host, &port]);
    eventually("it has what the other has: nothing", async || {
        server.command(&["EXISTS", "st2sa/demoted/leader"]).trim() == "0"
    })
    .await;
    for request in
        [Request::Renew { token: token(1) }, Request::ReadAll, Request::Retake { token: token(1), term: Term(1) }]
    {
        assert_eq!(engine.ask(request).await, Reply::Unknown);
    }
    assert_eq!(transact(&engine, 1, vec![pause("p.X")]).await, Reply::Unknown);
}
