//! The sensors' datastore, asked of the leader. What fails is tried again: a sensor is never told that a value
//! is not there because nobody could be asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use st2sa_core::names::SensorRef;
use st2sa_proto::v1;
use st2sa_proto::v1::datastore_client::DatastoreClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::effects::ValueWrite;
use crate::gate::Gate;

/// One try may take this long.
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// Between tries.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Asks the leader of now.
#[derive(Clone, Debug)]
pub(crate) struct Datastore {
    gate: Gate,
    leader: Arc<Mutex<Option<Channel>>>,
}

impl Datastore {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate, leader: Arc::default() }
    }

    /// The leader that this container is bound to is there.
    pub(crate) fn leads(&self, leader: Option<&Endpoint>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader.map(Endpoint::connect_lazy);
    }

    /// A value, or none.
    pub(crate) async fn get(&self, name: &str) -> Option<String> {
        let ask = |mut client: DatastoreClient<Channel>| {
            let request = v1::GetRequest { name: name.to_owned() };
            async move { client.get(request).await.map(|answer| answer.into_inner().value) }
        };
        loop {
            if let Some(value) = self.attempt("read a value", ask).await.ok().flatten() {
                return value;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Names and values.
    pub(crate) async fn list(&self, prefix: &str, limit: usize) -> Vec<(String, String)> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let ask = |mut client: DatastoreClient<Channel>| {
            let request = v1::ListRequest { prefix: prefix.to_owned(), limit };
            async move { client.list(request).await.map(|answer| answer.into_inner().pairs) }
        };
        loop {
            if let Some(pairs) = self.attempt("list values", ask).await.ok().flatten() {
                return pairs.into_iter().map(|pair| (pair.name, pair.value)).collect();
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Stores a value for a sensor that is ACTIVE here; `false` where it may not any more: then it was not
    /// stored in that sensor's name by this try, and the session hands it on again if it is still to be.
    pub(crate) async fn apply(&self, sensor: &SensorRef, write: ValueWrite) -> bool {
        let write = v1::Write { name: write.name, value: write.value, ttl_ms: write.ttl_ms };
        loop {
            // The look right before the act (rule 4), and the newest fence.
            let Some(fence) = self.gate.pass(sensor) else { return false };
            let fence = v1::Fence { term: fence.term.0, n: fence.n };
            let request = v1::ApplyRequest {
                sensor: sensor.as_str().to_owned(),
                fence: Some(fence),
                writes: vec![write.clone()],
            };
            let ask = |mut client: DatastoreClient<Channel>| {
                let request = request.clone();
                async move { client.apply(request).await.map(drop) }
            };
            if let Ok(Some(())) = self.attempt("store a value", ask).await {
                return true;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// One try; `Ok(None)` where it is to be tried again.
    async fn attempt<T, F>(&self, what: &str, ask: impl Fn(DatastoreClient<Channel>) -> F) -> Result<Option<T>, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let channel = self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(channel) = channel else { return Ok(None) };
        let client = DatastoreClient::new(channel).max_decoding_message_size(st2sa_proto::MESSAGE_BYTES_AT_MOST);
        match tokio::time::timeout(TRY_WITHIN, ask(client)).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(status)) => {
                // Not to lead is what every arbitrator but one does; the session looks for that one.
                if !matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) {
                    tracing::warn!(%status, "the arbitrator could not {what}: it is asked again");
                }
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}
