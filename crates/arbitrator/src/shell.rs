//! The arbitrator's loop: one thread that feeds the arbiter, and carries out what it decides, in order.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use st2sa_coordination::Engine;
use st2sa_coordination::registry::Teller;
use st2sa_core::arbiter::{Alarm, Answer, Arbiter, Command, Event, StoreSeen, Verb};
use st2sa_core::engine::{Journal, LeaderSeen, Reply, Request};
use st2sa_core::history::Record;
use st2sa_core::message::{ToArbitrator, ToContainer};
use st2sa_core::names::{ArbitratorId, ContainerName, RequestId, SensorRef, StreamId, Term};
use st2sa_core::time::{Span, Time};
use st2sa_machine::crash::{self, Point};
use st2sa_machine::{clock, files};
use st2sa_proto::rest::HistoryRecord;
use st2sa_proto::{FromArbitrator, FromContainer, FromPeer};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::chronicle::Chronicle;
use crate::grants::Grants;
use crate::input::{Input, Leads, View};
use crate::peers::Peers;
use crate::policies::Policies;
use crate::roster::{Entry, Roster};

/// The loop looks around at least this often.
const WAIT_AT_MOST: Duration = Duration::from_secs(1);
/// Inputs taken before deadlines are looked at again.
const INPUTS_AT_ONCE: usize = 1_000;
/// A resignation takes this long at the most; then the arbitrator stops without.
const RESIGNED_WITHIN: Span = Span::from_secs(2);
/// So many requests without an answer are more than a hiccup.
const SILENT_REQUESTS: u32 = 3;
/// Alarms remembered for people.
const ALARMS_AT_MOST: usize = 100;
/// The request number of the resignation that a signal asks for; operators' begin above.
const RESIGNATION: u64 = 0;

/// Everything the loop holds.
pub(crate) struct Shell {
    pub(crate) arbiter: Arbiter,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) runtime: Handle,
    pub(crate) inputs: Sender<Input>,
    pub(crate) chronicle: Chronicle,
    pub(crate) grants: Grants,
    /// Since when the store has answered nothing, and how many requests.
    pub(crate) store_silent: Option<(Time, u32)>,
    /// Where the highest term seen is kept.
    pub(crate) term_file: PathBuf,
    /// How long an engine's answer is waited for.
    pub(crate) answer_within: Span,
    pub(crate) streams: BTreeMap<StreamId, mpsc::Sender<FromArbitrator>>,
    pub(crate) roster: Roster,
    pub(crate) alarms: VecDeque<String>,
    pub(crate) policies: Policies,
    pub(crate) peers: Peers,
    /// Nobody is to take over from anybody.
    pub(crate) alone: bool,
    /// Orders given so far, and those that wait for the arbiter's answer.
    pub(crate) orders: u64,
    pub(crate) waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    pub(crate) stopping_since: Option<Time>,
    /// What was told last of who leads.
    pub(crate) stands: Stands,
    /// Where the service registry hears how it stands.
    pub(crate) registry: Option<Teller>,
}

/// Whether it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It does, in this term while that is in force.
    Leads(Option<Term>, StoreSeen),
    /// It stands by; this one leads.
    By(Option<LeaderSeen>),
    /// Nobody leads, and it may not either: it is not in the store's list of electors.
    Outside,
}

impl Shell {
    /// Runs until asked to stop.
    pub(crate) fn run(mut self, inputs: &Receiver<Input>) {
        self.handle(Event::Wake);
        loop {
            let deadline = self.arbiter.next_deadline().map_or(Time::NEVER, |(at, _)| at);
            match inputs.recv_timeout(clock::until(deadline, clock::now(), WAIT_AT_MOST)) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What waits comes before what is due.
            for _ in 0..INPUTS_AT_ONCE {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
            }
            let now = clock::now();
            if self.arbiter.next_deadline().is_some_and(|(at, _)| now >= at) {
                self.handle(Event::Wake);
            }
            if let Some(registry) = &mut self.registry {
                registry.tell(|| crate::registry::standing(&self.arbiter, now));
            }
            if let Some(since) = self.stopping_since
                && (self.arbiter.phase().is_none() || now >= since + RESIGNED_WITHIN)
            {
                return;
            }
        }
    }

    fn take(&mut self, input: Input) {
        let now = clock::now();
        match input {
            Input::Opened(stream, sender) => drop(self.streams.insert(stream, sender)),
            Input::Said(stream, message, place) => {
                self.hear(now, stream, message);
                drop(place);
            }
            Input::Closed(stream) => {
                self.streams.remove(&stream);
                self.roster.closed(stream);
                self.policies.closed(stream);
                self.handle(Event::StreamClosed(stream));
            }
            Input::Engine(request, reply) => {
                self.note_store(now, reply == Reply::Unknown);
                self.handle(Event::Engine { request, reply });
            }
            Input::LeaderSeen(leader) => self.handle(Event::LeaderSeen(leader)),
            Input::Peer(FromPeer { from, message }) => {
                tracing::debug!(%from, ?message, "hears");
                if let Some(known) = self.peers.heard(now, &from) {
                    tracing::info!(peer = %from, "another arbitrator is there");
                    self.handle(Event::Peers(known));
                }
                self.handle(Event::Peer { from, message });
            }
            Input::WhoLeads(answer) => {
                let seen = self.arbiter.leader_seen().map(|seen| seen.arbitrator.clone());
                // Whoever asked may have gone.
                let _ = answer.send(Leads { here: self.arbiter.leads(now).is_some(), seen });
            }
            Input::Look(answer) => drop(answer.send(self.view(now))),
            Input::MayStore(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.arbiter.leadership(now).cloned());
            }
            Input::Journal(sensor, answer) => self.read_journal(sensor, answer),
            Input::MayRead(answer) => drop(answer.send(self.arbiter.leads(now).is_some())),
            Input::Order { who, verb, answer } => {
                self.orders += 1;
                self.waiting.insert(self.orders, answer);
                let at = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
                self.handle(Event::Operator { request: self.orders, who, at, verb });
                // Whoever has given up waiting is not answered.
                self.waiting.retain(|_, answer| !answer.is_closed());
            }
            Input::Forget(name, answer) => drop(answer.send(self.forget(&name))),
            Input::Reload => {
                if let Some((policy, told)) = self.policies.reload() {
                    self.handle(Event::Policy(policy));
                    for (stream, message) in told {
                        self.tell(stream, message);
                    }
                }
            }
            Input::Terminate => {
                if self.stopping_since.replace(now).is_some() {
                    tracing::warn!("stopping at once, as asked twice");
                    self.stopping_since = Some(Time::default());
                    return;
                }
                tracing::info!("resigning before stopping; ask again to stop at once");
                let (who, verb) = ("signal".to_owned(), Verb::Resign);
                self.handle(Event::Operator { request: RESIGNATION, who, at: 0, verb });
            }
        }
    }

    fn hear(&mut self, now: Time, stream: StreamId, message: FromContainer) {
        let message = match message {
            FromContainer::Instances(reports) => {
                self.roster.reported(now, stream, reports);
                return;
            }
            FromContainer::Hello(hello, about) => {
                self.roster.greeted(Entry {
                    name: hello.name.clone(),
                    incarnation: hello.incarnation,
                    about,
                    labels: hello.labels.clone(),
                    stream,
                    leaves: false,
                    heard_at: now,
                    instances: BTreeMap::new(),
                });
                ToArbitrator::Hello(hello)
            }
            FromContainer::Message(message) => {
                match &message {
                    ToArbitrator::Heartbeat(_) => self.roster.heard(now, stream),
                    ToArbitrator::Leaving => self.roster.leaves(stream),
                    ToArbitrator::Offers(offers) => {
                        // Before anything is placed by it.
                        let (policy, told) = self.policies.offers(stream, offers);
                        if let Some(policy) = policy {
                            self.handle(Event::Policy(policy));
                        }
                        self.tell(stream, told);
                    }
                    _ => {}
                }
                message
            }
        };
        self.handle(Event::Container { stream, message });
    }

    /// One step of the arbiter, and all that it decides.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.arbiter.handle(clock::now(), event) {
                self.carry_out(command, &mut events);
            }
            if self.arbiter.phase().is_none() {
                self.grants.clear();
            }
            self.tell_leadership();
        }
    }

    /// Says who leads, and how that stands with the store, whenever it changes.
    fn tell_leadership(&mut self) {
        let stands = match self.arbiter.electors() {
            None if self.arbiter.leader_seen().is_none() && !self.arbiter.is_elector() => Stands::Outside,
            None => Stands::By(self.arbiter.leader_seen().cloned()),
            Some((_, store)) => Stands::Leads(self.arbiter.leads(clock::now()), store),
        };
        if self.stands == stands {
            return;
        }
        match (&self.stands, &stands) {
            (Stands::Leads(..), Stands::By(_)) => tracing::warn!("leads no more"),
            (_, Stands::By(Some(leader))) => {
                tracing::info!(leader = %leader.arbitrator, term = %leader.term, "stands by");
            }
            (_, Stands::By(None)) => tracing::info!("nobody leads"),
            (_, Stands::Outside) => tracing::warn!(
                "nobody leads, and this arbitrator may not: it is not in the store's list of electors; start one of \
                 those again with its data folder, or see `st2sa arbitrator admit`"
            ),
            (Stands::By(_) | Stands::Outside, Stands::Leads(Some(term), _)) => tracing::info!(%term, "leads"),
            (_, Stands::Leads(None, _)) => tracing::warn!("the leadership has lapsed"),
            (_, Stands::Leads(_, StoreSeen::There)) => tracing::info!("the store is there again"),
            (_, Stands::Leads(_, StoreSeen::Away)) => tracing::warn!("the store is away"),
            (_, Stands::Leads(_, StoreSeen::Extended)) => {
                tracing::warn!("the store is away: every other elector lets this leadership go on");
            }
        }
        self.stands = stands;
    }

    fn carry_out(&mut self, command: Command, events: &mut VecDeque<Event>) {
        match command {
            Command::Send { stream, message } => self.send(stream, message, events),
            // Dropping the sender ends the stream.
            Command::Close(stream) => drop(self.streams.remove(&stream)),
            Command::Engine { request, ask } => self.ask(request, ask),
            Command::Remember(term) => self.remember(term),
            Command::Record(record) => {
                self.grants.note(&record);
                self.record(&record);
            }
            Command::Alarm(alarm) => self.alarm(&alarm),
            Command::Answer { request, answer } => {
                // A signal waits for no answer: the loop sees that the leadership is over.
                if let Some(waits) = self.waiting.remove(&request) {
                    // Whoever asked may have gone.
                    let _ = waits.send(answer);
                }
            }
            Command::Peer { to, message } => {
                tracing::debug!(%to, ?message, "says");
                self.peers.tell(&to, message);
            }
        }
    }

    fn send(&mut self, stream: StreamId, message: ToContainer, events: &mut VecDeque<Event>) {
        let message = match message {
            ToContainer::NameTaken { machine } => {
                let holder = self.roster.holder(stream).map(|entry| (entry.about.host.clone(), entry.about.pid));
                let (host, pid) = holder.unwrap_or_else(|| ("a host that has not come back yet".to_owned(), 0));
                FromArbitrator::NameTaken { machine, host, pid }
            }
            // A container needs to know where, not who.
            ToContainer::NotLeader { leader: Some(leader) } => {
                let leader = leader.address().map(ArbitratorId::new).or(Some(leader));
                FromArbitrator::Message(ToContainer::NotLeader { leader })
            }
            message => {
                match &message {
                    ToContainer::SetStatus { .. } => crash::point(Point::GrantUnsent),
                    ToContainer::Welcome { .. } => self.roster.welcomed(stream),
                    ToContainer::Left => self.roster.left(stream),
                    _ => {}
                }
                FromArbitrator::Message(message)
            }
        };
        if !self.write(stream, message) {
            events.push_back(Event::StreamClosed(stream));
        }
    }

    /// Sends what the arbiter knows nothing of.
    fn tell(&mut self, stream: StreamId, message: FromArbitrator) {
        if !self.write(stream, message) {
            self.handle(Event::StreamClosed(stream));
        }
    }

    /// `false` where the stream is over: who does not read, or is gone, will greet again.
    fn write(&mut self, stream: StreamId, message: FromArbitrator) -> bool {
        let Some(sender) = self.streams.get(&stream) else { return true };
        let taken = sender.try_send(message).is_ok();
        if !taken {
            self.streams.remove(&stream);
        }
        taken
    }

    fn ask(&self, request: RequestId, ask: Request) {
        let (engine, inputs) = (Arc::clone(&self.engine), self.inputs.clone());
        let within = clock::duration(self.answer_within);
        self.runtime.spawn(async move {
            let deadline = tokio::time::Instant::now() + within;
            let writes = matches!(ask, Request::Transact(_));
            writes.then(|| crash::point(Point::TransactionUnsent));
            let reply = tokio::time::timeout_at(deadline, engine.ask(ask)).await.unwrap_or(Reply::Unknown);
            writes.then(|| crash::point(Point::TransactionAnswered));
            if reply == Reply::Unknown {
                // Said no sooner, so that what is tried again is not tried without pause.
                tokio::time::sleep_until(deadline).await;
            }
            // Nobody listens any more when the arbitrator stops.
            let _ = inputs.send(Input::Engine(request, reply));
        });
    }

    /// For people: nothing is decided by it.
    fn read_journal(&self, sensor: SensorRef, answer: oneshot::Sender<Option<Journal>>) {
        let engine = Arc::clone(&self.engine);
        let within = clock::duration(self.answer_within);
        self.runtime.spawn(async move {
            let asked = tokio::time::timeout(within, engine.ask(Request::ReadJournal { sensor })).await;
            let journal = match asked {
                Ok(Reply::Journal(journal)) => Some(*journal),
                _ => None,
            };
            // Whoever asked may have gone.
            let _ = answer.send(journal);
        });
    }

    /// A store that answers nothing is an alarm for as long as that lasts: without it nothing can be moved.
    fn note_store(&mut self, now: Time, silent: bool) {
        match (&mut self.store_silent, silent) {
            (Some((_, requests)), true) => *requests += 1,
            (None, true) => self.store_silent = Some((now, 1)),
            (Some((since, requests)), false) => {
                if *requests >= SILENT_REQUESTS {
                    tracing::info!(after = %now.since(*since), "the store answers again");
                }
                self.store_silent = None;
            }
            (None, false) => {}
        }
    }

    /// A container that is in the register may still hold something.
    fn forget(&mut self, name: &ContainerName) -> Result<(), String> {
        if self.arbiter.containers().iter().any(|container| container.name == *name) {
            return Err(format!("{name} is registered: it is up, or will be struck within seconds"));
        }
        if self.roster.forget(name) { Ok(()) } else { Err(String::new()) }
    }

    fn remember(&self, term: Term) {
        if let Err(error) = files::write_whole(&self.term_file, format!("{term}\n").as_bytes()) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, %term, "the highest term seen could not be noted; the engine has it");
        }
    }

    fn record(&self, record: &Record) {
        let name = |name: &Option<st2sa_core::names::ContainerName>| name.as_ref().map(ToString::to_string);
        let (from, to) = (name(&record.from), name(&record.to));
        tracing::info!(
            sensor = %record.sensor,
            from = from.as_deref().unwrap_or("-"),
            to = to.as_deref().unwrap_or("-"),
            fence = %record.fence,
            cause = %record.cause,
            who = record.who,
            "status"
        );
        self.chronicle.add(HistoryRecord {
            at: format!("{:.3}", jiff::Timestamp::now()),
            sensor: record.sensor.to_string(),
            from,
            to,
            fence: record.fence.to_string(),
            cause: record.cause.to_string(),
            who: record.who.clone(),
        });
    }

    fn alarm(&mut self, alarm: &Alarm) {
        let text = match alarm {
            Alarm::PackFails(pack) => {
                format!(
                    "more than a fifth of the sensors of pack {pack} fail at once: none of them is moved; look at their source"
                )
            }
            Alarm::DoesNotApply(container, sensor) => {
                format!("{container} does not do what it is told of {sensor}: it is acknowledged no more")
            }
            Alarm::ClaimedTwice(sensor) => format!("two containers claim {sensor}: the newer fence counts"),
        };
        tracing::error!("{text}");
        self.alarms.push_back(format!("{:.0} {text}", jiff::Timestamp::now()));
        if self.alarms.len() > ALARMS_AT_MOST {
            self.alarms.pop_front();
        }
    }

    fn view(&self, now: Time) -> View {
        let silent = self.store_silent.filter(|(_, requests)| *requests >= SILENT_REQUESTS);
        let silent = silent.map(|(since, _)| {
            let engine = self.engine.describe();
            format!(
                "now: the store ({engine}) has not answered for {}: nothing can be moved; is its disk full?",
                now.since(since)
            )
        });
        let (paused, drained) = self.arbiter.intents();
        View {
            alone: self.alone,
            paused,
            drained,
            term: self.arbiter.leads(now),
            phase: self.arbiter.phase().copied(),
            leader: self.arbiter.leader_seen().cloned(),
            is_elector: self.arbiter.is_elector(),
            keeps_still: self.arbiter.keeps_still(),
            engine: self.engine.describe(),
            electors: self.arbiter.electors().map(|(electors, store)| (electors.clone(), store)),
            sensors: self.arbiter.sensors(),
            containers: self.arbiter.containers(),
            roster: self.roster.clone(),
            alarms: self.alarms.iter().cloned().chain(silent).collect(),
        }
    }
}
