//! Arbitrators that share a store: one leads, the others stand by; whoever dies, stands still or resigns, no sensor moves for
//! it, and none runs twice. Every case runs on every store.

mod cases;
mod clusters;

use std::time::Duration;

use st2sa_testbed::{Etcd, RedisServer, ZooKeeperServer};

/// A store that is shared by the arbitrators of a test.
pub(crate) trait Store {
    /// Starts it.
    fn start() -> Self;
    /// As StackStorm's configuration names it.
    fn url(&self) -> String;
    /// It is killed, and started again with its data.
    fn kill(&mut self);
    fn start_again(&mut self);
    /// How long after a leader's death another one may take to lead: the leadership's length, and a second.
    fn leads_within() -> Duration {
        Duration::from_secs(3)
    }
}

impl Store for RedisServer {
    fn start() -> Self {
        Self::start()
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start_again(&mut self) {
        Self::start_again(self);
    }
}

impl Store for ZooKeeperServer {
    fn start() -> Self {
        Self::start()
    }

    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start_again(&mut self) {
        Self::start_again(self);
    }

    /// A session, a tick, and a second.
    fn leads_within() -> Duration {
        Duration::from_secs(5)
    }
}

impl Store for Etcd {
    fn start() -> Self {
        Self::start()
    }

    fn url(&self) -> String {
        Self::url(self)
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn start_again(&mut self) {
        Self::start_again(self);
    }
}

macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        mod redis {
            $(#[test]
            fn $case() {
                super::cases::$case::<st2sa_testbed::RedisServer>();
            })*
        }
        mod zookeeper {
            $(#[test]
            fn $case() {
                super::cases::$case::<st2sa_testbed::ZooKeeperServer>();
            })*
        }
        mod etcd {
            $(#[test]
            fn $case() {
                super::cases::$case::<st2sa_testbed::Etcd>();
            })*
        }
    };
}

on_every_store!(
    a_killed_leader_is_followed_and_no_sensor_moves,
    a_leader_that_resigns_pauses_nobody,
    a_leader_that_stands_still_is_followed_and_does_nothing_when_it_wakes,
    the_sensors_of_a_killed_container_go_on_elsewhere,
    any_arbitrator_answers_and_hands_orders_on,
    a_store_that_is_away_stops_polling_which_resumes_by_itself,
    a_store_that_is_away_stops_nothing_with_fail_safe_on,
    an_arbitrator_that_may_not_lead_says_why,
);
