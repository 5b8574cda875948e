//! A TCP proxy that cuts connections and holds bytes back, where a test says.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Requests wait until they may pass, also those of clients that have gone.
    HoldRequests,
    /// The same, on the first so many connections.
    HoldOld(usize),
    /// The next answer is dropped, and its connection cut: the server has done what was asked.
    CutAnswer,
    /// The next request is cut after so many bytes, and its connection with it.
    CutRequest(usize),
}

struct Shared {
    mode: Mutex<Mode>,
    changed: Condvar,
    connections: Mutex<usize>,
    server: String,
}

/// A proxy in front of one server, on a loopback port of its own.
pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn before(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            changed: Condvar::new(),
            connections: Mutex::default(),
            server: server.to_owned(),
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

    /// Holds requests back until [`Proxy::pass`].
    pub(crate) fn hold_requests(&self) {
        self.shared.set(Mode::HoldRequests);
    }

    /// Lets what is asked on connections made from now on pass; what is held stays so.
    pub(crate) fn hold_only_the_old(&self) {
        let mode = Mode::HoldOld(*self.shared.connections.lock().unwrap());
        self.shared.set(mode);
    }

    /// Lets all pass, and what was held.
    pub(crate) fn pass(&self) {
        self.shared.set(Mode::Pass);
    }

    /// Drops the next answer, and cuts its connection.
    pub(crate) fn cut_next_answer(&self) {
        self.shared.set(Mode::CutAnswer);
    }

    /// Cuts the next request after so many bytes.
    pub(crate) fn cut_next_request_after(&self, bytes: usize) {
        self.shared.set(Mode::CutRequest(bytes));
    }
}

impl Shared {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let (client_again, server_again) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let number = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            *connections += 1;
            *connections
        };
        let (requests, answers) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || forward(client, server, |bytes| requests.passes_of_request(number, bytes)));
        thread::spawn(move || forward(server_again, client_again, |bytes| answers.passes_of_answer(bytes)));
    }

    fn passes_of_request(&self, number: usize, bytes: usize) -> usize {
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        while *mode == Mode::HoldRequests || matches!(*mode, Mode::HoldOld(old) if number <= old) {
            mode = self.changed.wait(mode).unwrap_or_else(PoisonError::into_inner);
        }
        match *mode {
            Mode::CutRequest(after) => {
                *mode = Mode::Pass;
                after.min(bytes.saturating_sub(1))
            }
            Mode::Pass | Mode::HoldRequests | Mode::HoldOld(_) | Mode::CutAnswer => bytes,
        }
    }

    fn passes_of_answer(&self, bytes: usize) -> usize {
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        if *mode == Mode::CutAnswer {
            *mode = Mode::Pass;
            return 0;
        }
        bytes
    }
}

/// Forwards until either end closes, or less than all of something passes.
fn forward(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(usize) -> usize) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passing = passes(read);
        if to.write_all(&buffer[..passing]).is_err() || passing < read {
            break;
        }
    }
    // Errors: the other one was first.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
