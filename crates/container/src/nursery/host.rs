//! One host: a Python process that forks the sensor processes of one virtualenv.

use std::path::PathBuf;

use tokio::sync::mpsc;

use crate::wire::{Do, Operation};

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    /// The Python that it runs.
    pub(super) python: PathBuf,
    pub(super) token: String,
    /// Its process, once it is started.
    pub(super) pid: Option<i32>,
    /// It has connected at least once: that Python works.
    pub(super) was_connected: bool,
    connection: Option<(u64, mpsc::UnboundedSender<Operation>)>,
}

impl Host {
    pub(super) fn new(python: PathBuf, token: String) -> Self {
        Self { python, token, pid: None, was_connected: false, connection: None }
    }

    /// It has connected; `false` for anybody else who has learnt its token.
    pub(super) fn connected(&mut self, connection: u64, pid: i32, sender: mpsc::UnboundedSender<Operation>) -> bool {
        if self.was_connected || self.pid.is_some_and(|own| own != pid) {
            return false;
        }
        self.was_connected = true;
        self.connection = Some((connection, sender));
        true
    }

    pub(super) fn disconnected(&mut self, connection: u64) {
        self.connection.take_if(|(own, _)| *own == connection);
    }

    /// Asks it for a sensor process; `false` while it is not there.
    pub(super) fn fork(&self, process: u64, token: &str) -> bool {
        let fork = Operation::Do(Do::Fork { process, token: token.to_owned() });
        self.connection.as_ref().is_some_and(|(_, sender)| sender.send(fork).is_ok())
    }
}
