//! What people and the command line ask over REST: how things are, the history, the sensors' logs.

mod documents;
mod effects;
mod forward;
mod logs;
mod orders;
mod signed;
mod values;
mod why;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use st2sa_coordination::Datastore;
use st2sa_core::names::ArbitratorId;
use st2sa_doors::{Caller, Door};
use st2sa_proto::rest::{self, HistoryRecord, NDJSON, Problem, Status};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use crate::chronicle::Chronicle;
use crate::input::{Input, View};

/// An empty line this often tells both ends that the other is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A body: a value of the datastore, each byte of which may be written as `\u0000`, and what is around it.
const BODY_BYTES_AT_MOST: usize = 6 * crate::grpc::VALUE_BYTES_AT_MOST + 64 * 1024;
/// Any other body: an order is a few words.
const ORDER_BYTES_AT_MOST: usize = 64 * 1024;
/// A standby asks the leader how things are, and does without if there is no answer.
const LEADER_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Records of the history, where nothing else is asked for.
const RECORDS: usize = 100;

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) inputs: Sender<Input>,
    pub(crate) chronicle: Chronicle,
    pub(crate) datastore: Arc<dyn Datastore>,
    /// Goes to other arbitrators, and to containers.
    pub(crate) caller: Caller,
    pub(crate) door: Arc<Door>,
    /// The arbitrator's lasting id.
    pub(crate) me: ArbitratorId,
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
        .route(rest::PLAN, get(orders::plan))
        .route(rest::WHY, get(why::why))
        .route(rest::MOVE, post(orders::moves))
        .route(rest::FAILOVER, post(orders::failover))
        .route(rest::POLL, post(orders::poll))
        .route(rest::RETRY, post(orders::retry))
        .route(rest::EFFECTS, get(effects::list))
        .route(rest::DISCARD, post(effects::discard))
        .route(rest::PAUSE, post(orders::pause))
        .route(rest::RESUME, post(orders::resume))
        .route(rest::PAUSE_ALL, post(orders::pause_all))
        .route(rest::RESUME_ALL, post(orders::resume_all))
        .route(rest::DRAIN, post(orders::drain))
        .route(rest::UNDRAIN, post(orders::undrain))
        .route(rest::FORGET, post(orders::forget))
        .route(rest::FAIL_SAFE, post(orders::fail_safe))
        .route(rest::DATASTORE, get(values::list))
        .route(
            rest::VALUE,
            get(values::get).put(values::set).delete(values::delete).layer(DefaultBodyLimit::max(BODY_BYTES_AT_MOST)),
        )
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .layer(axum::middleware::from_fn_with_state(answers.clone(), forward::to_the_leader))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_AT_MOST))
        .layer(axum::middleware::from_fn(no_strangers_page))
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
    let view = match answers.look().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let mut status = documents::status(&view, answers.me.as_str(), answers.since.elapsed());
    let own = answers.door.alarms().into_iter().map(|alarm| format!("now: {}: {alarm}", answers.me));
    // A standby knows how it is itself; of sensors and containers the leader alone does.
    if let Some(leader) = forward::leader(&answers).await
        && let Some(leaders) = leaders_status(&answers, &leader).await
    {
        let Status { sensors, containers, alarms, electors, fail_safe, store, .. } = leaders;
        status = Status { sensors, containers, alarms, electors, fail_safe, store, ..status };
    }
    status.alarms.extend(own);
    Json(status).into_response()
}

async fn leaders_status(answers: &Answers, leader: &str) -> Option<Status> {
    let caller = &answers.caller;
    let url = format!("{}://{leader}{}", caller.scheme(), rest::STATUS);
    let answer = caller.sign(caller.http().get(url)).timeout(LEADER_ANSWERS_WITHIN).send().await.ok()?;
    answer.json().await.ok()
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

async fn history(State(answers): State<Answers>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Asked { sensor, limit, follow } = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return bad_query(&error),
    };
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

/// A page in somebody's browser is not to give orders: browsers say where a request comes from.
async fn no_strangers_page(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && request.headers().contains_key(header::ORIGIN) && !is_grpc(&request) {
        let error = "orders from web pages are not taken".to_owned();
        return problem(StatusCode::FORBIDDEN, error, "use the command line, or a client that sends no Origin header");
    }
    next.run(request).await
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn nothing_here() -> Response {
    let hint = "docs/rest.md lists the paths; they begin with /v1/status, /v1/sensors, /v1/containers, /v1/history, \
                /v1/plan, /v1/datastore";
    problem(StatusCode::NOT_FOUND, "there is nothing at this path".to_owned(), hint)
}

async fn wrong_method() -> Response {
    let error = "this path does not take that method".to_owned();
    problem(StatusCode::METHOD_NOT_ALLOWED, error, "questions are GET, orders POST; docs/rest.md lists them")
}

fn bad_query(error: &QueryRejection) -> Response {
    problem(error.status(), error.body_text(), "`limit` and `lines` are numbers, `follow` is true or false")
}

fn bad_body(error: &JsonRejection) -> Response {
    let hint = "orders are JSON with the content type application/json, at least {\"who\": \"you@desk\"}";
    problem(error.status(), error.body_text(), hint)
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
