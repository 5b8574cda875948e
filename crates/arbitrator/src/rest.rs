//! What people and the command line ask over REST: how things are, the history, the sensors' logs.

mod documents;
mod logs;

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use st2sa_proto::rest::{self, HistoryRecord, NDJSON, Problem};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use crate::chronicle::Chronicle;
use crate::input::{Input, View};

/// An empty line this often tells both ends that the other is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Records of the history, where nothing else is asked for.
const RECORDS: usize = 100;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) inputs: Sender<Input>,
    pub(crate) chronicle: Chronicle,
    pub(crate) http: reqwest::Client,
    /// The arbitrator's lasting id.
    pub(crate) me: String,
    pub(crate) since: Instant,
}

/// The routes below `/v1/`.
pub(crate) fn routes(answers: Answers) -> Router {
    Router::new()
        .route(rest::STATUS, get(status))
        .route(rest::SENSORS, get(sensors))
        .route(rest::SENSOR, get(sensor))
        .route(rest::LOGS, get(logs::logs))
        .route(rest::CONTAINERS, get(containers))
        .route(rest::HISTORY, get(history))
        .fallback(nothing_here)
        .with_state(answers)
}

impl Answers {
    /// How things are now.
    async fn look(&self) -> Result<View, Response> {
        let (answer, answered) = oneshot::channel();
        if self.inputs.send(Input::Look(answer)).is_err() {
            return Err(stopping());
        }
        answered.await.map_err(|_| stopping())
    }

    /// How things are now, if this arbitrator leads: nobody else knows.
    async fn look_as_leader(&self) -> Result<View, Response> {
        let view = self.look().await?;
        if view.term.is_some() {
            return Ok(view);
        }
        let leader = view.leader.map_or_else(|| "nobody".to_owned(), |seen| seen.arbitrator.to_string());
        let error = format!("this arbitrator does not lead: {leader} does");
        Err(problem(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a second, or ask another arbitrator"))
    }
}

async fn status(State(answers): State<Answers>) -> Response {
    match answers.look().await {
        Ok(view) => Json(documents::status(&view, &answers.me, answers.since.elapsed())).into_response(),
        Err(response) => response,
    }
}

async fn sensors(State(answers): State<Answers>) -> Response {
    match answers.look_as_leader().await {
        Ok(view) => Json(documents::sensors(&view)).into_response(),
        Err(response) => response,
    }
}

async fn sensor(State(answers): State<Answers>, Path(reference): Path<String>) -> Response {
    let view = match answers.look_as_leader().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let sensor = documents::sensors(&view).into_iter().find(|sensor| sensor.reference == reference);
    sensor.map_or_else(|| unknown_sensor(&reference), |sensor| Json(sensor).into_response())
}

async fn containers(State(answers): State<Answers>) -> Response {
    match answers.look_as_leader().await {
        Ok(view) => Json(documents::containers(&view)).into_response(),
        Err(response) => response,
    }
}

#[derive(Deserialize)]
struct Asked {
    sensor: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    follow: bool,
}

async fn history(State(answers): State<Answers>, Query(asked): Query<Asked>) -> Response {
    let Asked { sensor, limit, follow } = asked;
    let wanted = move |record: &HistoryRecord| sensor.as_ref().is_none_or(|sensor| *sensor == record.sensor);
    let (records, followed) = answers.chronicle.read(limit.unwrap_or(RECORDS), &wanted);
    if !follow {
        return Json(records).into_response();
    }
    let first = stream::iter(records).map(|record| as_text(&record));
    let lines = first.chain(follow_history(followed, wanted)).map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

fn follow_history(
    followed: broadcast::Receiver<HistoryRecord>,
    wanted: impl Fn(&HistoryRecord) -> bool + Clone + Send + 'static,
) -> impl Stream<Item = String> {
    stream::unfold((followed, wanted), async |(mut followed, wanted)| {
        let line = loop {
            match tokio::time::timeout(KEEP_ALIVE_EVERY, followed.recv()).await {
                Ok(Ok(record)) if wanted(&record) => break as_text(&record),
                Ok(Ok(_)) => {}
                Err(_) => break "\n".to_owned(),
                // What it has lost is still in the history: it asks again.
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return None,
            }
        };
        Some((line, (followed, wanted)))
    })
}

async fn nothing_here() -> Response {
    let hint =
        "the paths are /v1/status, /v1/sensors, /v1/sensors/REF, /v1/sensors/REF/logs, /v1/containers, /v1/history";
    problem(StatusCode::NOT_FOUND, "there is nothing at this path".to_owned(), hint)
}

fn unknown_sensor(reference: &str) -> Response {
    let error = format!("no container offers a sensor `{reference}`");
    problem(StatusCode::NOT_FOUND, error, "`st2sa sensors` lists all that there are")
}

fn stopping() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the arbitrator stops".to_owned(), "ask again when it is back")
}

fn problem(status: StatusCode, error: String, hint: &str) -> Response {
    (status, Json(Problem { error, hint: Some(hint.to_owned()) })).into_response()
}

fn as_text(record: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(record).unwrap_or_default();
    text.push('\n');
    text
}
