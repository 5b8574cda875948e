//! The contest over ZooKeeper.

use st2sa_coordination::store::Store;
use st2sa_testbed::ZooKeeperServer;

use crate::contest::{self, Contest};

struct OverZooKeeper(ZooKeeperServer);

impl Contest for OverZooKeeper {
    fn store(&self) -> Store {
        super::store(&[self.0.address()], "contest")
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
        self.0.wipe();
    }

    fn forgets(&self) -> bool {
        false
    }
}

/// One test a case of the contest.
macro_rules! contests {
    ($($case:ident),*) => {$(
        #[test]
        fn $case() {
            contest::$case(&mut OverZooKeeper(ZooKeeperServer::start()));
        }
    )*};
}

contests!(
    terms_rise_under_contention,
    a_leader_that_slept_is_refused,
    a_deposed_leader_writes_nothing_under_fire,
    terms_outlive_a_killed_store,
    one_acts_while_the_store_freezes,
    a_cut_write_is_neither_done_nor_refused,
    terms_are_above_what_a_wiped_store_is_shown
);
