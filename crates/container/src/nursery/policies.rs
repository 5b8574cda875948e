//! What the operators' policy says of sensors' processes: whether a standby has one, and how much memory it may have.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use st2sa_core::names::{ProcessId, SensorRef};
use st2sa_core::session::Event;
use st2sa_core::time::Time;
use st2sa_proto::InstancePolicy;

use super::Nursery;
use super::child::Phase;
use crate::keeper::Keeper;

impl Nursery {
    /// The policy of some sensors.
    pub(crate) fn take_policies(&mut self, now: Time, policies: Vec<InstancePolicy>, keeper: &mut Keeper) {
        for InstancePolicy { sensor, cold_standby, memory_bytes } in policies {
            let Some(known) = self.sensors.get_mut(&sensor) else { continue };
            let was_limited = std::mem::replace(&mut known.memory_bytes, memory_bytes);
            if was_limited != memory_bytes {
                for child in self.children.values().filter(|child| child.sensor == sensor) {
                    self.limit_memory(&sensor, child.pid);
                }
            }
            let Some(known) = self.sensors.get_mut(&sensor) else { continue };
            match (std::mem::replace(&mut known.cold_standby, cold_standby), cold_standby) {
                (false, true) => self.cool(&sensor, keeper),
                (true, false) => self.warm(now, &sensor),
                _ => {}
            }
        }
    }

    /// Bounds the memory of a process, and of all that it starts from now on.
    ///
    /// `RLIMIT_DATA` counts what is private and writable (Linux 4.7 and later): memory that the process really asked for,
    /// not files that it maps. It is the sensor that meets the bound, as a `MemoryError`, and nobody else.
    pub(super) fn limit_memory(&self, sensor: &SensorRef, pid: Option<i32>) {
        let Some(known) = self.sensors.get(sensor) else { return };
        let Some(pid) = pid.and_then(Pid::from_raw) else { return };
        let limit = Rlimit { current: known.memory_bytes, maximum: None };
        if let Err(error) = prlimit(Some(pid), Resource::Data, limit) {
            // It may be gone already.
            tracing::debug!(%sensor, %error, "the memory of a process cannot be bounded");
        }
    }

    /// The session wants a process of a cold sensor: it is started when it is to act.
    pub(super) fn spawn_cold(&mut self, sensor: &SensorRef, process: ProcessId) -> bool {
        let cold = self.sensors.get(sensor).is_some_and(|known| known.cold_standby && known.kind.is_some());
        if cold {
            self.cold.insert(process, sensor.clone());
            self.events.push(Event::Ready(process));
        }
        cold
    }

    /// Standbys of it have no process from now on.
    pub(super) fn cool(&mut self, sensor: &SensorRef, keeper: &mut Keeper) {
        let standbys =
            self.children.values_mut().filter(|child| child.sensor == *sensor && child.phase == Phase::Ready);
        let mut ended = Vec::new();
        for child in standbys {
            ended.push(child.number);
            if let Some(process) = child.process.take() {
                self.cold.insert(process, sensor.clone());
            }
        }
        for number in ended {
            self.end(number, keeper);
        }
    }

    fn warm(&mut self, now: Time, sensor: &SensorRef) {
        let cold: Vec<ProcessId> =
            self.cold.iter().filter(|(_, cold)| *cold == sensor).map(|(process, _)| *process).collect();
        for process in cold {
            self.cold.remove(&process);
            self.raise(now, sensor, Some(process));
        }
    }
}
