//! The contest over Redis.

use st2sa_coordination::store::Store;
use st2sa_testbed::{RedisServer, Signal};

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

/// One test a case of the contest.
macro_rules! contests {
    ($($case:ident),*) => {$(
        #[test]
        fn $case() {
            contest::$case(&mut OverRedis(RedisServer::start()));
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
