//! The contest over Redis.

use st2sa_coordination::store::Store;
use st2sa_testbed::{RedisSentinels, RedisServer, Signal};

use crate::contest::{self, Contest};

struct OverRedis(RedisServer);

impl Contest for OverRedis {
    fn store(&self) -> Store {
        super::store(&self.0.address(), "contest")
    }

    fn freeze(&self) {
        self.0.signal(Signal::STOP);
    }

    fn thaw(&self) {
        self.0.signal(Signal::CONT);
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn start_again(&mut self) {
        self.0.start_again();
    }

    fn wipe(&mut self) {
        self.0.command(&["FLUSHALL"]);
    }

    /// Not as it is started here: `appendonly yes`, `appendfsync always`.
    fn forgets(&self) -> bool {
        false
    }
}

contest::contests!(OverRedis(RedisServer::start()));

/// A master that sentinels replace when it dies.
struct OverSentinels {
    group: RedisSentinels,
    killed: String,
}

impl Contest for OverSentinels {
    fn store(&self) -> Store {
        let sentinel = Some(self.group.master_name().to_owned());
        Store { servers: self.group.addresses(), sentinel, ..super::store("", "contest") }
    }

    fn freeze(&self) {
        self.group.servers().for_each(|server| server.signal(Signal::STOP));
    }

    fn thaw(&self) {
        self.group.servers().for_each(|server| server.signal(Signal::CONT));
    }

    fn kill(&mut self) {
        let master = self.group.master();
        self.killed = master.address();
        master.kill();
    }

    fn start_again(&mut self) {
        self.group.wait_for_another_master(&self.killed);
    }

    fn wipe(&mut self) {
        self.group.master().command(&["FLUSHALL"]);
    }

    /// What is left then has no replica more to confirm anything.
    fn kills(&self) -> usize {
        1
    }

    /// The one that is promoted has what one that lives has confirmed: they have come equally far here.
    fn forgets(&self) -> bool {
        false
    }
}

#[test]
fn terms_outlive_a_master_that_is_replaced() {
    let group = RedisSentinels::start(2);
    contest::terms_outlive_a_killed_store(&mut OverSentinels { group, killed: String::new() });
}
