//! A network between an engine and a server, with the faults of one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It arrives.
    Pass,
    /// It waits.
    Hold,
    /// Requests arrive, answers do not.
    Mute,
    /// Connections are closed, and not made.
    Cut,
}

/// A port that leads to a server.
pub(crate) struct Proxy {
    address: String,
    mode: watch::Sender<Mode>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mode = watch::Sender::new(Mode::Pass);
        let (server, modes) = (server.to_owned(), mode.clone());
        let listening = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pump(from_client, to_server, modes.subscribe(), false));
                tokio::spawn(pump(from_server, to_client, modes.subscribe(), true));
            }
        });
        Self { address, mode, listening }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: watch::Receiver<Mode>, answers: bool) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            cut = modes.wait_for(|mode| *mode == Mode::Cut) => return drop(cut),
            read = from.read(&mut bytes) => read,
        };
        let Ok(length @ 1..) = read else { return };
        let Ok(mode) = modes.wait_for(|mode| *mode != Mode::Hold).await.map(|mode| *mode) else { return };
        match mode {
            Mode::Cut => return,
            Mode::Mute if answers => {}
            _ => {
                if to.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
