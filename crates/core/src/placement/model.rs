//! The problem with numbers in place of names, and where the plan has got to.

use std::collections::BTreeMap;

use super::hash::rendezvous;
use super::{Labels, Problem, Room, SensorNeed, weight};
use crate::names::{ContainerName, SensorRef};

/// How unfit a container is for a sensor: a sum of flaws, the smaller the better, none when every hard rule holds.
pub(super) type Flaw = u8;
/// The container drains: its sensors may stay when nobody eligible takes them, others never come.
pub(super) const DRAINING: Flaw = 1;
/// The container would run code that is not the newest.
pub(super) const STALE: Flaw = 2;
/// The sensor failed there: worse than stale code, which at least ran.
pub(super) const FAILED: Flaw = 4;
/// Not offered there, or a required label is missing.
pub(super) const NEVER: Flaw = 8;

/// What does not change while a plan is made. Paused sensors are left out.
pub(super) struct Model<'a> {
    pub(super) sensors: Vec<Sensor<'a>>,
    pub(super) containers: Vec<Container<'a>>,
    /// For each sensor and container, in rows of sensors.
    flaws: Vec<Flaw>,
    /// How many containers do not drain.
    pub(super) open: u64,
    /// How many sensors one container may draw in one plan by moves that nothing forces: ⌈sensors / open containers⌉,
    /// what a container that joins an even cluster of sensors of equal weight lacks.
    pub(super) draw_limit: u64,
    /// For each distinct set of preferred labels, how many of them each container has.
    tastes: Vec<Vec<u32>>,
}

pub(super) struct Sensor<'a> {
    pub(super) name: &'a SensorRef,
    pub(super) need: &'a SensorNeed,
    pub(super) weight: u64,
    /// The container that holds it, where that is here, offers it and has the required labels.
    pub(super) holder: Option<usize>,
    /// Where an operator wants it, where that is here.
    pub(super) wanted: Option<usize>,
    /// It failed on more than one container: the source is at fault, not the node.
    pub(super) source_at_fault: bool,
    /// Its row of `tastes`.
    taste: Option<usize>,
}

pub(super) struct Container<'a> {
    pub(super) name: &'a ContainerName,
    pub(super) capacity: u64,
    pub(super) draining: bool,
}

impl<'a> Model<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let containers: Vec<Container<'a>> = problem
            .containers
            .iter()
            .map(|(name, room)| Container {
                name,
                capacity: room.capacity.map_or(u64::MAX, u64::from),
                draining: room.draining,
            })
            .collect();
        let rooms: Vec<&Room> = problem.containers.values().collect();
        let mut required: BTreeMap<&Labels, Vec<bool>> = BTreeMap::new();
        let mut tastes = Vec::new();
        let mut taste_rows: BTreeMap<&Labels, usize> = BTreeMap::new();
        let mut sensors = Vec::with_capacity(problem.sensors.len());
        let mut flaws = Vec::with_capacity(problem.sensors.len() * containers.len());
        for (name, need) in problem.sensors.iter().filter(|(_, need)| !need.paused) {
            let fitting = (!need.require.is_empty()).then(|| {
                &*required
                    .entry(&need.require)
                    .or_insert_with(|| rooms.iter().map(|room| lacking(&need.require, room).is_none()).collect())
            });
            let row = flaws.len();
            flaws.resize(row + containers.len(), NEVER);
            let mut failures = 0_u32;
            let mut index = 0;
            for (offering, standing) in &need.offers {
                failures += u32::from(standing.failed_there);
                // Both sides are sorted by name.
                while containers.get(index).is_some_and(|here| here.name < offering) {
                    index += 1;
                }
                let Some(here) = containers.get(index).filter(|here| here.name == offering) else {
                    continue;
                };
                if fitting.is_none_or(|fitting| fitting[index]) {
                    flaws[row + index] = DRAINING * Flaw::from(here.draining)
                        + STALE * Flaw::from(standing.stale_code)
                        + FAILED * Flaw::from(standing.failed_there);
                }
            }
            let find = |name: &Option<ContainerName>| {
                let name = name.as_ref()?;
                containers.binary_search_by(|here| here.name.cmp(name)).ok()
            };
            let holder = find(&need.holder).filter(|&holder| flaws[row + holder] < NEVER);
            sensors.push(Sensor {
                name,
                need,
                weight: weight(need),
                holder,
                wanted: find(&need.wanted),
                source_at_fault: failures > 1,
                taste: (!need.prefer.is_empty()).then(|| {
                    *taste_rows.entry(&need.prefer).or_insert_with(|| {
                        tastes.push(rooms.iter().map(|room| liking(&need.prefer, room)).collect());
                        tastes.len() - 1
                    })
                }),
            });
        }
        let open = containers.iter().filter(|here| !here.draining).map(|_| 1).sum();
        let count: u64 = sensors.iter().map(|_| 1).sum();
        Self { draw_limit: count.div_ceil(u64::max(open, 1)), sensors, containers, flaws, open, tastes }
    }

    /// How unfit each container is for `sensor`.
    pub(super) fn flaws(&self, sensor: usize) -> &[Flaw] {
        &self.flaws[sensor * self.containers.len()..][..self.containers.len()]
    }

    /// How unfit `container` is for `sensor`.
    pub(super) fn flaw(&self, sensor: usize, container: usize) -> Flaw {
        self.flaws[sensor * self.containers.len() + container]
    }

    /// How many of its preferred labels `sensor` finds on `container`.
    pub(super) fn taste(&self, sensor: usize, container: usize) -> u32 {
        self.sensors[sensor].taste.map_or(0, |row| self.tastes[row][container])
    }

    /// Breaks a tie between containers for `sensor`: the highest wins.
    pub(super) fn tie(&self, sensor: usize, container: usize) -> u64 {
        rendezvous(self.sensors[sensor].name.as_str(), self.containers[container].name.as_str())
    }
}

/// The first label of `require` that `room` has not.
pub(super) fn lacking<'l>(require: &'l Labels, room: &Room) -> Option<(&'l String, &'l String)> {
    require.iter().find(|(key, value)| room.labels.get(*key) != Some(*value))
}

/// How many labels of `prefer` `room` has.
fn liking(prefer: &Labels, room: &Room) -> u32 {
    prefer.iter().map(|(key, value)| u32::from(room.labels.get(key) == Some(value))).sum()
}

/// Where the plan has got to.
pub(super) struct State {
    /// Where each sensor is.
    pub(super) at: Vec<Option<usize>>,
    /// Where each sensor was when the stage began.
    pub(super) origin: Vec<Option<usize>>,
    /// What each container carries.
    pub(super) load: Vec<u64>,
    /// How many sensors each container drew by moves that nothing forced, in all stages.
    pub(super) drawn: Vec<u64>,
    /// The same before this stage.
    drawn_before: Vec<u64>,
    /// Why each sensor was first moved in this stage.
    pub(super) cause: Vec<Option<Cause>>,
    /// Why each sensor was first moved before this stage.
    cause_before: Vec<Option<Cause>>,
    /// It had to be placed anyway in this stage, so another target costs no move.
    pub(super) loose: Vec<bool>,
    /// It is where an operator wants it.
    pub(super) pinned: Vec<bool>,
}

/// Why a sensor was moved or placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Wanted,
    Unplaced,
    Draining,
    Failed,
    Full,
    StaleCode,
    MakesRoom,
    Balance,
}

impl Cause {
    /// The sensor had nowhere to be or could not stay, so it goes even where it is not quite fit.
    pub(super) fn is_forced(self) -> bool {
        matches!(self, Self::Unplaced | Self::Draining | Self::Failed)
    }

    /// Nothing forced it, so it counts against the target's draw limit.
    fn is_voluntary(self) -> bool {
        matches!(self, Self::StaleCode | Self::MakesRoom | Self::Balance)
    }
}

impl State {
    pub(super) fn new(model: &Model<'_>) -> Self {
        let count = model.sensors.len();
        let at: Vec<Option<usize>> = model.sensors.iter().map(|sensor| sensor.holder).collect();
        let mut load = vec![0; model.containers.len()];
        for (sensor, at) in model.sensors.iter().zip(&at) {
            if let Some(at) = *at {
                load[at] += sensor.weight;
            }
        }
        Self {
            origin: at.clone(),
            at,
            load,
            drawn: vec![0; model.containers.len()],
            drawn_before: vec![0; model.containers.len()],
            cause: vec![None; count],
            cause_before: vec![None; count],
            loose: vec![false; count],
            pinned: vec![false; count],
        }
    }

    /// Begins a stage: from here on it is as if the sensors had always been where they are, but for the draws.
    ///
    /// Says `false`, and does nothing, if the last stage moved nothing.
    pub(super) fn begin_stage(&mut self) -> bool {
        if self.at == self.origin {
            return false;
        }
        self.origin.clone_from(&self.at);
        self.drawn_before.clone_from(&self.drawn);
        for (before, cause) in self.cause_before.iter_mut().zip(&mut self.cause) {
            *before = before.or(cause.take());
        }
        true
    }

    /// Begins a pass within a stage, which knows what earlier passes moved and why.
    pub(super) fn begin_pass(&mut self) {
        self.drawn.clone_from(&self.drawn_before);
        for index in 0..self.at.len() {
            self.pinned[index] = false;
            self.loose[index] = false;
            if self.at[index] == self.origin[index] {
                self.cause[index] = None;
            } else if let (Some(at), Some(cause)) = (self.at[index], self.cause[index]) {
                self.drawn[at] += u64::from(cause.is_voluntary());
                self.loose[index] = cause.is_forced() || cause == Cause::Full;
            }
        }
    }

    /// Why `sensor` was first moved.
    pub(super) fn first_cause(&self, sensor: usize) -> Option<Cause> {
        self.cause_before[sensor].or(self.cause[sensor])
    }

    /// Whether `container` can take `weight` more within its capacity.
    pub(super) fn fits(&self, model: &Model<'_>, container: usize, weight: u64) -> bool {
        self.load[container] + weight <= model.containers[container].capacity
    }

    /// Moves `sensor` to `to`; the first cause of its moves is the one that is told.
    pub(super) fn shift(&mut self, model: &Model<'_>, sensor: usize, to: usize, cause: Cause) {
        let weight = model.sensors[sensor].weight;
        if let Some(from) = self.at[sensor] {
            self.load[from] -= weight;
        }
        self.load[to] += weight;
        self.at[sensor] = Some(to);
        self.cause[sensor].get_or_insert(cause);
    }
}
