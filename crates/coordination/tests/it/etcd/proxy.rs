//! A TCP proxy that a test makes misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Ends with the test.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    target: SocketAddr,
    trap: Mutex<Option<Trap>>,
    /// Bytes held were seen; bytes held may go on; every connection is to be cut.
    held: watch::Sender<bool>,
    released: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    refusing: AtomicBool,
}

/// What is done with the first bytes from a client that hold these.
struct Trap {
    bytes: Vec<u8>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// They go on, and the connection is cut before the server answers.
    LoseAnswer,
    /// They go on when they are released, and nothing behind them.
    Hold,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target,
            trap: Mutex::default(),
            held: watch::Sender::new(false),
            released: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            refusing: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the answer to the next bytes that hold these.
    pub(crate) fn lose_answer_to(&self, bytes: &str) {
        *self.state.trap.lock().unwrap() = Some(Trap { bytes: bytes.into(), how: How::LoseAnswer });
    }

    /// Holds the next bytes that hold these.
    pub(crate) fn hold(&self, bytes: &str) {
        self.state.held.send_replace(false);
        self.state.released.send_replace(false);
        *self.state.trap.lock().unwrap() = Some(Trap { bytes: bytes.into(), how: How::Hold });
    }

    /// Waits until some are held.
    pub(crate) async fn holds(&self) {
        self.state.held.subscribe().wait_for(|held| *held).await.unwrap();
    }

    /// Lets them go on.
    pub(crate) fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Cuts all connections, and refuses new ones or not.
    pub(crate) fn cut(&self, refusing: bool) {
        self.state.refusing.store(refusing, Ordering::SeqCst);
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn accept_again(&self) {
        self.state.refusing.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(state.target).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let lossy = Arc::new(Notify::new());
        tokio::spawn(up(from_client, to_server, Arc::clone(&state), Arc::clone(&lossy)));
        tokio::spawn(down(from_server, to_client, Arc::clone(&state), lossy));
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, lossy: Arc<Notify>) {
    let mut buffer = vec![0; 1 << 20];
    let mut cuts = state.cuts.subscribe();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or_default(),
            _ = cuts.changed() => return,
        };
        if read == 0 {
            return;
        }
        match state.sprung(&buffer[..read]) {
            None => {}
            Some(How::LoseAnswer) => {
                let _ = to.write_all(&buffer[..read]).await;
                lossy.notify_one();
                // The server does not hear that this client has gone.
                std::future::pending::<()>().await;
            }
            Some(How::Hold) => {
                state.held.send_replace(true);
                let mut released = state.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                let _ = to.write_all(&buffer[..read]).await;
                // The server hears no more of this client, and not that it has gone.
                std::future::pending::<()>().await;
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, lossy: Arc<Notify>) {
    let mut buffer = vec![0; 1 << 16];
    let mut cuts = state.cuts.subscribe();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or_default(),
            _ = cuts.changed() => return,
            () = lossy.notified() => return,
        };
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

impl State {
    fn sprung(&self, bytes: &[u8]) -> Option<How> {
        let mut trap = self.trap.lock().unwrap();
        let sprung = trap.as_ref().is_some_and(|trap| bytes.windows(trap.bytes.len()).any(|some| some == trap.bytes));
        if sprung { trap.take().map(|trap| trap.how) } else { None }
    }
}
