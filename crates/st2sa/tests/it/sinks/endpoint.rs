//! An HTTP endpoint that takes events, answers as it is told, and may be away.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use serde_json::Value;
use st2sa_testbed::free_port;

/// What was posted.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) event: Value,
    /// What it was answered.
    pub(super) status: StatusCode,
}

type Judge = dyn Fn(&Value, usize) -> u16 + Send + Sync;

/// Listens from `start` to `stop`.
pub(super) struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    posted: Mutex<Vec<Posted>>,
    /// What an event is answered, with how many were posted before it.
    judge: Box<Judge>,
}

impl Endpoint {
    /// One that answers what `judge` says of each event, and of how many came before it.
    pub(super) fn start(judge: impl Fn(&Value, usize) -> u16 + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { posted: Mutex::default(), judge: Box::new(judge) });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut endpoint = Self { address, shared, runtime: None };
        endpoint.start_again();
        endpoint
    }

    pub(super) fn start_again(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(self.address)).unwrap();
        let routes = Router::new().fallback(any(take)).with_state(Arc::clone(&self.shared));
        runtime.spawn(async move { axum::serve(listener, routes).await });
        self.runtime = Some(runtime);
    }

    /// Away: whatever is connected is closed.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// The same with a user and a password.
    pub(super) fn url_for(&self, user: &str) -> String {
        format!("http://{user}@{}/events", self.address)
    }

    pub(super) fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The numbers of each teller that were taken.
    pub(super) fn arrived(&self) -> super::Arrived {
        let mut arrived = super::Arrived::new();
        for posted in self.posted().into_iter().filter(|posted| posted.status.is_success()) {
            let id = posted.event["id"].as_str().unwrap_or_default().to_owned();
            let (teller, number) = super::Number::of(&posted.event["data"], id);
            arrived.entry(teller).or_default().push(number);
        }
        arrived
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut posted = shared.posted.lock().unwrap_or_else(PoisonError::into_inner);
    let status = StatusCode::from_u16((shared.judge)(&event, posted.len())).unwrap_or_default();
    posted.push(Posted { headers, event, status });
    (status, "as you wish")
}
