//! The service registry in ZooKeeper.

use std::sync::Arc;

use serde_json::{Value, json};
use st2sa_coordination::registry;
use st2sa_coordination::store::Store;
use st2sa_testbed::ZooKeeperServer;
use zookeeper_client::{Acls, Client, CreateMode};

use super::{Away, Shelf, group, seen};
use crate::zookeeper::shared::{Shared, shared};

/// A namespace of the server that all share.
struct Stand {
    store: Store,
    /// It lives as long as this.
    _shared: Arc<Shared>,
}

/// A server of its own, with tooz's own namespace.
struct Alone {
    store: Store,
    server: ZooKeeperServer,
}

impl Stand {
    fn start(namespace: &str) -> Self {
        let shared = shared();
        let url = format!("zookeeper://{}?namespace={namespace}", shared.address());
        Self { store: Store::parse(&url).unwrap().store, _shared: shared }
    }
}

impl Alone {
    fn start() -> Self {
        let server = ZooKeeperServer::start();
        Self { store: Store::parse(&server.url()).unwrap().store, server }
    }
}

impl Shelf for Stand {
    fn store(&self) -> &Store {
        &self.store
    }

    async fn read(&self, group: &str, member: &str) -> Option<Vec<u8>> {
        read(&self.store, group, member).await
    }

    async fn remove(&self, group: &str, member: &str) {
        let client = Client::connect(&self.store.servers[0]).await.unwrap();
        client.delete(&path(&self.store, group, member), None).await.unwrap();
    }
}

impl Shelf for Alone {
    fn store(&self) -> &Store {
        &self.store
    }

    async fn read(&self, group: &str, member: &str) -> Option<Vec<u8>> {
        read(&self.store, group, member).await
    }

    async fn remove(&self, _: &str, _: &str) {
        unreachable!("it is shared");
    }
}

impl Away for Alone {
    fn kill(&mut self) {
        self.server.kill();
    }

    fn start_again(&mut self) {
        self.server.start_again();
    }
}

fn path(store: &Store, group: &str, member: &str) -> String {
    format!("/{}/{group}/{member}", store.namespace.as_deref().unwrap_or("tooz"))
}

async fn read(store: &Store, group: &str, member: &str) -> Option<Vec<u8>> {
    let client = Client::connect(&store.servers[0]).await.unwrap();
    let (data, stat) = client.get_data(&path(store, group, member)).await.ok()?;
    assert_ne!(stat.ephemeral_owner, 0, "it would stay for ever");
    Some(data)
}

macro_rules! stands {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            super::$case(Stand::start(stringify!($case))).await;
        }
    )*};
}

stands!(
    a_member_stands_there_in_the_bytes_of_tooz_until_it_leaves,
    a_member_stays_while_its_process_lives_and_vanishes_when_that_is_killed,
    a_member_that_somebody_removed_is_put_back
);

#[tokio::test]
async fn a_store_that_is_away_holds_nobody_up_and_has_the_member_again_when_it_is_back() {
    super::a_store_that_is_away_holds_nobody_up_and_has_the_member_again_when_it_is_back(Alone::start()).await;
}

#[tokio::test]
async fn a_member_takes_the_place_of_the_one_that_its_process_had_before() {
    let stand = Stand::start("before");
    let before = super::joined(&stand).await;
    let after = registry::join(&stand.store, super::member());
    after.set(super::object(json!({"role": "leader"})));
    super::says(&stand, super::LEADER).await;
    // It puts its own back as soon as it looks: two of one name are nobody's idea.
    drop(before);
    super::says(&stand, super::LEADER).await;
    after.leave().await;
}

#[tokio::test]
async fn members_of_others_are_read_without_the_nodes_that_are_none() {
    let stand = Stand::start("others");
    let client = Client::connect(&stand.store.servers[0]).await.unwrap();
    let create = async |path: &str, data: &[u8], mode: CreateMode| {
        client.create(&format!("/others{path}"), data, &mode.with_acls(Acls::anyone_all())).await.unwrap();
    };
    for folder in ["", "/arb", "/arb/leader", "/empty", "/locks", "/locks/a"] {
        create(folder, b"", CreateMode::Persistent).await;
    }
    create("/arb/leader/x__lock__0000000001", b"host_1", CreateMode::Ephemeral).await;
    create("/arb/host_1", b"\x81\xa4role\xa6leader", CreateMode::Ephemeral).await;
    create("/arb/host_2", b"\xc0", CreateMode::Persistent).await;
    create("/locks/a/x__lock__0000000001", b"host_1", CreateMode::Ephemeral).await;
    let members = vec![seen("host_1", json!({"role": "leader"})), seen("host_2", Value::Null)];
    let expected = [group("arb", members), group("empty", vec![])];
    assert_eq!(registry::list(&stand.store).await.unwrap(), expected);
}

#[tokio::test]
async fn a_registry_that_nobody_has_written_is_empty() {
    let stand = Stand::start("nobody");
    assert_eq!(registry::list(&stand.store).await.unwrap(), []);
}
