//! Stores of several servers: any one of them is killed, or stands still, and sensors go on; none moves, none runs twice.

use std::time::{Duration, Instant};

use st2sa_testbed::{Etcd, Pack, RedisSentinels, ZooKeeperServer};

use super::Store;
use super::cases::Shared;
use crate::scene::SETTLES;

/// With one server gone polling goes on within this: the others may have to elect a leader among them first, and a
/// leadership among arbitrators that has run out meanwhile is followed by another one.
const GOES_ON_WITHIN: Duration = Duration::from_secs(20);

/// What can be done to one server of several.
trait Cluster: Store {
    const SERVERS: usize;
    fn kill_one(&mut self, number: usize);
    fn start_one_again(&mut self, number: usize);
    /// It stands still, and goes on.
    fn stop_one(&self, number: usize);
    fn let_one_go_on(&self, number: usize);
}

/// Three members.
struct EtcdCluster(Vec<Etcd>);
struct ZooKeeperCluster(Vec<ZooKeeperServer>);

macro_rules! cluster {
    ($name:ident, $server:ident, $url:expr) => {
        impl Store for $name {
            fn start() -> Self {
                Self($server::cluster(3))
            }

            fn url(&self) -> String {
                $url(&self.0)
            }

            fn kill(&mut self) {
                self.0.iter_mut().for_each($server::kill);
            }

            fn start_again(&mut self) {
                self.0.iter_mut().for_each($server::start_again);
            }
        }

        impl Cluster for $name {
            const SERVERS: usize = 3;

            fn kill_one(&mut self, number: usize) {
                self.0[number].kill();
            }

            fn start_one_again(&mut self, number: usize) {
                self.0[number].start_again();
            }

            fn stop_one(&self, number: usize) {
                self.0[number].stop();
            }

            fn let_one_go_on(&self, number: usize) {
                self.0[number].cont();
            }
        }
    };
}

cluster!(EtcdCluster, Etcd, |servers: &[Etcd]| Etcd::url_of(servers));
cluster!(ZooKeeperCluster, ZooKeeperServer, |servers: &[ZooKeeperServer]| {
    let addresses: Vec<String> = servers.iter().map(ZooKeeperServer::address).collect();
    format!("zookeeper://{}", addresses.join(","))
});

fn any_one_is_killed<C: Cluster>() {
    let mut shared = Shared::<C>::start(&[Pack::Ticker(4)]);
    let before = shared.settled();
    for number in 0..C::SERVERS {
        shared.store.kill_one(number);
        shared.polled_since(Instant::now(), GOES_ON_WITHIN);
        shared.store.start_one_again(number);
        assert_eq!(shared.settled(), before, "a sensor has moved");
    }
    shared.source.assert_no_overlap();
}

fn any_one_stands_still<C: Cluster>() {
    let shared = Shared::<C>::start(&[Pack::Ticker(4)]);
    let before = shared.settled();
    for number in 0..C::SERVERS {
        shared.store.stop_one(number);
        // Polls that began in the first moments say nothing of it.
        let since = Instant::now();
        shared.bed.eventually(SETTLES, "it has stood still for a while", || {
            (since.elapsed() > Duration::from_secs(2)).then_some(())
        });
        shared.polled_since(Instant::now(), GOES_ON_WITHIN);
        shared.store.let_one_go_on(number);
        assert_eq!(shared.settled(), before, "a sensor has moved");
    }
    shared.source.assert_no_overlap();
}

#[test]
fn any_server_of_etcd_is_killed_and_sensors_go_on() {
    any_one_is_killed::<EtcdCluster>();
}

#[test]
fn any_server_of_etcd_stands_still_and_sensors_go_on() {
    any_one_stands_still::<EtcdCluster>();
}

#[test]
fn any_server_of_zookeeper_is_killed_and_sensors_go_on() {
    any_one_is_killed::<ZooKeeperCluster>();
}

#[test]
fn any_server_of_zookeeper_stands_still_and_sensors_go_on() {
    any_one_stands_still::<ZooKeeperCluster>();
}

impl Store for RedisSentinels {
    fn start() -> Self {
        Self::start(2)
    }

    fn url(&self) -> String {
        let (first, others) =
            self.addresses().split_first().map(|(first, others)| (first.clone(), others.to_vec())).unwrap();
        let fallbacks: Vec<String> = others.iter().map(|other| format!("&sentinel_fallback={other}")).collect();
        format!("redis://{first}?sentinel={}{}", self.master_name(), fallbacks.concat())
    }

    fn kill(&mut self) {
        self.master().kill();
    }

    fn start_again(&mut self) {}
}

/// The master is killed: the sentinels promote a replica, arbitrators follow it, and a new term begins after its wait.
#[test]
fn the_master_of_redis_is_killed_and_sensors_go_on() {
    let mut shared = Shared::<RedisSentinels>::start(&[Pack::Ticker(4)]);
    let before = shared.settled();
    let master = shared.store.master().address();
    shared.store.kill();
    shared.store.wait_for_another_master(&master);
    shared.polled_since(Instant::now(), GOES_ON_WITHIN * 2);
    assert_eq!(shared.settled(), before, "a sensor has moved");
    shared.source.assert_no_overlap();
}
