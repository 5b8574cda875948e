//! The container's side of its guardian: starts it, gives it orders, and notices when it stands still.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use st2sa_core::time::{Span, Time};
use st2sa_machine::clock;
use st2sa_machine::processes::Process;

use crate::guardian::{MESSAGE_BYTES_AT_MOST, Order};
use crate::herd::Herd;
use crate::input::Input;
use crate::lease::Lease;
use crate::state::MARK;

/// Orders that the line did not take are sent again after this.
const SEND_AGAIN_AFTER: Span = Span::from_millis(2);
/// How often the guardian is looked at.
const LOOK_EVERY: Span = Span::from_millis(200);
/// So many looks in a row without a sign of life, and it is given up: as long as a lease lasts by default. A
/// machine that starves it for longer starves sensors, too.
const LOOKS_MISSED_AT_MOST: u32 = 10;
/// One that is seen stopped is given up after so many: it would freeze nobody.
const LOOKS_STOPPED_AT_MOST: u32 = 2;
/// A guardian that was killed is waited for so long: it holds little, and ends in milliseconds.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// Starts guardians, one after another.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Marks everything that this run of the container starts.
    mark: String,
    /// Added to its command line.
    arguments: Vec<String>,
    lease: Arc<Lease>,
    /// Handed to each guardian, so that nobody takes the container's name while one lives.
    lock: File,
    inputs: Sender<Input>,
    generation: u64,
    line: OwnedFd,
    child: Child,
    /// Orders that the line did not take yet.
    orders: VecDeque<Vec<u8>>,
    next_look: Time,
    seen: Time,
    missed: u32,
}

impl Keeper {
    /// Starts the first guardian.
    pub(crate) fn start(
        mark: &str,
        arguments: &[String],
        lease: Arc<Lease>,
        lock: File,
        inputs: Sender<Input>,
    ) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (mark, arguments) = (mark.to_owned(), arguments.to_vec());
        let (line, child) = spawn(&mark, &arguments, &lease, &lock, 1, &inputs)?;
        let next_look = clock::now() + LOOK_EVERY;
        Ok(Self {
            mark,
            arguments,
            lease,
            lock,
            inputs,
            generation: 1,
            line,
            child,
            orders: VecDeque::new(),
            next_look,
            seen: Time::default(),
            missed: 0,
        })
    }

    /// Whether what was heard comes from the guardian of now.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The guardian's process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Has a program started, with this added to its environment.
    pub(crate) fn start_host(
        &mut self,
        host: u64,
        program: String,
        arguments: Vec<String>,
        environment: BTreeMap<String, String>,
    ) {
        self.order(&Order::Start { host, program, arguments, environment });
    }

    /// Has a process killed, with all below it.
    pub(crate) fn kill(&mut self, process: u64, pid: i32) {
        self.order(&Order::Kill { process, pid });
    }

    /// Has it look at the lease now.
    pub(crate) fn look(&mut self) {
        // It looks by itself, too: one such order on its way is enough.
        if self.orders.is_empty() {
            self.order(&Order::Look);
        }
    }

    /// Stops every process but the guardian, by the container's own hand; also those of a guardian that has
    /// just died, which are below the container then.
    pub(crate) fn freeze(&self) {
        Herd::of(&self.mark, self.child.id()).freeze(own_pid(), Some(self.pid()));
    }

    /// When to look at it next.
    pub(crate) fn next_deadline(&self) -> Time {
        if self.orders.is_empty() { self.next_look } else { self.next_look.min(clock::now() + SEND_AGAIN_AFTER) }
    }

    /// Looks whether it stands still; `false` when it is to be given up.
    pub(crate) fn watch(&mut self, now: Time) -> bool {
        self.send_orders();
        if now < self.next_look {
            return true;
        }
        self.next_look = now + LOOK_EVERY;
        let seen = self.lease.guardian_seen();
        // Looks are counted, not time: a container that stood still itself has no reason to complain.
        self.missed = if seen == self.seen { self.missed + 1 } else { 0 };
        self.seen = seen;
        self.look();
        let stopped = self.missed > 0 && Process::of(self.pid()).is_none_or(Process::is_stopped);
        self.missed < if stopped { LOOKS_STOPPED_AT_MOST } else { LOOKS_MISSED_AT_MOST }
    }

    /// Ends the guardian and whatever is left below it, and starts another.
    pub(crate) fn replace(&mut self) -> io::Result<()> {
        self.end();
        self.generation += 1;
        self.orders.clear();
        (self.line, self.child) =
            spawn(&self.mark, &self.arguments, &self.lease, &self.lock, self.generation, &self.inputs)?;
        self.missed = 0;
        self.next_look = clock::now() + LOOK_EVERY;
        Ok(())
    }

    /// Ends the guardian and everything below it; what that takes is bounded, whatever the sensors do.
    pub(crate) fn end(&mut self) {
        // It first: it would go on starting what it was told to start. One that has ended already is as good as killed.
        let _ = self.child.kill();
        // Nothing may be missed: all that it guarded is below it, or below this process now that it is dead.
        let herd = Herd::of(&self.mark, self.child.id());
        if !herd.kill(own_pid(), None) {
            tracing::warn!(
                "what was killed has not ended yet: it hangs in the kernel, or has much memory to give back; it acts no more"
            );
        }
        self.reap();
        herd.remove();
    }

    /// Reaps the guardian, and what it had adopted.
    fn reap(&mut self) {
        const LOOK_EVERY: Duration = Duration::from_millis(1);
        let since = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => break,
                Ok(None) if since.elapsed() < REAPED_WITHIN => std::thread::sleep(LOOK_EVERY),
                Ok(None) => {
                    tracing::warn!("the guardian was killed, and hangs in the kernel: it is left behind");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the guardian could not be reaped");
                    break;
                }
            }
        }
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    }

    fn order(&mut self, order: &Order) {
        let message = serde_json::to_vec(order).unwrap_or_default();
        if message.len() > MESSAGE_BYTES_AT_MOST {
            tracing::error!(bytes = message.len(), "an order to the guardian is too long");
            return;
        }
        self.orders.push_back(message);
        self.send_orders();
    }

    /// Sends what the line takes; the rest goes when the guardian has read.
    fn send_orders(&mut self) {
        while let Some(order) = self.orders.front() {
            // One that does not read, or is gone, will be given up, and its orders with it.
            if rustix::net::send(&self.line, order, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
                return;
            }
            self.orders.pop_front();
        }
    }
}

fn spawn(
    mark: &str,
    arguments: &[String],
    lease: &Lease,
    lock: &File,
    generation: u64,
    inputs: &Sender<Input>,
) -> io::Result<(OwnedFd, Child)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // This very binary, also when the file that it was started from has been replaced.
    let child = Command::new("/proc/self/exe")
        .arg0("st2sa")
        .env(MARK, mark)
        .args(["guardian", "--lease", &lease.path()])
        .args(arguments)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(lock.try_clone()?))
        .spawn()?;
    let (reader, inputs) = (ours.try_clone()?, inputs.clone());
    std::thread::Builder::new().name("guardian-line".to_owned()).spawn(move || {
        hear(&reader, generation, &inputs);
    })?;
    Ok((ours, child))
}

/// Hands on what a guardian says until it is gone.
fn hear(line: &OwnedFd, generation: u64, inputs: &Sender<Input>) {
    let mut buffer = vec![0; MESSAGE_BYTES_AT_MOST];
    loop {
        let length = match rustix::net::recv(line.as_fd(), &mut buffer[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok((_, 0)) | Err(_) => break,
            Ok((_, length)) => length.min(buffer.len()),
        };
        match serde_json::from_slice(&buffer[..length]) {
            Ok(told) => drop(inputs.send(Input::Guardian(generation, told))),
            Err(error) => tracing::error!(%error, "the guardian said something that is not understood"),
        }
    }
    // Nobody listens any more when the container stops.
    let _ = inputs.send(Input::GuardianGone(generation));
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
