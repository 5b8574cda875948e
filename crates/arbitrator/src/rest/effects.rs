//! What of a sensor's journal waits to be applied, and how one entry of it is set aside.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use st2sa_core::arbiter::{Answer, Verb};
use st2sa_core::engine::{self, Journal};
use st2sa_core::names::{EntryId, SensorRef};
use st2sa_proto::rest::{Discard, Entry, Outcome};
use tokio::sync::oneshot;

use super::orders::{decided, unknown};
use super::signed::Signed;
use super::{Answers, problem, stopping, unknown_sensor};
use crate::input::Input;

pub(super) async fn list(State(answers): State<Answers>, Path(reference): Path<String>) -> Response {
    match known(&answers, &reference).await {
        Ok(sensor) => match read(&answers, sensor).await {
            Ok(journal) => Json(entries(&journal)).into_response(),
            Err(response) => response,
        },
        Err(response) => response,
    }
}

pub(super) async fn discard(
    State(answers): State<Answers>,
    Path(reference): Path<String>,
    order: Result<Signed<Discard>, Response>,
) -> Response {
    let Discard { who, id } = match order {
        Ok(Signed(order)) => order,
        Err(response) => return response,
    };
    let sensor = match known(&answers, &reference).await {
        Ok(sensor) => sensor,
        Err(response) => return response,
    };
    let Some(entry) = u128::from_str_radix(&id, 16).ok().filter(|_| id.len() == 32) else {
        let error = format!("`{id}` is no entry's id");
        return problem(StatusCode::BAD_REQUEST, error, "`st2sa effects REF` lists them");
    };
    tracing::warn!(who, %sensor, id, "an operator discards what a poll did");
    match decided(&answers, who, Verb::Discard { sensor, entry: EntryId(entry) }).await {
        Ok(Answer::Done) => {
            let done = format!("{id} is discarded: what of it has not gone out by now never does");
            Json(Outcome { done, moves: Vec::new(), stays: Vec::new() }).into_response()
        }
        Ok(_) => unknown(),
        Err(response) => response,
    }
}

async fn known(answers: &Answers, reference: &str) -> Result<SensorRef, Response> {
    let view = answers.look_as_leader().await?;
    let sensor = SensorRef::new(reference);
    if view.knows(&sensor) { Ok(sensor) } else { Err(unknown_sensor(reference)) }
}

async fn read(answers: &Answers, sensor: SensorRef) -> Result<Journal, Response> {
    let (answer, answered) = oneshot::channel();
    answers.inputs.send(Input::Journal(sensor, answer)).map_err(|_| stopping())?;
    match answered.await {
        Ok(Some(journal)) => Ok(journal),
        Ok(None) => {
            let error = "the store does not answer".to_owned();
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, error, "`st2sa status` says how it stands with the store"))
        }
        Err(_) => Err(stopping()),
    }
}

fn entries(journal: &Journal) -> Vec<Entry> {
    let whole = |entry: &&engine::Entry| entry.part_of.is_none();
    let is_there = |id: EntryId| journal.unapplied.iter().any(|entry| entry.id == id);
    let unfinished = journal
        .unapplied
        .iter()
        .filter(|entry| entry.part_of.is_some_and(|of| !is_there(of)))
        .map(|entry| Entry { unfinished: true, ..document(entry, Vec::new()) });
    journal
        .unapplied
        .iter()
        .filter(whole)
        .map(|entry| document(entry, effects(journal, entry.id)))
        .chain(unfinished)
        .collect()
}

fn document(entry: &engine::Entry, effects: Vec<Value>) -> Entry {
    Entry {
        id: format!("{:032x}", entry.id.0),
        sequence: entry.sequence,
        fence: entry.fence.to_string(),
        unfinished: false,
        effects,
    }
}

/// All that an entry does, its parts included; as the container wrote it.
fn effects(journal: &Journal, id: EntryId) -> Vec<Value> {
    let of = |entry: &&engine::Entry| entry.id == id || entry.part_of == Some(id);
    let bytes: Vec<u8> = journal.unapplied.iter().filter(of).flat_map(|entry| entry.effects.bytes()).copied().collect();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| vec![Value::String(format!("it is not understood: {error}"))])
}
