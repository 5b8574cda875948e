//! Requests that only the leader can answer, sent on to it by any other arbitrator.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use st2sa_core::names::ArbitratorId;
use st2sa_doors::Identity;
use st2sa_proto::rest;
use tokio::sync::oneshot;

use super::{Answers, BODY_BYTES_AT_MOST, ORDER_BYTES_AT_MOST, is_grpc, problem};
use crate::input::Input;

/// What has been sent on once is not sent on again: two standbys that hold each other for the leader.
const SENT_ON: HeaderName = HeaderName::from_static("x-st2sa-sent-on");
/// What is handed on of a request, and of its answer.
const KEPT: [HeaderName; 2] = [header::CONTENT_TYPE, header::ACCEPT];

/// Sends a request on to the leader, unless it is for this arbitrator, or there is nobody to send it to.
pub(super) async fn to_the_leader(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // Every arbitrator has the history, and can say how it is itself.
    let local = is_grpc(&request) || path == rest::STATUS || path == rest::HISTORY || !path.starts_with("/v1/");
    if local || request.headers().contains_key(&SENT_ON) {
        return next.run(request).await;
    }
    match leader(&answers).await {
        None => next.run(request).await,
        Some(address) => send_on(&answers, &address, request).await,
    }
}

/// Where the leader is reached, if another one leads.
pub(super) async fn leader(answers: &Answers) -> Option<String> {
    let (answer, answered) = oneshot::channel();
    answers.inputs.send(Input::WhoLeads(answer)).ok()?;
    let leads = answered.await.ok()?;
    leads.other(&answers.me).and_then(ArbitratorId::address).map(str::to_owned)
}

async fn send_on(answers: &Answers, address: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let large = parts.method == Method::PUT;
    let Ok(body) = axum::body::to_bytes(body, if large { BODY_BYTES_AT_MOST } else { ORDER_BYTES_AT_MOST }).await
    else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long".to_owned(), "send less");
    };
    let query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let caller = &answers.caller;
    let url = format!("{}://{address}{query}", caller.scheme());
    let mut asked = caller.http().request(parts.method, url).body(body);
    // Who it is has been shown here: the leader believes an arbitrator that.
    if let Some(identity) = parts.extensions.get::<Identity>() {
        asked = caller.sign_for(asked, identity);
    }
    for name in KEPT {
        if let Some(value) = parts.headers.get(&name) {
            asked = asked.header(name, value);
        }
    }
    match asked.header(SENT_ON, HeaderValue::from_static("1")).send().await {
        Err(error) => {
            let error = format!("the leader at {address} cannot be reached from here: {}", error.without_url());
            problem(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a second, or ask it directly")
        }
        Ok(answer) => {
            let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
            let mut response = (status, Body::from_stream(answer.bytes_stream())).into_response();
            if let Some(kind) = kind {
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            response
        }
    }
}
