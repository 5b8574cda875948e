//! A line of JSON a trigger on the standard output.

use std::io::Write;

use super::local::Sink;
use super::{Record, SinkError};

/// The standard output.
pub(super) struct Stdout;

impl Sink for Stdout {
    fn put(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let lines: Vec<u8> = batch.iter().flat_map(Record::line).collect();
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&lines).and_then(|()| stdout.flush()).map_err(SinkError::io("write to the standard output"))
    }

    fn describe(&self) -> String {
        "stdout".to_owned()
    }
}
