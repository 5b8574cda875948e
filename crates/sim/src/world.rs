//! One simulated cluster: a queue of happenings in true time, and the processes they happen to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use st2sa_core::arbiter::{self, Arbiter};
use st2sa_core::engine::{LeaderSeen, Reply, Request};
use st2sa_core::guardian::{self, Guardian};
use st2sa_core::message::{Kind, Offer, ToArbitrator, ToContainer};
use st2sa_core::names::{
    ArbitratorId, ContainerName, Digest, EntryId, Incarnation, Machine, RequestId, SensorRef, StreamId, Term,
};
use st2sa_core::policy::{Policy, SensorPolicy};
use st2sa_core::session::{self, Session};
use st2sa_core::time::Span;
use st2sa_core::timing::Timing;

use crate::checker::Checker;
use crate::clock::{Clock, MILLI, Nanos, SECOND};
use crate::net::Stream;
use crate::node::{Node, SensorProcess};
use crate::plan::{End, Fate, Fault, Run, Setup, Who};
use crate::process::Process;
use crate::store::Store;
use crate::trace::Trace;
use crate::windows::Window;

pub(crate) struct ArbitratorNode {
    pub(crate) id: ArbitratorId,
    pub(crate) clock: Clock,
    pub(crate) process: Process<arbiter::Event, arbiter::Command>,
    pub(crate) core: Arbiter,
    pub(crate) timing: Timing,
    pub(crate) disk: Term,
    pub(crate) streams: BTreeMap<StreamId, usize>,
    pub(crate) next_stream: u64,
    /// Requests that were not answered yet, and those whose answer will be lost.
    pub(crate) asked: BTreeSet<RequestId>,
    pub(crate) unheard: BTreeSet<RequestId>,
}

#[derive(Debug)]
pub(crate) enum Happening {
    WakeArbitrator(usize, u64),
    ResumeArbitrator(usize),
    ToContainer(usize, u64, session::Event),
    WakeContainer(usize, u64),
    ResumeContainer(usize),
    ToGuardian(usize, u64, guardian::Event),
    WakeGuardian(usize, u64),
    ResumeGuardian(usize),
    Sensor(usize, u64, u64),
    Confirm { node: usize, epoch: u64, sink: u64, sensor: SensorRef, id: EntryId },
    ResumeSensors(usize),
    Deliver(usize, bool, Parcel),
    AtEngine { arbitrator: usize, epoch: u64, request: RequestId, ask: Request },
    FromEngine { arbitrator: usize, epoch: u64, request: RequestId, reply: Reply },
    Peer { from: usize, to: usize, message: st2sa_core::message::ToPeer },
    Seen(usize, Option<LeaderSeen>),
    KeyExpires,
    LeaseCheck(usize, u64),
    JudgeAgain(usize, crate::checker::Actor, crate::checker::Actor),
    LeftCheck(usize, u64),
    StartContainer(usize),
    StartArbitrator(usize),
    Fault(usize),
    EndOfCut(End, End),
    EndOfLag(End, End, Nanos),
    EndOfStall,
    Unhide(Who),
    Mood(usize, Option<usize>),
    Restore(usize, usize),
    Heal,
    Settled,
}

#[derive(Debug)]
pub(crate) enum Parcel {
    Up(ToArbitrator),
    Down(ToContainer),
    Open,
    Closed,
}

pub(crate) struct Entry(Nanos, u64, pub(crate) Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One cluster in simulated time.
pub struct World {
    pub(crate) run: Run,
    pub(crate) now: Nanos,
    queue: BinaryHeap<Reverse<Entry>>,
    serial: u64,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) arbitrators: Vec<ArbitratorNode>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) store: Store,
    /// Earlier states of the store, for an engine that forgets.
    pub(crate) backups: VecDeque<(Nanos, Store)>,
    pub(crate) cuts: BTreeMap<(End, End), u32>,
    pub(crate) lags: BTreeMap<(End, End), Nanos>,
    pub(crate) intercepts: Vec<(crate::plan::Kind, Fate)>,
    pub(crate) stalled_until: Nanos,
    pub(crate) out_until: Nanos,
    pub(crate) mute_until: Nanos,
    pub(crate) twice_until: Nanos,
    pub(crate) stalled: Vec<Happening>,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) operators: u64,
    pub(crate) asked: BTreeMap<u64, arbiter::Verb>,
    /// Machines that a hypervisor holds, and since when.
    pub(crate) hidden: BTreeMap<Who, Nanos>,
    /// What arbitrators told people, for scripts.
    pub(crate) told: crate::view::Told,
    events: u64,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The first broken invariant, if any.
    pub violation: Option<crate::checker::Violation>,
    /// How often each dangerous window was entered.
    pub windows: BTreeMap<Window, u64>,
    /// Happenings worked off.
    pub events: u64,
    /// How long it lasted, in simulated time.
    pub simulated: Nanos,
}

impl World {
    /// A cluster at true time zero.
    pub fn new(run: Run, trace: Trace) -> Self {
        let setup = run.setup.clone();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            serial: 0,
            rng: ChaCha8Rng::seed_from_u64(setup.seed ^ 0x5742_5341),
            arbitrators: Vec::new(),
            nodes: Vec::new(),
            streams: Vec::new(),
            store: Store::new(setup.timing.leader_ttl, setup.engine_rate),
            backups: VecDeque::new(),
            cuts: BTreeMap::new(),
            lags: BTreeMap::new(),
            intercepts: Vec::new(),
            stalled_until: 0,
            out_until: 0,
            mute_until: 0,
            twice_until: 0,
            stalled: Vec::new(),
            checker: Checker::new(&setup),
            trace,
            operators: 0,
            asked: BTreeMap::new(),
            hidden: BTreeMap::new(),
            told: crate::view::Told::default(),
            events: 0,
            run,
        };
        for (index, rate) in setup.arbitrators.iter().enumerate() {
            let offset = world.rng.random_range(SECOND..100 * SECOND);
            let id = ArbitratorId::new(format!("arbitrator-{}", index + 1));
            let config = arbiter_config(&setup, index, &setup.timing);
            let clock = Clock::new(*rate, offset);
            world.arbitrators.push(ArbitratorNode {
                id,
                core: Arbiter::new(config, Incarnation(0), Term(0), clock.read(0)),
                clock,
                process: Process::new(),
                timing: setup.timing.clone(),
                disk: Term(0),
                streams: BTreeMap::new(),
                next_stream: 0,
                asked: BTreeSet::new(),
                unheard: BTreeSet::new(),
            });
            world.at(0, Happening::StartArbitrator(index));
        }
        for (index, machine) in setup.machines.iter().enumerate() {
            let offset = world.rng.random_range(SECOND..100 * SECOND);
            world.nodes.push(Node::new(&setup, index, Clock::new(machine.rate, offset)));
            if machine.starts {
                let at = world.rng.random_range(0..300 * MILLI);
                world.at(at, Happening::StartContainer(index));
            }
        }
        let faults: Vec<_> = world.run.faults.iter().map(|(at, _)| *at).collect();
        for (index, at) in faults.into_iter().enumerate() {
            world.at(at, Happening::Fault(index));
        }
        world.at(setup.heal_at, Happening::Heal);
        world
    }

    /// Runs it to its end.
    pub fn finish(mut self) -> Outcome {
        /// A cluster that does nothing but talk to itself is stuck: no run comes near this.
        const EVENTS_AT_MOST: u64 = 3_000_000;
        while let Some(Reverse(Entry(at, _, happening))) = self.queue.pop() {
            self.now = at;
            self.events += 1;
            if matches!(happening, Happening::Settled) {
                if self.settled() {
                    break;
                }
                continue;
            }
            self.happen(happening);
            self.judge_meetings();
            if self.checker.violation.is_some() {
                break;
            }
            if self.events > EVENTS_AT_MOST {
                self.checker.fail(self.now, "liveness", "the cluster works without end".to_owned());
                break;
            }
        }
        if let Some(violation) = &self.checker.violation {
            self.trace.line(self.now, "checker", &violation.to_string());
            for node in self
                .arbitrators
                .iter()
                .filter(|node| self.trace.on() && node.core.leads(node.clock.read(self.now)).is_some())
            {
                self.trace.line(self.now, node.id.as_str(), &format!("{:#?}", node.core));
            }
        }
        Outcome {
            violation: self.checker.violation,
            windows: self.checker.windows.counts,
            events: self.events,
            simulated: self.now,
        }
    }

    /// Runs it up to a moment, for scripts.
    pub fn run_until(&mut self, until: Nanos) {
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.0 <= until) && self.checker.violation.is_none() {
            if let Some(Reverse(Entry(at, _, happening))) = self.queue.pop() {
                self.now = at;
                if !matches!(happening, Happening::Settled | Happening::Heal) {
                    self.happen(happening);
                    self.judge_meetings();
                }
            }
        }
        self.now = until;
    }

    pub(crate) fn at(&mut self, at: Nanos, happening: Happening) {
        self.serial += 1;
        self.queue.push(Reverse(Entry(at.max(self.now), self.serial, happening)));
    }

    pub(crate) fn latency(&mut self) -> Nanos {
        let (least, most) = self.run.setup.latency;
        self.rng.random_range(least..=most)
    }

    pub(crate) fn id(&mut self) -> EntryId {
        EntryId(self.rng.random())
    }

    pub(crate) fn enter(&mut self, window: Window) {
        self.checker.windows.enter(window);
    }

    pub(crate) fn log(&mut self, who: &dyn std::fmt::Display, what: &dyn std::fmt::Debug) {
        if self.trace.on() {
            let (who, what) = (who.to_string(), format!("{what:?}"));
            self.trace.line(self.now, &who, &what);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::WakeArbitrator(index, wake) => {
                if self.arbitrators[index].process.wake == wake {
                    self.arbitrator(index, arbiter::Event::Wake);
                }
            }
            Happening::ResumeArbitrator(index) => self.resume_arbitrator(index),
            Happening::ToContainer(index, epoch, event) => {
                if self.nodes[index].container.epoch == epoch {
                    self.container(index, event);
                }
            }
            Happening::WakeContainer(index, wake) => {
                if self.nodes[index].container.wake == wake {
                    self.container(index, session::Event::Wake);
                }
            }
            Happening::ResumeContainer(index) => self.resume_container(index),
            Happening::ToGuardian(index, epoch, event) => {
                if self.nodes[index].guardian.epoch == epoch {
                    self.guardian(index, event);
                }
            }
            Happening::WakeGuardian(index, wake) => {
                if self.nodes[index].guardian.wake == wake {
                    self.guardian(index, guardian::Event::Wake);
                }
            }
            Happening::ResumeGuardian(index) => self.resume_guardian(index),
            Happening::Sensor(node, process, turn) => self.sensor_done(node, process, turn),
            Happening::Confirm { node, epoch, sink, sensor, id } => {
                let here = &self.nodes[node];
                if here.container.epoch == epoch && here.sink == sink {
                    self.container(node, session::Event::Published { sensor, id });
                }
            }
            Happening::ResumeSensors(node) => self.sensors_changed(node),
            Happening::Deliver(stream, up, parcel) => self.deliver(stream, up, parcel),
            Happening::AtEngine { arbitrator, epoch, request, ask } => self.at_engine(arbitrator, epoch, request, ask),
            Happening::FromEngine { arbitrator, epoch, request, reply } => {
                let node = &mut self.arbitrators[arbitrator];
                if node.process.epoch == epoch && node.asked.remove(&request) {
                    if matches!(reply, Reply::Observed { leader: None }) {
                        self.check_free(arbitrator);
                    }
                    self.arbitrator(arbitrator, arbiter::Event::Engine { request, reply });
                }
            }
            Happening::Peer { from, to, message } => {
                let from = self.arbitrators[from].id.clone();
                if self.arbitrators[to].process.alive {
                    self.arbitrator(to, arbiter::Event::Peer { from, message });
                }
            }
            Happening::Seen(index, leader) => {
                if leader.is_none() {
                    self.check_free(index);
                }
                self.arbitrator(index, arbiter::Event::LeaderSeen(leader));
            }
            Happening::KeyExpires => self.key_expires(),
            Happening::LeaseCheck(node, check) => self.lease_check(node, check),
            Happening::JudgeAgain(sensor, one, two) => self.judge_again(sensor, one, two),
            Happening::LeftCheck(node, died) => self.left_check(node, died),
            Happening::StartContainer(node) => self.start_container(node),
            Happening::StartArbitrator(index) => self.start_arbitrator(index),
            Happening::Fault(index) => {
                let (_, fault) = self.run.faults[index].clone();
                self.log(&"fault", &fault);
                self.fault(fault);
            }
            Happening::EndOfCut(from, to) => self.end_of_cut(from, to),
            Happening::EndOfLag(from, to, by) => {
                self.lags.entry((from, to)).and_modify(|lag| *lag = lag.saturating_sub(by));
            }
            Happening::EndOfStall => self.end_of_stall(),
            Happening::Unhide(who) => self.unhide(who),
            Happening::Mood(sensor, node) => self.mood_over(sensor, node),
            Happening::Restore(node, sensor) => {
                if self.nodes[node].withdrawn.remove(&sensor) {
                    self.offer_again(node);
                }
            }
            Happening::Heal => self.heal(),
            Happening::Settled => {}
        }
    }

    pub(crate) fn start_arbitrator(&mut self, index: usize) {
        if self.arbitrators[index].process.alive {
            return;
        }
        if self.checker.promised.get(&index).is_some_and(|until| self.now < *until) {
            self.enter(Window::RestartedWithinPromise);
        }
        let incarnation = Incarnation(self.rng.random());
        let setup = &self.run.setup;
        let node = &mut self.arbitrators[index];
        let config = arbiter_config(setup, index, &node.timing);
        node.core = Arbiter::new(config, incarnation, node.disk, node.clock.read(self.now));
        node.process.alive = true;
        node.asked.clear();
        node.unheard.clear();
        self.arbitrator(index, arbiter::Event::Wake);
    }

    pub(crate) fn start_container(&mut self, index: usize) {
        let node = &self.nodes[index];
        if node.container.alive {
            return;
        }
        // What the predecessor left is found and killed before its lock is taken; a guardian that is
        // stopped keeps the lock.
        let clear = !node.guardian.alive && node.sensors.values().all(|sensor| !sensor.alive);
        if !clear {
            let at = self.now + 100 * MILLI;
            self.at(at, Happening::StartContainer(index));
            return;
        }
        let incarnation = Incarnation(self.rng.random());
        let succeeds = self.nodes[index].incarnation.replace(incarnation);
        let setup = &self.run.setup;
        let config = session::Config {
            name: ContainerName::new(&setup.machines[index].name),
            machine: Machine(index as u64),
            labels: [("zone".to_owned(), setup.machines[index].zone.to_string())].into(),
            capacity: setup.machines[index].capacity,
            arbitrators: self.arbitrators.iter().map(|arbitrator| arbitrator.id.clone()).collect(),
            margin: setup.timing.margin,
            // A poll of more than three items is committed in parts.
            part_bytes: 24,
            heartbeat: setup.timing.heartbeat,
            freeze_limit: Span::from_secs(6),
            drain_timeout: Span::from_secs(10),
            failure_memory: setup.timing.failure_memory,
        };
        let offers = self.offers(index);
        let node = &mut self.nodes[index];
        let now = node.clock.read(self.now);
        node.session = Some(Session::new(config, incarnation, succeeds, now));
        node.container.alive = true;
        node.guard = Guardian::default();
        node.guardian.alive = true;
        node.guardian.epoch += 1;
        node.leaving = false;
        self.freeze(index, true);
        self.container(index, session::Event::Offers(offers));
    }

    pub(crate) fn offers(&self, index: usize) -> Vec<Offer> {
        let sensors = &self.run.setup.sensors;
        let offer = |(number, sensor): (usize, &crate::plan::SensorSetup)| Offer {
            sensor: SensorRef::new(&sensor.name),
            digest: Digest(self.nodes[index].code[number]),
            previous: Some(Digest(self.nodes[index].code_before[number])),
            kind: sensor.interval.map_or(Kind::Passive, |interval| Kind::Polling { interval: Span(interval) }),
            effects: sensor.effects,
        };
        let offered = |(number, _): &(usize, &crate::plan::SensorSetup)| !self.nodes[index].withdrawn.contains(number);
        sensors.iter().enumerate().filter(offered).map(offer).collect()
    }
}

/// When a poll counts as hung: longer than any poll of a sensor that is well.
pub(crate) const POLL_TIMEOUT: Span = Span::from_secs(8);

fn arbiter_config(setup: &Setup, index: usize, timing: &Timing) -> arbiter::Config {
    let name = |other: usize| ArbitratorId::new(format!("arbitrator-{}", other + 1));
    let count = setup.arbitrators.len();
    let mut policy = Policy::default();
    policy.default.poll_timeout = Some(POLL_TIMEOUT);
    for sensor in &setup.sensors {
        let mut own = SensorPolicy { weight: sensor.weight, ..policy.default.clone() };
        if let Some(zone) = sensor.zone {
            own.require.insert("zone".to_owned(), zone.to_string());
        }
        policy.sensors.insert(SensorRef::new(&sensor.name), own);
    }
    arbiter::Config {
        me: name(index),
        peers: (0..count).filter(|other| *other != index).map(name).collect(),
        timing: timing.clone(),
        policy,
        forgetful: setup.forgetful,
        fail_safe: setup.fail_safe,
        exclusive: false,
    }
}

pub(crate) fn is_running(process: &SensorProcess, node: &Node, now: Nanos) -> bool {
    process.alive && !node.frozen && now >= node.sensors_paused_until
}

impl World {
    /// Applies a fault at once, for scripts.
    pub fn inflict(&mut self, fault: Fault) {
        self.fault(fault);
    }
}
