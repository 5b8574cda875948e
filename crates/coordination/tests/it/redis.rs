//! Redis: the suite, and what is its own.

use st2sa_coordination::redis::Redis;
use st2sa_coordination::store::{Kind, Lengths, Store};
use st2sa_core::time::Span;
use st2sa_testbed::RedisServer;

use crate::conformance;

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

/// Long enough that none runs out by itself.
const LENGTHS: Lengths = Lengths { leader_ttl: Span::from_secs(30), deadline: Span::from_secs(5) };

async fn open(store: &Store) -> Redis {
    Redis::open(store, LENGTHS).await.unwrap()
}

/// One test a case of the suite.
macro_rules! conforms {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            let server = RedisServer::start();
            conformance::$case(&open(&store(&server.address(), stringify!($case))).await).await;
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
