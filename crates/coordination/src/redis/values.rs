//! Sensors' values in Redis.

use redis::Cmd;
use st2sa_core::engine::Token;
use st2sa_core::time::Span;
use tokio::time::timeout;

use super::Redis;
use super::requests::{OPERATIONS_AT_MOST, REQUEST_BYTES_AT_MOST, script, texts, token_text};
use super::session::{Counts, Lane, Trouble};
use crate::{PAGE_BYTES, Still, StoreError, StoredValue, ValueWrite};

impl Redis {
    pub(super) async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut command = script(include_str!("scripts/value.lua"), &[self.names().values()]);
        command.arg(name);
        let read = self.link().ask(Lane::Values, command, Counts::ReadFromMaster).await;
        let mut said = read.and_then(texts).map_err(|trouble| self.failed("reading a value", trouble))?;
        Ok(said.pop())
    }

    pub(super) async fn values(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredValue>, StoreError> {
        let keys = [self.names().values(), self.names().value_names()];
        let mut command = script(include_str!("scripts/values.lua"), &keys);
        match after.filter(|after| *after >= prefix) {
            Some(after) => command.arg([b"(", after.as_bytes()].concat()),
            None => command.arg([b"[", prefix.as_bytes()].concat()),
        };
        // No text has this byte: it is behind all that begins with the prefix.
        command.arg([b"(", prefix.as_bytes(), b"\xFF"].concat()).arg(limit).arg(PAGE_BYTES);
        let read = self.link().ask(Lane::Values, command, Counts::ReadFromMaster).await;
        let said = read.and_then(texts).map_err(|trouble| self.failed("listing values", trouble))?;
        let mut said = said.into_iter();
        let mut page = Vec::with_capacity(said.len() / 3);
        while let (Some(name), Some(left), Some(value)) = (said.next(), said.next(), said.next()) {
            page.push(StoredValue { name, value, ttl: left.parse().ok().map(Span::from_millis) });
        }
        Ok(page)
    }

    pub(super) async fn store(&self, under: &Token, still: Still, writes: &[ValueWrite]) -> Result<(), StoreError> {
        const DOING: &str = "storing values";
        refuse_too_large(writes)?;
        let deadline = self.link().settings.deadline;
        // One at a time: what comes later is sent when the one before has its answer, or was given up.
        let place = timeout(deadline, self.0.storing.acquire()).await;
        let _place = place.map_err(|_| self.failed(DOING, Trouble::Silent(deadline)))?;
        let command = self.store_command(under, writes);
        let sent = self.link().ask_if(Lane::Values, |_| still().then_some(command), Counts::FromMaster).await;
        let Some(answer) = sent.map_err(|trouble| self.failed(DOING, trouble))? else {
            return Err(StoreError::NotLeader);
        };
        match redis::from_redis_value::<String>(answer).as_deref() {
            Ok("applied") => Ok(()),
            Ok("deposed") => Err(StoreError::NotLeader),
            other => Err(self.failed(DOING, Trouble::Unreadable(format!("{other:?}")))),
        }
    }

    fn store_command(&self, under: &Token, writes: &[ValueWrite]) -> Cmd {
        let names = self.names();
        let keys = [
            names.leader(),
            names.barrier(),
            names.values(),
            names.value_names(),
            names.value_ends(),
            names.value_writer(),
        ];
        let mut command = script(include_str!("scripts/apply.lua"), &keys);
        let (writer, number) = self.next_write();
        command.arg(token_text(under)).arg(writer).arg(number);
        for write in writes {
            match write {
                ValueWrite::Set { name, value, ttl } => {
                    let ttl = ttl.map(|ttl| ttl.as_millis().to_string()).unwrap_or_default();
                    command.arg("set").arg(name).arg(value).arg(ttl);
                }
                ValueWrite::Delete { name } => drop(command.arg("delete").arg(name).arg("").arg("")),
            }
        }
        command
    }

    fn failed(&self, doing: &str, trouble: Trouble) -> StoreError {
        StoreError::Failed { doing: format!("{doing} in {}", self.link().settings.place()), source: Box::new(trouble) }
    }
}

fn refuse_too_large(writes: &[ValueWrite]) -> Result<(), StoreError> {
    let bytes = |write: &ValueWrite| match write {
        ValueWrite::Set { name, value, .. } => name.len() + value.len(),
        ValueWrite::Delete { name } => name.len(),
    };
    if writes.len() > OPERATIONS_AT_MOST {
        return Err(StoreError::TooLarge { what: "the writes of one request", limit: OPERATIONS_AT_MOST });
    }
    if writes.iter().map(bytes).sum::<usize>() > REQUEST_BYTES_AT_MOST {
        return Err(StoreError::TooLarge { what: "the bytes of one request", limit: REQUEST_BYTES_AT_MOST });
    }
    Ok(())
}
