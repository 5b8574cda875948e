//! The conformance suite: each case is given an engine that holds nothing yet.

use std::time::Duration;

use st2sa_coordination::{Datastore, Engine, PAGE_BYTES, Still, StoreError, StoredValue, ValueWrite};
use st2sa_core::engine::{
    Body, Check, Electors, Entry, Intent, Key, Record, Registered, Reply, Request, Token, Transaction, Value, Write,
};
use st2sa_core::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, SensorRef, Term,
};
use st2sa_core::time::Span;

pub(crate) fn token(attempt: u64) -> Token {
    Token { arbitrator: ArbitratorId::new("a"), incarnation: Incarnation(1), attempt }
}

pub(crate) async fn campaign(engine: &impl Engine, attempt: u64, above: u64) -> Reply {
    let session_ttl = Span::from_secs(2);
    let ask = Request::Campaign { token: token(attempt), above: Term(above), session_ttl, only_as_first: false };
    engine.ask(ask).await
}

/// Waits until something is so, for as long as a machine that is swamped may take.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let since = std::time::Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}: not in 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn write(engine: &impl Engine, attempt: u64, checks: Vec<Check>, writes: Vec<Write>) -> Reply {
    engine.ask(Request::Transact(Transaction { token: token(attempt), checks, writes })).await
}

fn pause(sensor: &str) -> (Key, Value) {
    (Key::Pause(SensorRef::new(sensor)), Value::Intent(Intent { who: "anne".to_owned(), at: 1_700_000_000_000 }))
}

/// Terms rise, above what is shown, and the record keeps the longest ttl.
pub(crate) async fn terms_rise(engine: &impl Engine) {
    let Reply::Won { term: first, longest_ttl } = campaign(engine, 1, 0).await else { panic!("not won") };
    assert_eq!(longest_ttl, Span::from_secs(2));
    engine.ask(Request::Resign { token: token(1) }).await;
    let Reply::Won { term: second, .. } = campaign(engine, 2, 40).await else { panic!("not won") };
    assert!(first < second && second == Term(41), "{first} {second}");
    let longer = Span::from_secs(9);
    let put = Write::Put(Key::LongestTtl, Value::Ttl(longer));
    assert!(matches!(write(engine, 2, vec![], vec![put]).await, Reply::Applied { .. }));
    engine.ask(Request::Resign { token: token(2) }).await;
    assert_eq!(campaign(engine, 3, 0).await, Reply::Won { term: Term(42), longest_ttl: longer });
}

/// Only the leadership in force renews and writes; a deposed one changes nothing.
pub(crate) async fn a_deposed_leadership_changes_nothing(engine: &impl Engine) {
    campaign(engine, 1, 0).await;
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    engine.ask(Request::Resign { token: token(1) }).await;
    campaign(engine, 2, 0).await;
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    let (key, value) = pause("p.X");
    assert_eq!(write(engine, 1, vec![], vec![Write::Put(key, value)]).await, Reply::NotLeader);
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.paused.len(), 0);
    let Reply::Observed { leader: Some(leader) } = engine.ask(Request::Observe).await else { panic!("no leader") };
    assert_eq!((leader.arbitrator, leader.term), (ArbitratorId::new("a"), Term(2)));
}

/// A transaction is applied whole if every check holds, else not at all.
pub(crate) async fn transactions_are_whole(engine: &impl Engine) {
    campaign(engine, 1, 0).await;
    let (x, by_anne) = pause("p.X");
    let (y, _) = pause("p.Y");
    let absent = Check { key: x.clone(), version: 0 };
    let put_both = vec![Write::Put(x.clone(), by_anne.clone()), Write::Put(y.clone(), by_anne.clone())];
    let Reply::Applied { version } = write(engine, 1, vec![absent.clone()], put_both).await else { panic!("refused") };
    let delete_both = vec![Write::Delete(x.clone()), Write::Delete(y.clone())];
    assert_eq!(write(engine, 1, vec![absent], delete_both.clone()).await, Reply::CheckFailed);
    let right = Check { key: x, version };
    let wrong = Check { key: y, version: version + 1 };
    assert_eq!(write(engine, 1, vec![right.clone(), wrong], delete_both.clone()).await, Reply::CheckFailed);
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.paused.len(), 2);
    assert!(matches!(write(engine, 1, vec![right], delete_both).await, Reply::Applied { .. }));
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.paused.len(), 0);
}

/// What a new leader reads is all that was written.
pub(crate) async fn everything_is_read_back(engine: &impl Engine) {
    campaign(engine, 1, 0).await;
    let electors = Electors { members: [ArbitratorId::new("a")].into(), fail_safe: true };
    let registered = Registered {
        incarnation: Incarnation(7),
        registration: Registration(Fence { term: Term(1), n: 3 }),
        machine: Machine(u64::MAX),
    };
    let (paused, by_anne) = pause("p.X");
    let node = ContainerName::new("node/with a strange.name");
    let writes = vec![
        Write::Put(Key::Electors, Value::Electors(electors.clone())),
        Write::Put(Key::Register(node.clone()), Value::Registered(registered.clone())),
        Write::Put(paused, by_anne.clone()),
        Write::Put(Key::Drain(node.clone()), by_anne),
        Write::Put(Key::Code(SensorRef::new("p.X")), Value::Digest(Digest(9))),
    ];
    let Reply::Applied { version } = write(engine, 1, vec![], writes).await else { panic!("refused") };
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.electors, (electors, version));
    assert_eq!(all.register.get(&node), Some(&(registered, version)));
    assert_eq!(all.drained.get(&node).map(|intent| intent.who.as_str()), Some("anne"));
    assert!(all.paused.contains_key(&SensorRef::new("p.X")));
    assert_eq!(all.code.get(&SensorRef::new("p.X")), Some(&Digest(9)));
}

/// A journal is its record and its unapplied entries in order, of that sensor alone.
pub(crate) async fn journals_are_apart(engine: &impl Engine) {
    campaign(engine, 1, 0).await;
    let (x, longer) = (SensorRef::new("p.X"), SensorRef::new("p.X2"));
    let entry = |sequence: u64| Entry {
        id: EntryId(sequence.into()),
        follows: None,
        sequence,
        fence: Fence { term: Term(1), n: 1 },
        values: Body::default(),
        effects: Body::new(&[0xFE, 1]),
        part_of: None,
    };
    let record = Record { sequence: 10, last: Some(EntryId(10)), ..Record::default() };
    let mut writes = vec![
        Write::Put(Key::Record(x.clone()), Value::Record(record.clone())),
        Write::Put(Key::Record(longer.clone()), Value::Record(Record::default())),
        Write::Put(Key::Entry(longer, 1), Value::Entry(entry(1))),
    ];
    for sequence in [10, 9] {
        writes.push(Write::Put(Key::Entry(x.clone(), sequence), Value::Entry(entry(sequence))));
    }
    write(engine, 1, vec![], writes).await;
    let Reply::Journal(journal) = engine.ask(Request::ReadJournal { sensor: x }).await else { panic!("not read") };
    assert_eq!(journal.record, record);
    assert_eq!(journal.unapplied, [entry(9), entry(10)]);
    let nothing = Request::ReadJournal { sensor: SensorRef::new("p") };
    let Reply::Journal(none) = engine.ask(nothing).await else { panic!("not read") };
    assert_eq!((none.version, none.unapplied.len()), (0, 0));
}

fn yes() -> Still {
    Box::new(|| true)
}

/// Values are set, listed in order, deleted, run out, and refused to a deposed leader.
pub(crate) async fn values_are_kept(engine: &(impl Engine + Datastore)) {
    let set = |name: &str, value: &str| ValueWrite::Set { name: name.to_owned(), value: value.to_owned(), ttl: None };
    let refused = engine.apply(token(1), yes(), vec![set("a", "1")]).await;
    assert!(matches!(refused, Err(StoreError::NotLeader)));
    campaign(engine, 1, 0).await;
    let over = ValueWrite::Set { name: "p.X:over".to_owned(), value: "1".to_owned(), ttl: Some(Span::ZERO) };
    let writes = vec![set("p.X:b", "2"), set("p.X:a", "1"), set("p.X2:c", "3"), over];
    engine.apply(token(1), yes(), writes).await.unwrap();
    assert_eq!(engine.get("p.X:a".to_owned()).await.unwrap().as_deref(), Some("1"));
    assert_eq!(engine.get("p.X:over".to_owned()).await.unwrap(), None);
    let stored = |name: &str, value: &str| StoredValue { name: name.to_owned(), value: value.to_owned(), ttl: None };
    let all = engine.list("p.X:".to_owned(), None, 100).await.unwrap();
    assert_eq!(all, [stored("p.X:a", "1"), stored("p.X:b", "2")]);
    assert_eq!(engine.list("p.X".to_owned(), None, 1).await.unwrap(), [stored("p.X2:c", "3")]);
    let rest = engine.list("p.X:".to_owned(), Some("p.X:a".to_owned()), 100).await.unwrap();
    assert_eq!(rest, [stored("p.X:b", "2")]);
    assert_eq!(engine.list("p.X:".to_owned(), Some("p.X:b".to_owned()), 100).await.unwrap(), []);
    // One that lasts says for how much longer.
    let lasts = ValueWrite::Set { name: "q:1".to_owned(), value: "1".to_owned(), ttl: Some(Span::from_secs(600)) };
    engine.apply(token(1), yes(), vec![lasts]).await.unwrap();
    let page = engine.list("q:".to_owned(), None, 100).await.unwrap();
    assert!(page[0].ttl.is_some_and(|ttl| ttl > Span::ZERO && ttl <= Span::from_secs(600)), "{:?}", page[0].ttl);
    let too_late = engine.apply(token(1), Box::new(|| false), vec![set("p.X:a", "9")]).await;
    assert!(matches!(too_late, Err(StoreError::NotLeader)));
    engine.apply(token(1), yes(), vec![ValueWrite::Delete { name: "p.X:a".to_owned() }]).await.unwrap();
    assert_eq!(engine.get("p.X:a".to_owned()).await.unwrap(), None);
}

/// A page ends with the value that fills it, and the next one goes on behind it.
pub(crate) async fn pages_end_when_they_are_full(engine: &(impl Engine + Datastore)) {
    campaign(engine, 1, 0).await;
    // As large as every store takes.
    let value = "l".repeat(600 << 10);
    let fill = PAGE_BYTES.div_ceil(value.len() + "q:00".len());
    for n in 0..=fill {
        let write = ValueWrite::Set { name: format!("q:{n:02}"), value: value.clone(), ttl: None };
        engine.apply(token(1), yes(), vec![write]).await.unwrap();
        // All of them may take longer than a leadership lasts.
        assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    }
    let page = engine.list("q:".to_owned(), None, 100).await.unwrap();
    assert_eq!(page.len(), fill);
    let last = page.last().map(|value| value.name.clone());
    let rest = engine.list("q:".to_owned(), last, 100).await.unwrap();
    assert_eq!(rest.iter().map(|value| &value.name).collect::<Vec<_>>(), [&format!("q:{fill:02}")]);
}

/// A key that was deleted and made again has a version that it never had before.
pub(crate) async fn versions_never_come_back(engine: &impl Engine) {
    campaign(engine, 1, 0).await;
    let (key, value) = pause("p.X");
    let put = || vec![Write::Put(key.clone(), value.clone())];
    let check = |version: u64| vec![Check { key: key.clone(), version }];
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let Reply::Applied { version } = write(engine, 1, check(0), put()).await else { panic!("refused") };
        assert!(version > 0 && seen.insert(version), "{version} again");
        let Reply::Applied { version: again } = write(engine, 1, check(version), put()).await else {
            panic!("refused")
        };
        assert!(seen.insert(again), "{again} again");
        let deleted = write(engine, 1, check(again), vec![Write::Delete(key.clone())]).await;
        assert!(matches!(deleted, Reply::Applied { .. }), "{deleted:?}");
        assert_eq!(write(engine, 1, check(again), put()).await, Reply::CheckFailed);
    }
}
