//! An answer that goes on: JSON objects, one a line; blank lines only say that it still goes on.

use reqwest::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Document;
use super::failure::{self, Failure};

/// A line at the most: a sensor's own line is far shorter.
const LINE_BYTES_AT_MOST: usize = 4 << 20;

/// Lines as they come.
pub(crate) struct Lines {
    address: String,
    response: Response,
    buffer: Buffer,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum End {
    /// The arbitrator has said all.
    Said,
    /// The connection broke: how.
    Lost(String),
    /// Nothing came for long, not even a blank line.
    Silent,
    /// What came is not understood.
    Unexpected(Failure),
}

impl Lines {
    pub(crate) fn new(address: String, response: Response) -> Self {
        Self { address, response, buffer: Buffer::default() }
    }

    /// Who says them.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The next line.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Document<T>, End> {
        loop {
            if let Some(line) = self.buffer.line() {
                return self.understood(&line).map_err(End::Unexpected);
            }
            if self.buffer.0.len() > LINE_BYTES_AT_MOST {
                let text = format!("a line of {} is longer than 4 MiB", self.address);
                return Err(End::Unexpected(Failure::not_understood(text)));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.0.extend_from_slice(&chunk),
                Ok(None) if self.buffer.0.trim_ascii().is_empty() => return Err(End::Said),
                Ok(None) => return Err(End::Lost("it ended in the middle of a line".to_owned())),
                Err(error) if error.is_timeout() => return Err(End::Silent),
                Err(error) => return Err(End::Lost(failure::root(&error))),
            }
        }
    }

    fn understood<T: DeserializeOwned>(&self, line: &[u8]) -> Result<Document<T>, Failure> {
        let understood = serde_json::from_slice(line).and_then(|raw: Value| {
            let known = T::deserialize(&raw)?;
            Ok(Document { raw, known })
        });
        understood
            .map_err(|error| Failure::not_understood(format!("a line of {} is not understood: {error}", self.address)))
    }
}

/// Bytes that are not yet lines.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// Takes the first whole line that is not blank.
    fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.0.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.0.drain(..=end).collect();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_when_it_is_whole() {
        let mut buffer = Buffer(b"{\"a\":".to_vec());
        assert_eq!(buffer.line(), None);
        buffer.0.extend_from_slice(b"1}\n{");
        assert_eq!(buffer.line(), Some(b"{\"a\":1}\n".to_vec()));
        assert_eq!(buffer.line(), None);
        assert_eq!(buffer.0, b"{");
    }

    #[test]
    fn blank_lines_are_left_out() {
        let mut buffer = Buffer(b"\n\r\n  \nx\n\n".to_vec());
        assert_eq!(buffer.line(), Some(b"x\n".to_vec()));
        assert_eq!(buffer.line(), None);
        assert_eq!(buffer.0, b"");
    }
}
