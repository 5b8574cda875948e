//! The nursery: hosts and sensor processes, from fork to grave.
//!
//! It raises a process for every sensor before the session asks for one: only a sensor that has been loaded
//! can be offered. What the session asks to have spawned is then there already.

mod change;
mod child;
mod heard;
mod host;
mod policies;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use st2sa_core::engine::Body;
use st2sa_core::message::{Effects, Kind, Offer};
use st2sa_core::names::{Digest, ProcessId, SensorRef};
use st2sa_core::session::Event;
use st2sa_core::time::{Span, Time};
use st2sa_machine::{clock, files};
use st2sa_stackstorm::packs::{Packs, Sensor};
use tokio::sync::mpsc;

use crate::Libraries;
use crate::datastore::Stored;
use crate::guardian::Told;
use crate::input::Whose;
use crate::keeper::Keeper;
use crate::logbook::{Logbook, Stream};
use crate::notebook::Notebooks;
use crate::sockets::Tokens;
use crate::wire::{self, Do, Operation};
use child::{Child, Phase};
use host::{Ended, Host, jittered};

/// Loading counts as hung after this: longer than any import seen, shorter than anybody's patience.
const LOADED_WITHIN: Span = Span::from_secs(60);
/// Ends that nobody has explained yet, at the most.
const ENDED_AT_MOST: usize = 1_000;
/// A host forks in milliseconds; one that has not told of it after this does not answer at all.
const FORKED_WITHIN: Span = Span::from_secs(1);
/// `cleanup()` may take so long; then its process is killed.
const STOPPED_WITHIN: Span = Span::from_secs(1);
/// What could not be loaded is tried again after this, doubled each time, up to the longest: a dependency
/// may have been installed meanwhile.
const RETRY_FIRST: Span = Span::from_secs(10);
const RETRY_LONGEST: Span = Span::from_secs(300);

/// Where hosts find what they need.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// The socket on which the container listens.
    pub(crate) socket: PathBuf,
    /// The folder that holds `st2sa_host`.
    pub(crate) python_path: PathBuf,
    /// Marks every process of this run of the container.
    pub(crate) incarnation: String,
    pub(crate) libraries: Libraries,
    /// The code last offered, kept for the next run of the container: whose code is newer is told by who changed.
    pub(crate) offered: PathBuf,
}

/// Every process of one container.
pub(crate) struct Nursery {
    home: Home,
    packs: Arc<Packs>,
    tokens: Tokens,
    logbook: Logbook,
    notebooks: Notebooks,
    hosts: BTreeMap<u64, Host>,
    children: BTreeMap<u64, Child>,
    sensors: BTreeMap<SensorRef, Known>,
    /// Processes of cold sensors: the session takes them for ready, and none is there until it is to act.
    cold: BTreeMap<ProcessId, SensorRef>,
    /// Processes that ended by themselves, until their host has said how.
    ended: VecDeque<(u64, SensorRef)>,
    /// How often hosts of each Python have ended lately, and guardians with all hosts.
    hosts_ended: BTreeMap<PathBuf, Ended>,
    guardians_ended: Ended,
    /// Numbers of hosts and sensor processes.
    numbers: u64,
    /// For the session, since it last asked.
    events: Vec<Event>,
    offers_changed: bool,
}

/// What is known of a sensor, whatever becomes of its processes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// As its loaded class says.
    pub(crate) kind: Option<Kind>,
    /// Its code reads and writes the datastore: it keeps its cursor there.
    keeps_cursor: bool,
    /// The code that was loaded, and the one that was before that.
    digest: Option<Digest>,
    previous: Option<Digest>,
    /// It is in no pack any more.
    pub(crate) withdrawn: bool,
    /// It cannot be loaded, and why.
    pub(crate) disabled: Option<String>,
    retry_at: Option<Time>,
    tries: u32,
    pub(crate) polls: u64,
    pub(crate) errors: u64,
    pub(crate) last_poll_began: Option<Time>,
    pub(crate) last_poll_took: Option<Span>,
    pub(crate) last_error: Option<String>,
    /// As the operators' policy says.
    cold_standby: bool,
    memory_bytes: Option<u64>,
}

impl Nursery {
    pub(crate) fn new(home: Home, packs: Arc<Packs>, tokens: Tokens, logbook: Logbook, notebooks: Notebooks) -> Self {
        let mut sensors: BTreeMap<SensorRef, Known> = BTreeMap::new();
        let offered = remembered(&home.offered);
        for sensor in enabled(&packs) {
            let previous = offered.get(sensor.reference.as_str()).copied().map(Digest);
            sensors.insert(sensor.reference.clone(), Known { previous, ..Known::default() });
        }
        for disabled in &packs.disabled {
            // Of two with one reference, the other may be fine.
            if let Some(reference) = disabled.reference.as_ref().filter(|reference| !sensors.contains_key(*reference)) {
                let problem = Some(disabled.to_string());
                let known = Known { disabled: problem.clone(), last_error: problem, ..Known::default() };
                sensors.insert(reference.clone(), known);
            }
        }
        for sensor in sensors.keys() {
            logbook.begin(sensor);
        }
        Self {
            home,
            packs,
            tokens,
            logbook,
            notebooks,
            hosts: BTreeMap::new(),
            children: BTreeMap::new(),
            sensors,
            cold: BTreeMap::new(),
            ended: VecDeque::new(),
            hosts_ended: BTreeMap::new(),
            guardians_ended: Ended::default(),
            numbers: 0,
            events: Vec::new(),
            offers_changed: false,
        }
    }

    /// Raises a process for every sensor.
    pub(crate) fn raise_all(&mut self, now: Time, keeper: &mut Keeper) {
        let all: Vec<SensorRef> = enabled(&self.packs).map(|sensor| sensor.reference.clone()).collect();
        for sensor in all {
            self.raise(now, &sensor, None);
        }
        self.start_hosts(now, keeper);
    }

    /// Whether every sensor has been loaded, or has failed to.
    pub(crate) fn has_seen_all(&self) -> bool {
        self.sensors.values().all(|known| known.kind.is_some() || known.disabled.is_some())
    }

    /// How many sensors have been loaded, or have failed to.
    pub(crate) fn seen(&self) -> usize {
        self.sensors.values().filter(|known| known.kind.is_some() || known.disabled.is_some()).count()
    }

    /// What happened to the session's processes since it last asked.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The offers, if they changed since they were last asked for.
    pub(crate) fn take_offers(&mut self) -> Option<Vec<Offer>> {
        std::mem::take(&mut self.offers_changed).then(|| {
            let offer = |sensor: &Sensor| {
                let known = self.sensors.get(&sensor.reference)?;
                let (kind, digest, previous) = (known.kind?, known.digest?, known.previous);
                let journaled = known.keeps_cursor && matches!(kind, Kind::Polling { .. });
                let effects = if journaled { Effects::Journal } else { Effects::Direct };
                Some(Offer { sensor: sensor.reference.clone(), digest, previous, kind, effects })
            };
            let offers: Vec<Offer> = enabled(&self.packs).filter_map(offer).collect();
            remember(&self.home.offered, &offers);
            offers
        })
    }

    /// What is in no pack any more, and of which nothing runs any more: it was told.
    pub(crate) fn forget_withdrawn(&mut self) {
        let children = &self.children;
        self.sensors.retain(|sensor, known| !known.withdrawn || children.values().any(|child| child.sensor == *sensor));
    }

    /// What is known of every sensor, and of its process.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&SensorRef, &Known, Option<i32>)> {
        self.sensors.iter().map(|(sensor, known)| {
            let pid = self.children.values().filter(|child| child.sensor == *sensor).find_map(|child| child.pid);
            (sensor, known, pid)
        })
    }

    /// The sensor of a process that the session may know.
    pub(crate) fn sensor_of(&self, whose: Whose) -> Option<(&SensorRef, Option<ProcessId>)> {
        let Whose::Sensor(number) = whose else { return None };
        self.children.get(&number).map(|child| (&child.sensor, child.process))
    }

    /// The sensor of a process that the session asked for.
    pub(crate) fn of_process(&self, process: ProcessId) -> Option<&SensorRef> {
        let child = self.children.values().find(|child| child.process == Some(process));
        child.map(|child| &child.sensor).or_else(|| self.cold.get(&process))
    }

    /// Whether the offers changed since they were last asked for.
    pub(crate) fn offers_wait(&self) -> bool {
        self.offers_changed
    }

    // What the session asks for.

    /// The session wants a process: the one that was raised already, or a new one.
    pub(crate) fn spawn(&mut self, now: Time, sensor: &SensorRef, process: ProcessId) {
        let spare = |child: &&mut Child| child.sensor == *sensor && child.process.is_none() && !child.ends();
        if let Some(spare) = self.children.values_mut().find(spare) {
            spare.process = Some(process);
            if spare.phase == Phase::Ready {
                self.events.push(Event::Ready(process));
            }
            return;
        }
        if !self.spawn_cold(sensor, process) {
            self.raise(now, sensor, Some(process));
        }
    }

    /// The session wants it set up: from its own values, if it is journaled, and what the datastore has of them.
    pub(crate) fn activate(&mut self, now: Time, process: ProcessId, values: Option<(&Body, Option<Vec<Stored>>)>) {
        if let Some(sensor) = self.cold.remove(&process) {
            self.raise(now, &sensor, Some(process));
        }
        let child = self.children.values().find(|child| child.process == Some(process));
        if let (Some(child), Some((values, copy))) = (child, values) {
            self.notebooks.open(Whose::Sensor(child.number), &child.sensor, values, copy);
        }
        let Some(number) = self.number_of(process) else { return };
        let Some(child) = self.children.get_mut(&number).filter(|child| !child.ends()) else { return };
        child.overdue = child.phase != Phase::Ready;
        if !child.overdue {
            self.set_up(number);
        }
    }

    fn set_up(&mut self, number: u64) {
        let Some(child) = self.children.get_mut(&number) else { return };
        // The rules of now: they may have changed since it was loaded.
        let triggers = self.packs.sensors.get(&child.sensor).map(|sensor| self.packs.triggers_of(sensor));
        let triggers = triggers.unwrap_or_default();
        child.activation = Some(triggers.clone());
        child.phase = Phase::Activating;
        child.tell(Do::Activate { triggers });
    }

    /// The session wants it to poll.
    pub(crate) fn poll(&mut self, now: Time, process: ProcessId) {
        let Some(number) = self.number_of(process) else { return };
        let Some(child) = self.children.get_mut(&number).filter(|child| !child.ends()) else { return };
        let Some(known) = self.sensors.get_mut(&child.sensor) else { return };
        known.polls += 1;
        known.last_poll_began = Some(now);
        child.phase = Phase::Polling { number: known.polls, since: now };
        self.notebooks.begin(Whose::Sensor(number));
        child.tell(Do::Poll { number: known.polls });
    }

    /// The session wants it dead. One that works and is not in a poll may clean up first, while it may act.
    pub(crate) fn kill(&mut self, now: Time, process: ProcessId, may_act: bool, keeper: &mut Keeper) {
        let Some(number) = self.number_of(process) else {
            self.cold.remove(&process);
            self.events.push(Event::Gone(process));
            return;
        };
        let Some(child) = self.children.get_mut(&number) else { return };
        if child.phase == Phase::Idle && may_act {
            child.phase = Phase::Stopping { until: now + STOPPED_WITHIN };
            child.tell(Do::Stop);
            return;
        }
        if let Phase::Polling { since, .. } = child.phase
            && let Some(known) = self.sensors.get_mut(&child.sensor)
        {
            let how = format!("its process was ended in the middle of a poll that had lasted {}", now.since(since));
            self.logbook.write(&child.sensor, Stream::Log, Some("ERROR"), &how);
            known.last_error = Some(how);
        }
        self.end(number, keeper);
    }

    // What processes say.

    /// A control connection is open.
    pub(crate) fn connected(
        &mut self,
        now: Time,
        connection: u64,
        whose: Whose,
        pid: i32,
        sender: mpsc::UnboundedSender<Operation>,
        keeper: &mut Keeper,
    ) {
        match whose {
            Whose::Host(number) => {
                if let Some(host) = self.hosts.get_mut(&number) {
                    if !host.connected(connection, pid, sender) {
                        tracing::warn!(pid, "a process speaks in a host's name: it is not heard");
                        return;
                    }
                    for child in self.children.values_mut().filter(|child| child.host == number) {
                        child.fork(now, host);
                    }
                }
            }
            Whose::Sensor(number) => {
                let Some(child) = self.children.get_mut(&number) else { return };
                let Some(sensor) = child.packs.sensors.get(&child.sensor) else { return };
                let load =
                    Operation::Do(Do::Load { sensor: Box::new(child::load(sensor, self.home.libraries.common)) });
                // The other end may be gone already.
                let _ = sender.send(load);
                if child.connection.is_none() {
                    child.connection = Some((connection, sender));
                    if child.pid.replace(pid).is_none() && child.ends() {
                        keeper.kill(number, pid);
                    }
                    let sensor = child.sensor.clone();
                    self.limit_memory(&sensor, Some(pid));
                } else if let Some(triggers) = &child.activation {
                    let _ = sender.send(Operation::Do(Do::Activate { triggers: triggers.clone() }));
                }
            }
        }
    }

    /// A process said something.
    pub(crate) fn said(&mut self, now: Time, connection: u64, whose: Whose, event: wire::Event, keeper: &mut Keeper) {
        match whose {
            Whose::Host(host) => self.host_said(host, event, keeper),
            Whose::Sensor(number) => {
                let first = |child: &Child| child.connection.as_ref().is_some_and(|(own, _)| *own == connection);
                if self.children.get(&number).is_some_and(first) {
                    self.sensor_said(now, number, event, keeper);
                }
            }
        }
    }

    /// A control connection has ended: the process is over.
    pub(crate) fn disconnected(&mut self, connection: u64, whose: Whose, keeper: &mut Keeper) {
        match whose {
            Whose::Host(number) => {
                // Its guardian says how it ended.
                if let Some(host) = self.hosts.get_mut(&number) {
                    host.disconnected(connection);
                }
            }
            Whose::Sensor(number) => {
                let first = |child: &Child| child.connection.as_ref().is_some_and(|(own, _)| *own == connection);
                if let Some(child) = self.children.get(&number).filter(|child| first(child)) {
                    if !child.ends() {
                        // Its host is about to say how.
                        self.ended.push_back((number, child.sensor.clone()));
                        while self.ended.len() > ENDED_AT_MOST {
                            self.ended.pop_front();
                        }
                    }
                    self.end(number, keeper);
                }
            }
        }
    }

    /// The lease had ended: a poll was not begun.
    pub(crate) fn not_polled(&mut self, whose: Whose) {
        let Whose::Sensor(number) = whose else { return };
        self.notebooks.not_begun(whose);
        let Some(child) = self.children.get_mut(&number) else { return };
        if matches!(child.phase, Phase::Polling { .. }) {
            child.phase = Phase::Idle;
            self.events.extend(child.process.map(Event::NotPolled));
            if let Some(known) = self.sensors.get_mut(&child.sensor) {
                known.polls = known.polls.saturating_sub(1);
            }
        }
    }

    /// The guardian said something.
    pub(crate) fn told(&mut self, now: Time, told: Told, keeper: &mut Keeper) {
        match told {
            Told::Started { host, pid } => {
                tracing::info!(host, pid, "a host was started");
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.pid = Some(pid);
                }
            }
            Told::Ended { host, how } => self.host_ended(now, host, &how, keeper),
            Told::Gone { process } => self.gone(now, process),
            Told::Froze { .. } => {}
        }
    }

    /// The guardian is gone, and with it every process.
    pub(crate) fn all_gone(&mut self, now: Time) {
        for (_, host) in std::mem::take(&mut self.hosts) {
            self.tokens.take_back(&host.token);
        }
        self.guardians_ended.again(now);
        let all: Vec<u64> = self.children.keys().copied().collect();
        for number in all {
            self.gone(now, number);
        }
    }

    // Time.

    /// When to wake it.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let children = self.children.values().filter_map(Child::deadline);
        let retries = self.sensors.values().filter_map(|known| known.retry_at);
        children.chain(retries).chain(self.next_start()).min()
    }

    /// Everything was frozen for so long: nothing of it could go on.
    pub(crate) fn thawed(&mut self, frozen: Span) {
        self.children.values_mut().for_each(|child| child.shift(frozen));
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Time, keeper: &mut Keeper) {
        let overdue = |(number, child): (&u64, &Child)| child.deadline().filter(|at| now >= *at).map(|_| *number);
        let overdue: Vec<u64> = self.children.iter().filter_map(overdue).collect();
        for number in overdue {
            let child = self.children.get(&number);
            if let Some(Child { phase: Phase::Ending { .. }, host, .. }) = child {
                // Its number was never told: the host does not answer, and is ended with all that it forked.
                let host = *host;
                self.end_host(number, host, keeper);
                continue;
            }
            if let Some(child) = child.filter(|child| child.is_loading()) {
                let sensor = child.sensor.clone();
                let within = LOADED_WITHIN.as_millis() / 1_000;
                self.disable(
                    now,
                    &sensor,
                    format!("it did not load within {within} s; what does its module do when it is imported?"),
                );
            }
            self.end(number, keeper);
        }
        let due =
            |(sensor, known): (&SensorRef, &Known)| known.retry_at.filter(|at| now >= *at).map(|_| sensor.clone());
        let due: Vec<SensorRef> = self.sensors.iter().filter_map(due).collect();
        for sensor in due {
            if let Some(known) = self.sensors.get_mut(&sensor) {
                known.retry_at = None;
            }
            self.raise(now, &sensor, None);
        }
        self.start_hosts(now, keeper);
    }

    // Below: how.

    fn raise(&mut self, now: Time, sensor: &SensorRef, process: Option<ProcessId>) {
        let Some(definition) = self.packs.sensors.get(sensor) else {
            self.events.extend(process.map(Event::Gone));
            return;
        };
        let python = definition.python.clone();
        let host = self.host_for(now, python);
        self.numbers += 1;
        let number = self.numbers;
        let token = self.tokens.give(Whose::Sensor(number), Some(sensor.clone()));
        let packs = Arc::clone(&self.packs);
        let mut child = Child::new(number, sensor.clone(), packs, process, host, token);
        if let Some(host) = self.hosts.get(&host) {
            child.fork(now, host);
        }
        self.children.insert(number, child);
    }

    /// Has a process killed, whatever it is doing.
    fn end(&mut self, number: u64, keeper: &mut Keeper) {
        let Some(child) = self.children.get_mut(&number) else { return };
        if matches!(child.phase, Phase::Ending { .. }) {
            return;
        }
        let asked_of_host = child.phase != Phase::Unborn;
        child.phase = Phase::Ending { until: None };
        match child.pid {
            Some(pid) => keeper.kill(number, pid),
            // Its number is not known yet: it is killed when the host, or it, says it.
            None if asked_of_host && self.hosts.contains_key(&child.host) => {
                child.phase = Phase::Ending { until: Some(clock::now() + FORKED_WITHIN) };
            }
            // It never was; the guardian answers for what may be left of it.
            None => keeper.kill(number, 0),
        }
    }

    /// Dead, and everything below it.
    fn gone(&mut self, now: Time, number: u64) {
        let Some(child) = self.children.remove(&number) else { return };
        self.notebooks.close(Whose::Sensor(number));
        self.tokens.take_back(&child.token);
        match child.process {
            Some(process) if child.is_lost => self.events.push(Event::Lost(process)),
            Some(process) => self.events.push(Event::Gone(process)),
            // A spare that died, and not because it cannot be loaded.
            None => {
                let others = self.children.values().any(|other| other.sensor == child.sensor && !other.ends());
                let cold = self.cold.values().any(|cold| *cold == child.sensor);
                if let Some(known) = self.sensors.get_mut(&child.sensor)
                    && known.retry_at.is_none()
                    && !(others || cold || known.withdrawn)
                {
                    let wait = (Span::from_secs(1) * (1_u64 << known.tries.min(10))).min(RETRY_LONGEST);
                    known.tries += 1;
                    known.retry_at = Some(now + jittered(wait));
                }
            }
        }
    }

    fn number_of(&self, process: ProcessId) -> Option<u64> {
        self.children.values().find(|child| child.process == Some(process)).map(|child| child.number)
    }
}

/// The code offered by an earlier run; none where that is not known.
fn remembered(path: &Path) -> BTreeMap<String, u64> {
    /// A hundred bytes a sensor, of more sensors than any node runs.
    const BYTES_AT_MOST: u64 = 16 << 20;
    let text = files::read_small(path, BYTES_AT_MOST).ok().flatten();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn remember(path: &Path, offers: &[Offer]) {
    let offered: BTreeMap<&str, u64> = offers.iter().map(|offer| (offer.sensor.as_str(), offer.digest.0)).collect();
    let written = serde_json::to_vec(&offered)
        .map_err(|error| error.to_string())
        .and_then(|text| files::write_whole(path, &text).map_err(|error| error.to_string()));
    if let Err(error) = written {
        tracing::warn!(
            error,
            "the code offered cannot be remembered: after a restart it may be taken for older than it is"
        );
    }
}

/// The sensors that are to run.
fn enabled(packs: &Packs) -> impl Iterator<Item = &Sensor> {
    packs.sensors.values().filter(|sensor| sensor.enabled)
}

/// A trigger's dictionaries, as `add_trigger` takes them.
pub(crate) type Triggers = Vec<Value>;
