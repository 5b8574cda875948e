//! Stands in for an arbitrator in tests: a real server on loopback with prepared answers.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::net::TcpListener;

/// A server that lasts as long as this does.
pub(crate) struct StandIn {
    address: String,
    prepared: Prepared,
    orders: Orders,
    server: tokio::task::JoinHandle<()>,
}

/// What a path answers.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    pieces: Vec<String>,
    then: Then,
}

/// How an answer ends.
#[derive(Clone, Copy)]
enum Then {
    End,
    Break,
    Stay,
}

type Prepared = Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>;
/// Orders that came, in their order: `POST /v1/pause {"who":…}`.
type Orders = Arc<Mutex<Vec<String>>>;

impl StandIn {
    /// Answers each path (with its query, or of any query) with the next prepared answer, and with the last one from
    /// then on.
    pub(crate) async fn new<const N: usize>(answers: [(&str, Vec<Answer>); N]) -> Self {
        let answers = answers.into_iter().map(|(path, answers)| (path.to_owned(), answers.into()));
        let prepared: Prepared = Arc::new(Mutex::new(answers.collect()));
        let orders = Orders::default();
        let router = Router::new().fallback(answer).with_state((Arc::clone(&prepared), Arc::clone(&orders)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, prepared, orders, server }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The orders that came.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.orders.lock().unwrap().clone()
    }

    /// How many answers of a path are left.
    pub(crate) fn left(&self, path: &str) -> usize {
        self.prepared.lock().unwrap().get(path).map_or(0, VecDeque::len)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Answer {
    /// A document.
    pub(crate) fn json(status: u16, document: &Value) -> Self {
        Self::text(status, &document.to_string())
    }

    /// Anything else.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status, pieces: vec![text.to_owned()], then: Then::End }
    }

    /// Lines.
    pub(crate) fn lines(lines: &[Value]) -> Self {
        let pieces = lines.iter().map(|line| format!("{line}\n\n")).collect();
        Self { status: 200, pieces, then: Then::End }
    }

    /// The same, but the connection breaks in the middle of a further line.
    pub(crate) fn breaks(mut self) -> Self {
        self.pieces.push("{\"at".to_owned());
        self.then = Then::Break;
        self
    }

    /// The same, but more might come.
    pub(crate) fn stays(mut self) -> Self {
        self.then = Then::Stay;
        self
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn answer(
    State((prepared, orders)): State<(Prepared, Orders)>,
    request: Request,
) -> Result<Response, Infallible> {
    let whole = request.uri().to_string();
    let path = request.uri().path().to_owned();
    if request.method() != axum::http::Method::GET {
        let method = request.method().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        orders.lock().unwrap().push(format!("{method} {path} {}", String::from_utf8_lossy(&body)));
    }
    let answer = {
        let mut prepared = prepared.lock().unwrap();
        let key = if prepared.contains_key(&whole) { whole } else { path };
        match prepared.get_mut(&key) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let answer = answer.unwrap_or_else(|| Answer::text(404, "<html>not here</html>"));
    let pieces = stream::iter(answer.pieces).map(|piece| Ok(Bytes::from(piece)));
    let body = match answer.then {
        Then::End => Body::from_stream(pieces.chain(stream::empty::<io::Result<Bytes>>())),
        Then::Break => Body::from_stream(pieces.chain(stream::once(broken()))),
        Then::Stay => Body::from_stream(pieces.chain(stream::pending())),
    };
    Ok(Response::builder().status(answer.status).body(body).unwrap())
}

/// Breaks only after what was written before has gone out.
async fn broken() -> io::Result<Bytes> {
    tokio::task::yield_now().await;
    Err(io::Error::other("broken"))
}
