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

/// The mode, and how often connections were cut: a cut that is over at once has cut them, too.
#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    cuts: u64,
}

/// A port that leads to a server.
pub(crate) struct Proxy {
    address: String,
    state: watch::Sender<State>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = watch::Sender::new(State { mode: Mode::Pass, cuts: 0 });
        let (server, states) = (server.to_owned(), state.clone());
        let listening = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let State { mode, cuts } = *states.borrow();
                if mode == Mode::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pump(from_client, to_server, states.subscribe(), cuts, false));
                tokio::spawn(pump(from_server, to_client, states.subscribe(), cuts, true));
            }
        });
        Self { address, state, listening }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.cuts += u64::from(mode == Mode::Cut);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.set(Mode::Cut);
    }
}

/// Carries bytes one way, until the connection ends or is cut.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut states: watch::Receiver<State>,
    cuts: u64,
    answers: bool,
) {
    let mut cut = states.clone();
    let carry = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let Ok(mode) = states.wait_for(|state| state.mode != Mode::Hold).await.map(|state| state.mode) else {
                return;
            };
            if answers && mode == Mode::Mute {
                continue;
            }
            if to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = carry => {}
        _ = cut.wait_for(|state| state.cuts > cuts) => {}
    }
}
