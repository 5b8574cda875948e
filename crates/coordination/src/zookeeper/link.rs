//! One session with ZooKeeper, and the next one when it is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zookeeper_client::{Client, SessionState};

use super::servers::{self, Servers};
use super::trouble::Trouble;

/// Keeps a session open. The client moves it from server to server by itself, as long as the servers keep it; one
/// that is over is followed by a new one.
#[derive(Debug)]
pub(super) struct Link {
    current: Arc<watch::Sender<Option<Client>>>,
    keeper: JoinHandle<()>,
}

impl Link {
    /// Begins with a session that is open. One that stays without a connection for longer than `patience` is given up.
    pub(super) fn new(servers: Arc<Servers>, first: Client, patience: Option<Duration>) -> Self {
        let current = Arc::new(watch::Sender::new(Some(first)));
        let keeper = tokio::spawn(keep(servers, Arc::clone(&current), patience));
        Self { current, keeper }
    }

    /// The session, once it is connected. Whoever asks bounds the wait.
    pub(super) async fn connected(&self) -> Result<Client, Trouble> {
        let mut current = self.current.subscribe();
        loop {
            let Ok(client) = current.wait_for(Option::is_some).await.map(|client| client.clone()) else {
                return Err(Trouble::Ended);
            };
            let Some(client) = client else { continue };
            tokio::select! {
                connected = connected(&client) => if connected.is_ok() {
                    return Ok(client);
                },
                _ = current.changed() => continue,
            }
            // Over: the keeper sees it, too, and makes the next one.
            if current.changed().await.is_err() {
                return Err(Trouble::Ended);
            }
        }
    }

    /// The session, once it is connected; a new one where that of now is not. For those to whom nothing hangs on it,
    /// and who know that the servers can be reached: the client tries ever more rarely.
    pub(super) async fn connected_or_new(&self) -> Result<Client, Trouble> {
        discard_if(&self.current, |current| current.state() != SessionState::SyncConnected);
        self.connected().await
    }

    /// Gives a session up, with all that hangs on it: it is closed as soon as the servers can be told, and ends by
    /// itself where they cannot. A new one follows.
    pub(super) fn discard(&self, client: &Client) {
        discard_if(&self.current, |current| current.session_id() == client.session_id());
    }

    /// Gives up the session of now, whichever it is.
    pub(super) fn discard_current(&self) {
        discard_if(&self.current, |_| true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // With the task goes the last hold on the session, which is closed then.
        self.keeper.abort();
    }
}

/// Waits until a session is connected.
pub(super) async fn connected(client: &Client) -> Result<(), Trouble> {
    let mut states = client.state_watcher();
    let mut state = client.state();
    loop {
        match state {
            SessionState::SyncConnected => return Ok(()),
            over if over.is_terminated() => return Err(Trouble::Ended),
            _ => state = states.changed().await,
        }
    }
}

/// Follows each session that is over or discarded by a new one.
async fn keep(servers: Arc<Servers>, current: Arc<watch::Sender<Option<Client>>>, patience: Option<Duration>) {
    let mut changes = current.subscribe();
    loop {
        let client = changes.borrow_and_update().clone();
        if let Some(client) = client {
            tokio::select! {
                () = over(&client, patience) => discard_if(&current, |held| held.session_id() == client.session_id()),
                _ = changes.changed() => {}
            }
        } else {
            let client = open(&servers).await;
            current.send_replace(Some(client));
        }
    }
}

fn discard_if(current: &watch::Sender<Option<Client>>, is_meant: impl FnOnce(&Client) -> bool) {
    current.send_if_modified(|current| {
        let meant = current.as_ref().is_some_and(is_meant);
        if meant {
            *current = None;
        }
        meant
    });
}

/// Waits until a session is over, or without a connection for too long.
async fn over(client: &Client, patience: Option<Duration>) {
    let mut states = client.state_watcher();
    let mut state = client.state();
    while !state.is_terminated() {
        let change = states.changed();
        state = match patience {
            Some(patience) if state == SessionState::Disconnected => match timeout(patience, change).await {
                Ok(state) => state,
                Err(_) => return,
            },
            _ => change.await,
        };
    }
}

/// Opens a session, however often that takes.
async fn open(servers: &Servers) -> Client {
    loop {
        match servers.connect().await {
            Ok(client) => return client,
            Err(error) => tracing::debug!(servers = servers.addresses(), %error, "no session with ZooKeeper yet"),
        }
        tokio::time::sleep(servers::back_off()).await;
    }
}
