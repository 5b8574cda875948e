//! The service registry on each store: tooz's exact bytes, members that come, change and vanish, and what others wrote.

mod etcd;
mod redis;
mod tooz;
mod zookeeper;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use st2sa_coordination::registry::{self, Capabilities, Group, Member, Membership, Seen};
use st2sa_coordination::store::Store;

/// What is waited for comes within this, also on a machine that is swamped.
const SOON: Duration = Duration::from_secs(30);
/// Members here are seen so long after their death: etcd grants no less.
const TTL: Duration = Duration::from_secs(2);

/// The member of these tests, and what tooz writes for it.
const GROUP: &str = "sensorcontainer";
const MEMBER: &str = "host_123";
const BYTES: &[u8] = b"\x84\xa4name\xafsensorcontainer\xa4type\xa7passive\xa8hostname\xa4host\xa3pid\x7b";
/// The same once it leads.
const LEADER: &[u8] =
    b"\x85\xa4name\xafsensorcontainer\xa4type\xa7passive\xa8hostname\xa4host\xa3pid\x7b\xa4role\xa6leader";

/// A store, and a way to its keys past all that is tested.
trait Shelf {
    fn store(&self) -> &Store;

    /// What stands there for a member, as others see it.
    async fn read(&self, group: &str, member: &str) -> Option<Vec<u8>>;

    /// Removes a member as if somebody had.
    async fn remove(&self, group: &str, member: &str);
}

/// A server that can be away.
trait Away: Shelf {
    fn kill(&mut self);
    fn start_again(&mut self);
}

fn object(value: Value) -> Capabilities {
    let Value::Object(object) = value else { panic!("no object: {value}") };
    object
}

fn described() -> Value {
    json!({"name": "sensorcontainer", "type": "passive", "hostname": "host", "pid": 123})
}

fn member() -> Member {
    Member { group: GROUP.to_owned(), id: MEMBER.to_owned(), ttl: TTL, capabilities: object(described()) }
}

fn seen(id: &str, capabilities: Value) -> Seen {
    Seen { id: id.to_owned(), capabilities, problem: None }
}

fn group(name: &str, members: Vec<Seen>) -> Group {
    Group { name: name.to_owned(), members }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < SOON, "not in {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn says(shelf: &impl Shelf, bytes: &[u8]) {
    let found = async || shelf.read(GROUP, MEMBER).await.filter(|found| found == bytes);
    eventually("the member says this", found).await;
}

async fn is_gone(shelf: &impl Shelf) {
    let gone = async || shelf.read(GROUP, MEMBER).await.is_none().then_some(());
    eventually("the member is gone", gone).await;
}

async fn joined(shelf: &impl Shelf) -> Membership {
    let membership = registry::join(shelf.store(), member());
    says(shelf, BYTES).await;
    membership
}

async fn a_member_stands_there_in_the_bytes_of_tooz_until_it_leaves(shelf: impl Shelf) {
    // One that vanishes sooner has left.
    let lasting = || Member { ttl: SOON * 2, ..member() };
    let membership = registry::join(shelf.store(), lasting());
    says(&shelf, BYTES).await;
    membership.set(object(json!({"role": "leader"})));
    says(&shelf, LEADER).await;
    // In the place of what was said before.
    membership.set(Capabilities::new());
    says(&shelf, BYTES).await;
    let expected = vec![group(GROUP, vec![seen(MEMBER, described())])];
    assert_eq!(registry::list(shelf.store()).await.unwrap(), expected);
    membership.leave().await;
    is_gone(&shelf).await;
    assert_eq!(registry::list(shelf.store()).await.unwrap(), [group(GROUP, vec![])]);

    let membership = registry::join(shelf.store(), lasting());
    says(&shelf, BYTES).await;
    drop(membership);
    is_gone(&shelf).await;
}

async fn a_member_stays_while_its_process_lives_and_vanishes_when_that_is_killed(shelf: impl Shelf) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let membership = {
        let _entered = runtime.enter();
        registry::join(shelf.store(), member())
    };
    says(&shelf, BYTES).await;
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(shelf.read(GROUP, MEMBER).await.as_deref(), Some(BYTES));
    // No task of it runs any more: nothing is said, nothing is told again.
    runtime.shutdown_background();
    is_gone(&shelf).await;
    drop(membership);
}

async fn a_member_that_somebody_removed_is_put_back(shelf: impl Shelf) {
    let membership = joined(&shelf).await;
    shelf.remove(GROUP, MEMBER).await;
    says(&shelf, BYTES).await;
    membership.leave().await;
}

async fn a_store_that_is_away_holds_nobody_up_and_has_the_member_again_when_it_is_back(mut shelf: impl Away) {
    let membership = joined(&shelf).await;
    shelf.kill();
    tokio::time::sleep(TTL).await;
    membership.set(object(json!({"role": "leader"})));
    shelf.start_again();
    says(&shelf, LEADER).await;

    shelf.kill();
    let since = Instant::now();
    membership.leave().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());

    // One that was never there comes when the store does.
    let membership = registry::join(shelf.store(), member());
    tokio::time::sleep(Duration::from_millis(500)).await;
    shelf.start_again();
    says(&shelf, BYTES).await;
    membership.leave().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_named() {
    let port = st2sa_testbed::free_port();
    for (scheme, name) in [("redis", "Redis"), ("zookeeper", "ZooKeeper"), ("etcd3+http", "etcd")] {
        let store = Store::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap().store;
        let error = registry::list(&store).await.unwrap_err().to_string();
        let begins = format!("the service registry in {name} at 127.0.0.1:{port} cannot be read: ");
        assert!(error.starts_with(&begins), "{error}");
    }
}

#[test]
fn a_process_is_described_as_services_of_stackstorm_are() {
    let member = Member::of_this_process("sensorarbitrator", ([127, 0, 0, 1], 9110).into());
    let (host, pid) = (st2sa_machine::identity::host(), std::process::id());
    assert_eq!((member.group.as_str(), member.id), ("sensorarbitrator", format!("{host}_{pid}")));
    let expected = json!({
        "name": "sensorarbitrator", "type": "active", "hostname": host, "pid": pid,
        "listen_host": "127.0.0.1", "listen_port": 9110,
    });
    // As text: what is compared is the order, too.
    assert_eq!(Value::Object(member.capabilities).to_string(), expected.to_string());
}
