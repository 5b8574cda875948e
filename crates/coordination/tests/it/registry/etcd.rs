//! The service registry in etcd.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use st2sa_coordination::registry;
use st2sa_coordination::store::Store;
use st2sa_testbed::Etcd;

use super::{Away, Shelf, group, seen};

/// A server of its own.
struct Stand {
    server: Etcd,
    store: Store,
}

impl Stand {
    fn start() -> Self {
        let server = Etcd::start();
        let store = Store::parse(&server.url()).unwrap().store;
        Self { server, store }
    }

    /// Asks with etcd's own client.
    fn ask(&self, arguments: &[&str], input: &[u8]) -> Value {
        let mut child = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([&format!("--endpoints={}", self.server.address()), "--write-out=json"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`apt-get install etcd-client` brings it");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.ask(&["put", key], value);
    }

    /// The value and the lease of a key.
    fn get(&self, key: &str) -> Option<(Vec<u8>, i64)> {
        let answer = self.ask(&["get", key], b"");
        let found = answer["kvs"].as_array()?.first()?;
        Some((STANDARD.decode(found["value"].as_str()?).unwrap(), found["lease"].as_i64().unwrap_or_default()))
    }
}

impl Shelf for Stand {
    fn store(&self) -> &Store {
        &self.store
    }

    async fn read(&self, group: &str, member: &str) -> Option<Vec<u8>> {
        let (value, lease) = self.get(&format!("tooz/groups/{group}/{member}"))?;
        assert_ne!(lease, 0, "it would stay for ever");
        let own_name = format!("tooz/groups/{group}/").into_bytes();
        assert_eq!(self.get(&format!("tooz/groups/{group}/")), Some((own_name, 0)));
        Some(value)
    }

    async fn remove(&self, group: &str, member: &str) {
        self.ask(&["del", &format!("tooz/groups/{group}/{member}")], b"");
    }
}

impl Away for Stand {
    fn kill(&mut self) {
        self.server.kill();
    }

    fn start_again(&mut self) {
        self.server.start_again();
    }
}

macro_rules! stands {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            super::$case(Stand::start()).await;
        }
    )*};
}

stands!(
    a_member_stands_there_in_the_bytes_of_tooz_until_it_leaves,
    a_member_stays_while_its_process_lives_and_vanishes_when_that_is_killed,
    a_member_that_somebody_removed_is_put_back,
    a_store_that_is_away_holds_nobody_up_and_has_the_member_again_when_it_is_back
);

#[tokio::test]
async fn a_lease_that_was_taken_away_is_followed_by_a_new_one() {
    let stand = Stand::start();
    let membership = super::joined(&stand).await;
    let (_, lease) = stand.get("tooz/groups/sensorcontainer/host_123").unwrap();
    stand.ask(&["lease", "revoke", &format!("{lease:x}")], b"");
    super::says(&stand, super::BYTES).await;
    membership.leave().await;
}

#[tokio::test]
async fn members_of_others_are_read_and_are_no_groups() {
    let stand = Stand::start();
    for name in ["arb", "arb/deep", "empty"] {
        let key = format!("tooz/groups/{name}/");
        stand.put(&key, key.as_bytes());
    }
    stand.put("tooz/groups/arb/host_1", b"\x81\xa4role\xa6leader");
    stand.put("tooz/groups/arb/host_2/x", b"\xc0");
    stand.put("tooz/groups/arb/deep/host_3", b"\xc0");
    stand.put("tooz/groups/nobody/host_4", b"\xc0");
    let members = vec![seen("host_1", json!({"role": "leader"})), seen("host_2/x", Value::Null)];
    let deep = vec![seen("host_3", Value::Null)];
    let expected = [group("arb", members), group("arb/deep", deep), group("empty", vec![])];
    assert_eq!(registry::list(&stand.store).await.unwrap(), expected);
}
