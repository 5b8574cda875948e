//! The sensors' datastore, asked of the leader. What fails is tried again: a sensor is never told that a value
//! is not there because nobody could be asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use st2sa_core::names::{EntryId, SensorRef};
use st2sa_doors::{Bearer, Caller};
use st2sa_proto::v1;
use st2sa_proto::v1::datastore_client::DatastoreClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::effects::ValueWrite;
use crate::gate::Gate;

/// One try may take this long.
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// Between tries.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Writes of one request; the leader takes a thousand, etcd 128 in one transaction.
const WRITES_AT_ONCE: usize = 50;
/// Bytes of them: with what is around them they fit into the smallest transaction of a store.
const BYTES_AT_ONCE: usize = 256 * 1024;
/// Values that the leader lists at the most.
const LISTED_AT_MOST: usize = 10_000;

/// One value, as the datastore has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) value: String,
    /// It ends by itself.
    pub(crate) ends: bool,
}

type Client = DatastoreClient<InterceptedService<Channel, Bearer>>;

/// Asks the leader of now.
#[derive(Clone, Debug)]
pub(crate) struct Datastore {
    gate: Gate,
    /// Where there is none there is no datastore: whoever reads finds nothing.
    caller: Option<Caller>,
    leader: Arc<Mutex<Option<Client>>>,
}

impl Datastore {
    pub(crate) fn new(gate: Gate, caller: Caller) -> Self {
        Self { gate, caller: Some(caller), leader: Arc::default() }
    }

    /// No datastore at all, for sensors that are only loaded.
    pub(crate) fn absent(gate: Gate) -> Self {
        Self { gate, caller: None, leader: Arc::default() }
    }

    /// The leader that this container is bound to is there.
    pub(crate) fn leads(&self, leader: Option<&str>) {
        // A stream to it stands already: its address is one.
        let client = self.caller.as_ref().zip(leader).and_then(|(caller, address)| {
            let channel = caller.connect_lazily(address, TRY_WITHIN).ok()?;
            let client = DatastoreClient::with_interceptor(channel, caller.bearer());
            let client = client.max_decoding_message_size(st2sa_proto::MESSAGE_BYTES_AT_MOST);
            Some(client.max_encoding_message_size(st2sa_proto::MESSAGE_BYTES_AT_MOST))
        });
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// A value, or none.
    ///
    /// # Errors
    /// When it can never be answered, and why.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<String>, String> {
        if self.caller.is_none() {
            return Ok(None);
        }
        loop {
            let request = v1::GetRequest { name: name.to_owned() };
            match self.attempt("read a value", async |mut client| client.get(request).await).await {
                Try::Done(answer) => return Ok(answer.value),
                Try::Never(problem) => return Err(problem),
                Try::Again => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }

    /// Names and values.
    ///
    /// # Errors
    /// When it can never be answered, and why.
    pub(crate) async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, String> {
        let pairs = self.pairs(prefix, limit).await?;
        Ok(pairs.into_iter().map(|pair| (pair.name, pair.value)).collect())
    }

    async fn pairs(&self, prefix: &str, limit: usize) -> Result<Vec<v1::Pair>, String> {
        if self.caller.is_none() {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        loop {
            let request = v1::ListRequest { prefix: prefix.to_owned(), limit };
            match self.attempt("list values", async |mut client| client.list(request).await).await {
                Try::Done(answer) => return Ok(answer.pairs),
                Try::Never(problem) => return Err(problem),
                Try::Again => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }

    /// All values that begin so, and whether they end by themselves.
    ///
    /// # Errors
    /// When it can never be answered, and why.
    pub(crate) async fn copy(&self, prefix: &str) -> Result<Vec<Stored>, String> {
        let pairs = self.pairs(prefix, usize::MAX).await?;
        if pairs.len() >= LISTED_AT_MOST {
            return Err(format!("{LISTED_AT_MOST} values or more begin with `{prefix}`: there may be others"));
        }
        let stored = |pair: v1::Pair| Stored { name: pair.name, value: pair.value, ends: pair.ttl_ms.is_some() };
        Ok(pairs.into_iter().map(stored).collect())
    }

    /// Stores values for a sensor that is ACTIVE here; `None` where it may not any more: the session hands them on
    /// again if they are still to be stored.
    pub(crate) async fn apply(
        &self,
        sensor: &SensorRef,
        id: EntryId,
        writes: Vec<ValueWrite>,
    ) -> Option<Result<(), String>> {
        let write = |write: ValueWrite| v1::Write { name: write.name, value: write.value, ttl_ms: write.ttl_ms };
        let writes: Vec<v1::Write> = writes.into_iter().map(write).collect();
        let mut refused = Ok(());
        for writes in chunks(&writes) {
            let mut done = self.apply_some(sensor, id, writes).await?;
            if done.is_err() && writes.len() > 1 {
                // One of them may be at fault for all.
                done = Ok(());
                for write in writes {
                    done = self.apply_some(sensor, id, std::slice::from_ref(write)).await?.and(done);
                }
            }
            refused = done.and(refused);
        }
        Some(refused)
    }

    async fn apply_some(&self, sensor: &SensorRef, id: EntryId, writes: &[v1::Write]) -> Option<Result<(), String>> {
        loop {
            // The look right before the act (rule 4), and the newest fence.
            let pass = self.gate.pass(sensor, id)?;
            let fence = v1::Fence { term: pass.fence.term.0, n: pass.fence.n };
            let (sensor, writes) = (sensor.as_str().to_owned(), writes.to_vec());
            let request = v1::ApplyRequest { sensor, fence: Some(fence), writes };
            let tried = self.attempt("store a value", async |mut client| client.apply(request).await).await;
            drop(pass);
            match tried {
                Try::Done(_) => return Some(Ok(())),
                Try::Never(problem) => return Some(Err(problem)),
                Try::Again => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }

    /// One try.
    async fn attempt<T>(&self, what: &str, ask: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>) -> Try<T> {
        let client = self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(client) = client else { return Try::Again };
        match tokio::time::timeout(TRY_WITHIN, ask(client)).await {
            Ok(Ok(answer)) => Try::Done(answer.into_inner()),
            Ok(Err(status)) if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) => {
                Try::Never(status.message().to_owned())
            }
            Ok(Err(status)) => {
                // Not to lead is what every arbitrator but one does; the session looks for that one.
                if !matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) {
                    tracing::warn!(%status, "the arbitrator could not {what}: it is asked again");
                }
                Try::Again
            }
            Err(_) => Try::Again,
        }
    }
}

/// Writes in their order, as many at once as one request takes; one that is larger goes alone.
fn chunks(writes: &[v1::Write]) -> Vec<&[v1::Write]> {
    let bytes = |write: &v1::Write| write.name.len() + write.value.as_ref().map_or(0, String::len);
    let mut chunks = Vec::new();
    let mut rest = writes;
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = |write: &&v1::Write| {
            sum += bytes(write);
            sum <= BYTES_AT_ONCE
        };
        let count = rest.iter().take(WRITES_AT_ONCE).take_while(fits).count().max(1);
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

/// How a try went.
enum Try<T> {
    Done(T),
    /// As it was asked it never can be.
    Never(String),
    Again,
}
