//! Leaderships that begin, end, and are taken again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use st2sa_coordination::Engine;
use st2sa_core::engine::{Check, Key, LeaderSeen, Reply, Request};
use st2sa_core::names::{SensorRef, Term};
use st2sa_testbed::ZooKeeperServer;

use super::shared::shared;
use super::{LONG, SHORT, SOON, campaign, open, paused, put, renew, token, until, win};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_leadership_that_nobody_renews_ends_and_another_one_begins() {
    let server = shared();
    let first = open(server.address(), "not_renewed", SHORT).await;
    let second = open(server.address(), "not_renewed", SHORT).await;
    let (old, term) = win(&first, 1).await;
    let (_, next) = win(&second, 2).await;
    assert!(term < next);
    assert_eq!(renew(&first, &old).await, Reply::NotLeader);
    assert_eq!(put(&first, &old, "p.X", vec![]).await, Reply::NotLeader);
    assert_eq!(paused(&second).await, [""; 0]);
}

#[tokio::test]
async fn a_leadership_that_is_renewed_goes_on() {
    let server = shared();
    let first = open(server.address(), "renewed", SHORT).await;
    let second = open(server.address(), "renewed", SHORT).await;
    let (leader, term) = win(&first, 1).await;
    let since = Instant::now();
    let mut last = Instant::now();
    // Longer than a session lasts.
    while since.elapsed() < Duration::from_secs(2) {
        let lost = campaign(&second, &token(2, 1)).await;
        let asked = Instant::now();
        let renewed = renew(&first, &leader).await;
        if last.elapsed() > Duration::from_secs(1) {
            // The machine was busy elsewhere: this shows nothing.
            return;
        }
        if renewed == Reply::Done {
            last = asked;
        }
        assert!(matches!(renewed, Reply::Done | Reply::Unknown), "{renewed:?}");
        let seen = LeaderSeen { arbitrator: leader.arbitrator.clone(), term };
        let refused = Reply::NotWon { leader: Some(seen), elector: true };
        assert!(lost == refused || lost == Reply::Unknown, "{lost:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn of_two_that_campaign_at_once_one_wins() {
    let server = shared();
    let first = open(server.address(), "contended", LONG).await;
    let second = open(server.address(), "contended", LONG).await;
    let mut before = Term(0);
    for attempt in 1..=20 {
        let tokens = [token(1, attempt), token(2, attempt)];
        let replies = tokio::join!(campaign(&first, &tokens[0]), campaign(&second, &tokens[1]));
        let (winner, won, lost) = match replies {
            (won @ Reply::Won { .. }, lost) => (0, won, lost),
            (lost, won) => (1, won, lost),
        };
        let Reply::Won { term, .. } = won else { panic!("{won:?} and {lost:?}") };
        assert!(matches!(lost, Reply::NotWon { .. }), "{lost:?}");
        assert!(before < term, "{before} and {term}");
        before = term;
        let resign = Request::Resign { token: tokens[winner].clone() };
        assert_eq!([&first, &second][winner].ask(resign).await, Reply::Done);
    }
}

#[tokio::test]
async fn a_session_that_is_over_is_the_end_of_its_leadership() {
    let server = shared();
    let proxy = Proxy::before(server.address());
    let first = open(proxy.address(), "session_over", SHORT).await;
    let second = open(server.address(), "session_over", SHORT).await;
    let (old, term) = win(&first, 1).await;
    assert!(matches!(put(&first, &old, "p.X", vec![]).await, Reply::Applied { .. }));
    proxy.hold();
    let (_, next) = win(&second, 2).await;
    assert!(term < next);
    // What was held back arrives now, at a server that has buried the session.
    proxy.pass();
    let last = until(|| renew(&first, &old), |reply| *reply != Reply::Unknown).await;
    assert_eq!(last, Reply::NotLeader);
    assert_eq!(put(&first, &old, "p.Y", vec![]).await, Reply::NotLeader);
    let retake = || first.ask(Request::Retake { token: old.clone(), term });
    assert_eq!(until(retake, |reply| *reply != Reply::Unknown).await, Reply::NotLeader);
    assert_eq!(paused(&second).await, ["p.X"]);
}

#[tokio::test]
async fn the_key_is_taken_again_in_the_same_term_unless_another_one_began() {
    let server = shared();
    let proxy = Proxy::before(server.address());
    let first = open(proxy.address(), "retaken", SHORT).await;
    let second = open(server.address(), "retaken", SHORT).await;
    let (leader, term) = win(&first, 1).await;
    let Reply::Applied { version } = put(&first, &leader, "p.X", vec![]).await else { panic!("refused") };
    proxy.hold();
    let nobody = Reply::Observed { leader: None };
    until(|| second.ask(Request::Observe), |reply| *reply == nobody).await;
    proxy.pass();
    assert_eq!(until(|| renew(&first, &leader), |reply| *reply != Reply::Unknown).await, Reply::NotLeader);
    let retake = || first.ask(Request::Retake { token: leader.clone(), term });
    assert_eq!(until(retake, |reply| *reply != Reply::Unknown).await, Reply::Done);
    assert_eq!(renew(&first, &leader).await, Reply::Done);
    let check = Check { key: Key::Pause(SensorRef::new("p.X")), version };
    assert!(matches!(put(&first, &leader, "p.X", vec![check]).await, Reply::Applied { .. }));
    // Taken twice is as good.
    assert_eq!(retake().await, Reply::Done);
    let wrong = Request::Retake { token: leader.clone(), term: Term(term.0 + 1) };
    assert_eq!(first.ask(wrong).await, Reply::NotLeader);
    assert_eq!(second.ask(Request::Retake { token: token(2, 1), term }).await, Reply::NotLeader);
}

#[tokio::test]
async fn a_campaign_that_nobody_waits_for_leaves_no_leader_behind() {
    let server = shared();
    let first = open(server.address(), "given_up", LONG).await;
    let second = open(server.address(), "given_up", LONG).await;
    for attempt in 1..=20 {
        let wait = Duration::from_micros(200 * attempt);
        let token = token(1, attempt);
        if let Ok(Reply::Won { .. }) = tokio::time::timeout(wait, campaign(&first, &token)).await {
            first.ask(Request::Resign { token }).await;
        }
    }
    // Sessions last half a minute here: it is not for them that this ends.
    let since = Instant::now();
    let (leader, _) = win(&second, 2).await;
    assert!(since.elapsed() < Duration::from_secs(20), "after {:?}", since.elapsed());
    assert_eq!(renew(&second, &leader).await, Reply::Done);
}

#[tokio::test]
async fn a_campaign_that_comes_after_a_later_one_is_not_won() {
    let server = shared();
    let engine = open(server.address(), "late", LONG).await;
    assert!(matches!(campaign(&engine, &token(1, 2)).await, Reply::Won { .. }));
    assert!(matches!(campaign(&engine, &token(1, 1)).await, Reply::NotWon { .. }));
    engine.ask(Request::Resign { token: token(1, 2) }).await;
    assert!(matches!(campaign(&engine, &token(1, 1)).await, Reply::NotWon { .. }));
    assert!(matches!(campaign(&engine, &token(1, 3)).await, Reply::Won { .. }));
}

#[tokio::test]
async fn an_engine_that_is_dropped_takes_its_leadership_and_its_sessions_along() {
    let server = ZooKeeperServer::start();
    let first = open(&server.address(), "dropped", LONG).await;
    let second = open(&server.address(), "dropped", LONG).await;
    first.watch(Box::new(|_| {}));
    win(&first, 1).await;
    drop(first);
    let since = Instant::now();
    win(&second, 2).await;
    assert!(since.elapsed() < Duration::from_secs(20), "after {:?}", since.elapsed());
    drop(second);
    let since = Instant::now();
    loop {
        let state = server.asked("mntr");
        // The one that asks.
        if state.lines().any(|line| line == "zk_num_alive_connections\t1") {
            break;
        }
        assert!(since.elapsed() < SOON, "{state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whoever_watches_is_told_who_leads() {
    let server = shared();
    let proxy = Proxy::before(server.address());
    let watching = open(proxy.address(), "watched", SHORT).await;
    let leading = open(server.address(), "watched", LONG).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    watching.watch(Box::new(move |leader| tell.lock().unwrap().push(leader)));
    let heard = |expected: Option<LeaderSeen>| {
        let told = Arc::clone(&told);
        async move {
            let since = Instant::now();
            while told.lock().unwrap().last() != Some(&expected) {
                assert!(since.elapsed() < SOON, "{expected:?} is not told: {:?}", told.lock().unwrap());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    heard(None).await;
    let happenings: [fn(&Proxy); 3] = [Proxy::pass, Proxy::cut, Proxy::hold];
    for (round, happens) in happenings.into_iter().enumerate() {
        let (leader, term) = win(&leading, 1 + term_of(&told)).await;
        heard(Some(LeaderSeen { arbitrator: leader.arbitrator.clone(), term })).await;
        // It changes while nobody can be told; in the last round for longer than the session lasts.
        happens(&proxy);
        assert_eq!(leading.ask(Request::Resign { token: leader }).await, Reply::Done);
        if round == 2 {
            tokio::time::sleep(Duration::from_millis(2_300)).await;
        }
        proxy.pass();
        heard(None).await;
    }
}

fn term_of(told: &Mutex<Vec<Option<LeaderSeen>>>) -> u64 {
    told.lock().unwrap().iter().flatten().map(|seen| seen.term.0).max().unwrap_or(0)
}
