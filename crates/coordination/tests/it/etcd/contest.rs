//! The contest over etcd.

use st2sa_coordination::store::Store;
use st2sa_core::time::Span;
use st2sa_testbed::Etcd;

use crate::contest::{self, Contest};

struct OverEtcd(Etcd);

impl Contest for OverEtcd {
    fn store(&self) -> Store {
        super::store(&self.0.url(), "contest")
    }

    /// etcd grants no less.
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

contest::contests!(OverEtcd(Etcd::start()));
