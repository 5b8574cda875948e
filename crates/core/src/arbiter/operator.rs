//! What operators ask for: intents that outlive any restart, moves, dry runs, reasons.

use super::leadership::Pending;
use super::sensor::Holder;
use super::{Arbiter, Command, Role};
use crate::engine::{Intent, Key, Reply, Value, Write};
use crate::names::{ArbitratorId, ContainerName, SensorRef};
use crate::placement::{self, Plan};
use crate::time::Time;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Move a sensor to a container, now.
    Move {
        /// The sensor.
        sensor: SensorRef,
        /// Where to.
        to: ContainerName,
    },
    /// Keep a sensor from running until it is resumed.
    Pause(SensorRef),
    /// Let it run again.
    Resume(SensorRef),
    /// Move away what can run elsewhere, and give nothing new, until undrained.
    Drain(ContainerName),
    /// Use the container again.
    Undrain(ContainerName),
    /// Hand the leadership over.
    Resign,
    /// What would be placed where, if this container were drained or gone, or (`None`) as things are.
    Plan(Option<ContainerName>),
    /// Why a sensor is where it is.
    Why(SensorRef),
}

impl Verb {
    /// What it is about: one intent at a time is on its way for each.
    fn subject(&self) -> Option<&str> {
        match self {
            Self::Pause(sensor) | Self::Resume(sensor) => Some(sensor.as_str()),
            Self::Drain(name) | Self::Undrain(name) => Some(name.as_str()),
            Self::Move { .. } | Self::Resign | Self::Plan(_) | Self::Why(_) => None,
        }
    }
}

/// The answer to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// An intent is durable; a move, or a resignation, is under way.
    Done,
    /// Somebody else leads: ask there.
    NotLeader(Option<ArbitratorId>),
    /// It cannot be done, and why.
    Refused(String),
    /// It may have been done: the leader changed, or the store did not answer.
    Unknown,
    /// A dry run.
    Plan(Plan),
    /// A reason.
    Why(String),
}

impl Arbiter {
    pub(super) fn on_operator(&mut self, now: Time, request: u64, who: &str, verb: Verb) {
        let answer = match &mut self.role {
            Role::Follower(_) => Some(Answer::NotLeader(self.seen.as_ref().map(|seen| seen.arbitrator.clone()))),
            Role::Leader(_) => self.decide(now, request, who, verb),
        };
        if let Some(answer) = answer {
            self.outbox.push(Command::Answer { request, answer });
        }
    }

    /// The answer, unless it comes with the engine's.
    fn decide(&mut self, now: Time, request: u64, who: &str, verb: Verb) -> Option<Answer> {
        let intent = || Value::Intent(Intent { who: who.to_owned() });
        let write = match &verb {
            Verb::Move { sensor, to } => return Some(self.want(now, sensor, to, who)),
            Verb::Plan(without) => return Some(self.dry_run(now, without.as_ref())),
            Verb::Why(sensor) => return Some(self.why(now, sensor)),
            Verb::Resign => {
                let barred_until = now + self.config.timing.leader_ttl;
                self.resign(now, barred_until);
                return Some(Answer::Done);
            }
            Verb::Pause(sensor) => Write::Put(Key::Pause(sensor.clone()), intent()),
            Verb::Resume(sensor) => Write::Delete(Key::Pause(sensor.clone())),
            Verb::Drain(name) => Write::Put(Key::Drain(name.clone()), intent()),
            Verb::Undrain(name) => Write::Delete(Key::Drain(name.clone())),
        };
        let under_way = |pending: &Pending| matches!(pending, Pending::Intent { verb: other, .. } if other.subject() == verb.subject());
        if self.leader().is_some_and(|leadership| leadership.pending.values().any(under_way)) {
            // Two writes on their way may arrive in either order.
            return Some(Answer::Refused("another request for it is under way: ask again".to_owned()));
        }
        self.transact(Vec::new(), vec![write], Pending::Intent { request, who: who.to_owned(), verb });
        None
    }

    /// An intent counts from when it is durable.
    pub(super) fn intent_written(&mut self, now: Time, request: u64, who: String, verb: Verb, reply: &Reply) {
        let Some(leadership) = self.leader() else { return };
        let answer = if matches!(reply, Reply::Applied { .. }) {
            let intent = Intent { who };
            match verb {
                Verb::Pause(sensor) => drop(leadership.paused.insert(sensor, intent)),
                Verb::Resume(sensor) => drop(leadership.paused.remove(&sensor)),
                Verb::Drain(name) => drop(leadership.drained.insert(name, intent)),
                Verb::Undrain(name) => drop(leadership.drained.remove(&name)),
                Verb::Move { .. } | Verb::Resign | Verb::Plan(_) | Verb::Why(_) => {}
            }
            leadership.dirty = true;
            Answer::Done
        } else {
            // It may be stored all the same: what is stored counts.
            leadership.reread_at = Some(now);
            Answer::Unknown
        };
        self.outbox.push(Command::Answer { request, answer });
    }

    fn want(&mut self, now: Time, sensor: &SensorRef, to: &ContainerName, who: &str) -> Answer {
        let config = std::sync::Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        if !leadership.sensors.contains_key(sensor) {
            return Answer::Refused(format!("no container offers {sensor}"));
        }
        if let Some(intent) = leadership.paused.get(sensor) {
            return Answer::Refused(format!("{sensor} was paused by {}: resume it first", intent.who));
        }
        let problem = leadership.problem(&config, now);
        if let Some(reason) = placement::ineligible(&problem, sensor, to) {
            return Answer::Refused(format!("{sensor} cannot run on {to}: {reason}"));
        }
        leadership.sensor(sensor).wanted = Some((to.clone(), who.to_owned()));
        leadership.dirty = true;
        Answer::Done
    }

    fn dry_run(&mut self, now: Time, without: Option<&ContainerName>) -> Answer {
        let config = std::sync::Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        let mut problem = leadership.problem(&config, now);
        if let Some(name) = without {
            match problem.containers.get_mut(name) {
                Some(room) => room.draining = true,
                None => return Answer::Refused(format!("there is no container {name}")),
            }
        }
        Answer::Plan(placement::plan(&problem))
    }

    fn why(&mut self, now: Time, sensor: &SensorRef) -> Answer {
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        let next_try = leadership.sensors.get(sensor).map_or(now, |state| match state.holder {
            Holder::Free => state.not_before,
            Holder::Unknown | Holder::Preparing(_) | Holder::Held(_) => now,
        });
        match leadership.plan.placements.get(sensor) {
            Some(placement) if next_try > now => {
                let wait = next_try.since(now);
                Answer::Why(format!("{sensor} {}; the next try is in {wait}", placement.rule))
            }
            Some(placement) => Answer::Why(format!("{sensor} {}", placement.rule)),
            None if leadership.sensors.contains_key(sensor) => Answer::Why(format!(
                "{sensor} waits: whoever ran it may still do so until its container is back or struck"
            )),
            None => Answer::Refused(format!("no container offers {sensor}")),
        }
    }
}
