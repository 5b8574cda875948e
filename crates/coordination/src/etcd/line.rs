//! The connection to one of several servers: another one is tried as soon as this one fails or is silent.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

/// A request given up after so long without an answer, or after half of the deadline, speaks against its server: etcd
/// answers in milliseconds, in some tens of them while its disk is busy.
const SILENT_AFTER_AT_MOST: Duration = Duration::from_millis(250);
/// Once every server has failed in a row, the next try waits for this and something on top: a crowd of arbitrators
/// does not come back in step, and leadership (2 s) allows for several tries.
const PAUSE_MILLISECONDS: u64 = 50;
/// What is put on top of it at the most.
const JITTER_MILLISECONDS: u64 = 200;

/// The servers, and the connection to the one in use.
pub(super) struct Line {
    servers: Vec<(String, Endpoint)>,
    silent_after: Duration,
    state: Mutex<State>,
    /// Rises with every change of the connection; closed when the line is dropped.
    generation: watch::Sender<u64>,
}

struct State {
    /// The server in use.
    server: usize,
    generation: u64,
    /// Made when it is first used: that needs a runtime around it.
    channel: Option<Channel>,
    /// Failures since the last answer.
    failures: usize,
    /// Nobody tries before this.
    not_before: Option<Instant>,
}

/// A connection to use once, and how it went to be said.
pub(super) struct Connection<'a> {
    line: &'a Line,
    generation: u64,
    since: Instant,
    judged: bool,
    /// Where to send.
    pub(super) channel: Channel,
}

impl Line {
    /// A line to these servers, at least one, on which whoever asks gives up at the deadline.
    pub(super) fn new(servers: Vec<(String, Endpoint)>, deadline: Duration) -> Self {
        let state = State { server: 0, generation: 0, channel: None, failures: 0, not_before: None };
        let silent_after = SILENT_AFTER_AT_MOST.min(deadline / 2);
        Self { servers, silent_after, state: Mutex::new(state), generation: watch::Sender::new(0) }
    }

    /// How many servers there are.
    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Tells of every change of the connection.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The connection in use; waits while all servers have just failed.
    pub(super) async fn connection(&self) -> Connection<'_> {
        loop {
            let not_before = {
                let mut state = self.state();
                match state.not_before {
                    Some(at) if at > Instant::now() => at,
                    _ => return self.current(&mut state),
                }
            };
            tokio::time::sleep_until(not_before).await;
        }
    }

    fn current(&self, state: &mut State) -> Connection<'_> {
        let (_, endpoint) = &self.servers[state.server];
        let channel = state.channel.get_or_insert_with(|| endpoint.connect_lazy()).clone();
        Connection { line: self, generation: state.generation, since: Instant::now(), judged: false, channel }
    }

    fn answered(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation && std::mem::take(&mut state.failures) > 0 {
            tracing::info!(server = self.servers[state.server].0, "etcd answers");
        }
    }

    fn failed(&self, generation: u64, why: &dyn Display, pause: Option<Duration>) {
        let mut state = self.state();
        // Many requests fail together; the first to say so counts.
        if state.generation != generation {
            return;
        }
        let server = &self.servers[state.server].0;
        if state.failures < self.servers.len() {
            tracing::warn!(server, %why, "a server of etcd fails");
        } else {
            tracing::debug!(server, %why, "a server of etcd fails");
        }
        state.failures += 1;
        state.server = (state.server + 1) % self.servers.len();
        state.channel = None;
        state.generation += 1;
        let round = state.failures.is_multiple_of(self.servers.len());
        state.not_before = pause.filter(|_| round).map(|pause| Instant::now() + pause);
        self.generation.send_replace(state.generation);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has not changed half of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection<'_> {
    /// The server has answered, whatever.
    pub(super) fn answered(mut self) {
        self.judged = true;
        self.line.answered(self.generation);
    }

    /// The server, or the way to it, has failed: others are tried.
    pub(super) fn failed(mut self, why: &dyn Display) {
        self.judged = true;
        self.line.failed(self.generation, why, Some(pause()));
    }
}

/// Whoever asked has given up.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        if !self.judged && waited >= self.line.silent_after {
            // It has waited long enough already.
            self.line.failed(self.generation, &format!("no answer within {} ms", waited.as_millis()), None);
        }
    }
}

/// Between two rounds of tries.
pub(super) fn pause() -> Duration {
    // Where there is no chance, there is no crowd's worth of it either.
    let chance = getrandom::u64().unwrap_or_default();
    Duration::from_millis(PAUSE_MILLISECONDS + chance % (JITTER_MILLISECONDS + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(servers: &[&str]) -> Line {
        let servers = servers.iter().map(|name| ((*name).to_owned(), Endpoint::from_static("http://127.0.0.1:1")));
        Line::new(servers.collect(), Duration::from_millis(400))
    }

    /// Which server is in use, and how many failures there were.
    fn standing(line: &Line) -> (usize, usize) {
        let state = line.state();
        (state.server, state.failures)
    }

    #[tokio::test]
    async fn each_failure_moves_on_and_a_round_of_them_pauses() {
        let line = line(&["a", "b"]);
        let since = Instant::now();
        line.connection().await.failed(&"refused");
        assert_eq!((standing(&line), line.connection().await.generation), ((1, 1), 1));
        let moved = since.elapsed();
        line.connection().await.failed(&"refused");
        assert_eq!(line.connection().await.generation, 2);
        let paused = since.elapsed();
        assert!(moved < paused && paused >= Duration::from_millis(PAUSE_MILLISECONDS), "{moved:?} {paused:?}");
        line.connection().await.answered();
        assert_eq!(standing(&line), (0, 0));
    }

    #[tokio::test]
    async fn requests_that_fail_together_move_on_once() {
        let line = line(&["a", "b", "c"]);
        let (first, second) = (line.connection().await, line.connection().await);
        first.failed(&"refused");
        second.failed(&"refused");
        assert_eq!(standing(&line), (1, 1));
    }

    #[tokio::test]
    async fn only_a_request_given_up_late_speaks_against_its_server() {
        let line = line(&["a", "b"]);
        drop(line.connection().await);
        assert_eq!(standing(&line), (0, 0));
        let mut asked = line.connection().await;
        asked.since -= Duration::from_millis(200);
        drop(asked);
        assert_eq!(standing(&line), (1, 1));
    }
}
