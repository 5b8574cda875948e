//! The container's loop: one thread that feeds the session, and carries out what it decides, in order.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use st2sa_coordination::registry::Teller;
use st2sa_core::engine::Body;
use st2sa_core::message::{State, ToArbitrator, ToContainer};
use st2sa_core::names::{EntryId, ProcessId, SensorRef, StreamId};
use st2sa_core::session::{Command, Event, Session};
use st2sa_core::time::{Span, Time};
use st2sa_machine::crash::{self, Point};
use st2sa_machine::{clock, identity};
use st2sa_proto::{FromArbitrator, InstanceReport};
use tokio::sync::oneshot;

use crate::applying::{Applying, Step};
use crate::calls::{Counters, Shelf};
use crate::datastore::Datastore;
use crate::effects::{Effect, Publisher};
use crate::gate::Gate;
use crate::guardian::Told;
use crate::input::{Input, Whose};
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::link::Links;
use crate::notebook::Notebooks;
use crate::nursery::Nursery;

/// The loop looks around at least this often.
const WAIT_AT_MOST: Duration = Duration::from_secs(1);
/// Inputs taken before deadlines are looked at again.
const INPUTS_AT_ONCE: usize = 1_000;
/// A word that waits for something in hand is tried again after this.
const WORD_AGAIN_AFTER: Span = Span::from_millis(2);
/// How often reports are sent, where something changed.
const REPORT_EVERY: Span = Span::from_secs(1);
/// Sensors that are still loading hold the first offers up this long at the most.
const FIRST_OFFERS_WITHIN: Span = Span::from_secs(5);
/// Later offers are gathered for so long: hosts bring sensors up one after another.
const OFFERS_GATHER: Span = Span::from_millis(100);
/// Refused because of its name for so long, the container gives up: a dead holder would have been struck.
const REFUSED_AT_MOST: Span = Span::from_secs(10);

/// How a container ended: its process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As asked, everything handed over: 0.
    Left,
    /// As asked a second time, at once: 3.
    Stopped,
    /// Another container has its name: 5.
    NameTaken,
    /// Something it cannot do without failed: 1.
    Failed,
}

impl Ending {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Left => 0,
            Self::Failed => 1,
            Self::Stopped => 3,
            Self::NameTaken => 5,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}

/// Everything the loop holds.
pub(crate) struct Shell {
    pub(crate) session: Session,
    pub(crate) nursery: Nursery,
    pub(crate) keeper: Keeper,
    pub(crate) links: Links,
    pub(crate) lease: Arc<Lease>,
    pub(crate) gate: Gate,
    pub(crate) publisher: Publisher,
    pub(crate) datastore: Datastore,
    pub(crate) counters: Counters,
    pub(crate) packs: Shelf,
    pub(crate) timers: Timers,
    /// What journaled sensors do in their polls.
    pub(crate) notebooks: Notebooks,
    /// Entries of the journal on their way out.
    pub(crate) applying: Applying,
    /// Entries that were made outside polls, and who waits until they are committed.
    pub(crate) commits: BTreeMap<EntryId, Waiting>,
    /// Effects that are not confirmed.
    pub(crate) waiting: BTreeMap<EntryId, Waiting>,
    /// Words that are given once nothing of their sensor is in hand any more.
    pub(crate) held_words: Vec<(StreamId, ToArbitrator)>,
    /// Where the service registry hears what runs here.
    pub(crate) registry: Option<Teller>,
}

/// One effect that is not confirmed.
pub(crate) struct Waiting {
    sensor: SensorRef,
    process: ProcessId,
    done: oneshot::Sender<Result<(), String>>,
}

/// What the loop itself has to remember.
#[derive(Debug)]
pub(crate) struct Timers {
    pub(crate) started: Time,
    offered: bool,
    offer_at: Option<Time>,
    report_at: Time,
    /// The stream of the leader that this container is bound to.
    stream: Option<StreamId>,
    last_reports: BTreeMap<SensorRef, InstanceReport>,
    refused_since: Option<Time>,
    /// Why triggers wait, while they do: of one sensor, or of all.
    sink_problems: BTreeMap<Option<SensorRef>, String>,
    /// What was said of the last trigger of a sensor that the sink has refused for good.
    dead_letters: BTreeMap<SensorRef, Refused>,
    /// Everything is frozen: nothing can be late.
    frozen_since: Option<Time>,
    terminations: u32,
    ending: Option<Ending>,
    /// What is said once, not at each try.
    said: Option<String>,
}

/// That the sink has refused a trigger.
#[derive(Debug)]
struct Refused {
    said: String,
    /// It was reported, and what the sensor's own last error was then.
    reported: bool,
    before: Option<String>,
}

impl Timers {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            started: now,
            offered: false,
            offer_at: None,
            report_at: now,
            stream: None,
            last_reports: BTreeMap::new(),
            refused_since: None,
            sink_problems: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            frozen_since: None,
            terminations: 0,
            ending: None,
            said: None,
        }
    }

    /// A sensor's last error: its own, or that the sink has refused a trigger since.
    fn refused(&mut self, sensor: &SensorRef, own: Option<&String>) -> Option<String> {
        let Some(refused) = self.dead_letters.get_mut(sensor) else { return own.cloned() };
        if !std::mem::replace(&mut refused.reported, true) {
            refused.before = own.cloned();
        }
        // Another error of its own is newer.
        if refused.before.as_ref() == own { Some(refused.said.clone()) } else { own.cloned() }
    }
}

impl Shell {
    /// Runs until the container ends.
    pub(crate) fn run(mut self, inputs: &Receiver<Input>) -> Ending {
        self.nursery.raise_all(clock::now(), &mut self.keeper);
        loop {
            let wait = clock::until(self.next_deadline(), clock::now(), WAIT_AT_MOST);
            match inputs.recv_timeout(wait) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.timers.ending = Some(Ending::Failed),
            }
            // What waits comes before what is due.
            for _ in 0..INPUTS_AT_ONCE {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
            }
            self.on_time();
            if let Some(ending) = self.timers.ending {
                self.keeper.end();
                return ending;
            }
        }
    }

    fn next_deadline(&self) -> Time {
        let session = self.session.next_deadline().map(|(at, _)| at);
        let words = (!self.held_words.is_empty()).then(|| clock::now() + WORD_AGAIN_AFTER);
        let nursery = self.nursery.next_deadline().filter(|_| self.timers.frozen_since.is_none());
        let all = [session, words, nursery, self.timers.offer_at, Some(self.timers.report_at)];
        all.into_iter().flatten().chain([self.keeper.next_deadline()]).min().unwrap_or(Time::NEVER)
    }

    fn take(&mut self, input: Input) {
        let now = clock::now();
        match input {
            Input::StreamOpened(stream) => self.handle(Event::StreamOpened(stream)),
            Input::StreamClosed(stream, problem) => {
                self.links.close(stream);
                if self.timers.stream == Some(stream) {
                    self.timers.stream = None;
                    tracing::warn!(problem, "the arbitrator is lost: sensors go on until the lease ends");
                } else {
                    self.say_once(format!("no arbitrator: {problem}"));
                }
                self.handle(Event::StreamClosed(stream));
            }
            Input::Heard(stream, message) => self.hear(now, stream, message),
            Input::Connected { connection, whose, pid, sender } => {
                self.nursery.connected(now, connection, whose, pid, sender, &mut self.keeper);
            }
            Input::Said { connection, whose, event, place } => {
                self.nursery.said(now, connection, whose, event, &mut self.keeper);
                drop(place);
            }
            Input::Disconnected { connection, whose } => {
                self.nursery.disconnected(connection, whose, &mut self.keeper);
            }
            Input::NotPolled(whose) => self.nursery.not_polled(whose),
            Input::Effect { whose, body, done } => self.effect(whose, body, done),
            Input::Wrote { whose, effect, done } => self.wrote(whose, &effect, done),
            Input::Copied { process, values, copy } => {
                crash::point(Point::CopyRead);
                self.nursery.activate(now, process, Some((&values, copy)));
            }
            Input::Published(sensor, id) => self.confirmed(sensor, id, Ok(())),
            Input::Sink(sensor, Some(problem)) => drop(self.timers.sink_problems.insert(sensor, problem)),
            Input::Sink(sensor, None) => drop(self.timers.sink_problems.remove(&sensor)),
            Input::DeadLetter(sensor, said) => {
                self.counters.of(&sensor).dropped.fetch_add(1, Ordering::Relaxed);
                self.timers.dead_letters.insert(sensor, Refused { said, reported: false, before: None });
            }
            Input::NotPublished(sensor, id) => match self.applying.held(id) {
                Step::NotOurs => self.handle(Event::NotPublished { sensor, id }),
                Step::Held(id) => self.handle(Event::NotPublished { sensor, id }),
                Step::Waits | Step::Applied(_) => {}
            },
            Input::Refused(sensor, id, problem) => self.confirmed(sensor, id, Err(problem)),
            Input::Guardian(generation, told) if self.keeper.is_current(generation) => {
                if let Told::Froze { late_by } = told {
                    self.handle(Event::Froze { late_by: Span(late_by) });
                }
                self.nursery.told(now, told, &mut self.keeper);
            }
            Input::GuardianGone(generation) if self.keeper.is_current(generation) => {
                self.replace_guardian("it has ended");
            }
            Input::Guardian(..) | Input::GuardianGone(_) => {}
            Input::Packs(packs) => {
                self.nursery.repack(now, &packs, &mut self.keeper);
                self.packs.put(packs);
            }
            Input::Terminate => self.terminate(),
        }
        self.settle();
    }

    fn hear(&mut self, now: Time, stream: StreamId, message: FromArbitrator) {
        let message = match message {
            FromArbitrator::Message(message) => message,
            FromArbitrator::Policies(policies) => {
                self.nursery.take_policies(now, policies, &mut self.keeper);
                return;
            }
            FromArbitrator::NameTaken { machine, host, pid } => {
                self.name_taken(now, &host, pid);
                ToContainer::NameTaken { machine }
            }
        };
        if matches!(message, ToContainer::Welcome { .. }) {
            self.timers.refused_since = None;
            self.timers.said = None;
            self.timers.stream = Some(stream);
            self.timers.last_reports.clear();
            self.timers.report_at = now;
            // A channel belongs to the runtime.
            let _entered = self.links.runtime.enter();
            self.datastore.leads(self.links.address(stream));
            tracing::info!("welcomed by the leader");
        }
        match &message {
            ToContainer::Committed { .. } => crash::point(Point::CommittedHeard),
            ToContainer::Marked { .. } => crash::point(Point::MarkedHeard),
            ToContainer::SetStatus { .. } => crash::point(Point::GrantHeard),
            _ => {}
        }
        if let ToContainer::Committed { entry, .. } = &message
            && let Some(commit) = self.commits.remove(entry)
        {
            // The caller may be gone.
            let _ = commit.done.send(Ok(()));
        }
        self.handle(Event::Message { stream, message });
    }

    fn name_taken(&mut self, now: Time, host: &str, pid: u32) {
        let since = *self.timers.refused_since.get_or_insert(now);
        let own = identity::host();
        self.say_once(format!(
            "another container has this name: it runs on `{host}` as process {pid}, this one on `{own}` as process {}; \
             give one of them another name with --name",
            std::process::id()
        ));
        if now >= since + REFUSED_AT_MOST {
            tracing::error!("the name is still taken: this container stops");
            self.timers.ending = Some(Ending::NameTaken);
        }
    }

    /// A sensor acts: through the session, which knows whether it may.
    fn effect(&mut self, whose: Whose, body: Body, done: oneshot::Sender<Result<(), String>>) {
        let known = self.nursery.sensor_of(whose).map(|(sensor, process)| (sensor.clone(), process));
        let Some((sensor, Some(process))) = known.filter(|(sensor, _)| self.session.active(sensor).is_some()) else {
            let problem = "this copy of the sensor is on standby: dispatch and store in setup(), poll() or run()";
            // The caller may be gone.
            let _ = done.send(Err(problem.to_owned()));
            return;
        };
        if self.session.is_journaled(&sensor) {
            let problem = "this copy of the sensor is not set up yet: dispatch and store in setup() and poll()";
            // The caller may be gone.
            let _ = done.send(Err(problem.to_owned()));
            return;
        }
        let id = EntryId(identity::random_wide());
        self.gate.admit(id);
        self.waiting.insert(id, Waiting { sensor, process, done });
        self.handle(Event::Emitted { process, id, effect: body });
    }

    /// A journaled sensor acts outside its polls.
    fn wrote(&mut self, whose: Whose, effect: &Effect, done: oneshot::Sender<Result<(), String>>) {
        let known = self.nursery.sensor_of(whose).map(|(sensor, process)| (sensor.clone(), process));
        let Some((sensor, Some(process))) = known.filter(|(sensor, _)| self.session.active(sensor).is_some()) else {
            // It is being ended.
            return;
        };
        match self.notebooks.alone(whose, effect) {
            Ok(work) => {
                self.commits.insert(work.id, Waiting { sensor, process, done });
                self.handle(Event::Wrote { process, work });
            }
            // The caller may be gone.
            Err(problem) => drop(done.send(Err(problem))),
        }
    }

    /// An effect has gone out, or never will.
    fn confirmed(&mut self, sensor: SensorRef, id: EntryId, outcome: Result<(), String>) {
        let step = self.applying.confirmed(id, &self.gate, &self.publisher);
        if let (true, Err(problem)) = (step != Step::NotOurs, &outcome) {
            self.set_aside(&sensor, problem);
        }
        match step {
            Step::NotOurs => {}
            Step::Applied(id) => {
                self.applied(sensor, id);
                return;
            }
            Step::Held(id) => {
                self.handle(Event::NotPublished { sensor, id });
                return;
            }
            Step::Waits => return,
        }
        self.gate.forget(id);
        if let Some(waiting) = self.waiting.remove(&id) {
            // The caller may be gone.
            let _ = waiting.done.send(outcome);
        }
        self.handle(Event::Published { sensor, id });
    }

    /// An entry of the journal is applied.
    fn applied(&mut self, sensor: SensorRef, id: EntryId) {
        self.notebooks.applied(id);
        self.handle(Event::Published { sensor, id });
    }

    /// What a journaled sensor did was refused for good, and nobody waits for the answer any more.
    fn set_aside(&mut self, sensor: &SensorRef, problem: &str) {
        tracing::error!(%sensor, problem, "what a sensor did is refused for good");
        let said = format!("refused for good: {problem}");
        self.timers.dead_letters.insert(sensor.clone(), Refused { said, reported: false, before: None });
    }

    /// Effects that the session has discarded: those of processes that are gone, and of sensors that are not ACTIVE
    /// any more. Whoever waits for them waits no more.
    fn forget_discarded(&mut self, gone: Option<ProcessId>) {
        let (session, gate) = (&self.session, &self.gate);
        self.waiting.retain(|id, waiting| {
            let valid = Some(waiting.process) != gone && session.active(&waiting.sensor).is_some();
            if !valid {
                gate.forget(*id);
            }
            valid
        });
        let valid = |waiting: &Waiting| Some(waiting.process) != gone && session.active(&waiting.sensor).is_some();
        self.commits.retain(|_, waiting| valid(waiting));
        self.applying.retain(|sensor| session.active(sensor).is_some(), gate);
    }

    /// The word (rule 6) means that nothing acts any more: what is being handed to a sink right now, too.
    fn give_words(&mut self) {
        for (stream, word) in std::mem::take(&mut self.held_words) {
            match &word {
                ToArbitrator::Stopped { sensor, .. } if self.gate.is_in_hand(sensor) => {
                    self.held_words.push((stream, word));
                }
                _ => self.links.send(stream, word),
            }
        }
    }

    fn terminate(&mut self) {
        self.timers.terminations += 1;
        if self.timers.terminations > 1 {
            tracing::warn!("stopping at once, as asked twice");
            self.timers.ending = Some(Ending::Stopped);
            return;
        }
        let active = self.session.instances().filter(|view| view.fence.is_some()).count();
        tracing::info!(
            active,
            "handing everything over before stopping; what no other container can take is stopped, what others still load \
             is stopped after the drain timeout at the latest; ask again to stop at once"
        );
        self.handle(Event::Leave);
    }

    fn on_time(&mut self) {
        let now = clock::now();
        self.give_words();
        if self.session.next_deadline().is_some_and(|(at, _)| now >= at) {
            self.handle(Event::Wake);
        }
        if !self.keeper.watch(now) {
            self.replace_guardian("it stands still");
        }
        if self.timers.frozen_since.is_none() {
            self.nursery.on_time(now, &mut self.keeper);
        }
        self.settle();
        self.offer(now);
        if let Some(registry) = &mut self.registry {
            registry.tell(|| crate::registry::standing(&self.session));
        }
        if now >= self.timers.report_at {
            self.timers.report_at = now + REPORT_EVERY;
            self.report(now);
        }
    }

    /// Offers what has been loaded: the first time once all have been tried, or some take too long.
    fn offer(&mut self, now: Time) {
        let hurry = now >= self.timers.started + FIRST_OFFERS_WITHIN;
        if !self.timers.offered {
            if !self.nursery.has_seen_all() && !hurry {
                self.timers.offer_at = Some(self.timers.started + FIRST_OFFERS_WITHIN);
                return;
            }
            self.timers.offered = true;
            self.timers.offer_at = Some(now);
        }
        if self.timers.offer_at.is_none_or(|at| now < at) {
            return;
        }
        self.timers.offer_at = None;
        if let Some(offers) = self.nursery.take_offers() {
            tracing::info!(sensors = offers.len(), "offering");
            self.handle(Event::Offers(offers));
            self.settle();
        }
    }

    /// Tells the session what happened to its processes, until nothing more follows from that.
    fn settle(&mut self) {
        loop {
            let events = self.nursery.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                self.handle(event);
            }
        }
        if self.nursery.offers_wait() && self.timers.offered && self.timers.offer_at.is_none() {
            self.timers.offer_at = Some(clock::now() + OFFERS_GATHER);
        }
    }

    /// One step of the session, and all that it decides.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let gone = match event {
                Event::Gone(process) | Event::Lost(process) => Some(process),
                _ => None,
            };
            let commands = self.session.handle(clock::now(), event);
            self.forget_discarded(gone);
            if !commands.is_empty() {
                for (sensor, fence, now_active) in self.gate.update(&self.session) {
                    let status = if now_active { "ACTIVE" } else { "STANDBY" };
                    tracing::info!(%sensor, %fence, "{status}");
                }
            }
            for command in commands {
                self.carry_out(command, &mut events);
            }
        }
    }

    fn carry_out(&mut self, command: Command, events: &mut VecDeque<Event>) {
        let now = clock::now();
        match command {
            Command::Connect { stream, to } => self.links.connect(stream, &to),
            Command::Close(stream) => {
                self.links.close(stream);
                // Said again, on the next stream, to whoever asks.
                self.held_words.retain(|(of, _)| *of != stream);
                self.timers.stream.take_if(|own| *own == stream);
            }
            Command::Send { stream, message } => {
                if let ToArbitrator::Stopped { .. } = &message {
                    crash::point(Point::WordUnsent);
                    self.held_words.push((stream, message));
                    self.give_words();
                } else {
                    self.send(stream, message);
                }
            }
            Command::Spawn { sensor, process } => self.nursery.spawn(now, &sensor, process),
            Command::Activate { process, values: None } => self.nursery.activate(now, process, None),
            Command::Activate { process, values: Some(values) } => self.copy(process, values),
            Command::Poll { process, fence: _ } => self.nursery.poll(now, process),
            Command::Kill(process) => {
                let may_act = self.session.may_act(now);
                self.nursery.kill(now, process, may_act, &mut self.keeper);
            }
            Command::Freeze => {
                tracing::warn!("the lease has ended: every sensor is frozen");
                self.keeper.freeze();
                self.publisher.sink.reset();
                self.timers.frozen_since.get_or_insert(now);
                events.push_back(Event::Frozen);
            }
            Command::PublishLease { end, freezes } => {
                self.lease.publish(end, freezes);
                self.keeper.look();
                if let Some(since) = self.timers.frozen_since.take_if(|_| now < end) {
                    self.nursery.thawed(now.since(since));
                }
            }
            Command::Publish { sensor, fence: _, id, effects } => self.publish(sensor, id, &effects, events),
            Command::Exit => self.timers.ending = Some(Ending::Left),
        }
    }

    /// Reads what the datastore has of a journaled sensor's own values, before it is set up.
    fn copy(&mut self, process: ProcessId, values: Body) {
        let Some(sensor) = self.nursery.of_process(process).cloned() else { return };
        let (datastore, inputs) = (self.datastore.clone(), self.publisher.inputs.clone());
        self.links.runtime.spawn(async move {
            let copy = datastore.copy(&format!("{sensor}:")).await;
            let copy =
                copy.inspect_err(|problem| tracing::warn!(%sensor, problem, "the datastore's copy is not looked at"));
            // Nobody listens any more when the container stops.
            let _ = inputs.send(Input::Copied { process, values, copy: copy.ok() });
        });
    }

    /// Hands on a direct effect, or an entry of the journal.
    fn publish(&mut self, sensor: SensorRef, id: EntryId, body: &Body, events: &mut VecDeque<Event>) {
        match self.applying.begin(&sensor, id, body, &self.gate, &self.publisher) {
            Step::NotOurs => {}
            Step::Applied(id) => {
                events.push_back(Event::Published { sensor, id });
                return;
            }
            Step::Waits | Step::Held(_) => return,
        }
        match serde_json::from_slice(body.bytes()) {
            Ok(Effect::Dispatch(dispatch)) => self.publisher.dispatch(sensor, id, dispatch),
            Ok(Effect::Write(write)) => self.publisher.write(sensor, id, vec![write]),
            // The container wrote it itself, a moment ago.
            Err(error) => tracing::error!(%sensor, %error, "an effect cannot be read back"),
        }
    }

    fn send(&mut self, stream: StreamId, message: ToArbitrator) {
        let (before, after) = match &message {
            ToArbitrator::Commit { .. } => (Some(Point::CommitUnsent), Some(Point::CommitSent)),
            ToArbitrator::Mark { .. } => (Some(Point::MarkUnsent), Some(Point::MarkSent)),
            _ => (None, None),
        };
        before.into_iter().for_each(crash::point);
        self.links.send(stream, message);
        after.into_iter().for_each(crash::point);
    }

    fn replace_guardian(&mut self, why: &str) {
        tracing::error!(why, "the guardian is given up: every sensor process is ended and started again");
        if let Err(error) = self.keeper.replace() {
            tracing::error!(%error, "no guardian can be started: the container stops");
            self.timers.ending = Some(Ending::Failed);
            return;
        }
        self.handle(Event::GuardianGone);
        self.nursery.all_gone(clock::now());
        self.settle();
    }

    /// What the instances are doing, where that changed.
    fn report(&mut self, now: Time) {
        let Some(stream) = self.timers.stream else { return };
        let mut states: BTreeMap<&SensorRef, State> = BTreeMap::new();
        for view in self.session.instances() {
            states.insert(view.sensor, view.state);
        }
        let mut changed = Vec::new();
        for (sensor, known, pid) in self.nursery.known() {
            let unoffered = if known.disabled.is_some() { State::Failed } else { State::Starting };
            let counter = self.counters.of(sensor);
            let waits = self.waits(sensor);
            let report = InstanceReport {
                sensor: sensor.clone(),
                kind: known.kind,
                state: states.get(sensor).copied().unwrap_or(unoffered),
                pid: pid.and_then(|pid| u32::try_from(pid).ok()),
                polls: known.polls,
                errors: known.errors,
                triggers: counter.triggers.load(Ordering::Relaxed),
                dropped: counter.dropped.load(Ordering::Relaxed),
                last_poll_ago: known.last_poll_began.map(|began| now.since(began)),
                last_poll_duration: known.last_poll_took,
                last_error: waits.or_else(|| self.timers.refused(sensor, known.last_error.as_ref())),
                removed: known.withdrawn && pid.is_none(),
            };
            // An age alone is no news: the arbitrator counts on.
            let ageless = |report: &InstanceReport| InstanceReport { last_poll_ago: None, ..report.clone() };
            if self.timers.last_reports.get(sensor).is_none_or(|last| ageless(last) != ageless(&report)) {
                self.timers.last_reports.insert(sensor.clone(), report.clone());
                changed.push(report);
            }
        }
        if !changed.is_empty() {
            self.links.report(stream, changed);
        }
        self.nursery.forget_withdrawn();
    }

    /// What keeps a sensor's triggers, if any wait.
    fn waits(&self, sensor: &SensorRef) -> Option<String> {
        let problems = &self.timers.sink_problems;
        let problem = problems.get(&Some(sensor.clone())).or_else(|| problems.get(&None))?;
        let waits = self.applying.waits(sensor) || self.waiting.values().any(|waiting| waiting.sensor == *sensor);
        waits.then(|| format!("triggers wait: {problem}"))
    }

    fn say_once(&mut self, text: String) {
        if self.timers.said.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            self.timers.said = Some(text);
        }
    }
}
