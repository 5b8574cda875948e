//! A sensor's log, brought from the container where it is ACTIVE, and followed wherever it goes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_proto::rest::{LogLine, NDJSON};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answers, bad_query, problem, unknown_sensor};
use crate::input::View;

/// A container on the same machine or network answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the sensor has moved.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines, where nothing else is asked for.
const LINES: usize = 100;
/// The longest line of a container's answer.
const LINE_BYTES_AT_MOST: usize = 64 * 1024;
/// Lines that wait for whoever follows; then nothing more is read.
const WAITING_AT_MOST: usize = 256;

#[derive(Deserialize)]
pub(super) struct Asked {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn logs(
    State(answers): State<Answers>,
    Path(reference): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return bad_query(&error),
    };
    let view = match answers.look_as_leader().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let sensor = SensorRef::new(&reference);
    if !view.roster.entries().any(|entry| entry.instances.contains_key(&sensor)) {
        return unknown_sensor(&reference);
    }
    let lines = asked.lines.unwrap_or(LINES);
    if asked.follow {
        let (sender, waiting) = mpsc::channel(WAITING_AT_MOST);
        tokio::spawn(follow(answers, sensor, lines, sender));
        let body = Body::from_stream(ReceiverStream::new(waiting).map(Ok::<_, Infallible>));
        return ([(header::CONTENT_TYPE, NDJSON)], body).into_response();
    }
    let Some((name, address)) = home(&view, &sensor) else {
        let error = format!("`{reference}` runs nowhere: there is nobody to ask for its log");
        return problem(StatusCode::NOT_FOUND, error, "`st2sa why REF` says why, and what it failed of");
    };
    match open(&answers, &address, &sensor, lines, false).await {
        Ok(answer) => {
            let body = answer.map_or_else(Body::empty, |answer| Body::from_stream(answer.bytes_stream()));
            ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
        }
        Err(error) => {
            let error = format!("{name} at {address} could not be asked for the log: {error}");
            problem(StatusCode::BAD_GATEWAY, error, "is that container reachable from the arbitrator?")
        }
    }
}

/// Where the sensor is ACTIVE, else any container that is up and has it.
fn home(view: &View, sensor: &SensorRef) -> Option<(ContainerName, String)> {
    let placed = view.sensors.iter().find(|placed| placed.sensor == *sensor);
    let active = placed.and_then(|placed| placed.active.as_ref()).map(|active| &active.container);
    let up = |name: &ContainerName| view.containers.iter().any(|container| container.name == *name && container.up);
    let entry = active
        .and_then(|name| view.roster.entry(name))
        .or_else(|| view.roster.entries().find(|entry| entry.instances.contains_key(sensor) && up(&entry.name)))?;
    Some((entry.name.clone(), entry.about.address.clone()))
}

/// A container's answer; `None` where the sensor has not got so far that anything could have been written.
async fn open(
    answers: &Answers,
    address: &str,
    sensor: &SensorRef,
    lines: usize,
    follow: bool,
) -> Result<Option<reqwest::Response>, String> {
    let path = st2sa_proto::rest::LOGS.replace("{ref}", sensor.as_str());
    let caller = &answers.caller;
    let url = format!("{}://{address}{path}?lines={lines}&follow={follow}", caller.scheme());
    // Never with the token: a container would have it.
    let request = caller.http_to_containers().get(url).send();
    let answer = tokio::time::timeout(ANSWER_WITHIN, request).await.map_err(|_| "no answer within 2 s".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    answer.error_for_status().map(Some).map_err(|error| error.to_string())
}

/// Sends lines until nobody reads them any more.
async fn follow(answers: Answers, sensor: SensorRef, mut lines: usize, sender: mpsc::Sender<Bytes>) {
    // After a move only what is new there is of interest: a container may have lines of last week.
    let mut since = String::new();
    while !sender.is_closed() {
        if let Ok(view) = answers.look().await
            && let Some((name, address)) = home(&view, &sensor)
            && let Ok(Some(answer)) = open(&answers, &address, &sensor, lines, true).await
        {
            let moved = format!("{:.3}", jiff::Timestamp::now());
            copy(&answers, &sensor, &name, answer, &since, &sender).await;
            (lines, since) = (usize::MAX, moved);
        } else if sender.send(Bytes::from_static(b"\n")).await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Copies lines from one container until it ends them, or the sensor is elsewhere.
async fn copy(
    answers: &Answers,
    sensor: &SensorRef,
    name: &ContainerName,
    answer: reqwest::Response,
    since: &str,
    sender: &mpsc::Sender<Bytes>,
) {
    let mut chunks = answer.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            _ = looks.tick() => {
                match answers.look().await {
                    Ok(view) if home(&view, sensor).is_some_and(|(now, _)| now == *name) => continue,
                    Ok(_) | Err(_) => return,
                }
            }
            () = sender.closed() => return,
        };
        let Some(Ok(chunk)) = chunk else { return };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let old = |line: LogLine| line.at.as_str() < since;
            let is_old = serde_json::from_slice(&line).is_ok_and(old);
            if !is_old && sender.send(line.into()).await.is_err() {
                return;
            }
        }
        if rest.len() > LINE_BYTES_AT_MOST {
            return;
        }
    }
}
