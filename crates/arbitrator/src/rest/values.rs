//! The sensors' datastore, for people: what they read and write goes past every fence, under the leadership alone.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use st2sa_coordination::{StoreError, StoredValue, ValueWrite};
use st2sa_core::time::Span;
use st2sa_proto::rest::{NewValue, Order, Outcome, Value};
use tokio::sync::oneshot;

use super::signed::Signed;
use super::{Answers, bad_query, problem, stopping};
use crate::grpc::{NAME_BYTES_AT_MOST, VALUE_BYTES_AT_MOST};
use crate::input::Input;

/// Values in one answer.
const VALUES_AT_MOST: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(State(answers): State<Answers>, asked: Result<Query<Listed>, QueryRejection>) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return bad_query(&error),
    };
    if let Err(response) = may_read(&answers).await {
        return response;
    }
    let limit = asked.limit.unwrap_or(VALUES_AT_MOST).min(VALUES_AT_MOST);
    match answers.datastore.list(asked.prefix, asked.after, limit).await {
        Ok(values) => Json(values.into_iter().map(value).collect::<Vec<_>>()).into_response(),
        Err(error) => failed(&error),
    }
}

pub(super) async fn get(State(answers): State<Answers>, Path(name): Path<String>) -> Response {
    match find(&answers, &name).await {
        Ok(Some(found)) => Json(value(found)).into_response(),
        Ok(None) => none(&name),
        Err(response) => response,
    }
}

pub(super) async fn set(
    State(answers): State<Answers>,
    Path(name): Path<String>,
    body: Result<Signed<NewValue>, Response>,
) -> Response {
    let NewValue { who, value, ttl_ms } = match body {
        Ok(Signed(body)) => body,
        Err(response) => return response,
    };
    if name.is_empty() || name.len() > NAME_BYTES_AT_MOST || value.len() > VALUE_BYTES_AT_MOST {
        let error = format!("a name has 1 to {NAME_BYTES_AT_MOST} bytes, a value at most {VALUE_BYTES_AT_MOST}");
        return problem(StatusCode::BAD_REQUEST, error, "choose a shorter one");
    }
    tracing::info!(who, name, bytes = value.len(), "an operator stores a value");
    let done = format!("{name} is set");
    write(&answers, ValueWrite::Set { name, value, ttl: ttl_ms.map(Span::from_millis) }, done).await
}

pub(super) async fn delete(
    State(answers): State<Answers>,
    Path(name): Path<String>,
    order: Result<Signed<Order>, Response>,
) -> Response {
    let who = match order {
        Ok(Signed(order)) => order.who,
        Err(response) => return response,
    };
    match find(&answers, &name).await {
        Ok(Some(_)) => {}
        Ok(None) => return none(&name),
        Err(response) => return response,
    }
    tracing::info!(who, name, "an operator deletes a value");
    let done = format!("{name} is deleted");
    write(&answers, ValueWrite::Delete { name }, done).await
}

/// One value, with how long it lasts.
async fn find(answers: &Answers, name: &str) -> Result<Option<StoredValue>, Response> {
    may_read(answers).await?;
    // Of all that begin so it is the first.
    let listed = answers.datastore.list(name.to_owned(), None, 1).await.map_err(|error| failed(&error))?;
    Ok(listed.into_iter().next().filter(|found| found.name == name))
}

async fn write(answers: &Answers, write: ValueWrite, done: String) -> Response {
    let (answer, answered) = oneshot::channel();
    if answers.inputs.send(Input::MayStore(answer)).is_err() {
        return stopping();
    }
    let token = match answered.await {
        Ok(Some(token)) => token,
        Ok(None) => return does_not_lead(),
        Err(_) => return stopping(),
    };
    match answers.datastore.apply(token, Box::new(|| true), vec![write]).await {
        Ok(()) => Json(Outcome { done, moves: Vec::new(), stays: Vec::new() }).into_response(),
        Err(StoreError::NotLeader) => does_not_lead(),
        Err(error @ StoreError::TooLarge { .. }) => {
            problem(StatusCode::BAD_REQUEST, error.to_string(), "choose a shorter one")
        }
        Err(error) => failed(&error),
    }
}

async fn may_read(answers: &Answers) -> Result<(), Response> {
    let (answer, answered) = oneshot::channel();
    answers.inputs.send(Input::MayRead(answer)).map_err(|_| stopping())?;
    match answered.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(does_not_lead()),
        Err(_) => Err(stopping()),
    }
}

fn value(stored: StoredValue) -> Value {
    Value { name: stored.name, value: stored.value, ttl_ms: stored.ttl.map(Span::as_millis) }
}

fn none(name: &str) -> Response {
    let hint = "a sensor's own value is named pack.ClassName:name; `st2sa datastore list` shows all";
    problem(StatusCode::NOT_FOUND, format!("there is no value `{name}`"), hint)
}

fn does_not_lead() -> Response {
    let error = "this arbitrator does not lead".to_owned();
    problem(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a second, or ask another arbitrator")
}

fn failed(error: &StoreError) -> Response {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    tracing::error!(%error, cause, "the datastore failed");
    let hint = "it may have been done; is the disk full?";
    problem(StatusCode::GATEWAY_TIMEOUT, format!("{error}{cause}"), hint)
}
