//! The service registry in Redis.

use ::redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use st2sa_coordination::registry::{self, Seen};
use st2sa_coordination::store::Store;
use st2sa_testbed::RedisServer;

use super::{Away, GROUP, MEMBER, Shelf, described, group, seen};

/// A server of its own.
struct Stand {
    server: RedisServer,
    store: Store,
}

impl Stand {
    fn start() -> Self {
        let server = RedisServer::start();
        let store = Store::parse(&format!("redis://{}", server.address())).unwrap().store;
        Self { server, store }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(format!("redis://{}", self.server.address())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn write(&self, words: &[&[u8]]) {
        let mut command = ::redis::cmd(std::str::from_utf8(words[0]).unwrap());
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async::<()>(&mut self.connection().await).await.unwrap();
    }
}

impl Shelf for Stand {
    fn store(&self) -> &Store {
        &self.store
    }

    async fn read(&self, group: &str, member: &str) -> Option<Vec<u8>> {
        let connection = &mut self.connection().await;
        let (is_group, value, beat): (bool, Option<Vec<u8>>, Option<String>) = ::redis::pipe()
            .cmd("SISMEMBER")
            .arg("_tooz_groups")
            .arg(group)
            .cmd("HGET")
            .arg(format!("_tooz_group:{group}"))
            .arg(member)
            .cmd("GET")
            .arg(format!("_tooz_beats:{member}"))
            .query_async(connection)
            .await
            .unwrap();
        value.filter(|_| is_group && beat.as_deref() == Some("Not dead!"))
    }

    async fn remove(&self, group: &str, member: &str) {
        self.write(&[b"HDEL", format!("_tooz_group:{group}").as_bytes(), member.as_bytes()]).await;
        self.write(&[b"SREM", b"_tooz_groups", group.as_bytes()]).await;
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
async fn a_member_leaves_nothing_but_its_group() {
    let stand = Stand::start();
    super::joined(&stand).await.leave().await;
    let created = stand.server.command(&["HGETALL", "_tooz_group:sensorcontainer"]);
    assert_eq!(created, "__created__\n1\n");
    let keys = stand.server.command(&["KEYS", "*"]);
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["_tooz_group:sensorcontainer", "_tooz_groups"]);
}

#[tokio::test]
async fn members_of_others_are_read_unless_they_are_dead() {
    let mut stand = Stand::start();
    stand.store.namespace = Some("_st2_dev".to_owned());
    stand.write(&[b"SADD", b"_st2_dev_groups", b"api", b"empty"]).await;
    stand.write(&[b"HSET", b"_st2_dev_group:api", b"__created__", b"1", b"dead_1", b"\x80"]).await;
    stand.write(&[b"HSET", b"_st2_dev_group:api", b"alive_2", b"\x81\xa4name\xa3api", b"odd_3", b"{}"]).await;
    stand.write(&[b"HSET", b"_st2_dev_group:api", b"silent_4", b"\xc4\0", b"voiceless_5", b"\x80"]).await;
    for member in ["alive_2", "odd_3", "silent_4"] {
        stand.write(&[b"SET", format!("_st2_dev_beats:{member}").as_bytes(), b"Not dead!"]).await;
    }
    stand.write(&[b"SET", b"_st2_dev_beats:voiceless_5", b""]).await;
    let odd = Seen {
        id: "odd_3".to_owned(),
        capabilities: Value::Null,
        problem: Some("there is more behind its msgpack".to_owned()),
    };
    let members = vec![seen("alive_2", json!({"name": "api"})), odd, seen("silent_4", Value::Null)];
    let expected = [group("api", members), group("empty", vec![])];
    assert_eq!(registry::list(&stand.store).await.unwrap(), expected);
    // To look changes nothing: whoever is late with a beat is still there.
    assert_eq!(stand.server.command(&["HEXISTS", "_st2_dev_group:api", "dead_1"]).trim(), "1");
}

#[tokio::test]
async fn a_namespace_of_the_url_is_kept_to() {
    let mut stand = Stand::start();
    stand.store.namespace = Some("mine".to_owned());
    let membership = registry::join(&stand.store, super::member());
    let listed = async || {
        let groups = registry::list(&stand.store).await.unwrap();
        (groups == [group(GROUP, vec![seen(MEMBER, described())])]).then_some(())
    };
    super::eventually("it is listed", listed).await;
    let keys = stand.server.command(&["KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("mine_")), "{keys}");
    membership.leave().await;
}
