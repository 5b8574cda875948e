//! One server for many tests, for as long as one of them needs it.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use st2sa_testbed::ZooKeeperServer;

static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

/// A hold on the server.
pub(crate) struct Shared {
    address: String,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The server that the tests of this process share.
pub(crate) fn shared() -> Arc<Shared> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Shared::start());
    *shared = Arc::downgrade(&started);
    started
}

impl Shared {
    fn start() -> Self {
        let (end, ended) = channel();
        let (tell, told) = channel();
        // A server dies with the thread that started it, and a test's thread ends with the test.
        let thread = std::thread::spawn(move || {
            let server = ZooKeeperServer::start();
            tell.send(server.address()).unwrap();
            // An error is the end of the last test.
            let _: Result<(), _> = ended.recv();
        });
        Self { address: told.recv().expect("the server starts"), end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
