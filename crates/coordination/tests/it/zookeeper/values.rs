//! Names, sizes, and many of them.

use std::time::Instant;

use st2sa_coordination::{Datastore, Engine, Still, StoreError, ValueWrite};
use st2sa_core::engine::{Body, Entry, Intent, Key, Record, Registered, Reply, Request, Transaction, Value, Write};
use st2sa_core::names::{ContainerName, Digest, EntryId, Fence, Incarnation, Machine, Registration, SensorRef, Term};
use st2sa_core::time::Span;

use super::shared::shared;
use super::{LONG, open, win};

fn yes() -> Still {
    Box::new(|| true)
}

fn set(name: &str, value: String) -> ValueWrite {
    ValueWrite::Set { name: name.to_owned(), value, ttl: None }
}

#[tokio::test]
async fn names_may_hold_whatever_people_write() {
    let server = shared();
    let engine = open(server.address(), "a/namespace: ünïcode", LONG).await;
    let (token, _) = win(&engine, 1).await;
    let long = "ü".repeat(150);
    let names = [
        "node/with a strange.name",
        "",
        ".",
        "..",
        "zookeeper",
        "50% \"off\"",
        "\0\n\u{7F}",
        "\u{1F980}\u{E000}",
        &long,
    ];
    let registered = Registered {
        incarnation: Incarnation(7),
        registration: Registration(Fence { term: Term(1), n: 3 }),
        machine: Machine(9),
    };
    let by_anne = || Value::Intent(Intent { who: "anne".to_owned(), at: 7 });
    let writes = names.iter().flat_map(|name| {
        let (container, sensor) = (ContainerName::new(name), SensorRef::new(name));
        [
            Write::Put(Key::Register(container.clone()), Value::Registered(registered.clone())),
            Write::Put(Key::Drain(container), by_anne()),
            Write::Put(Key::Pause(sensor.clone()), by_anne()),
            Write::Put(Key::Code(sensor.clone()), Value::Digest(Digest(5))),
            Write::Put(Key::Record(sensor), Value::Record(Record { sequence: 4, ..Record::default() })),
        ]
    });
    let transaction = Transaction { token: token.clone(), checks: vec![], writes: writes.collect() };
    assert!(matches!(engine.ask(Request::Transact(transaction)).await, Reply::Applied { .. }));
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    for name in names {
        let (container, sensor) = (ContainerName::new(name), SensorRef::new(name));
        assert!(all.register.contains_key(&container) && all.drained.contains_key(&container), "{name}");
        assert!(all.paused.contains_key(&sensor) && all.code.contains_key(&sensor), "{name}");
        let Reply::Journal(journal) = engine.ask(Request::ReadJournal { sensor }).await else { panic!("not read") };
        assert_eq!(journal.record.sequence, 4);
        engine.apply(token.clone(), yes(), vec![set(name, name.to_owned())]).await.unwrap();
        assert_eq!(engine.get(name.to_owned()).await.unwrap().as_deref(), Some(name));
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort_unstable();
    let listed: Vec<String> =
        engine.list(String::new(), None, 100).await.unwrap().into_iter().map(|value| value.name).collect();
    assert_eq!(listed, sorted);
}

#[tokio::test]
async fn a_thousand_digests_are_read_at_once() {
    let server = shared();
    let engine = open(server.address(), "thousand", LONG).await;
    let (token, _) = win(&engine, 1).await;
    let since = Instant::now();
    let transact = |writes: Vec<Write>| {
        engine.ask(Request::Transact(Transaction { token: token.clone(), checks: vec![], writes }))
    };
    for tens in 0..20 {
        let code = |n: u64| Write::Put(Key::Code(SensorRef::new(format!("pack{n}.Sensor"))), Value::Digest(Digest(n)));
        assert!(matches!(transact((tens * 50..tens * 50 + 50).map(code).collect()).await, Reply::Applied { .. }));
    }
    let written = since.elapsed();
    let since = Instant::now();
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    println!("1,000 digests written in {written:?}, read in {:?}", since.elapsed());
    assert_eq!(all.code.len(), 1_000);
    let since = Instant::now();
    for n in 0..100 {
        let put = Write::Put(Key::Code(SensorRef::new("pack0.Sensor")), Value::Digest(Digest(n)));
        assert!(matches!(transact(vec![put]).await, Reply::Applied { .. }));
    }
    println!("100 transactions one after the other in {:?}", since.elapsed());
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let server = shared();
    let engine = open(server.address(), "large", LONG).await;
    let (token, _) = win(&engine, 1).await;
    let fits = async |length: usize| match engine.apply(token.clone(), yes(), vec![set("x", "l".repeat(length))]).await
    {
        Ok(()) => true,
        Err(StoreError::TooLarge { limit, .. }) => {
            assert_eq!(limit, 1_000_000);
            false
        }
        Err(error) => panic!("{length}: {error}"),
    };
    let (mut takes, mut refuses) = (900_000, 1_000_000);
    assert!(fits(takes).await && !fits(refuses).await);
    while takes + 1 < refuses {
        let between = takes.midpoint(refuses);
        if fits(between).await {
            takes = between;
        } else {
            refuses = between;
        }
    }
    println!("a value of {takes} bytes is taken, one of {refuses} is not");
    assert_eq!(engine.get("x".to_owned()).await.unwrap().map(|value| value.len()), Some(takes));
    let huge = Record { values: Body::new(&vec![b'v'; 1_000_000]), ..Record::default() };
    let writes = vec![Write::Put(Key::Record(SensorRef::new("p.X")), Value::Record(huge))];
    let transaction = Transaction { token: token.clone(), checks: vec![], writes };
    assert_eq!(engine.ask(Request::Transact(transaction)).await, Reply::Unknown);
    assert_eq!(super::renew(&engine, &token).await, Reply::Done);
}

#[tokio::test]
async fn values_are_stored_in_the_order_in_which_they_came() {
    let server = shared();
    let engine = open(server.address(), "order", LONG).await;
    let (token, _) = win(&engine, 1).await;
    for round in 0..10 {
        let store = |n: u32| engine.apply(token.clone(), yes(), vec![set("x", format!("{round} {n}"))]);
        let (a, b, c, d) = tokio::join!(store(1), store(2), store(3), store(4));
        a.and(b).and(c).and(d).unwrap();
        assert_eq!(engine.get("x".to_owned()).await.unwrap(), Some(format!("{round} 4")));
    }
}

#[tokio::test]
async fn entries_come_and_go_with_and_without_their_record() {
    let server = shared();
    let engine = open(server.address(), "entries", LONG).await;
    let (token, _) = win(&engine, 1).await;
    let sensor = SensorRef::new("p.X");
    let transact = |writes: Vec<Write>| {
        engine.ask(Request::Transact(Transaction { token: token.clone(), checks: vec![], writes }))
    };
    let entry = |sequence: u64| {
        let entry = Entry {
            id: EntryId(1),
            follows: None,
            sequence,
            fence: Fence { term: Term(1), n: 1 },
            values: Body::default(),
            effects: Body::default(),
            part_of: None,
        };
        Write::Put(Key::Entry(sensor.clone(), sequence), Value::Entry(entry))
    };
    let record = || Write::Put(Key::Record(sensor.clone()), Value::Record(Record { sequence: 9, ..Record::default() }));
    let gone = |key: Key| Write::Delete(key);
    let state = async || {
        let Reply::Journal(journal) = engine.ask(Request::ReadJournal { sensor: sensor.clone() }).await else {
            panic!("not read")
        };
        (journal.version > 0, journal.unapplied.iter().map(|entry| entry.sequence).collect::<Vec<_>>())
    };
    let steps = [
        (vec![entry(1)], (false, vec![1])),
        (vec![record(), entry(2)], (true, vec![1, 2])),
        (vec![gone(Key::Record(sensor.clone()))], (false, vec![1, 2])),
        (vec![record(), gone(Key::Entry(sensor.clone(), 1))], (true, vec![2])),
        (vec![gone(Key::Entry(sensor.clone(), 2)), gone(Key::Record(sensor.clone()))], (false, vec![])),
        (vec![gone(Key::Entry(sensor.clone(), 2)), gone(Key::Record(sensor.clone()))], (false, vec![])),
        (vec![gone(Key::Record(sensor.clone())), entry(3)], (false, vec![3])),
    ];
    for (writes, expected) in steps {
        let reply = transact(writes.clone()).await;
        assert!(matches!(reply, Reply::Applied { .. }), "{writes:?}: {reply:?}");
        assert_eq!(state().await, expected, "{writes:?}");
    }
}

#[tokio::test]
async fn values_whose_time_is_over_are_removed_by_the_next_leader() {
    let server = shared();
    let engine = open(server.address(), "swept", LONG).await;
    let (token, _) = win(&engine, 1).await;
    let over = ValueWrite::Set { name: "over".to_owned(), value: "1".to_owned(), ttl: Some(Span::ZERO) };
    engine.apply(token.clone(), yes(), vec![over, set("kept", "2".to_owned())]).await.unwrap();
    engine.ask(Request::Resign { token }).await;
    win(&engine, 2).await;
    let client = zookeeper_client::Client::connect(server.address()).await.unwrap();
    let since = Instant::now();
    while client.list_children("/st2sa/swept/values").await.unwrap() != ["kept"] {
        assert!(since.elapsed() < super::SOON, "it is still there");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
