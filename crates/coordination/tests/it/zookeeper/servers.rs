//! Servers that freeze, die, and cannot be reached.

use std::time::{Duration, Instant};

use st2sa_coordination::store::{Lengths, Secret, Tls};
use st2sa_coordination::zookeeper::ZooKeeper;
use st2sa_coordination::{Engine, store::OpenError};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::time::Span;
use st2sa_testbed::{ZooKeeperServer, free_port};

use super::shared::shared;
use super::{DEADLINE, LONG, SHORT, SOON, open, paused, put, renew, store, until, win};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_server_that_is_frozen_leaves_answers_unknown_and_works_on_when_it_thaws() {
    let server = ZooKeeperServer::start();
    let lengths = Lengths { leader_ttl: SHORT, deadline: Span::from_secs(1) };
    let patient = open(&server.address(), "frozen", SHORT).await;
    let hasty = ZooKeeper::open(&store(&[server.address()], "frozen"), lengths).await.unwrap();
    let (leader, _) = win(&hasty, 1).await;
    server.stop();
    let since = Instant::now();
    assert_eq!(put(&hasty, &leader, "p.X", vec![]).await, Reply::Unknown);
    assert_eq!(renew(&hasty, &leader).await, Reply::Unknown);
    assert_eq!(hasty.ask(Request::Observe).await, Reply::Unknown);
    assert!(since.elapsed() < Duration::from_secs(10), "three answers took {:?}", since.elapsed());
    server.cont();
    until(|| patient.ask(Request::Observe), |reply| *reply != Reply::Unknown).await;
    // Its sessions may have ended while it slept.
    let (again, _) = win(&patient, 2).await;
    assert!(matches!(put(&patient, &again, "p.Y", vec![]).await, Reply::Applied { .. }));
    until(|| renew(&hasty, &leader), |reply| *reply == Reply::NotLeader).await;
}

#[tokio::test]
async fn a_server_that_is_killed_has_kept_everything_when_it_is_back() {
    let mut server = ZooKeeperServer::start();
    let engine = open(&server.address(), "killed", SHORT).await;
    let (leader, term) = win(&engine, 1).await;
    assert!(matches!(put(&engine, &leader, "p.X", vec![]).await, Reply::Applied { .. }));
    server.kill();
    let hasty = tokio::time::timeout(Duration::from_millis(300), renew(&engine, &leader)).await;
    assert!(matches!(hasty, Err(_) | Ok(Reply::Unknown)), "{hasty:?}");
    server.start_again();
    until(|| engine.ask(Request::Observe), |reply| *reply != Reply::Unknown).await;
    assert_eq!(paused(&engine).await, ["p.X"]);
    engine.ask(Request::Resign { token: leader }).await;
    let (again, next) = win(&engine, 2).await;
    assert!(term < next);
    assert!(matches!(put(&engine, &again, "p.Y", vec![]).await, Reply::Applied { .. }));
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_write_leaves_it_unknown() {
    let server = shared();
    let proxy = Proxy::before(server.address());
    let engine = open(proxy.address(), "cut", LONG).await;
    let observer = open(server.address(), "cut", LONG).await;
    let (leader, _) = win(&engine, 1).await;
    // A transaction looks, and then it writes: wherever the cut is, what is answered is true.
    let mut unknown = 0;
    for round in 0..15 {
        let sensor = format!("p.X{round}");
        let cut = async {
            tokio::time::sleep(Duration::from_micros(250 * round)).await;
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(10)).await;
            proxy.pass();
        };
        let (reply, ()) = tokio::join!(put(&engine, &leader, &sensor, vec![]), cut);
        assert_eq!(until(|| renew(&engine, &leader), |reply| *reply != Reply::Unknown).await, Reply::Done);
        match reply {
            Reply::Applied { .. } => assert!(paused(&observer).await.contains(&sensor), "{sensor}"),
            Reply::Unknown => unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{unknown} of 15 are unknown");
    // A renewal is written without a look: this one is, and its answer is lost.
    proxy.mute();
    let cut = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.cut();
    };
    let (reply, ()) = tokio::join!(renew(&engine, &leader), cut);
    assert_eq!(reply, Reply::Unknown);
    proxy.pass();
    assert_eq!(until(|| renew(&engine, &leader), |reply| *reply != Reply::Unknown).await, Reply::Done);
    until(|| put(&engine, &leader, "p.Y", vec![]), |reply| matches!(reply, Reply::Applied { .. })).await;
    assert!(paused(&observer).await.contains(&"p.Y".to_owned()));
}

#[tokio::test]
async fn of_three_servers_each_may_freeze() {
    let servers = ZooKeeperServer::cluster(3);
    let addresses: Vec<String> = servers.iter().map(ZooKeeperServer::address).collect();
    let lengths = Lengths { leader_ttl: Span::from_secs(4), deadline: Span::from_millis(400) };
    let engine = ZooKeeper::open(&store(&addresses, "three"), lengths).await.unwrap();
    let (leader, _) = win(&engine, 1).await;
    let (leading, following): (Vec<_>, Vec<_>) =
        servers.iter().partition(|server| server.asked("srvr").contains("Mode: leader"));
    assert_eq!((leading.len(), following.len()), (1, 2));
    for server in &following {
        server.stop();
        let since = Instant::now();
        let last = until(|| renew(&engine, &leader), |reply| *reply != Reply::Unknown).await;
        println!("a follower is frozen: {last:?} after {:?}", since.elapsed());
        assert_eq!(last, Reply::Done);
        until(|| put(&engine, &leader, "p.X", vec![]), |reply| matches!(reply, Reply::Applied { .. })).await;
        server.cont();
        // It may say that it follows before it has noticed that it was left behind.
        while !takes_writes(&[server.address()]).await {
            assert!(since.elapsed() < SOON, "the server does not come back");
            assert_ne!(renew(&engine, &leader).await, Reply::NotLeader);
        }
    }
    // The others elect one of them; sessions last on, unless that takes too long.
    leading[0].stop();
    let since = Instant::now();
    let last = until(|| renew(&engine, &leader), |reply| *reply != Reply::Unknown).await;
    println!("their leader is frozen: {last:?} after {:?}", since.elapsed());
    // One alone has no say, whatever it still answers to those who only read.
    following[0].stop();
    for _ in 0..3 {
        assert_eq!(put(&engine, &leader, "p.Y", vec![]).await, Reply::Unknown);
        assert_eq!(renew(&engine, &leader).await, Reply::Unknown);
    }
}

/// Whether somebody else can write there.
async fn takes_writes(servers: &[String]) -> bool {
    let write = async {
        let client = zookeeper_client::Client::connect(&servers.join(",")).await?;
        client.set_data("/st2sa", b"", None).await
    };
    tokio::time::timeout(Duration::from_secs(1), write).await.is_ok_and(|written| written.is_ok())
}

#[tokio::test]
async fn the_servers_decide_how_long_a_session_lasts() {
    // As Debian has it: no session is shorter than 4 s.
    let server = ZooKeeperServer::start_with("tickTime=2000\n");
    let engine = open(&server.address(), "stock", Span::from_secs(2)).await;
    assert_eq!(engine.leader_ttl(), Some(Span::from_millis(2_666)));
    assert_eq!(engine.describe(), format!("ZooKeeper at {}", server.address()));
    let engine = open(shared().address(), "stock", Span::from_secs(2)).await;
    assert_eq!(engine.leader_ttl(), Some(Span::from_secs(2)));
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_refused_with_the_reason() {
    let quick = Lengths { leader_ttl: SHORT, deadline: Span::from_millis(100) };
    let nobody = format!("127.0.0.1:{}", free_port());
    let since = Instant::now();
    let error = ZooKeeper::open(&store(std::slice::from_ref(&nobody), "nobody"), quick).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the store at {nobody} cannot be used: no server answers within 1s"));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    for wrong in ["127.0.0.1", "a,b:1", "a/b:1", ":1", "a:0", "a:x"] {
        let error = ZooKeeper::open(&store(&[wrong.to_owned()], "wrong"), quick).await.unwrap_err();
        assert!(error.to_string().contains(&format!("`{wrong}` is not `host:port`")), "{error}");
    }
}

#[tokio::test]
async fn a_later_format_is_refused() {
    let server = shared();
    drop(open(server.address(), "later", SHORT).await);
    let client = zookeeper_client::Client::connect(server.address()).await.unwrap();
    client.set_data("/st2sa/later/format", b"2", None).await.unwrap();
    let lengths = Lengths { leader_ttl: SHORT, deadline: DEADLINE };
    let error = ZooKeeper::open(&store(&[server.address().to_owned()], "later"), lengths).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    client.set_data("/st2sa/later/format", b"x", None).await.unwrap();
    let error = ZooKeeper::open(&store(&[server.address().to_owned()], "later"), lengths).await.unwrap_err();
    assert!(error.to_string().ends_with("the node `/st2sa/later/format` is damaged or gone"), "{error}");
}

#[tokio::test]
async fn what_one_user_stores_no_other_reads() {
    let server = shared();
    let lengths = Lengths { leader_ttl: LONG, deadline: DEADLINE };
    let mut of_anne = store(&[server.address().to_owned()], "anne");
    of_anne.user = Some("anne".to_owned());
    of_anne.password = Some(Secret::new("a secret"));
    let engine = ZooKeeper::open(&of_anne, lengths).await.unwrap();
    let (leader, _) = win(&engine, 1).await;
    assert!(matches!(put(&engine, &leader, "p.X", vec![]).await, Reply::Applied { .. }));
    drop(ZooKeeper::open(&of_anne, lengths).await.unwrap());
    let mut wrong = of_anne.clone();
    wrong.password = Some(Secret::new("another"));
    for stranger in [store(&of_anne.servers, "anne"), wrong] {
        let error = ZooKeeper::open(&stranger, lengths).await.unwrap_err();
        assert!(error.to_string().ends_with("`/st2sa/anne` or what is below it belongs to another user"), "{error}");
    }
    assert!(!format!("{engine:?}").contains("a secret"));
}

/// Another user has a namespace beside ours, on a server where ours was the first.
#[tokio::test]
async fn users_have_their_namespaces_side_by_side() {
    let server = ZooKeeperServer::start();
    let lengths = Lengths { leader_ttl: LONG, deadline: DEADLINE };
    for name in ["anne", "bob"] {
        let mut own = store(&[server.address()], name);
        own.user = Some(name.to_owned());
        own.password = Some(Secret::new("a secret"));
        win(&ZooKeeper::open(&own, lengths).await.unwrap(), 1).await;
    }
    win(&open(&server.address(), "nobody", LONG).await, 1).await;
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_the_authority_vouches_for() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let ((server_certificate, server_key), (own_certificate, own_key)) = (issue("127.0.0.1"), issue("st2sa"));
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = write("ca.pem", &authority_certificate.pem());
    let identity = write("server.pem", &format!("{server_certificate}{server_key}"));
    let own = Tls {
        ca: Some(ca.clone()),
        certificate: Some(write("own.pem", &own_certificate)),
        key: Some(write("own.key", &own_key)),
    };
    let lines = format!(
        "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location={}\nssl.keyStore.type=PEM\nssl.trustStore.location={}\nssl.trustStore.type=PEM\n\
         ssl.clientAuth=need\n",
        identity.display(),
        ca.display()
    );
    let server = ZooKeeperServer::start_with(&lines);
    let lengths = Lengths { leader_ttl: LONG, deadline: DEADLINE };
    let mut secure = store(&[format!("127.0.0.1:{port}")], "tls");
    secure.tls = Some(own.clone());
    let engine = ZooKeeper::open(&secure, lengths).await.unwrap();
    let (leader, _) = win(&engine, 1).await;
    assert!(matches!(put(&engine, &leader, "p.X", vec![]).await, Reply::Applied { .. }));
    // Without a certificate of ours, and with an authority that does not know theirs.
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let nobody = Tls { certificate: None, key: None, ..own.clone() };
    let other = Tls { ca: Some(write("other.pem", &stranger.cert.pem())), ..own };
    for refused in [nobody, other] {
        secure.tls = Some(refused);
        let quick = Lengths { deadline: Span::from_millis(100), ..lengths };
        assert!(ZooKeeper::open(&secure, quick).await.is_err());
    }
    drop(server);
}
