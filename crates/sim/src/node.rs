//! A sensor node: a container, its guardian, and sensor processes that poll sources and remember.

use std::collections::BTreeMap;

use rand::Rng;
use st2sa_core::engine::Body;
use st2sa_core::guardian::{self, Guardian};
use st2sa_core::message::Effects;
use st2sa_core::names::{ContainerName, EntryId, Fence, Incarnation, ProcessId, SensorRef, StreamId};
use st2sa_core::session::{self, Outcome, Session, Work};

use crate::clock::{Clock, MILLI, Nanos};
use crate::plan::{Mood, Setup};
use crate::process::Process;
use crate::windows::Window;
use crate::world::{self, Happening, World};

pub(crate) struct Node {
    pub(crate) name: ContainerName,
    pub(crate) clock: Clock,
    pub(crate) container: Process<session::Event, session::Command>,
    pub(crate) session: Option<Session>,
    /// The last run of its container.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) guardian: Process<guardian::Event, guardian::Command>,
    pub(crate) guard: Guardian,
    pub(crate) sensors: BTreeMap<ProcessId, SensorProcess>,
    pub(crate) frozen: bool,
    pub(crate) sensors_paused_until: Nanos,
    pub(crate) streams: BTreeMap<StreamId, usize>,
    /// Connections to sinks, as runs between resets: what is confirmed on an old one is not heard.
    pub(crate) sink: u64,
    pub(crate) moods: BTreeMap<usize, Mood>,
    /// Sensors that its packs lack.
    pub(crate) withdrawn: std::collections::BTreeSet<usize>,
    pub(crate) code: Vec<u64>,
    pub(crate) code_before: Vec<u64>,
    pub(crate) leaving: bool,
    /// When it starts again after having left.
    pub(crate) back_after: Option<Nanos>,
}

/// One process of one sensor.
#[derive(Clone, Debug)]
pub(crate) struct SensorProcess {
    pub(crate) sensor: usize,
    pub(crate) alive: bool,
    pub(crate) doing: Doing,
    pub(crate) fence: Fence,
    /// The running step's end, while it runs; what is left of it, while it does not.
    ends_at: Nanos,
    left: Nanos,
    running: bool,
    turn: u64,
    /// The cursor as the journal or the source has it, and as the process remembers it.
    stored: u64,
    remembered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Loading,
    Ready,
    SettingUp,
    Idle,
    Polling,
    /// A passive sensor at its work.
    Watching,
}

impl Doing {
    /// Whether it is ACTIVE.
    pub(crate) fn at_work(self) -> bool {
        matches!(self, Self::SettingUp | Self::Idle | Self::Polling | Self::Watching)
    }

    /// Whether the process touches the outside.
    pub(crate) fn acts(self) -> bool {
        matches!(self, Self::SettingUp | Self::Polling | Self::Watching)
    }
}

impl Node {
    pub(crate) fn new(setup: &Setup, index: usize, clock: Clock) -> Self {
        Self {
            name: ContainerName::new(&setup.machines[index].name),
            clock,
            container: Process::new(),
            session: None,
            incarnation: None,
            guardian: Process::new(),
            guard: Guardian::default(),
            sensors: BTreeMap::new(),
            frozen: true,
            sensors_paused_until: 0,
            streams: BTreeMap::new(),
            sink: 0,
            moods: BTreeMap::new(),
            withdrawn: std::collections::BTreeSet::new(),
            code: vec![1; setup.sensors.len()],
            code_before: vec![1; setup.sensors.len()],
            leaving: false,
            back_after: None,
        }
    }
}

impl World {
    pub(crate) fn do_container(&mut self, index: usize, command: session::Command, decided_at: Nanos) {
        let name = self.nodes[index].name.clone();
        if !matches!(command, session::Command::PublishLease { .. }) {
            self.log(&name, &command);
        }
        match command {
            session::Command::Connect { stream, to } => {
                if let Some(to) = self.arbitrators.iter().position(|arbitrator| arbitrator.id == to) {
                    self.connect(index, stream, to);
                }
            }
            session::Command::Close(stream) => self.hang_up(index, stream),
            session::Command::Send { stream, message } => self.send_up(index, stream, message),
            session::Command::Spawn { sensor, process } => self.spawn(index, &sensor, process),
            session::Command::Activate { process, values } => self.activate(index, process, values.as_ref()),
            session::Command::Poll { process, fence } => {
                self.check_poll(index, process, fence, decided_at);
                self.poll(index, process, fence);
            }
            session::Command::Kill(process) => self.kill_sensor(index, process),
            session::Command::Freeze => {
                if self.now < self.nodes[index].guardian.paused_until {
                    self.enter(Window::ContainerFrozeAlone);
                }
                self.nodes[index].sink += 1;
                self.freeze(index, true);
                self.tell_container(index, 0, session::Event::Frozen);
            }
            session::Command::PublishLease { end, freezes } => {
                let epoch = self.nodes[index].guardian.epoch;
                let at = self.now + MILLI;
                self.at(at, Happening::ToGuardian(index, epoch, guardian::Event::Lease(end, freezes)));
            }
            session::Command::Publish { sensor, fence, id, effects } if self.gate(index) => {
                self.publish(index, &sensor, fence, id, &effects);
            }
            // The gate's look right before the act.
            session::Command::Publish { sensor, id, .. } => {
                self.enter(Window::StoppedAtTheGate);
                self.tell_container(index, 0, session::Event::NotPublished { sensor, id });
            }
            session::Command::Exit => self.exit(index),
        }
    }

    /// Whether the node may act, by its clock at this moment.
    fn gate(&self, index: usize) -> bool {
        let here = &self.nodes[index];
        here.session.as_ref().is_some_and(|session| session.may_act(here.clock.read(self.now)))
    }

    fn spawn(&mut self, index: usize, sensor: &SensorRef, process: ProcessId) {
        let Some(number) = self.sensor_number(sensor) else { return };
        let takes = self.rng.random_range(5 * MILLI..60 * MILLI);
        let spawned = SensorProcess {
            sensor: number,
            alive: true,
            doing: Doing::Loading,
            fence: Fence::default(),
            ends_at: 0,
            left: takes,
            running: false,
            turn: 0,
            stored: 0,
            remembered: 0,
        };
        self.nodes[index].sensors.retain(|_, sensor| sensor.alive);
        self.nodes[index].sensors.insert(process, spawned);
        self.sensors_changed(index);
    }

    fn activate(&mut self, index: usize, process: ProcessId, values: Option<&Body>) {
        let takes = self.rng.random_range(MILLI..30 * MILLI);
        let Some(sensor) = self.nodes[index].sensors.get_mut(&process).filter(|sensor| sensor.alive) else { return };
        sensor.doing = Doing::SettingUp;
        sensor.left = takes;
        sensor.running = false;
        if let Some(values) = values {
            sensor.stored = values.bytes().try_into().map_or(0, u64::from_le_bytes);
        } else {
            sensor.stored = self.checker.delivered(sensor.sensor);
        }
        sensor.remembered = sensor.stored;
        self.sensors_changed(index);
    }

    fn poll(&mut self, index: usize, process: ProcessId, fence: Fence) {
        let Some(sensor) = self.nodes[index].sensors.get(&process).filter(|sensor| sensor.alive) else { return };
        let number = sensor.sensor;
        let mood = self.mood(index, number);
        let (least, most) = self.run.setup.sensors[number].poll;
        let takes = match mood {
            Mood::Hangs => Nanos::MAX / 4,
            Mood::Well | Mood::Raises | Mood::Dies => self.rng.random_range(least..=most),
        };
        let Some(sensor) = self.nodes[index].sensors.get_mut(&process) else { return };
        sensor.doing = Doing::Polling;
        sensor.fence = fence;
        sensor.left = takes;
        sensor.running = false;
        self.sensors_changed(index);
    }

    /// Starts and stops the steps of a node's processes after a freeze, a thaw, a pause or a new step.
    pub(crate) fn sensors_changed(&mut self, index: usize) {
        let now = self.now;
        let mut turns = Vec::new();
        let node = &self.nodes[index];
        let ids: Vec<_> = node.sensors.keys().copied().collect();
        for id in ids {
            let node = &self.nodes[index];
            let Some(sensor) = node.sensors.get(&id) else { continue };
            let runs = world::is_running(sensor, node, now);
            let timed = !matches!(sensor.doing, Doing::Ready | Doing::Idle);
            let was = sensor.running;
            let (number, doing) = (sensor.sensor, sensor.doing);
            self.checker.acts(now, number, (index, id), runs && doing.acts());
            let Some(sensor) = self.nodes[index].sensors.get_mut(&id) else { continue };
            if was && !runs {
                sensor.left = sensor.ends_at.saturating_sub(now);
                sensor.running = false;
                sensor.turn += 1;
            } else if !was && runs && timed {
                sensor.ends_at = now.saturating_add(sensor.left);
                sensor.running = true;
                sensor.turn += 1;
                turns.push((sensor.ends_at, id, sensor.turn));
            }
        }
        for (at, id, turn) in turns {
            if at < Nanos::MAX / 8 {
                self.at(at, Happening::Sensor(index, id.0, turn));
            }
        }
    }

    pub(crate) fn freeze(&mut self, index: usize, freeze: bool) {
        let node = &mut self.nodes[index];
        if freeze && !node.frozen {
            if self.now < node.container.paused_until {
                self.enter(Window::GuardianFrozeAlone);
            }
            let mid_poll =
                self.nodes[index].sensors.values().any(|sensor| sensor.alive && sensor.doing == Doing::Polling);
            if mid_poll {
                self.enter(Window::FrozenInPoll);
            }
        } else if !freeze && node.frozen {
            let mid_poll = node.sensors.values().any(|sensor| sensor.alive && sensor.doing == Doing::Polling);
            if mid_poll {
                self.enter(Window::ThawedInPoll);
            }
        }
        self.nodes[index].frozen = freeze;
        self.sensors_changed(index);
    }

    pub(crate) fn sensor_done(&mut self, index: usize, process: u64, turn: u64) {
        let id = ProcessId(process);
        let Some(sensor) = self.nodes[index].sensors.get_mut(&id) else { return };
        if !sensor.alive || sensor.turn != turn || !sensor.running {
            return;
        }
        sensor.running = false;
        let number = sensor.sensor;
        match sensor.doing {
            Doing::Loading => {
                sensor.doing = Doing::Ready;
                self.tell_container(index, 1, session::Event::Ready(id));
            }
            Doing::SettingUp => {
                let passive = self.run.setup.sensors[number].interval.is_none();
                sensor.doing = if passive { Doing::Watching } else { Doing::Idle };
                sensor.left = self.run.setup.sensors[number].poll.0.max(50 * MILLI);
                self.tell_container(index, 1, session::Event::Activated(id));
            }
            Doing::Polling => self.poll_done(index, id),
            Doing::Watching => self.watched(index, id),
            Doing::Ready | Doing::Idle => {}
        }
        self.sensors_changed(index);
    }

    fn poll_done(&mut self, index: usize, id: ProcessId) {
        let Some(sensor) = self.nodes[index].sensors.get(&id) else { return };
        let number = sensor.sensor;
        let setup = &self.run.setup.sensors[number];
        let (every, remembers, journaled) = (setup.item_every, setup.remembers, setup.effects == Effects::Journal);
        let mood = self.mood(index, number);
        let head = self.now.min(self.run.setup.heal_at) / every;
        let oldest = setup.listed_for.map_or(0, |listed| self.now.saturating_sub(listed) / every);
        let cursor = if remembers { sensor.remembered } else { sensor.stored }.max(oldest);
        /// A sensor reads at most so many items at once, as an API's pages do.
        const PAGE: u64 = 8;
        let next = head.min(cursor + PAGE).max(cursor);
        let entry = self.id();
        if mood == Mood::Dies {
            self.sensor_dies(index, id);
            return;
        }
        let Some(sensor) = self.nodes[index].sensors.get_mut(&id) else { return };
        sensor.doing = Doing::Idle;
        let outcome = if mood == Mood::Raises {
            // The id is remembered before it is stored, then something raises.
            let effects = next > cursor && journaled;
            if effects {
                sensor.remembered = next;
            }
            Outcome::Raised { effects }
        } else if journaled {
            sensor.remembered = next;
            sensor.stored = next;
            let bytes: Vec<u8> = (cursor + 1..=next).flat_map(u64::to_le_bytes).collect();
            let work = Work { id: entry, values: Body::new(&next.to_le_bytes()), effects: Body::new(&bytes) };
            Outcome::Good((next > cursor).then_some(work))
        } else {
            Outcome::Good(None)
        };
        if !journaled && mood != Mood::Raises {
            self.emit(index, id);
        }
        self.tell_container(index, 1, session::Event::PollReturned { process: id, outcome });
    }

    fn watched(&mut self, index: usize, id: ProcessId) {
        self.emit(index, id);
        let number = self.nodes[index].sensors.get(&id).map_or(0, |sensor| sensor.sensor);
        let again = self.run.setup.sensors[number].item_every;
        if self.mood(index, number) == Mood::Dies {
            self.sensor_dies(index, id);
        } else if let Some(sensor) = self.nodes[index].sensors.get_mut(&id) {
            sensor.left = again;
        }
    }

    fn emit(&mut self, index: usize, process: ProcessId) {
        let id = self.id();
        let effect = Body::new(&0_u64.to_le_bytes());
        self.tell_container(index, 1, session::Event::Emitted { process, id, effect });
    }

    pub(crate) fn sensor_dies(&mut self, index: usize, id: ProcessId) {
        if let Some(sensor) = self.nodes[index].sensors.get_mut(&id).filter(|sensor| sensor.alive) {
            sensor.alive = false;
            let number = sensor.sensor;
            self.checker.acts(self.now, number, (index, id), false);
            let late = self.rng.random_range(1..20);
            self.tell_container(index, late, session::Event::Gone(id));
        }
    }

    fn kill_sensor(&mut self, index: usize, id: ProcessId) {
        let late = self.rng.random_range(1..10);
        let frozen = self.nodes[index].frozen;
        if let Some(sensor) = self.nodes[index].sensors.get_mut(&id).filter(|sensor| sensor.alive) {
            sensor.alive = false;
            let (number, polling) = (sensor.sensor, sensor.doing == Doing::Polling);
            if polling && frozen {
                self.enter(Window::KilledWhileFrozenInPoll);
            }
            self.checker.acts(self.now, number, (index, id), false);
        }
        self.tell_container(index, late, session::Event::Gone(id));
    }

    pub(crate) fn kill_sensors(&mut self, index: usize) {
        let ids: Vec<_> = self.nodes[index].sensors.keys().copied().collect();
        for id in ids {
            if let Some(sensor) = self.nodes[index].sensors.get_mut(&id) {
                sensor.alive = false;
                let number = sensor.sensor;
                self.checker.acts(self.now, number, (index, id), false);
            }
        }
    }

    fn publish(&mut self, index: usize, sensor: &SensorRef, fence: Fence, id: EntryId, effects: &Body) {
        let Some(number) = self.sensor_number(sensor) else { return };
        self.check_publish(index, number, fence, id, effects);
        let takes = self.rng.random_range(MILLI..25 * MILLI);
        let node = &self.nodes[index];
        let (epoch, sink) = (node.container.epoch, node.sink);
        self.at(self.now + takes, Happening::Confirm { node: index, epoch, sink, sensor: sensor.clone(), id });
    }

    fn exit(&mut self, index: usize) {
        self.checker.container_ended(index);
        self.reset_streams(crate::plan::End::Machine(index));
        let node = &mut self.nodes[index];
        node.container.kill();
        node.session = None;
        let epoch = node.guardian.epoch;
        let again = node.back_after.take();
        self.at(self.now + MILLI, Happening::ToGuardian(index, epoch, guardian::Event::ContainerGone));
        if let Some(after) = again {
            self.at(self.now + after, Happening::StartContainer(index));
        }
    }

    pub(crate) fn sensor_number(&self, sensor: &SensorRef) -> Option<usize> {
        self.run.setup.sensors.iter().position(|setup| setup.name == sensor.as_str())
    }

    pub(crate) fn mood(&self, index: usize, sensor: usize) -> Mood {
        self.nodes[index].moods.get(&sensor).copied().unwrap_or(Mood::Well)
    }
}
