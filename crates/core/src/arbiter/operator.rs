//! What operators ask for: intents that outlive any restart, moves, dry runs, reasons.

use std::sync::Arc;

use super::leadership::Pending;
use super::sensor::Holder;
use super::{Arbiter, Command, Role};
use crate::engine::{Check, Electors, Intent, Key, Reply, Value, Write};
use crate::history::Cause;
use crate::message::{Kind, ToContainer};
use crate::names::{ArbitratorId, ContainerName, EntryId, SensorRef};
use crate::placement::{self, Plan, Problem, Reason, Room, Rule, Standing};
use crate::policy::Policy;
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
    /// Move a sensor to wherever it would go if it failed where it is.
    Failover(SensorRef),
    /// Have a sensor poll now, whatever its interval.
    Poll(SensorRef),
    /// Forget where a sensor failed: what it waits for is over, and it may go there again.
    Retry(SensorRef),
    /// Take an entry out of a sensor's journal, whatever it would have done.
    Discard {
        /// The sensor.
        sensor: SensorRef,
        /// The entry.
        entry: EntryId,
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
    /// Turn fail-safe on or off, for every arbitrator (rule 11): it stands in the store alone.
    FailSafe(bool),
    /// What would be placed where, if this were so.
    Plan(Suppose),
    /// Why a sensor is where it is.
    Why(SensorRef),
}

/// What a dry run supposes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Suppose {
    /// Nothing: what is about to be done anyway.
    AsIs,
    /// This container is drained.
    Drained(ContainerName),
    /// This container is gone.
    Lost(ContainerName),
    /// A container of this name has joined, and offers every sensor with its newest code.
    Joined(ContainerName),
}

/// What a dry run says of one sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    /// The sensor.
    pub sensor: SensorRef,
    /// Where it is.
    pub from: Option<ContainerName>,
    /// Where it would be; nowhere when absent.
    pub to: Option<ContainerName>,
    /// The rule that decided.
    pub rule: Rule,
}

impl Verb {
    /// What it is about: one intent at a time is on its way for each.
    fn subject(&self) -> Option<&str> {
        match self {
            Self::Pause(sensor) | Self::Resume(sensor) => Some(sensor.as_str()),
            Self::Drain(name) | Self::Undrain(name) => Some(name.as_str()),
            Self::FailSafe(_) => Some("fail-safe"),
            Self::Move { .. }
            | Self::Failover(_)
            | Self::Poll(_)
            | Self::Retry(_)
            | Self::Discard { .. }
            | Self::Resign
            | Self::Plan(_)
            | Self::Why(_) => None,
        }
    }
}

impl Planned {
    /// The rule, as the rest of a sentence that begins with the sensor.
    pub fn why(&self) -> String {
        told(&self.rule, self.from.is_some())
    }
}

/// The answer to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// An intent is durable; a move, a poll or a resignation is under way.
    Done,
    /// The sensor is on its way there.
    Moves(ContainerName),
    /// Somebody else leads: ask there.
    NotLeader(Option<ArbitratorId>),
    /// There is no such sensor, or no such container.
    NoSuch(String),
    /// It cannot be done, and why.
    Refused(String),
    /// It may have been done: the leader changed, or the store did not answer.
    Unknown,
    /// A dry run: every sensor.
    Plan(Vec<Planned>),
    /// A reason.
    Why {
        /// The planner's, as a sentence.
        reason: String,
        /// What stands against each container that offers it; nothing where it could run.
        containers: Vec<(ContainerName, Option<Reason>)>,
    },
}

impl Arbiter {
    pub(super) fn on_operator(&mut self, now: Time, request: u64, intent: Intent, verb: Verb) {
        let answer = match &mut self.role {
            Role::Follower(_) => Some(Answer::NotLeader(self.seen.as_ref().map(|seen| seen.arbitrator.clone()))),
            Role::Leader(_) => self.decide(now, request, intent, verb),
        };
        if let Some(answer) = answer {
            self.outbox.push(Command::Answer { request, answer });
        }
    }

    /// The policy was read again: placement is looked at anew.
    pub(super) fn on_policy(&mut self, policy: Policy) {
        Arc::make_mut(&mut self.config).policy = policy;
        if let Some(leadership) = self.leader() {
            leadership.dirty = true;
        }
    }

    /// The answer, unless it comes with the engine's.
    fn decide(&mut self, now: Time, request: u64, intent: Intent, verb: Verb) -> Option<Answer> {
        let write = match &verb {
            Verb::Move { sensor, to } => return Some(self.want(now, sensor, to, &intent.who)),
            Verb::Failover(sensor) => return Some(self.fail_over(now, sensor, &intent.who)),
            Verb::Poll(sensor) => return Some(self.poll_now(sensor)),
            Verb::Retry(sensor) => return Some(self.retry(sensor, intent.who)),
            Verb::Discard { sensor, entry } => return self.discard(request, sensor, *entry),
            Verb::Plan(suppose) => return Some(self.dry_run(now, suppose)),
            Verb::Why(sensor) => return Some(self.why(now, sensor)),
            Verb::Resign => {
                let barred_until = now + self.config.timing.leader_ttl;
                self.resign(now, barred_until);
                return Some(Answer::Done);
            }
            Verb::Pause(sensor) => Write::Put(Key::Pause(sensor.clone()), Value::Intent(intent.clone())),
            Verb::Resume(sensor) => Write::Delete(Key::Pause(sensor.clone())),
            Verb::Drain(name) => Write::Put(Key::Drain(name.clone()), Value::Intent(intent.clone())),
            Verb::Undrain(name) => Write::Delete(Key::Drain(name.clone())),
            Verb::FailSafe(on) => match self.fail_safe_write(*on) {
                Ok(write) => write,
                Err(answer) => return Some(answer),
            },
        };
        let checks = match (&verb, self.leader()) {
            (Verb::FailSafe(_), Some(leadership)) => {
                vec![Check { key: Key::Electors, version: leadership.electors.1 }]
            }
            _ => Vec::new(),
        };
        let under_way = |pending: &Pending| matches!(pending, Pending::Intent { verb: other, .. } if other.subject() == verb.subject());
        if self.leader().is_some_and(|leadership| leadership.pending.values().any(under_way)) {
            // Two writes on their way may arrive in either order.
            return Some(Answer::Refused("another request for it is under way: ask again".to_owned()));
        }
        self.transact(checks, vec![write], Pending::Intent { request, intent, verb });
        None
    }

    /// An intent counts from when it is durable.
    pub(super) fn intent_written(&mut self, now: Time, request: u64, intent: Intent, verb: Verb, reply: &Reply) {
        let Some(leadership) = self.leader() else { return };
        let answer = if let Reply::Applied { version } = reply {
            match verb {
                Verb::Pause(sensor) => drop(leadership.paused.insert(sensor, intent)),
                Verb::Resume(sensor) => {
                    let was_paused = leadership.paused.remove(&sensor).is_some();
                    // A leader that has found it paused knows of no other cause.
                    if let Some(state) = leadership.sensors.get_mut(&sensor)
                        && was_paused
                        && matches!(state.holder, Holder::Free)
                        && matches!(state.freed, None | Some((Cause::Paused, _)))
                    {
                        state.freed = Some((Cause::Resumed, intent.who));
                    }
                }
                Verb::Drain(name) => drop(leadership.drained.insert(name, intent)),
                Verb::Undrain(name) => drop(leadership.drained.remove(&name)),
                Verb::FailSafe(on) => {
                    leadership.electors.0.fail_safe = on;
                    leadership.electors.1 = *version;
                }
                Verb::Move { .. }
                | Verb::Failover(_)
                | Verb::Poll(_)
                | Verb::Retry(_)
                | Verb::Discard { .. }
                | Verb::Resign
                | Verb::Plan(_)
                | Verb::Why(_) => {}
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

    /// The electors' list with fail-safe as asked, or what speaks against that.
    fn fail_safe_write(&mut self, on: bool) -> Result<Write, Answer> {
        if on && self.config.forgetful {
            let why = "this store may forget what it has confirmed: an extended leadership could meet a second one";
            return Err(Answer::Refused(why.to_owned()));
        }
        let leadership = self.leader().ok_or(Answer::Unknown)?;
        let electors = &leadership.electors.0;
        let under_way = leadership.pending.values().any(|pending| matches!(pending, Pending::Electors(_)));
        if under_way || !leadership.electors_tried.is_empty() || leadership.phase == super::Phase::Reading {
            return Err(Answer::Refused("the list of electors is being written: ask again".to_owned()));
        }
        if electors.fail_safe == on {
            return Err(Answer::Done);
        }
        Ok(Write::Put(Key::Electors, Value::Electors(Electors { fail_safe: on, ..electors.clone() })))
    }

    fn want(&mut self, now: Time, sensor: &SensorRef, to: &ContainerName, who: &str) -> Answer {
        let problem = match self.movable(now, sensor) {
            Ok(problem) => problem,
            Err(answer) => return answer,
        };
        if !problem.containers.contains_key(to) {
            return Answer::NoSuch(format!("there is no container {to} that is up"));
        }
        match placement::ineligible(&problem, sensor, to) {
            None => self.send_to(sensor, to, who),
            Some(Reason::FailedThere) => Answer::Refused(format!(
                "{sensor} cannot run on {to}: it failed there (`st2sa retry {sensor}`, once what made it fail is mended)"
            )),
            Some(reason) => Answer::Refused(format!("{sensor} cannot run on {to}: {reason}")),
        }
    }

    /// As a failure would, with the word of the holder instead of a death: to see where it goes, and that it does.
    fn fail_over(&mut self, now: Time, sensor: &SensorRef, who: &str) -> Answer {
        let mut problem = match self.movable(now, sensor) {
            Ok(problem) => problem,
            Err(answer) => return answer,
        };
        let Some(need) = problem.sensors.get_mut(sensor) else { return unsettled(sensor) };
        let Some(holder) = need.holder.clone() else {
            return Answer::Refused(format!("{sensor} is ACTIVE nowhere"));
        };
        if let Some(standing) = need.offers.get_mut(&holder) {
            standing.failed_there = true;
        }
        let target = placement::plan(&problem).placements.remove(sensor).and_then(|placement| placement.target);
        match target {
            // One that failed at every other is no better there, and an operator wants to see it move.
            Some(to) if to != holder && placement::ineligible(&problem, sensor, &to).is_none() => {
                self.send_to(sensor, &to, who)
            }
            Some(_) | None => Answer::Refused(format!("no container but {holder} can run {sensor}")),
        }
    }

    /// The problem, if the sensor may be moved in it.
    fn movable(&mut self, now: Time, sensor: &SensorRef) -> Result<Problem, Answer> {
        let config = Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return Err(Answer::Unknown) };
        if !leadership.sensors.contains_key(sensor) {
            return Err(nobody_offers(sensor));
        }
        if let Some(intent) = leadership.paused.get(sensor) {
            return Err(Answer::Refused(format!("{sensor} was paused by {}: resume it first", intent.who)));
        }
        Ok(leadership.problem(&config, now))
    }

    fn send_to(&mut self, sensor: &SensorRef, to: &ContainerName, who: &str) -> Answer {
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        leadership.sensor(sensor).wanted = Some((to.clone(), who.to_owned()));
        leadership.dirty = true;
        Answer::Moves(to.clone())
    }

    fn poll_now(&mut self, sensor: &SensorRef) -> Answer {
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        let Some(state) = leadership.sensors.get(sensor) else { return nobody_offers(sensor) };
        let Holder::Held(held) = &state.holder else {
            return Answer::Refused(format!("{sensor} is ACTIVE nowhere"));
        };
        let kind = leadership.offer(&held.by, sensor).map(|offer| offer.kind);
        if kind == Some(Kind::Passive) {
            return Answer::Refused(format!("{sensor} is passive: it runs all the time, and is never polled"));
        }
        let live = leadership.register.get(&held.by).and_then(|member| member.live);
        let (Some((stream, _)), false) = (live, held.revoked.is_some()) else {
            return Answer::Refused(format!("{sensor} is on its way from {} just now: ask again", held.by));
        };
        let message = ToContainer::PollNow { sensor: sensor.clone(), fence: held.fence };
        self.send(stream, message);
        Answer::Done
    }

    /// Not durable: a new leader may hear of the failures again from whoever remembers them.
    fn retry(&mut self, sensor: &SensorRef, who: String) -> Answer {
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        if let Some(intent) = leadership.paused.get(sensor) {
            return Answer::Refused(format!("{sensor} was paused by {}: resume it first", intent.who));
        }
        let Some(state) = leadership.sensors.get_mut(sensor) else { return nobody_offers(sensor) };
        state.failed.clear();
        state.tries = 0;
        state.not_before = Time::default();
        if matches!((&state.holder, &state.freed), (Holder::Free, Some((Cause::Failed, _)))) {
            state.freed = Some((Cause::Retried, who));
        }
        leadership.dirty = true;
        Answer::Done
    }

    fn dry_run(&mut self, now: Time, suppose: &Suppose) -> Answer {
        let config = Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        let mut problem = leadership.problem(&config, now);
        let is = |sensor: &SensorRef| match &leadership.sensors.get(sensor)?.holder {
            Holder::Held(held) => Some(held.by.clone()),
            Holder::Preparing(preparing) => Some(preparing.to.clone()),
            Holder::Unknown | Holder::Free => None,
        };
        if let Err(answer) = suppose.apply(&mut problem) {
            return answer;
        }
        let Plan { placements } = placement::plan(&problem);
        let planned = placements.into_iter().map(|(sensor, placement)| Planned {
            from: is(&sensor),
            to: placement.target,
            rule: placement.rule,
            sensor,
        });
        Answer::Plan(planned.collect())
    }

    fn why(&mut self, now: Time, sensor: &SensorRef) -> Answer {
        let config = Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return Answer::Unknown };
        let is_free = leadership.sensors.get(sensor).is_some_and(|state| state.holder == Holder::Free);
        let next_try = leadership.sensors.get(sensor).filter(|_| is_free).map_or(now, |state| state.not_before);
        let paused = leadership.paused.get(sensor).map(|intent| intent.who.clone());
        let reason = match leadership.plan.placements.get(sensor) {
            Some(placement) if placement.rule == Rule::Paused => {
                format!("{sensor} is paused by {}", paused.unwrap_or_else(|| "an operator".to_owned()))
            }
            Some(placement) if next_try > now => {
                let wait = next_try.since(now);
                format!("{sensor} {}; the next try is in {wait}", told(&placement.rule, !is_free))
            }
            Some(placement) => format!("{sensor} {}", told(&placement.rule, !is_free)),
            None if leadership.sensors.contains_key(sensor) => {
                format!("{sensor} waits: whoever ran it may still do so until its container is back or struck")
            }
            None => return nobody_offers(sensor),
        };
        let problem = leadership.problem(&config, now);
        let offers = problem.sensors.get(sensor).map(|need| need.offers.keys().cloned().collect::<Vec<_>>());
        let against = |name: ContainerName| {
            let reason = placement::ineligible(&problem, sensor, &name);
            (name, reason)
        };
        Answer::Why { reason, containers: offers.unwrap_or_default().into_iter().map(against).collect() }
    }
}

impl Suppose {
    fn apply(&self, problem: &mut Problem) -> Result<(), Answer> {
        match self {
            Self::AsIs => {}
            Self::Drained(name) => match problem.containers.get_mut(name) {
                Some(room) => room.draining = true,
                None => return Err(no_container(name)),
            },
            Self::Lost(name) => {
                problem.containers.remove(name).ok_or_else(|| no_container(name))?;
                for need in problem.sensors.values_mut() {
                    need.offers.remove(name);
                }
            }
            Self::Joined(name) => {
                if problem.containers.insert(name.clone(), Room::default()).is_some() {
                    return Err(Answer::Refused(format!("{name} is here already: give another name")));
                }
                for need in problem.sensors.values_mut() {
                    need.offers.insert(name.clone(), Standing::default());
                }
            }
        }
        Ok(())
    }
}

/// A rule, as the rest of a sentence; one that is ACTIVE nowhere does not stay where it was, but waits there.
fn told(rule: &Rule, is_held: bool) -> String {
    match rule {
        _ if is_held => rule.to_string(),
        Rule::Stays { on } => format!("waits on {on} to be started again"),
        Rule::StaysFailing { on } => format!(
            "waits on {on}, where it failed, to be tried again: it failed elsewhere too, or no other container can run it"
        ),
        Rule::StaysDraining { .. } | Rule::StaysStaleCode { .. } | Rule::StaysFull { .. } => {
            rule.to_string().replacen("stays on", "waits on", 1)
        }
        rule => rule.to_string(),
    }
}

fn no_container(name: &ContainerName) -> Answer {
    Answer::NoSuch(format!("there is no container {name} that is up"))
}

fn nobody_offers(sensor: &SensorRef) -> Answer {
    Answer::NoSuch(format!("no container offers {sensor}"))
}

fn unsettled(sensor: &SensorRef) -> Answer {
    Answer::Refused(format!("whoever ran {sensor} may still do so: wait until its container is back or struck"))
}
