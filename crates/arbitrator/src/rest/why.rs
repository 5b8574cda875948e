//! Why a sensor is where it is, or nowhere: the arbiter's reason, and what stands against each container.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use st2sa_core::arbiter::{Answer, Verb};
use st2sa_core::names::SensorRef;
use st2sa_core::placement::Reason;
use st2sa_proto::rest::{Candidate, Container, HistoryRecord, Instance, Sensor, Why, word};

use super::orders::{decided, unknown};
use super::{Answers, documents, unknown_sensor};

/// Changes told with a reason: enough to see, behind a try every few minutes, how it began.
const CHANGES_TOLD: usize = 50;

pub(super) async fn why(State(answers): State<Answers>, Path(reference): Path<String>) -> Response {
    let view = match answers.look_as_leader().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let Some(sensor) = documents::sensors(&view).into_iter().find(|sensor| sensor.reference == reference) else {
        return unknown_sensor(&reference);
    };
    let (why, decided) = match decided(&answers, String::new(), Verb::Why(SensorRef::new(&reference))).await {
        Ok(Answer::Why { reason, containers }) => {
            let by_name = containers.into_iter().map(|(name, against)| (name.to_string(), against));
            (reason, by_name.collect())
        }
        Ok(_) => return unknown(),
        // The arbiter knows only what a container has loaded and offers.
        Err(response) if response.status() == StatusCode::NOT_FOUND => (of_one_unloaded(&sensor), BTreeMap::new()),
        Err(response) => return response,
    };
    let candidate = |container: Container| {
        let instance = sensor.instances.iter().find(|instance| instance.container == container.name);
        Candidate {
            against: match decided.get(&container.name) {
                Some(against) => against.as_ref().map(Reason::to_string),
                None => Some(unoffered(&container, instance).to_owned()),
            },
            last_error: instance.and_then(|instance| instance.last_error.clone()),
            container: container.name,
        }
    };
    let containers = documents::containers(&view).into_iter().map(candidate).collect();
    let (history, _) = answers.chronicle.read(CHANGES_TOLD, |record: &HistoryRecord| record.sensor == reference);
    Json(Why { reference, why, containers, history }).into_response()
}

/// Why a sensor runs nowhere that no container offers.
fn of_one_unloaded(sensor: &Sensor) -> String {
    let reference = &sensor.reference;
    let is_in = |state: &str| sensor.instances.iter().any(|instance| instance.state == state);
    if let Some(paused) = &sensor.paused {
        format!("{reference} is paused by {}", paused.who)
    } else if is_in("starting") {
        format!("{reference} runs nowhere yet: no container has loaded it")
    } else if is_in("failed") {
        format!("{reference} runs nowhere: no container can load it")
    } else {
        format!("{reference} runs nowhere: no container that has it is up")
    }
}

/// What stands against a container that does not offer the sensor.
fn unoffered(container: &Container, instance: Option<&Instance>) -> &'static str {
    match instance.map(|instance| instance.state.as_str()) {
        _ if container.state == word::LOST => "is lost",
        None => "does not have it",
        Some("failed") => "cannot load it",
        Some("starting") => "has not loaded it yet",
        Some(_) => "does not offer it",
    }
}
