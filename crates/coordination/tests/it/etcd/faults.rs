//! Servers that stop, die and come back, and connections that break.

use super::*;
use crate::proxy::Proxy;

/// So long that no lease ends by itself while a test looks.
fn long_leases() -> Lengths {
    Lengths { leader_ttl: Span::from_secs(60), ..lengths() }
}

fn url_of(proxy: &Proxy) -> String {
    format!("etcd3+http://{}", proxy.address())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_answers_nothing_and_then_goes_on() {
    let server = st2sa_testbed::Etcd::start();
    let engine = open(&server.url(), "stopped").await;
    campaign(&engine, 1, 0).await;
    assert!(matches!(engine.ask(transact(token(1), vec![pause("p.X", "anne")])).await, Reply::Applied { .. }));
    server.stop();
    let since = Instant::now();
    for _ in 0..3 {
        assert_eq!(ask(&engine, Request::Renew { token: token(1) }).await, Reply::Unknown);
    }
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    // Whoever waits without a bound of his own is told within the deadline.
    let since = Instant::now();
    assert_eq!(engine.ask(Request::Observe).await, Reply::Unknown);
    assert!(engine.get("n".to_owned()).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    server.cont();
    eventually("the leadership has ended, and another begins", async || {
        matches!(ask(&engine, campaign_of("a", 2)).await, Reply::Won { .. }).then_some(())
    })
    .await;
    assert_eq!(paused(&engine).await.unwrap(), ["anne"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_comes_back_with_everything() {
    let mut server = st2sa_testbed::Etcd::start();
    let engine = open(&server.url(), "killed").await;
    let (tell, mut heard) = hearing();
    engine.watch(tell);
    campaign(&engine, 1, 6).await;
    let Reply::Applied { version } = engine.ask(transact(token(1), vec![pause("p.X", "anne")])).await else {
        panic!("refused")
    };
    server.kill();
    assert_eq!(ask(&engine, transact(token(1), vec![pause("p.X", "bob")])).await, Reply::Unknown);
    assert_eq!(ask(&engine, Request::Observe).await, Reply::Unknown);
    server.start_again();
    // Its leadership has outlasted that, or another begins.
    let token = eventually("it leads", async || match ask(&engine, Request::Renew { token: token(1) }).await {
        Reply::Done => Some(token(1)),
        Reply::NotLeader => {
            let won = matches!(ask(&engine, campaign_of("b", 1)).await, Reply::Won { .. });
            won.then(|| token_of("b", 1))
        }
        _ => None,
    })
    .await;
    let checks = vec![Check { key: Key::Pause(SensorRef::new("p.X")), version }];
    let write = Transaction { token: token.clone(), checks, writes: vec![pause("p.X", "bob")] };
    let Reply::Applied { version: later } = engine.ask(Request::Transact(write)).await else { panic!("refused") };
    assert!(later > version, "{later} {version}");
    engine.ask(Request::Resign { token }).await;
    let Reply::Won { term, .. } = engine.ask(campaign_of("c", 1)).await else { panic!("not won") };
    assert!(term >= Term(8), "{term}");
    hears_of(&mut heard, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_neither_success_nor_failure() {
    let shared = Shared::get();
    let proxy = Proxy::before(&shared.address.to_string());
    let engine = Etcd::open(&store(&url_of(&proxy), "cut"), long_leases()).await.unwrap();
    campaign(&engine, 1, 0).await;
    proxy.lose_answer_to("anne");
    assert_eq!(engine.ask(transact(token(1), vec![pause("p.X", "anne")])).await, Reply::Unknown);
    eventually("it was applied", async || (paused(&engine).await? == ["anne"]).then_some(())).await;
    proxy.lose_answer_to("lost");
    let stored = engine.apply(token(1), yes(), vec![set("n", "lost")]).await;
    assert!(matches!(stored, Err(StoreError::Failed { .. })), "{stored:?}");
    let stored = async || engine.get("n".to_owned()).await.unwrap().filter(|value| value == "lost").map(drop);
    eventually("it was stored", stored).await;
    engine.apply(token(1), yes(), vec![set("n", "next")]).await.unwrap();
    proxy.lose_answer_to("\"attempt\":7");
    engine.ask(Request::Resign { token: token(1) }).await;
    assert_eq!(engine.ask(campaign_of("b", 7)).await, Reply::Unknown);
    // What was won there nobody waits for: it is given back at once.
    eventually("the campaign is undone", async || leader(&engine).await?.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_lands_after_it_was_given_up_does_not_win() {
    let shared = Shared::get();
    let proxy = Proxy::before(&shared.address.to_string());
    let engine = Etcd::open(&store(&url_of(&proxy), "late"), long_leases()).await.unwrap();
    proxy.hold_only("\"attempt\":9");
    tokio::select! {
        reply = engine.ask(campaign_of("a", 9)) => panic!("{reply:?}"),
        () = proxy.holds() => {}
    }
    // Its lease is ended by another way; then the campaign comes.
    eventually("its lease has ended", async || {
        let leases = etcdctl(&shared.url, &["lease", "list", "--write-out=json"]);
        let leases: serde_json::Value = serde_json::from_str(&leases).unwrap();
        let leases = leases["leases"].as_array().cloned().unwrap_or_default();
        let ours = leases.iter().filter(|lease| {
            let id = format!("{:x}", lease["id"].as_i64().unwrap());
            let lives = etcdctl(&shared.url, &["lease", "timetolive", &id, "--keys"]);
            lives.contains("granted with TTL(60s)") && lives.contains("attached keys([])")
        });
        (ours.count() == 0).then_some(())
    })
    .await;
    proxy.release();
    let direct = open(&shared.url, "late").await;
    for _ in 0..10 {
        assert_eq!(leader(&direct).await, Some(None));
        assert_eq!(etcdctl(&shared.url, &["get", "st2sa/late/term"]), "");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_lands_after_it_was_given_up_overwrites_nothing() {
    let shared = Shared::get();
    let proxy = Proxy::before(&shared.address.to_string());
    let engine = Etcd::open(&store(&url_of(&proxy), "overtaken"), long_leases()).await.unwrap();
    campaign(&engine, 1, 0).await;
    proxy.hold_only("older");
    tokio::select! {
        done = engine.apply(token(1), yes(), vec![set("n", "older")]) => panic!("{done:?}"),
        () = proxy.holds() => {}
    }
    // The connection that is held is left after a while.
    eventually("it is stored", async || engine.apply(token(1), yes(), vec![set("n", "newer")]).await.ok()).await;
    proxy.release();
    for _ in 0..10 {
        assert_eq!(engine.get("n".to_owned()).await.unwrap().as_deref(), Some("newer"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_was_cut_off_hears_what_it_missed_even_if_etcd_has_forgotten_it() {
    let shared = Shared::get();
    let proxy = Proxy::before(&shared.address.to_string());
    let (cut_off, direct) = (open(&url_of(&proxy), "forgotten").await, open(&shared.url, "forgotten").await);
    let (tell, mut heard) = hearing();
    cut_off.watch(tell);
    assert_eq!(heard.recv().await, Some(None));
    proxy.cut();
    for attempt in 1..4 {
        assert!(matches!(direct.ask(campaign_of("b", attempt)).await, Reply::Won { .. }));
        direct.ask(Request::Resign { token: token_of("b", attempt) }).await;
    }
    direct.ask(campaign_of("c", 1)).await;
    let found = etcdctl(&shared.url, &["get", "st2sa/forgotten/leader", "--write-out=json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    etcdctl(&shared.url, &["compaction", &found["kvs"][0]["mod_revision"].to_string()]);
    proxy.pass();
    let keeps = async {
        loop {
            direct.ask(Request::Renew { token: token_of("c", 1) }).await;
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    tokio::select! {
        () = hears_of(&mut heard, 4) => {}
        () = keeps => {}
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_said_to_be_so() {
    let port = st2sa_testbed::free_port();
    let lengths = Lengths { deadline: Span::from_millis(500), ..lengths() };
    let error = Etcd::open(&store(&format!("etcd3+http://127.0.0.1:{port}"), "x"), lengths).await.err().unwrap();
    let text = format!("the store at 127.0.0.1:{port} cannot be used: tcp connect error: ");
    assert!(error.to_string().starts_with(&text), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}
