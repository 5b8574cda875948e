//! Redis with replicas, and with sentinels that promote them.

use st2sa_coordination::Engine as _;
use st2sa_coordination::redis::Redis;
use st2sa_coordination::store::{Lengths, Store};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::names::Term;
use st2sa_core::time::Span;
use st2sa_testbed::{RedisSentinels, RedisServer, Signal};

use super::{open, pause, paused, store, transact};
use crate::conformance::{campaign, eventually, token};

/// Long enough that nothing runs out, and a deadline that is met on a machine that is swamped.
const LENGTHS: Lengths = Lengths { leader_ttl: Span::from_secs(30), deadline: Span::from_secs(1) };

#[tokio::test]
async fn nothing_counts_that_no_replica_confirms() {
    let master = RedisServer::start();
    let (host, port) = master.address().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let replica = RedisServer::start_with(&["--replicaof", &host, &port, "--appendonly", "yes"]);
    eventually("the replica has everything", async || {
        master.command(&["INFO", "replication"]).contains("state=online")
            && replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let engine = open(&store(&master.address(), "confirmed"), LENGTHS).await;
    assert!(engine.describe().ends_with("what counts is confirmed by a replica)"), "{}", engine.describe());
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
    assert!(matches!(transact(&engine, 1, vec![pause("p.X")]).await, Reply::Applied { .. }));
    replica.signal(Signal::STOP);
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Unknown);
    // Nothing is written by it, but is it still so?
    assert_eq!(engine.ask(Request::Renew { token: token(9) }).await, Reply::Unknown);
    assert_eq!(engine.ask(Request::ReadAll).await, Reply::Unknown);
    assert_eq!(transact(&engine, 1, vec![pause("p.Y")]).await, Reply::Unknown);
    replica.signal(Signal::CONT);
    eventually("it counts again", async || engine.ask(Request::Renew { token: token(1) }).await == Reply::Done).await;
    assert_eq!(engine.ask(Request::Renew { token: token(9) }).await, Reply::NotLeader);
    // Unknown was right: it is there.
    assert_eq!(paused(&engine).await, ["p.X", "p.Y"]);
}

#[tokio::test]
async fn a_fail_over_is_followed_and_gives_no_term_twice() {
    let mut group = RedisSentinels::start(2);
    let before = group.master().address();
    let store =
        Store { servers: group.addresses(), sentinel: Some(group.master_name().to_owned()), ..store("", "sentinel") };
    let engine = open(&store, LENGTHS).await;
    assert!(engine.describe().contains("redis master mymaster of the sentinels at"), "{}", engine.describe());
    assert!(matches!(campaign(&engine, 1, 6).await, Reply::Won { term: Term(7), .. }));
    assert!(matches!(transact(&engine, 1, vec![pause("p.X")]).await, Reply::Applied { .. }));
    group.master().kill();
    let told = engine.ask(Request::Renew { token: token(1) }).await;
    assert_eq!(told, Reply::Unknown);
    group.wait_for_another_master(&before);
    eventually("it leads on", async || engine.ask(Request::Renew { token: token(1) }).await == Reply::Done).await;
    assert_eq!(paused(&engine).await, ["p.X"]);
    engine.ask(Request::Resign { token: token(1) }).await;
    assert!(matches!(campaign(&engine, 2, 0).await, Reply::Won { term: Term(8), .. }));
    assert_ne!(group.master().address(), before);
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_are_refused() {
    let mut group = RedisSentinels::start(1);
    let unknown = Store { servers: group.addresses(), sentinel: Some("other".to_owned()), ..store("", "unknown") };
    let error = Redis::open(&unknown, LENGTHS).await.unwrap_err().to_string();
    assert!(error.contains("watches no master called `other`"), "{error}");
    // A replica is not taken for the master.
    let master = group.master().address();
    let replica = group.servers().find(|server| server.address() != master).map(RedisServer::address).unwrap();
    let error = Redis::open(&store(&replica, "replica"), LENGTHS).await.unwrap_err().to_string();
    assert!(error.contains("it is a replica"), "{error}");
    // Of several servers the one that takes writes is used.
    let both = Store { servers: vec![replica, master], ..store("", "both") };
    let engine = open(&both, LENGTHS).await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
}
