//! The source that test sensors poll: an HTTP server in the test's own process that stamps when each poll begins and
//! ends, and looks, whenever one begins, who else is inside one.
//!
//! A sensor opens a connection for each poll: `POST /begin?sensor=REF&pid=PID&hold_ms=N` is answered once the poll
//! has been held open for so long (or has been released), `POST /end` right before it returns. A connection that
//! breaks has ended its poll at that moment.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use st2sa_machine::processes::Process;

use crate::acting::can_act;
use crate::failure::OrFail;
use crate::polls::{Beside, End, Overlap, Poll, overlaps};

/// How often a poll that is held looks whether it is to be let go, and whether its process is still connected.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest request, headers included.
const REQUEST_BYTES_AT_MOST: u64 = 16 * 1024;
/// A process that has been told to stop reading its answer is not waited for longer.
const ANSWER_TAKEN_WITHIN: Duration = Duration::from_mins(1);

/// A source. It stops when dropped.
#[derive(Debug)]
pub struct Source {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<Notes>,
    connections: AtomicU64,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Notes {
    polls: Vec<Poll>,
    /// How often the polls of a sensor were let go.
    releases: BTreeMap<String, u64>,
}

impl Source {
    /// Starts one on a free loopback port.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// Starts one on a free port of this address, for sensors that are not on this loopback.
    #[track_caller]
    pub fn start_at(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).or_fail("listen for sensors");
        let address = listener.local_addr().or_fail("learn the source's address");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &own));
        Self { address, shared }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every poll so far, in the order in which they began.
    pub fn polls(&self) -> Vec<Poll> {
        self.shared.notes().polls.clone()
    }

    /// The first poll of a sensor that began at `since` or later.
    pub fn first_since(&self, sensor: &str, since: Instant) -> Option<Poll> {
        self.shared.notes().polls.iter().find(|poll| poll.sensor == sensor && poll.begun >= since).cloned()
    }

    /// The polls of a sensor that go on.
    pub fn open(&self, sensor: &str) -> Vec<Poll> {
        let open = |poll: &&Poll| poll.sensor == sensor && poll.ended.is_none();
        self.shared.notes().polls.iter().filter(open).cloned().collect()
    }

    /// Lets the polls of a sensor go that are held now.
    pub fn release(&self, sensor: &str) {
        *self.shared.notes().releases.entry(sensor.to_owned()).or_default() += 1;
    }

    /// Every overlap so far.
    pub fn overlaps(&self) -> Vec<Overlap> {
        overlaps(&self.polls())
    }

    /// Fails the test if there is any overlap.
    ///
    /// # Panics
    /// If there is any.
    #[track_caller]
    pub fn assert_no_overlap(&self) {
        let found: Vec<String> = self.overlaps().iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{} polls overlap:\n{}", found.len(), found.join("\n"));
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.has_stopped() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let own = Arc::clone(shared);
        std::thread::spawn(move || {
            let number = own.connections.fetch_add(1, Ordering::SeqCst);
            let mut visit = Visit { number, shared: own, begun: false };
            // A connection may break wherever its process dies.
            let _ = visit.serve(&stream);
            visit.ends(End::CutOff);
        });
    }
}

/// One connection.
struct Visit {
    number: u64,
    shared: Arc<Shared>,
    /// Its poll has begun: there is one a connection.
    begun: bool,
}

impl Visit {
    fn serve(&mut self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(ANSWER_TAKEN_WITHIN))?;
        stream.set_nodelay(true)?;
        while let Some(request) = self.request(stream)? {
            let (path, query) = request.split_once('?').unwrap_or((&request, ""));
            let understood = match path {
                "/begin" if !std::mem::replace(&mut self.begun, true) => self.begin(stream, query)?,
                "/end" => self.ends(End::Returned),
                _ => false,
            };
            let status = if understood { "200 OK" } else { "400 Bad Request" };
            write!(&*stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    }

    /// The target of the next request; `None` when there are no more.
    fn request(&self, stream: &TcpStream) -> io::Result<Option<String>> {
        if !self.readable(stream, None)? {
            return Ok(None);
        }
        stream.set_read_timeout(Some(ANSWER_TAKEN_WITHIN))?;
        let mut reader = BufReader::new(stream.take(REQUEST_BYTES_AT_MOST));
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut header = String::new();
        // Requests have no body, and a client waits for each answer: nothing that follows can be lost here.
        while reader.read_line(&mut header)? > 0 && !header.trim().is_empty() {
            header.clear();
        }
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        Ok(first.split_ascii_whitespace().nth(1).map(str::to_owned))
    }

    /// Notes the beginning, and holds the poll; whether the request was understood.
    fn begin(&self, stream: &TcpStream, query: &str) -> io::Result<bool> {
        let asked: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name| asked.get(name).and_then(|text| text.parse::<u32>().ok());
        let (Some(sensor), Some(pid)) = (asked.get("sensor"), number("pid")) else { return Ok(false) };
        let Some(process) = i32::try_from(pid).ok().and_then(Process::of) else { return Ok(false) };
        let hold = Duration::from_millis(number("hold_ms").unwrap_or_default().into());
        let releases = self.notes_begin(sensor, process);
        let released = || self.shared.notes().releases.get(*sensor).copied().unwrap_or_default() != releases;
        let until = Instant::now() + hold;
        while Instant::now() < until && !released() {
            let step = Some(until.min(Instant::now() + LOOK_EVERY));
            if self.readable(stream, step)? {
                // Nothing is to be said while the poll is held: the connection has ended.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.shared.has_stopped() {
                break;
            }
        }
        Ok(true)
    }

    /// Notes a poll, and who else is inside one; returns how often the sensor's polls had been let go.
    fn notes_begin(&self, sensor: &str, process: Process) -> u64 {
        // Under the lock throughout: of two that begin at once, one sees the other.
        let mut notes = self.shared.notes();
        let inside = |poll: &&Poll| poll.sensor == sensor && poll.ended.is_none() && poll.process != process;
        let beside = |poll: &Poll| Beside { connection: poll.connection, acting: can_act(poll.process) };
        let beside = notes.polls.iter().filter(inside).map(beside).collect();
        notes.polls.push(Poll {
            sensor: sensor.to_owned(),
            process,
            connection: self.number,
            begun: Instant::now(),
            ended: None,
            beside,
        });
        notes.releases.get(sensor).copied().unwrap_or_default()
    }

    /// The connection's poll has ended, if there is one; whether there was.
    fn ends(&self, how: End) -> bool {
        let mut notes = self.shared.notes();
        let own = |poll: &&mut Poll| poll.connection == self.number && poll.ended.is_none();
        let poll = notes.polls.iter_mut().rev().find(own);
        poll.map(|poll| poll.ended = Some((Instant::now(), how))).is_some()
    }

    /// Waits until there is something to read: a request, or the connection's end. `false` at `until`, or when the
    /// source stops.
    fn readable(&self, stream: &TcpStream, until: Option<Instant>) -> io::Result<bool> {
        while !self.shared.has_stopped() && until.is_none_or(|until| Instant::now() < until) {
            match stream.peek(&mut [0]) {
                Ok(_) => return Ok(true),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A process in whose name polls are begun.
    struct Poller {
        child: Child,
        stream: Option<TcpStream>,
    }

    impl Poller {
        fn new() -> Self {
            Self { child: Command::new("sleep").arg("60").spawn().unwrap(), stream: None }
        }

        /// Begins a poll, and waits until the source has noted it.
        fn begins(&mut self, source: &Source, hold_ms: u32) {
            let before = source.polls().len();
            let mut stream = TcpStream::connect(source.address).unwrap();
            let pid = self.child.id();
            write!(stream, "POST /begin?sensor=p.X&pid={pid}&hold_ms={hold_ms} HTTP/1.1\r\n\r\n").unwrap();
            until(|| source.polls().len() > before);
            self.stream = Some(stream);
        }

        fn reads_answer(&self) {
            let mut answer = [0; 15];
            self.stream.as_ref().unwrap().read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }

        /// Says that the poll ends, and waits until the source has noted it.
        fn ends(&self, source: &Source) {
            self.reads_answer();
            write!(self.stream.as_ref().unwrap(), "POST /end HTTP/1.1\r\n\r\n").unwrap();
            until(|| source.open("p.X").iter().all(|poll| poll.process.pid.unsigned_abs() != self.child.id()));
        }

        fn stops(&self) {
            let process = Process::of(i32::try_from(self.child.id()).unwrap()).unwrap();
            kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
            until(|| process.is_stopped());
        }
    }

    impl Drop for Poller {
        fn drop(&mut self) {
            // One that a test has killed is dead already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn until(condition: impl Fn() -> bool) {
        let since = Instant::now();
        while !condition() {
            assert!(since.elapsed() < Duration::from_secs(10), "it did not come to be");
            std::thread::yield_now();
        }
    }

    #[test]
    fn two_processes_inside_a_poll_of_one_sensor_are_noticed() {
        let (source, mut one, mut two) = (Source::start(), Poller::new(), Poller::new());
        one.begins(&source, 60_000);
        two.begins(&source, 0);
        assert_eq!(source.overlaps().len(), 1);
    }

    #[test]
    fn polls_that_end_before_the_next_begins_are_clean() {
        let (source, mut one, mut two) = (Source::start(), Poller::new(), Poller::new());
        for _ in 0..2 {
            one.begins(&source, 0);
            one.ends(&source);
            two.begins(&source, 0);
            two.ends(&source);
        }
        assert_eq!((source.polls().len(), source.open("p.X").len()), (4, 0));
        source.assert_no_overlap();
    }

    #[test]
    fn a_stopped_process_is_no_overlap_until_it_goes_on() {
        let (source, mut one, mut two) = (Source::start(), Poller::new(), Poller::new());
        one.begins(&source, 0);
        one.stops();
        two.begins(&source, 0);
        source.assert_no_overlap();
        one.ends(&source);
        assert_eq!(source.overlaps().len(), 1);
    }

    #[test]
    fn a_dead_process_is_no_overlap_and_its_poll_ends_with_its_connection() {
        let (source, mut one, mut two) = (Source::start(), Poller::new(), Poller::new());
        one.begins(&source, 60_000);
        one.child.kill().unwrap();
        one.child.wait().unwrap();
        two.begins(&source, 0);
        source.assert_no_overlap();
        one.stream = None;
        let first = || source.polls().first().and_then(|poll| poll.ended);
        until(|| first().is_some_and(|(_, how)| how == End::CutOff));
    }

    #[test]
    fn a_poll_is_held_until_it_is_released_and_no_longer_than_asked() {
        let (source, mut one) = (Source::start(), Poller::new());
        one.begins(&source, 60_000);
        source.release("p.X");
        one.ends(&source);
        one.begins(&source, 50);
        let begun = Instant::now();
        one.ends(&source);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(source.polls()[1].ended.unwrap().0 - source.polls()[1].begun >= Duration::from_millis(50));
    }
}
