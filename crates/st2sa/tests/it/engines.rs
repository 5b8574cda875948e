//! The engines that a test runs on: an arbitrator with files of its own, and three that share each kind of store.

use std::any::Any;

use st2sa_testbed::{Etcd, RedisServer, ZooKeeperServer};

use crate::shared::Store;

/// Arbitrators that share a store.
pub(crate) const ARBITRATORS: usize = 3;

/// What arbitrators keep everything in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Files of the only arbitrator.
    Embedded,
    Etcd,
    Redis,
    ZooKeeper,
}

impl Engine {
    /// The store that is shared, running for as long as it is kept, and its url.
    pub(crate) fn start(self) -> Option<(Box<dyn Any>, String)> {
        match self {
            Self::Embedded => None,
            Self::Etcd => Some(started::<Etcd>()),
            Self::Redis => Some(started::<RedisServer>()),
            Self::ZooKeeper => Some(started::<ZooKeeperServer>()),
        }
    }
}

fn started<S: Store + 'static>() -> (Box<dyn Any>, String) {
    let store = S::start();
    let url = store.url();
    (Box::new(store), url)
}

/// Makes a test of each function, for each engine.
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        $crate::engines::on_every_engine!(@ embedded Embedded $($test)*);
        $crate::engines::on_every_engine!(@ etcd Etcd $($test)*);
        $crate::engines::on_every_engine!(@ redis Redis $($test)*);
        $crate::engines::on_every_engine!(@ zookeeper ZooKeeper $($test)*);
    };
    (@ $module:ident $engine:ident $($test:ident)*) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test($crate::engines::Engine::$engine);
            })*
        }
    };
}

pub(crate) use on_every_engine;
