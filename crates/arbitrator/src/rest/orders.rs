//! What operators order over REST: each is decided by the arbiter, and answered once that is durable or under way.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use st2sa_core::arbiter::{Answer, Planned, Suppose, Verb};
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::placement::Rule;
use st2sa_proto::rest::{Order, Outcome, Placement, Plan, Switch};
use tokio::sync::oneshot;

use super::signed::Signed;
use super::{Answers, documents, problem, stopping};
use crate::input::Input;

/// The arbiter answers once the store has: a heartbeat, or not at all when the leader changes.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);
/// Sensors named in one sentence.
const NAMED_AT_MOST: usize = 5;

/// A body that was read, or why not.
pub(super) type Ordered = Result<Signed<Order>, Response>;

#[derive(Deserialize)]
pub(super) struct Supposed {
    drain: Option<String>,
    lose: Option<String>,
    join: Option<String>,
}

pub(super) async fn plan(State(answers): State<Answers>, Query(asked): Query<Supposed>) -> Response {
    let (suppose, supposed) = match (asked.drain, asked.lose, asked.join) {
        (None, None, None) => (Suppose::AsIs, "as things are".to_owned()),
        (Some(name), None, None) => (Suppose::Drained(ContainerName::new(&name)), format!("{name} is drained")),
        (None, Some(name), None) => (Suppose::Lost(ContainerName::new(&name)), format!("{name} is lost")),
        (None, None, Some(name)) => (Suppose::Joined(ContainerName::new(&name)), format!("{name} has joined")),
        _ => {
            let error = "more than one of `drain`, `lose` and `join` is given".to_owned();
            return problem(StatusCode::BAD_REQUEST, error, "ask for one at a time");
        }
    };
    match planned(&answers, suppose).await {
        Ok(sensors) => Json(Plan { supposed, sensors: sensors.into_iter().map(placement).collect() }).into_response(),
        Err(response) => response,
    }
}

pub(super) async fn moves(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    let Order { who, to } = match checked(order) {
        Ok(order) => order,
        Err(response) => return response,
    };
    let Some(to) = to.filter(|to| !to.is_empty()) else {
        return problem(StatusCode::BAD_REQUEST, "`to` is missing".to_owned(), "name the container to move it to");
    };
    let sensor = SensorRef::new(sensor);
    let verb = Verb::Move { sensor: sensor.clone(), to: ContainerName::new(to) };
    on_its_way(&answers, who, sensor, verb).await
}

pub(super) async fn failover(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    match checked(order) {
        Ok(Order { who, .. }) => {
            let sensor = SensorRef::new(sensor);
            on_its_way(&answers, who, sensor.clone(), Verb::Failover(sensor)).await
        }
        Err(response) => response,
    }
}

pub(super) async fn poll(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    if let Err(response) = offered(&answers, &sensor).await {
        return response;
    }
    let done = format!("{sensor} polls now");
    simple(&answers, order, Verb::Poll(SensorRef::new(sensor)), done).await
}

pub(super) async fn retry(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    if let Err(response) = offered(&answers, &sensor).await {
        return response;
    }
    let done = format!("where {sensor} failed is forgotten: it is tried again now");
    simple(&answers, order, Verb::Retry(SensorRef::new(sensor)), done).await
}

pub(super) async fn pause(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    if let Err(response) = known_sensor(&answers, &sensor).await {
        return response;
    }
    let done = format!("{sensor} is paused until it is resumed");
    simple(&answers, order, Verb::Pause(SensorRef::new(sensor)), done).await
}

pub(super) async fn resume(State(answers): State<Answers>, Path(sensor): Path<String>, order: Ordered) -> Response {
    let done = format!("{sensor} is paused no more");
    match answers.look_as_leader().await {
        Ok(view) => {
            // One that nobody offers any more may be paused all the same.
            let paused = view.paused.iter().any(|(paused, _)| paused.as_str() == sensor);
            if !paused {
                let known = known_sensor(&answers, &sensor).await;
                return known.map_or_else(|response| response, |()| nothing_done(format!("{sensor} is not paused")));
            }
        }
        Err(response) => return response,
    }
    simple(&answers, order, Verb::Resume(SensorRef::new(sensor)), done).await
}

pub(super) async fn pause_all(State(answers): State<Answers>, order: Ordered) -> Response {
    let view = match answers.look_as_leader().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let running = documents::sensors(&view).into_iter().filter(|sensor| sensor.paused.is_none());
    let running = running.map(|sensor| SensorRef::new(sensor.reference)).collect();
    each(&answers, order, running, Verb::Pause, "paused").await
}

pub(super) async fn resume_all(State(answers): State<Answers>, order: Ordered) -> Response {
    match answers.look_as_leader().await {
        Ok(view) => {
            let paused = view.paused.into_iter().map(|(sensor, _)| sensor).collect();
            each(&answers, order, paused, Verb::Resume, "resumed").await
        }
        Err(response) => response,
    }
}

pub(super) async fn drain(State(answers): State<Answers>, Path(name): Path<String>, order: Ordered) -> Response {
    let who = match checked(order) {
        Ok(order) => order.who,
        Err(response) => return response,
    };
    let drained = ContainerName::new(&name);
    if let Err(response) = known_container(&answers, &drained).await {
        return response;
    }
    // A lost one holds nothing that could be moved.
    let before = planned(&answers, Suppose::Drained(drained.clone())).await.unwrap_or_default();
    match decided(&answers, who, Verb::Drain(drained.clone())).await {
        Ok(Answer::Done) => {
            let here = before.into_iter().filter(|planned| planned.from.as_ref() == Some(&drained));
            let (stays, moves): (Vec<_>, Vec<_>) =
                here.partition(|planned| matches!(planned.rule, Rule::StaysDraining { .. }));
            let done = match stays.len() {
                0 => format!("{name} is drained until it is undrained"),
                count => format!("{name} is drained until it is undrained; {count} can run nowhere else and stay"),
            };
            outcome(done, moves, stays)
        }
        Ok(_) => unknown(),
        Err(response) => response,
    }
}

pub(super) async fn undrain(State(answers): State<Answers>, Path(name): Path<String>, order: Ordered) -> Response {
    let view = match answers.look_as_leader().await {
        Ok(view) => view,
        Err(response) => return response,
    };
    let container = ContainerName::new(&name);
    if !view.drained.contains(&container) {
        let known = known_container(&answers, &container).await;
        return known.map_or_else(|response| response, |()| nothing_done(format!("{name} is not drained")));
    }
    simple(&answers, order, Verb::Undrain(container), format!("{name} is used again")).await
}

/// Whether a leadership may be extended while the store is away.
pub(super) async fn fail_safe(State(answers): State<Answers>, switch: Result<Signed<Switch>, Response>) -> Response {
    let Switch { who, on } = match switch {
        Ok(Signed(switch)) => switch,
        Err(response) => return response,
    };
    tracing::info!(who, on, "an operator turns fail-safe on or off");
    match decided(&answers, who, Verb::FailSafe(on)).await {
        Ok(Answer::Done) => nothing_done(format!("fail-safe is {}", if on { "on" } else { "off" })),
        Ok(_) => unknown(),
        Err(response) => response,
    }
}

pub(super) async fn forget(State(answers): State<Answers>, Path(name): Path<String>, order: Ordered) -> Response {
    if let Err(response) = checked(order) {
        return response;
    }
    let (answer, answered) = oneshot::channel();
    if answers.inputs.send(Input::Forget(ContainerName::new(&name), answer)).is_err() {
        return stopping();
    }
    match answered.await {
        Ok(Ok(())) => nothing_done(format!("{name} is forgotten; should it come back, it is as new")),
        Ok(Err(why)) if why.is_empty() => no_container(&name),
        Ok(Err(why)) => problem(StatusCode::CONFLICT, why, "only a container that is lost can be forgotten"),
        Err(_) => stopping(),
    }
}

/// A move that is on its way.
async fn on_its_way(answers: &Answers, who: String, sensor: SensorRef, verb: Verb) -> Response {
    if let Err(response) = offered(answers, sensor.as_str()).await {
        return response;
    }
    let from = match answers.look_as_leader().await {
        Ok(view) => view.sensors.into_iter().find(|view| view.sensor == sensor).and_then(|view| view.active),
        Err(response) => return response,
    };
    let from = from.map(|active| active.container);
    match decided(answers, who, verb).await {
        Ok(Answer::Moves(to)) => {
            let done = match &from {
                Some(from) if *from == to => format!("{sensor} is on {to} already"),
                Some(from) => format!("{sensor} moves from {from} to {to}"),
                None => format!("{sensor} goes to {to}"),
            };
            let rule = Rule::Wanted { on: to.clone() };
            outcome(done, vec![Planned { sensor, from, to: Some(to), rule }], Vec::new())
        }
        Ok(_) => unknown(),
        Err(response) => response,
    }
}

/// An order that is done once it is decided.
async fn simple(answers: &Answers, order: Ordered, verb: Verb, done: String) -> Response {
    let who = match checked(order) {
        Ok(order) => order.who,
        Err(response) => return response,
    };
    match decided(answers, who, verb).await {
        Ok(Answer::Done) => nothing_done(done),
        Ok(_) => unknown(),
        Err(response) => response,
    }
}

/// One order for each of many sensors; those that were not carried out are named.
async fn each(
    answers: &Answers,
    order: Ordered,
    sensors: Vec<SensorRef>,
    verb: impl Fn(SensorRef) -> Verb,
    word: &str,
) -> Response {
    let who = match checked(order) {
        Ok(order) => order.who,
        Err(response) => return response,
    };
    let (count, mut failed) = (sensors.len(), Vec::new());
    for sensor in sensors {
        if let Err(response) = decided(answers, who.clone(), verb(sensor.clone())).await {
            if failed.len() < NAMED_AT_MOST {
                failed.push(sensor.to_string());
            }
            // Whoever does not lead any more refuses the rest, too.
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
        }
    }
    if failed.is_empty() {
        return nothing_done(format!("{count} sensors are {word}"));
    }
    let error = format!("not all of {count} sensors are {word}: {} may not be", failed.join(", "));
    problem(StatusCode::GATEWAY_TIMEOUT, error, "ask again: what is done already stays so")
}

/// What every sensor would do.
async fn planned(answers: &Answers, suppose: Suppose) -> Result<Vec<Planned>, Response> {
    match decided(answers, String::new(), Verb::Plan(suppose)).await? {
        Answer::Plan(planned) => Ok(planned),
        _ => Err(unknown()),
    }
}

/// The arbiter's answer, if it is one of those that are no error.
pub(super) async fn decided(answers: &Answers, who: String, verb: Verb) -> Result<Answer, Response> {
    let (answer, answered) = oneshot::channel();
    if answers.inputs.send(Input::Order { who, verb, answer }).is_err() {
        return Err(stopping());
    }
    let Ok(answer) = tokio::time::timeout(DECIDED_WITHIN, answered).await else { return Err(unknown()) };
    match answer {
        Ok(Answer::NotLeader(leader)) => {
            let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| leader.to_string());
            let error = format!("this arbitrator does not lead: {leader} does");
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, error, "try again in a second, or ask another arbitrator"))
        }
        Ok(Answer::NoSuch(what)) => {
            Err(problem(StatusCode::NOT_FOUND, what, "`st2sa sensors` and `st2sa containers` list all that there are"))
        }
        Ok(Answer::Refused(why)) => {
            Err(problem(StatusCode::CONFLICT, why, "`st2sa why REF` says what stands against each container"))
        }
        Ok(Answer::Unknown) | Err(_) => Err(unknown()),
        Ok(answer) => Ok(answer),
    }
}

#[expect(clippy::result_large_err, reason = "an answer, made once a request")]
fn checked(order: Ordered) -> Result<Order, Response> {
    order.map(|Signed(order)| order)
}

/// Also one that no container can load is known.
async fn known_sensor(answers: &Answers, sensor: &str) -> Result<(), Response> {
    let view = answers.look_as_leader().await?;
    let known = view.knows(&SensorRef::new(sensor));
    known.then_some(()).ok_or_else(|| super::unknown_sensor(sensor))
}

/// What no container can load is there, but there is nothing to be moved, polled or tried by the arbiter.
async fn offered(answers: &Answers, sensor: &str) -> Result<(), Response> {
    let view = answers.look_as_leader().await?;
    let sensor = SensorRef::new(sensor);
    if view.sensors.iter().any(|view| view.sensor == sensor) {
        return Ok(());
    }
    if !view.knows(&sensor) {
        return Err(super::unknown_sensor(sensor.as_str()));
    }
    let hint = "`st2sa why REF` says why not; a container loads it as soon as its files are mended, and at SIGHUP";
    Err(problem(StatusCode::CONFLICT, format!("no container can load {sensor}"), hint))
}

async fn known_container(answers: &Answers, name: &ContainerName) -> Result<(), Response> {
    let view = answers.look_as_leader().await?;
    let known = view.roster.entry(name).is_some() || view.containers.iter().any(|container| container.name == *name);
    known.then_some(()).ok_or_else(|| no_container(name.as_str()))
}

fn no_container(name: &str) -> Response {
    let error = format!("there is no container `{name}`");
    problem(StatusCode::NOT_FOUND, error, "`st2sa containers` lists all that there are")
}

pub(super) fn unknown() -> Response {
    let error = "it may have been done: the leader changed, or the store did not answer".to_owned();
    problem(StatusCode::GATEWAY_TIMEOUT, error, "look at `st2sa status`, then ask again: what is done already stays so")
}

fn nothing_done(done: String) -> Response {
    outcome(done, Vec::new(), Vec::new())
}

fn outcome(done: String, moves: Vec<Planned>, stays: Vec<Planned>) -> Response {
    let all = |planned: Vec<Planned>| planned.into_iter().map(placement).collect();
    Json(Outcome { done, moves: all(moves), stays: all(stays) }).into_response()
}

fn placement(planned: Planned) -> Placement {
    let why = planned.why();
    Placement {
        reference: planned.sensor.to_string(),
        from: planned.from.map(|from| from.to_string()),
        to: planned.to.map(|to| to.to_string()),
        why,
    }
}
