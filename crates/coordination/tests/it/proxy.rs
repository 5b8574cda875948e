//! A TCP proxy in front of a server of any kind that cuts connections, loses what is said and holds it back, where a test
//! says.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::watch;

/// As much of a request as is looked at in one piece: one of a test is never longer.
const PIECE_BYTES: usize = 1 << 20;

/// What happens to bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Pass,
    /// Nothing passes: it waits.
    Hold,
    /// Requests wait until they may pass, also those of clients that have gone.
    HoldRequests,
    /// The same, on the first so many connections.
    HoldOld(usize),
    /// Requests pass, answers are lost.
    Mute,
    /// There are no connections.
    Refuse,
    /// The next answer is lost, and its connection cut: the server has done what was asked.
    CutAnswer,
    /// The next request is cut after so many bytes, and its connection with it.
    CutRequest(usize),
    /// The answer to the next request that holds these bytes is lost, and the client's connection cut; the server does not
    /// hear of that.
    LoseAnswerTo(Vec<u8>),
    /// The next request that holds these bytes waits until it is released, and nothing comes behind it.
    HoldOnly(Vec<u8>),
}

/// A proxy in front of one server, on a loopback port of its own.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    state: Mutex<State>,
    changed: Condvar,
    /// Of [`Rule::HoldOnly`]: a request waits.
    holds: watch::Sender<bool>,
}

struct State {
    rule: Rule,
    released: bool,
    connections: Vec<Arc<Connection>>,
}

/// Both ends of a connection.
struct Connection {
    number: usize,
    client: TcpStream,
    server: TcpStream,
    /// The server is not told how it ends.
    untold: AtomicBool,
    /// Nothing more of it reaches the client.
    lost: AtomicBool,
}

impl Proxy {
    pub(crate) fn before(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { rule: Rule::Pass, released: false, connections: Vec::new() };
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            holds: watch::Sender::new(false),
        });
        let of_thread = Arc::clone(&shared);
        // Threads end with the test's process; a proxy that nobody speaks to costs nothing.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                of_thread.serve(client);
            }
        });
        Self { address, shared }
    }

    /// Where to connect to instead of the server.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Lets all pass, what was held, too, and connections be made.
    pub(crate) fn pass(&self) {
        self.shared.set(Rule::Pass);
    }

    /// Holds everything back until [`Proxy::pass`].
    pub(crate) fn hold(&self) {
        self.shared.set(Rule::Hold);
    }

    /// Holds requests back until [`Proxy::pass`].
    pub(crate) fn hold_requests(&self) {
        self.shared.set(Rule::HoldRequests);
    }

    /// Lets what is asked on connections made from now on pass; what is held stays so.
    pub(crate) fn hold_only_the_old(&self) {
        let old = self.shared.lock().connections.len();
        self.shared.set(Rule::HoldOld(old));
    }

    /// Loses every answer until [`Proxy::pass`].
    pub(crate) fn mute(&self) {
        self.shared.set(Rule::Mute);
    }

    /// Cuts all connections, and lets none be made until [`Proxy::pass`].
    pub(crate) fn cut(&self) {
        self.shared.set(Rule::Refuse);
    }

    /// Drops the next answer, and cuts its connection.
    pub(crate) fn cut_next_answer(&self) {
        self.shared.set(Rule::CutAnswer);
    }

    /// Cuts the next request after so many bytes.
    pub(crate) fn cut_next_request_after(&self, bytes: usize) {
        self.shared.set(Rule::CutRequest(bytes));
    }

    /// Loses the answer to the next request that holds these bytes.
    pub(crate) fn lose_answer_to(&self, bytes: &str) {
        self.shared.set(Rule::LoseAnswerTo(bytes.into()));
    }

    /// Holds the next request that holds these bytes until [`Proxy::release`].
    pub(crate) fn hold_only(&self, bytes: &str) {
        self.shared.holds.send_replace(false);
        self.shared.lock().released = false;
        self.shared.set(Rule::HoldOnly(bytes.into()));
    }

    /// Waits until it is held.
    pub(crate) async fn holds(&self) {
        self.shared.holds.subscribe().wait_for(|holds| *holds).await.unwrap();
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, rule: Rule) {
        let mut state = self.lock();
        if rule == Rule::Refuse {
            state.connections.iter().for_each(|connection| connection.cut());
        }
        state.rule = rule;
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let mut state = self.lock();
        if state.rule == Rule::Refuse {
            return;
        }
        let number = state.connections.len() + 1;
        let (untold, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Connection { number, client, server, untold, lost });
        state.connections.push(Arc::clone(&connection));
        drop(state);
        for way in [Self::carry_requests, Self::carry_answers] {
            let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::spawn(move || {
                way(&shared, &connection);
                connection.cut();
            });
        }
    }

    fn carry_requests(&self, connection: &Connection) {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = (&connection.client).read(&mut buffer) {
            let request = &buffer[..read];
            let mut state = self.lock();
            while state.holds_request(connection.number) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let rule = state.sprung_by_request(request);
            drop(state);
            let passing = match rule {
                Rule::CutRequest(after) => after.min(read.saturating_sub(1)),
                Rule::LoseAnswerTo(_) => {
                    connection.untold.store(true, Ordering::SeqCst);
                    connection.lost.store(true, Ordering::SeqCst);
                    read
                }
                Rule::HoldOnly(_) => {
                    connection.untold.store(true, Ordering::SeqCst);
                    self.until_released();
                    read
                }
                _ => read,
            };
            let written = (&connection.server).write_all(&request[..passing]);
            if written.is_err() || passing < read || connection.untold.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    fn carry_answers(&self, connection: &Connection) {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = (&connection.server).read(&mut buffer) {
            let mut state = self.lock();
            while state.rule == Rule::Hold {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.rule == Rule::CutAnswer {
                state.rule = Rule::Pass;
                return;
            }
            let is_lost = state.rule == Rule::Mute || connection.lost.load(Ordering::SeqCst);
            drop(state);
            if !is_lost && (&connection.client).write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    }

    fn until_released(&self) {
        self.holds.send_replace(true);
        let mut state = self.lock();
        while !state.released {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn holds_request(&self, connection: usize) -> bool {
        match self.rule {
            Rule::Hold | Rule::HoldRequests => true,
            Rule::HoldOld(old) => connection <= old,
            _ => false,
        }
    }

    /// What holds for this request; what holds for one only is over with it.
    fn sprung_by_request(&mut self, request: &[u8]) -> Rule {
        let is_sprung = match &self.rule {
            Rule::CutRequest(_) => true,
            Rule::LoseAnswerTo(bytes) | Rule::HoldOnly(bytes) => {
                request.windows(bytes.len()).any(|some| some == bytes.as_slice())
            }
            _ => false,
        };
        if is_sprung { std::mem::replace(&mut self.rule, Rule::Pass) } else { Rule::Pass }
    }
}

impl Connection {
    fn cut(&self) {
        // Errors: the other one was first.
        let _ = self.client.shutdown(Shutdown::Both);
        if !self.untold.load(Ordering::SeqCst) {
            let _ = self.server.shutdown(Shutdown::Both);
        }
    }
}
