//! What a container answers by itself over HTTP: whether a sensor is ACTIVE here, and what it prints.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use st2sa_core::names::SensorRef;
use st2sa_doors::Role;
use st2sa_proto::rest::{LogLine, NDJSON};
use tokio::sync::broadcast::error::RecvError;

use crate::gate::Gate;
use crate::logbook::Logbook;

/// An empty line this often tells both ends that the other is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Lines of a log, where nothing else is asked for.
const LINES: usize = 100;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) gate: Gate,
    pub(crate) logbook: Logbook,
}

/// The routes. `GET /active/REF`: 200 where the sensor is ACTIVE and may act, else 503, so that a load
/// balancer's health check follows it. `GET /v1/sensors/REF/logs?lines=N&follow=true`: lines of JSON.
pub(crate) fn routes(answers: Answers) -> Router {
    Router::new().route("/active/{sensor}", get(active)).route(st2sa_proto::rest::LOGS, get(logs)).with_state(answers)
}

/// Who may ask.
pub(crate) fn needs(_: &Request) -> &'static [Role] {
    &[Role::Viewer, Role::Operator, Role::Arbitrator]
}

async fn active(State(answers): State<Answers>, Path(sensor): Path<String>) -> Response {
    match answers.gate.fence(&SensorRef::new(sensor)) {
        Some(fence) => (StatusCode::OK, format!("ACTIVE, fence {fence}\n")).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not ACTIVE here\n").into_response(),
    }
}

#[derive(Deserialize)]
struct Asked {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

async fn logs(State(answers): State<Answers>, Path(sensor): Path<String>, Query(asked): Query<Asked>) -> Response {
    let Some((lines, followed)) = answers.logbook.read(&SensorRef::new(sensor), asked.lines.unwrap_or(LINES)) else {
        return (StatusCode::NOT_FOUND, "no such sensor here\n").into_response();
    };
    let lines = stream::iter(lines).map(|line| as_text(&line));
    let body = if asked.follow {
        Body::from_stream(lines.chain(follow(followed)).map(Ok::<_, Infallible>))
    } else {
        Body::from_stream(lines.map(Ok::<_, Infallible>))
    };
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

fn follow(followed: tokio::sync::broadcast::Receiver<LogLine>) -> impl Stream<Item = String> {
    stream::unfold(followed, async |mut followed| {
        let line = match tokio::time::timeout(KEEP_ALIVE_EVERY, followed.recv()).await {
            Ok(Ok(line)) => as_text(&line),
            // What was lost was lost in a flood; an empty line is a keep-alive.
            Ok(Err(RecvError::Lagged(_))) | Err(_) => "\n".to_owned(),
            Ok(Err(RecvError::Closed)) => return None,
        };
        Some((line, followed))
    })
}

fn as_text(line: &LogLine) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}
