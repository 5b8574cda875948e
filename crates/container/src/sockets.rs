//! The socket on which sensor processes and hosts talk to the container: who may connect, and what they say.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use st2sa_core::names::SensorRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use crate::calls::Calls;
use crate::gate::Gate;
use crate::input::{Input, Whose};
use crate::logbook::{LINE_BYTES_AT_MOST as LOG_LINE_BYTES, Logbook, Stream};
use crate::wire::{self, CallError, Channel, Do, Event, Greeting, LINE_BYTES_AT_MOST, Line, Operation};

/// A greeting is short and comes at once.
const GREETING_BYTES_AT_MOST: usize = 1024;
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// Lines of one log record.
const LOG_LINES_AT_MOST: usize = 1_000;
/// Of a flood of output so much is thrown away at once, and then nothing read for a while: some 6 MB a second pass.
const FLOOD_BYTES: usize = 64 * 1024;
const FLOOD_PAUSE: Duration = Duration::from_millis(10);
/// Calls and events of one connection that may be under way: then nothing more is read from it. A long call counts for as many
/// as it has pieces of this size, so that what waits for a sink that is away stays within some 16 MiB a process.
const UNDER_WAY_AT_MOST: u32 = 64;
const UNDER_WAY_PIECE: usize = 256 * 1024;

/// Who may connect: the tokens given out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    given: Arc<Mutex<HashMap<String, Holder>>>,
}

/// To whom a token was given.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) whose: Whose,
    /// The sensor, of a sensor process.
    pub(crate) sensor: Option<SensorRef>,
}

impl Tokens {
    /// Draws a token for a process.
    pub(crate) fn give(&self, whose: Whose, sensor: Option<SensorRef>) -> String {
        let token = format!("{:032x}", st2sa_machine::identity::random_wide());
        self.given().insert(token.clone(), Holder { whose, sensor });
        token
    }

    /// The process is gone: its token opens nothing any more.
    pub(crate) fn take_back(&self, token: &str) {
        self.given().remove(token);
    }

    fn holder(&self, token: &str) -> Option<Holder> {
        self.given().get(token).cloned()
    }

    fn given(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Sockets {
    pub(crate) tokens: Tokens,
    pub(crate) inputs: Sender<Input>,
    pub(crate) calls: Calls,
    pub(crate) gate: Gate,
    pub(crate) logbook: Logbook,
    pub(crate) numbers: Arc<AtomicU64>,
}

/// Listens at `path`, for this user alone.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Sockets {
    /// Takes connections for as long as the container runs.
    pub(crate) async fn serve(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let sockets = self.clone();
                    tokio::spawn(async move { sockets.connected(stream).await });
                }
                Err(error) => {
                    // Out of descriptors, say: others may be freed.
                    tracing::warn!(%error, "a sensor process could not connect");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connected(self, stream: UnixStream) {
        // The kernel's word, not the process's own: this number may come to be killed.
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
        let (read, write) = stream.into_split();
        let mut reader = BufReader::new(read);
        let greeting = tokio::time::timeout(GREETING_WITHIN, read_line(&mut reader, GREETING_BYTES_AT_MOST)).await;
        let Ok(Ok(Some(greeting))) = greeting else {
            tracing::warn!("a process connected and did not greet");
            return;
        };
        let Ok(Greeting { hello }) = serde_json::from_slice(&greeting) else {
            tracing::warn!("a process connected with a greeting that is not understood");
            return;
        };
        let Some(holder) = self.tokens.holder(&hello.token) else {
            tracing::warn!(pid, "a process connected with a token that is not (or no longer) valid");
            return;
        };
        match hello.channel {
            Channel::Control => self.control(reader, write, &holder, pid).await,
            Channel::Stdout => self.output(reader, &holder, Stream::Stdout).await,
            Channel::Stderr => self.output(reader, &holder, Stream::Stderr).await,
        }
    }

    /// A process's own output, a line at a time.
    async fn output(self, mut reader: BufReader<OwnedReadHalf>, holder: &Holder, stream: Stream) {
        let Some(sensor) = &holder.sensor else { return };
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line that does not end is cut into pieces.
            let mut piece = (&mut reader).take(LOG_LINE_BYTES as u64);
            match piece.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            if !self.logbook.write(sensor, stream, None, text.trim_end_matches(['\n', '\r'])) {
                // A flood: the rest of what has come is thrown away, at a pace that leaves the container its time.
                let Ok(lines) = skip(&mut reader).await else { return };
                self.logbook.leave_out(sensor, lines);
                tokio::time::sleep(FLOOD_PAUSE).await;
            }
        }
    }

    async fn control(self, mut reader: BufReader<OwnedReadHalf>, write: OwnedWriteHalf, holder: &Holder, pid: i32) {
        let connection = self.numbers.fetch_add(1, Ordering::Relaxed);
        let whose = holder.whose;
        let (sender, operations) = mpsc::unbounded_channel();
        let writer = tokio::spawn(send(write, operations, whose, self.gate.clone(), self.inputs.clone()));
        self.tell(Input::Connected { connection, whose, pid, sender: sender.clone() });
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_AT_MOST as usize));
        let mut callers = tokio::task::JoinSet::new();
        loop {
            let line = match read_line(&mut reader, LINE_BYTES_AT_MOST).await {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(sensor = ?holder.sensor, %error, "a process's connection is given up");
                    break;
                }
            };
            match serde_json::from_slice(&line) {
                Ok(Line::Call(call)) => {
                    let Some(sensor) = holder.sensor.clone() else { continue };
                    let Ok(place) = Arc::clone(&under_way).acquire_many_owned(places(&line)).await else { break };
                    let (calls, sender) = (self.calls.clone(), sender.clone());
                    callers.spawn(async move {
                        let answer = calls.answer(whose, &sensor, call).await;
                        // The process may be gone.
                        let _ = answer.map(|answer| sender.send(answer));
                        drop(place);
                    });
                    while callers.try_join_next().is_some() {}
                }
                Ok(Line::Event(Event::Log { level, logger, message })) => {
                    if let Some(sensor) = &holder.sensor {
                        let text = if logger.is_empty() { message } else { format!("{logger}: {message}") };
                        // A record of several lines is several lines.
                        for line in text.lines().take(LOG_LINES_AT_MOST) {
                            self.logbook.write(sensor, Stream::Log, Some(wire::level(&level)), line);
                        }
                    }
                }
                Ok(Line::Event(Event::Unknown)) => {}
                Ok(Line::Event(event)) => {
                    // A process that floods the loop is read no faster than the loop listens.
                    let Ok(place) = Arc::clone(&under_way).acquire_owned().await else { break };
                    self.tell(Input::Said { connection, whose, event, place });
                }
                Err(error) => {
                    if let Ok(wire::Unread { call }) = serde_json::from_slice(&line) {
                        let kind = "ValueError".to_owned();
                        let error = CallError { kind, message: format!("the call is not understood: {error}") };
                        let _ = sender.send(Operation::Error { reply: call, error });
                        continue;
                    }
                    let line = wire::cut(String::from_utf8_lossy(&line).into_owned());
                    tracing::warn!(sensor = ?holder.sensor, %error, line, "a process said something that is not understood");
                }
            }
        }
        callers.abort_all();
        drop(sender);
        writer.abort();
        self.tell(Input::Disconnected { connection, whose });
    }

    fn tell(&self, input: Input) {
        // Nobody listens any more when the container stops.
        let _ = self.inputs.send(input);
    }
}

/// For how many a call counts.
fn places(line: &[u8]) -> u32 {
    u32::try_from(1 + line.len() / UNDER_WAY_PIECE).unwrap_or(UNDER_WAY_AT_MOST).min(UNDER_WAY_AT_MOST)
}

/// Writes operations; the gate is looked at right before a poll is let go.
async fn send(
    mut write: OwnedWriteHalf,
    mut operations: mpsc::UnboundedReceiver<Operation>,
    whose: Whose,
    gate: Gate,
    inputs: Sender<Input>,
) {
    while let Some(operation) = operations.recv().await {
        let mut line = match serde_json::to_vec(&operation) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "an operation cannot be written");
                continue;
            }
        };
        line.push(b'\n');
        if matches!(operation, Operation::Do(Do::Poll { .. })) && !gate.is_open() {
            let _ = inputs.send(Input::NotPolled(whose));
            continue;
        }
        if write.write_all(&line).await.is_err() {
            // The reading side notices.
            return;
        }
    }
}

/// Throws away what is there, whole lines of it; how many.
async fn skip(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<u64> {
    let mut lines = 0;
    let mut left = FLOOD_BYTES;
    loop {
        // What is there is thrown away; nothing is waited for, but for the end of a line.
        let there = reader.fill_buf().await?;
        if there.is_empty() {
            return Ok(lines);
        }
        lines += there.split(|byte| *byte == b'\n').skip(1).map(|_| 1).sum::<u64>();
        let (length, whole) = (there.len(), there.last() == Some(&b'\n'));
        if left <= length {
            let end = there.iter().rposition(|byte| *byte == b'\n').map_or(length, |end| end + 1);
            reader.consume(end);
            return Ok(lines);
        }
        reader.consume(length);
        left -= length;
        if whole {
            return Ok(lines);
        }
    }
}

/// One line without its end; `None` at the end of the stream.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>, bytes_at_most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = reader.take(bytes_at_most as u64 + 1).read_until(b'\n', &mut line).await?;
    if length == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let problem = if length > bytes_at_most {
            format!("a line is longer than {bytes_at_most} bytes")
        } else {
            "it ended in the middle of a line".to_owned()
        };
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_counts_for_several_and_the_longest_for_all() {
        let counted = [100, UNDER_WAY_PIECE, LINE_BYTES_AT_MOST].map(|length| places(&vec![b' '; length]));
        assert_eq!(counted, [1, 2, UNDER_WAY_AT_MOST]);
    }
}
