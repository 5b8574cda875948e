//! The documents of the REST answers, made of what the arbiter knows and what containers report.

use std::collections::BTreeMap;
use std::time::Duration;

use st2sa_core::arbiter::{Phase, SensorView, StoreSeen};
use st2sa_core::engine;
use st2sa_core::message::{Effects, Kind, State};
use st2sa_core::names::SensorRef;
use st2sa_core::policy::Because;
use st2sa_core::time::{Span, Time};
use st2sa_machine::clock;
use st2sa_proto::rest::{Container, ContainerCounts, Instance, Intent, Sensor, SensorCounts, Status, word};

use crate::input::View;
use crate::roster::{Entry, Reported};

/// The sensors, in the order of their references: those that are placed, and those that could not be loaded.
pub(super) fn sensors(view: &View) -> Vec<Sensor> {
    let now = clock::now();
    let placed: BTreeMap<&SensorRef, &SensorView> =
        view.sensors.iter().map(|sensor| (&sensor.sensor, sensor)).collect();
    let reported = view.roster.entries().flat_map(|entry| entry.instances.keys());
    let mut all: Vec<&SensorRef> = placed.keys().copied().chain(reported).collect();
    all.sort_unstable();
    all.dedup();
    let paused = view.paused.iter().map(|(sensor, intent)| (sensor, intent)).collect();
    all.into_iter().map(|sensor| one(now, sensor, placed.get(sensor).copied(), &paused, view)).collect()
}

/// The containers, in the order of their names.
pub(super) fn containers(view: &View) -> Vec<Container> {
    let now = clock::now();
    let describe = |entry: &Entry| {
        let registered = view.containers.iter().find(|container| container.name == entry.name);
        let state = match registered {
            Some(container) if container.up && container.draining => word::DRAINING,
            Some(container) if container.up => word::UP,
            Some(_) | None => word::LOST,
        };
        Container {
            name: entry.name.to_string(),
            pid: entry.about.pid,
            state: state.to_owned(),
            sensors_active: registered.map_or(0, |container| container.active as u64),
            last_heartbeat_ms_ago: Some(now.since(entry.heard_at).as_millis()),
            labels: entry.labels.clone(),
            drained: registered.and_then(|container| container.drained.as_ref()).map(intent),
        }
    };
    let mut all: Vec<Container> = view.roster.entries().map(describe).collect();
    // Registered with an earlier leader, and not back yet.
    for container in &view.containers {
        if view.roster.entry(&container.name).is_none() {
            all.push(Container {
                name: container.name.to_string(),
                pid: 0,
                state: word::LOST.to_owned(),
                sensors_active: container.active as u64,
                last_heartbeat_ms_ago: None,
                labels: BTreeMap::new(),
                drained: container.drained.as_ref().map(intent),
            });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The arbitrator itself.
pub(super) fn status(view: &View, me: &str, up: Duration) -> Status {
    let sensors = sensors(view);
    let containers = containers(view);
    let of = |status: &str| sensors.iter().filter(|sensor| sensor.status == status).count() as u64;
    let in_state = |state: &str| containers.iter().filter(|container| container.state == state).count() as u64;
    let phase = match &view.phase {
        None if view.leader.is_none() && !view.is_elector => {
            "may not lead: not in the store's list of electors".to_owned()
        }
        None => match view.keeps_still.filter(|until| view.leader.is_none() && *until > clock::now()) {
            Some(until) => format!("it has just started, and keeps still for {} more", until.since(clock::now())),
            None => "standing by".to_owned(),
        },
        Some(Phase::Reading) => "reading the register".to_owned(),
        Some(Phase::Waiting(until)) => {
            format!("waiting for registered containers, {} more at the most", until.since(clock::now()))
        }
        Some(Phase::Settled) => "settled".to_owned(),
    };
    let leads = view.term.is_some();
    Status {
        arbitrator: me.to_owned(),
        role: if leads { word::LEADER } else { word::STANDS_BY }.to_owned(),
        phase,
        term: view.term.or(view.leader.as_ref().map(|seen| seen.term)).map_or(0, |term| term.0),
        leader: view.leader.as_ref().map(|seen| seen.arbitrator.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(up.as_millis()).unwrap_or(u64::MAX),
        sensors: SensorCounts {
            total: sensors.len() as u64,
            active: of(word::ACTIVE),
            paused: of(word::PAUSED),
            waiting: of(word::STANDBY),
            failing: sensors.iter().filter(|sensor| sensor.failing).count() as u64,
        },
        containers: ContainerCounts {
            up: in_state(word::UP),
            draining: in_state(word::DRAINING),
            lost: in_state(word::LOST),
        },
        alarms: view.alarms.iter().cloned().chain(standing(&sensors, &containers, view.alone)).collect(),
        engine: view.engine.clone(),
        store: match view.electors.as_ref().map(|(_, store)| *store) {
            None => "",
            Some(StoreSeen::There) => word::THERE,
            Some(StoreSeen::Away) => word::AWAY,
            Some(StoreSeen::Extended) => word::EXTENDED,
        }
        .to_owned(),
        electors: view
            .electors
            .iter()
            .flat_map(|(electors, _)| electors.members.iter().map(ToString::to_string))
            .collect(),
        fail_safe: view.electors.as_ref().is_some_and(|(electors, _)| electors.fail_safe),
    }
}

/// What is wrong for as long as it is so: sensors that run nowhere, or have nobody to take over, and lost containers.
fn standing(sensors: &[Sensor], containers: &[Container], is_alone: bool) -> Vec<String> {
    /// References that one alarm names.
    const NAMED_AT_MOST: usize = 5;
    let named = |found: Vec<&Sensor>| {
        let names: Vec<&str> = found.iter().take(NAMED_AT_MOST).map(|sensor| sensor.reference.as_str()).collect();
        let more = if found.len() > NAMED_AT_MOST { ", …" } else { "" };
        format!("{}{more}", names.join(", "))
    };
    let mut alarms = Vec::new();
    for lost in containers.iter().filter(|container| container.state == word::LOST) {
        alarms.push(format!("now: container {} is lost", lost.name));
    }
    let nowhere: Vec<&Sensor> = sensors.iter().filter(|sensor| sensor.status == word::STANDBY).collect();
    if !nowhere.is_empty() {
        alarms.push(format!("now: ACTIVE nowhere: {} of {}: {}", nowhere.len(), sensors.len(), named(nowhere)));
    }
    let ready = |sensor: &&Sensor| {
        let stands_by =
            |instance: &Instance| Some(&instance.container) != sensor.active.as_ref() && instance.state == "ready";
        sensor.active.is_some() && !sensor.instances.iter().any(stands_by)
    };
    let alone: Vec<&Sensor> = sensors.iter().filter(ready).collect();
    if !alone.is_empty() && !is_alone {
        alarms.push(format!("now: nobody could take over: {} of {}: {}", alone.len(), sensors.len(), named(alone)));
    }
    alarms
}

fn one(
    now: Time,
    sensor: &SensorRef,
    placed: Option<&SensorView>,
    paused: &BTreeMap<&SensorRef, &engine::Intent>,
    view: &View,
) -> Sensor {
    let active = placed.and_then(|placed| placed.active.as_ref());
    // Also one that nobody could load may be paused.
    let paused = paused.get(sensor).copied();
    let status = |is_active: bool| {
        if is_active {
            word::ACTIVE
        } else if paused.is_some() {
            word::PAUSED
        } else {
            word::STANDBY
        }
    };
    let mut kind = None;
    let mut instances = Vec::new();
    for entry in view.roster.entries() {
        let Some(reported) = entry.instances.get(sensor) else { continue };
        kind = kind.or(reported.report.kind);
        let is_active = active.is_some_and(|active| active.container == entry.name);
        let has_failed = placed.is_some_and(|placed| placed.failed.contains(&entry.name));
        let gone = !view.containers.iter().any(|container| container.name == entry.name);
        let failing = !gone && fails(reported, has_failed, active.map(|_| is_active));
        instances.push(instance(now, entry, reported, status(is_active), gone, failing));
    }
    let active_fails = active.is_none_or(|active| {
        instances.iter().any(|instance: &Instance| active.container.as_str() == instance.container && instance.failing)
    });
    let effects = placed.and_then(|placed| placed.effects);
    Sensor {
        reference: sensor.to_string(),
        kind: match kind {
            Some(Kind::Polling { .. }) => word::POLLING,
            Some(Kind::Passive) => word::PASSIVE,
            // Not loaded anywhere yet.
            None => "unknown",
        }
        .to_owned(),
        status: status(active.is_some()).to_owned(),
        active: active.map(|active| active.container.to_string()),
        fence: active.map(|active| active.fence.to_string()),
        paused: paused.map(intent),
        failing: paused.is_none() && active_fails,
        effects: effects.map(|(effects, _)| mode_of(effects).to_owned()).unwrap_or_default(),
        effects_why: effects.map(why_so).unwrap_or_default().to_owned(),
        instances,
    }
}

/// Whether an instance fails. `has_failed`: it failed there, and the leader has neither heard that it is well again nor
/// been told to forget it. `is_active`: unless its sensor is ACTIVE nowhere.
fn fails(reported: &Reported, has_failed: bool, is_active: Option<bool>) -> bool {
    let lasts = reported.trouble.lasts;
    matches!(reported.report.state, State::Failed | State::Backoff)
        || match is_active {
            Some(true) => lasts.unwrap_or(has_failed),
            // It has nothing to do there by which it could show that it is well.
            Some(false) => has_failed,
            None => has_failed || lasts == Some(true),
        }
}

fn instance(now: Time, entry: &Entry, reported: &Reported, status: &str, gone: bool, failing: bool) -> Instance {
    let Reported { at, report, trouble } = reported;
    let state = if gone { State::Stopped } else { report.state };
    // It goes on ageing while nothing new is reported.
    let ago = report.last_poll_ago.map(|ago| (ago + now.since(*at)).as_millis());
    Instance {
        container: entry.name.to_string(),
        status: status.to_owned(),
        state: word_of(state).to_owned(),
        pid: report.pid.filter(|_| !gone),
        polls: report.polls,
        errors: report.errors,
        last_poll_ms_ago: ago,
        last_poll_duration_ms: report.last_poll_duration.map(Span::as_millis),
        triggers: report.triggers,
        dropped: report.dropped,
        last_error: report.last_error.clone(),
        last_error_ms_ago: report.last_error.as_ref().and(trouble.since).map(|since| now.since(since).as_millis()),
        failing,
    }
}

fn mode_of(effects: Effects) -> &'static str {
    match effects {
        Effects::Journal => "journal",
        Effects::Direct => "direct",
    }
}

fn why_so((effects, because): (Effects, Because)) -> &'static str {
    match (because, effects) {
        (Because::Passive, _) => "it is passive: it has no polls that could be committed",
        (Because::Policy, _) => "the policy says so",
        (Because::Code, Effects::Journal) => "its code both reads and writes the datastore",
        (Because::Code, Effects::Direct) => "its code does not both read and write the datastore",
    }
}

fn intent(intent: &engine::Intent) -> Intent {
    let at = i64::try_from(intent.at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    Intent { who: intent.who.clone(), at: format!("{:.3}", at.unwrap_or_default()) }
}

fn word_of(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Running => "running",
        State::Draining => "draining",
        State::Frozen => "frozen",
        State::Backoff => "backoff",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}
