//! Asking an arbitrator over REST: one request a connection, as small as HTTP can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Nobody answers a test for longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// The longest answer: a thousand sensors take less.
const ANSWER_BYTES_AT_MOST: u64 = 16 * 1024 * 1024;

/// The status and the document at a path; `None` where nobody answers with one.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let (status, body) = body(address, path)?;
    Some((status, serde_json::from_slice(&body).ok()?))
}

/// What is at a path, as text; `None` where nobody answers with any.
pub(crate) fn text(address: SocketAddr, path: &str) -> Option<String> {
    let (_, body) = body(address, path).filter(|(status, _)| *status == 200)?;
    String::from_utf8(body).ok()
}

fn body(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWERED_WITHIN).ok()?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN)).ok()?;
    stream.set_write_timeout(Some(ANSWERED_WITHIN)).ok()?;
    // Of this version answers are never in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_AT_MOST).read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}
