//! The contest over ZooKeeper.

use st2sa_coordination::store::Store;
use st2sa_core::time::Span;
use st2sa_testbed::ZooKeeperServer;

use crate::contest::{self, Contest};

struct OverZooKeeper(ZooKeeperServer);

impl Contest for OverZooKeeper {
    fn store(&self) -> Store {
        super::store(&[self.0.address()], "contest")
    }

    /// A session of three seconds.
    fn leader_ttl(&self) -> Span {
        Span::from_secs(2)
    }

    fn freeze(&self) {
        self.0.stop();
    }

    fn thaw(&self) {
        self.0.cont();
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn start_again(&mut self) {
        self.0.start_again();
    }

    fn wipe(&mut self) {
        self.0.lose_everything();
    }

    fn forgets(&self) -> bool {
        false
    }
}

contest::contests!(OverZooKeeper(ZooKeeperServer::start()));
