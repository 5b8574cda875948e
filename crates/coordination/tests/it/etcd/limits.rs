//! What etcd does not take is refused before it is sent: at the limit and one above.

use st2sa_coordination::etcd::OPERATIONS_AT_MOST;

use super::*;

#[tokio::test]
async fn transactions_have_a_limit() {
    let shared = Shared::get();
    let engine = open(&shared.url, "operations").await;
    campaign(&engine, 1, 0).await;
    let pauses = |count: usize| (0..count).map(|number| pause(&format!("p.X{number}"), "anne")).collect::<Vec<_>>();
    assert_eq!(engine.ask(transact(token(1), pauses(OPERATIONS_AT_MOST + 1))).await, Reply::Unknown);
    assert_eq!(paused(&engine).await.unwrap().len(), 0);
    let checks = (1..OPERATIONS_AT_MOST).map(|number| {
        let key = Key::Pause(SensorRef::new(format!("p.Z{number}")));
        Check { key, version: 0 }
    });
    let writes = pauses(OPERATIONS_AT_MOST);
    let all = Request::Transact(Transaction { token: token(1), checks: checks.collect(), writes });
    assert!(matches!(engine.ask(all).await, Reply::Applied { .. }));
    assert_eq!(paused(&engine).await.unwrap().len(), OPERATIONS_AT_MOST);
    let large = vec![pause("p.Large", &"x".repeat(2 << 20))];
    assert_eq!(engine.ask(transact(token(1), large)).await, Reply::Unknown);
    assert_eq!(paused(&engine).await.unwrap().len(), OPERATIONS_AT_MOST);
}

#[tokio::test]
async fn requests_to_the_datastore_have_a_limit() {
    let shared = Shared::get();
    let engine = open(&shared.url, "bytes").await;
    campaign(&engine, 1, 0).await;
    let value = |bytes: usize| vec![set("n", "x".repeat(bytes))];
    // Its size is looked at before it is asked whether it may be stored.
    let fits = async |bytes| {
        engine.ask(Request::Renew { token: token(1) }).await;
        let refused = engine.apply(token(1), Box::new(|| false), value(bytes)).await;
        matches!(refused, Err(StoreError::NotLeader))
    };
    let (mut most, mut too_many) = (1 << 20, 2 << 20);
    assert!(fits(most).await && !fits(too_many).await);
    while too_many - most > 1 {
        let middle = usize::midpoint(most, too_many);
        if fits(middle).await { most = middle } else { too_many = middle }
    }
    engine.apply(token(1), yes(), value(most)).await.unwrap();
    assert_eq!(engine.get("n".to_owned()).await.unwrap().map(|value| value.len()), Some(most));
    let refused = engine.apply(token(1), yes(), value(most + 1)).await.unwrap_err();
    let text = "the bytes of one request are more than the store takes at once: 1572352 at the most";
    assert_eq!(refused.to_string(), text);
    let many = |count: usize| (0..count).map(|number| set(&number.to_string(), "1")).collect::<Vec<_>>();
    let refused = engine.apply(token(1), yes(), many(OPERATIONS_AT_MOST + 1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { limit: OPERATIONS_AT_MOST, .. }), "{refused}");
    engine.apply(token(1), yes(), many(OPERATIONS_AT_MOST)).await.unwrap();
}
