//! Giving sensors away and taking them back: break before make, one fence a grant (rules 6 and 8).

use std::sync::Arc;

use super::leadership::{Leadership, Phase};
use super::sensor::{Held, Holder, Preparing, Revoked};
use super::{Alarm, Arbiter, Command, Config};
use crate::engine::Journal;
use crate::guard;
use crate::history::{Cause, Record};
use crate::message::{Activation, Claim, Effects, Kind, Offer, Status, StopCause, ToContainer};
use crate::names::{ContainerName, Digest, Fence, RequestId, SensorRef, StreamId};
use crate::placement::{self, Problem, Room, Rule, SensorNeed, Standing};
use crate::time::{Span, Time};

/// Placement is looked at again at least this often, for what only time changes (a settled digest, a
/// forgotten failure): much finer than any of those windows, much coarser than a heartbeat's cost.
const REPLAN_EVERY: Span = Span::from_secs(1);

/// A container offers what it has loaded within this of its start.
const OFFERS_WITHIN: Span = Span::from_secs(6);

/// Who wants what the arbiter decides by itself.
const ARBITER: &str = "arbiter";

impl Arbiter {
    /// The list that a container binds itself with: claims under its standing registration are adopted
    /// at once, and what it no longer lists has stopped there.
    pub(super) fn bind_claims(&mut self, now: Time, name: &ContainerName, holds: &[Claim], wait: bool) {
        let Some(leadership) = self.leader() else { return };
        let before = leadership.held_by(name);
        leadership.dirty = true;
        for claim in holds {
            let polled_at = claim.polled_ago.map(|ago| now - ago);
            if wait {
                let Some(leadership) = self.leader() else { return };
                leadership.sensor(&claim.sensor).claims.insert(claim.fence, (name.clone(), polled_at));
            } else {
                self.adopt(now, name, &claim.sensor, claim.fence, polled_at);
            }
        }
        for (sensor, _) in before {
            if !holds.iter().any(|claim| claim.sensor == sensor) {
                self.free(now, &sensor, Cause::Stopped);
            }
        }
    }

    fn adopt(&mut self, now: Time, name: &ContainerName, sensor: &SensorRef, claimed: Fence, polled_at: Option<Time>) {
        let Some(leadership) = self.leader() else { return };
        let state = leadership.sensor(sensor);
        if polled_at.is_some() {
            state.polled_at = polled_at;
        }
        let (revoked, cause) = match &state.holder {
            Holder::Unknown => {
                // When it was last moved is not known: it is not moved again soon.
                state.moved_at = Some(now);
                (None, Cause::Adopted)
            }
            Holder::Held(held) if held.by == *name => (held.revoked.clone(), held.cause),
            Holder::Free | Holder::Preparing(_) | Holder::Held(_) => {
                self.tell(name, sensor, claimed, Status::Standby);
                self.outbox.push(Command::Alarm(Alarm::ClaimedTwice(sensor.clone())));
                return;
            }
        };
        let fence = leadership.next_fence();
        let digest = leadership.offer(name, sensor).map(|offer| offer.digest);
        let state = leadership.sensor(sensor);
        state.last_on = Some(name.clone());
        let held = Held {
            by: name.clone(),
            fence,
            cause,
            unapplied: Some(Status::Active(None)),
            told_at: now,
            digest,
            revoked: revoked.clone(),
        };
        state.holder = Holder::Held(Box::new(held));
        leadership.told.entry(name.clone()).or_default().insert(sensor.clone());
        self.tell(name, sensor, fence, Status::Active(None));
        self.record(now, sensor, Some(name), Some(name), fence, (Cause::Adopted, ARBITER));
        if revoked.is_some() {
            self.tell(name, sensor, fence, Status::Standby);
        }
        self.pump(sensor);
    }

    /// On an engine that may forget: frozen claims, highest fence first (rule 9).
    pub(super) fn adopt_after_the_wait(&mut self, now: Time) {
        let Some(leadership) = self.leader() else { return };
        let mut waiting = Vec::new();
        for (sensor, state) in &mut leadership.sensors {
            for (fence, (name, polled_at)) in std::mem::take(&mut state.claims).into_iter().rev() {
                waiting.push((sensor.clone(), fence, name, polled_at));
            }
        }
        for (sensor, fence, name, polled_at) in waiting {
            let Some(leadership) = self.leader() else { return };
            // One that is between two streams holds it all the same: it comes back, or is struck.
            if !leadership.register.contains_key(&name) {
                continue;
            }
            let state = leadership.sensor(&sensor);
            if state.holder == Holder::Free {
                state.holder = Holder::Unknown;
            }
            self.adopt(now, &name, &sensor, fence, polled_at);
        }
        self.acknowledge_revived(now);
    }

    pub(super) fn on_applied(&mut self, stream: StreamId, sensor: &SensorRef, fence: Fence) {
        let Some(leadership) = self.leader() else { return };
        let Some(name) = leadership.bound_on(stream) else { return };
        if let Holder::Held(held) = &mut leadership.sensor(sensor).holder
            && held.by == name
            && held.fence == fence
        {
            held.unapplied = None;
        }
    }

    /// The word (rule 6): it frees the sensor if it names the newest fence given there.
    pub(super) fn on_stopped(
        &mut self,
        now: Time,
        stream: StreamId,
        sensor: &SensorRef,
        fence: Fence,
        cause: StopCause,
        polled_ago: Option<Span>,
    ) {
        let Some(leadership) = self.leader() else { return };
        let Some(name) = leadership.bound_on(stream) else { return };
        let Holder::Held(held) = &leadership.sensor(sensor).holder else { return };
        if held.by != name || !guard!(WordNamesNewestFence, fence == held.fence, else true) {
            return;
        }
        let revoked = held.revoked.clone();
        if let Some(ago) = polled_ago {
            leadership.sensor(sensor).polled_at = Some(now - ago);
        }
        let freed = match (&revoked, cause) {
            (_, cause) if cause.is_failure() => Cause::Failed,
            (Some(revoked), _) => revoked.cause,
            (None, _) => Cause::Stopped,
        };
        if cause.is_failure() {
            self.on_failure(now, &name, sensor);
        }
        self.free(now, sensor, freed);
    }

    /// Tells again what a container has not said that it applied; gives up on one that never does.
    pub(super) fn resend_unapplied(&mut self, now: Time, name: &ContainerName) {
        let config = Arc::clone(&self.config);
        let (heartbeat, grace) = (config.timing.heartbeat, config.timing.apply_grace);
        let Some(leadership) = self.leader() else { return };
        let mut again = Vec::new();
        let mut deaf = None;
        let open: Vec<_> = leadership.told.get(name).into_iter().flatten().cloned().collect();
        for sensor in open {
            let kind = leadership.offer(name, &sensor).map_or(Kind::Passive, |offer| offer.kind);
            let held = match &leadership.sensor(&sensor).holder {
                Holder::Held(held) if held.by == *name && held.is_open() => held.clone(),
                _ => {
                    if let Some(told) = leadership.told.get_mut(name) {
                        told.remove(&sensor);
                    }
                    continue;
                }
            };
            let since = held.revoked.as_ref().map_or(held.told_at, |revoked| revoked.at);
            if now < since + heartbeat {
                continue;
            }
            let fence = held.fence;
            let applies_from = since.max(leadership.store_back_at);
            if !leadership.store_away && now >= applies_from + config.policy.of(&sensor).poll_timeout(kind) + grace {
                deaf = Some(sensor.clone());
            }
            if held.revoked.is_some() {
                again.push((sensor, fence, Status::Standby));
            } else if let Some(status) = &held.unapplied {
                again.push((sensor, fence, status.clone()));
            }
        }
        if let Some(sensor) = deaf
            && let Some(member) = leadership.register.get_mut(name)
            && !member.muted
        {
            member.muted = true;
            leadership.dirty = true;
            self.outbox.push(Command::Alarm(Alarm::DoesNotApply(name.clone(), sensor)));
        }
        for (sensor, fence, status) in again {
            self.tell(name, &sensor, fence, status);
        }
    }

    /// Makes what is so what should be.
    pub(super) fn reconcile(&mut self, now: Time) {
        let config = Arc::clone(&self.config);
        let Some(leadership) = self.leader() else { return };
        if leadership.phase == Phase::Reading || !(leadership.dirty || now >= leadership.replan_at) {
            return;
        }
        leadership.dirty = false;
        leadership.drop_withdrawn();
        let problem = leadership.problem(&config, now);
        let plan = placement::plan(&problem);
        leadership.replan_at = leadership.next_try(now).min(now + REPLAN_EVERY);
        leadership.plan = plan.clone();
        let mut voluntary = leadership.voluntary_moves_under_way();
        for (sensor, placement) in plan.placements {
            self.place(now, &sensor, placement.target, &placement.rule, &mut voluntary);
        }
    }

    fn place(
        &mut self,
        now: Time,
        sensor: &SensorRef,
        target: Option<ContainerName>,
        rule: &Rule,
        voluntary: &mut usize,
    ) {
        /// A move for balance ends before the next begins: one sensor at a time pauses for it, and a
        /// plan that proves wrong has cost one move.
        const VOLUNTARY_MOVES_AT_ONCE: usize = 1;
        let Some(leadership) = self.leader() else { return };
        // Containers that start together load their packs for a while: the first to be done is not given everything.
        let gathers = leadership.register.values().any(|member| member.live.is_some() && !member.told_offers);
        let place_new_from = leadership.place_new_from + if gathers { OFFERS_WITHIN } else { Span::ZERO };
        // A wish for a place that has become unfit is over.
        let unfit = |wanted: &(ContainerName, String)| target.as_ref() != Some(&wanted.0);
        leadership.sensor(sensor).wanted.take_if(|wanted| unfit(wanted));
        let changed = leadership.runs_older_files(sensor);
        let ends = target.as_ref().is_some_and(|target| leadership.ends_with(sensor, target));
        let state = leadership.sensor(sensor);
        match &state.holder {
            Holder::Unknown | Holder::Preparing(_) => {}
            Holder::Free => {
                let Some(target) = target else { return };
                // One that leaves, and has stopped the sensor by itself, does not take it again.
                let leaves = leadership.register.get(&target).is_some_and(|member| member.draining);
                let state = leadership.sensor(sensor);
                if ends || leaves && matches!(state.freed, Some((Cause::Stopped, _))) {
                    return;
                }
                let again = state.last_on.as_ref() == Some(&target);
                let new = state.last_on.is_none();
                if again && now < state.not_before || new && now < place_new_from {
                    return;
                }
                if again && state.not_before > Time::default() {
                    state.tries = state.tries.saturating_add(1);
                }
                self.begin(now, sensor, target);
            }
            Holder::Held(held) if held.revoked.is_some() => {}
            Holder::Held(held) if target.as_ref() == Some(&held.by) => {
                if state.wanted.as_ref().is_some_and(|(wanted, _)| *wanted == held.by) {
                    state.wanted = None;
                } else if changed {
                    self.revoke(now, sensor, Cause::NewCode, ARBITER);
                } else if state.ailing && matches!(rule, Rule::StaysFailing { .. }) {
                    // A process that remembers a broken connection raises for ever: it is tried again with a new
                    // one, after the back-off.
                    self.revoke(now, sensor, Cause::Failed, ARBITER);
                } else if ends {
                    self.revoke(now, sensor, Cause::Drained, ARBITER);
                }
            }
            Holder::Held(held) => {
                let cause = cause_of(rule);
                let by = held.by.clone();
                let wanted = state.wanted.as_ref().map(|(_, who)| who.clone());
                let intent = match cause {
                    Cause::Paused => leadership.paused.get(sensor),
                    Cause::Drained => leadership.drained.get(&by),
                    _ => None,
                };
                let wanted = wanted.filter(|_| cause == Cause::Moved);
                let who = wanted.or_else(|| intent.map(|intent| intent.who.clone()));
                let who = who.unwrap_or_else(|| ARBITER.to_owned());
                if matches!(cause, Cause::Balanced | Cause::NewCode) {
                    if *voluntary >= VOLUNTARY_MOVES_AT_ONCE {
                        return;
                    }
                    *voluntary += 1;
                }
                self.revoke(now, sensor, cause, &who);
            }
        }
    }

    /// Starts to give a free sensor away: a journaled one after its journal is read.
    fn begin(&mut self, now: Time, sensor: &SensorRef, to: ContainerName) {
        let policy = self.config.policy.of(sensor).clone();
        let Some(leadership) = self.leader() else { return };
        let Some(offer) = leadership.offer(&to, sensor) else { return };
        // Also one that is direct now may have been journaled, and have left entries.
        let journaled = policy.effects(offer) == Effects::Journal || offer.effects == Effects::Journal;
        let state = leadership.sensor(sensor);
        let (cause, who) = match (&state.wanted, state.freed.take()) {
            (Some((wanted, who)), _) if *wanted == to => (Cause::Moved, who.clone()),
            (_, Some((Cause::Paused, _))) => (Cause::Resumed, ARBITER.to_owned()),
            (_, Some(freed)) => freed,
            (_, None) => (Cause::Placed, ARBITER.to_owned()),
        };
        if journaled {
            let seal = guard!(SealBeforeActivation, state.log.unanswered, else false);
            state.holder =
                Holder::Preparing(Box::new(Preparing { to, cause, who, request: RequestId(0), seal, sealing: None }));
            self.read_for_activation(sensor);
        } else {
            self.grant(now, sensor, &to, cause, &who, None);
        }
    }

    pub(super) fn grant(
        &mut self,
        now: Time,
        sensor: &SensorRef,
        to: &ContainerName,
        cause: Cause,
        who: &str,
        journal: Option<Journal>,
    ) {
        let policy = self.config.policy.of(sensor).clone();
        let Some(leadership) = self.leader() else { return };
        let fence = leadership.next_fence();
        let kind = leadership.offer(to, sensor).map_or(Kind::Passive, |offer| offer.kind);
        let timeout = policy.poll_timeout(kind);
        let digest = leadership.offer(to, sensor).map(|offer| offer.digest);
        let state = leadership.sensor(sensor);
        state.ailing = false;
        if matches!(cause, Cause::Balanced | Cause::NewCode) {
            state.moved_at = Some(now);
        }
        state.last_on = Some(to.clone());
        if state.wanted.as_ref().is_some_and(|(wanted, _)| wanted == to) {
            state.wanted = None;
        }
        let activation =
            Activation { journal, polled_ago: state.polled_ago(now), timeout, max_errors: policy.max_errors };
        let status = Status::Active(Some(Box::new(activation)));
        let held =
            Held { by: to.clone(), fence, cause, unapplied: Some(status.clone()), told_at: now, digest, revoked: None };
        state.holder = Holder::Held(Box::new(held));
        leadership.told.entry(to.clone()).or_default().insert(sensor.clone());
        self.record(now, sensor, None, Some(to), fence, (cause, who));
        self.tell(to, sensor, fence, status);
    }

    pub(super) fn revoke(&mut self, now: Time, sensor: &SensorRef, cause: Cause, who: &str) {
        let Some(leadership) = self.leader() else { return };
        let Holder::Held(held) = &mut leadership.sensor(sensor).holder else { return };
        held.revoked = Some(Revoked { at: now, cause, who: who.to_owned() });
        let (by, fence) = (held.by.clone(), held.fence);
        leadership.told.entry(by.clone()).or_default().insert(sensor.clone());
        self.tell(&by, sensor, fence, Status::Standby);
    }

    /// Nobody acts as this sensor any more.
    pub(super) fn free(&mut self, now: Time, sensor: &SensorRef, cause: Cause) {
        let Some(leadership) = self.leader() else { return };
        leadership.dirty = true;
        let state = leadership.sensor(sensor);
        state.log.released();
        match std::mem::replace(&mut state.holder, Holder::Free) {
            Holder::Held(held) => {
                let who = held.revoked.map_or_else(|| ARBITER.to_owned(), |revoked| revoked.who);
                leadership.sensor(sensor).freed = Some((cause, who.clone()));
                self.record(now, sensor, Some(&held.by), None, held.fence, (cause, &who));
            }
            Holder::Unknown | Holder::Free | Holder::Preparing(_) => {}
        }
    }

    /// Frees all that a container held.
    pub(super) fn free_all(&mut self, now: Time, name: &ContainerName, cause: Cause) {
        let Some(leadership) = self.leader() else { return };
        let held = leadership.held_by(name);
        for state in leadership.sensors.values_mut() {
            state.claims.retain(|_, (claimer, _)| claimer != name);
            if matches!(&state.holder, Holder::Preparing(preparing) if preparing.to == *name) {
                state.holder = Holder::Free;
            }
        }
        leadership.dirty = true;
        for (sensor, _) in held {
            self.free(now, &sensor, cause);
        }
    }

    pub(super) fn tell(&mut self, name: &ContainerName, sensor: &SensorRef, fence: Fence, status: Status) {
        let live = self.leader().and_then(|leadership| leadership.register.get(name)?.live);
        if let Some((stream, _)) = live {
            self.send(stream, ToContainer::SetStatus { sensor: sensor.clone(), fence, status });
        }
    }

    pub(super) fn record(
        &mut self,
        at: Time,
        sensor: &SensorRef,
        from: Option<&ContainerName>,
        to: Option<&ContainerName>,
        fence: Fence,
        (cause, who): (Cause, &str),
    ) {
        let (from, to) = (from.cloned(), to.cloned());
        let record = Record { at, sensor: sensor.clone(), from, to, fence, cause, who: who.to_owned() };
        self.outbox.push(Command::Record(record));
    }
}

impl Leadership {
    /// The container whose bound session this stream carries.
    pub(super) fn bound_on(&self, stream: StreamId) -> Option<ContainerName> {
        let (name, session) = self.streams.get(&stream)?;
        let member = self.register.get(name)?;
        (member.live == Some((stream, *session)) && !member.striking).then(|| name.clone())
    }

    pub(super) fn offer(&self, name: &ContainerName, sensor: &SensorRef) -> Option<&Offer> {
        self.register.get(name)?.offers.get(sensor)
    }

    /// Whether it is in vain that a container which leaves waits for somebody to take a sensor that placement leaves with
    /// it: every other one leaves or drains itself, or has loaded the sensor and is not fit for it. One that has lost touch
    /// may come back, and one that does not offer the sensor may still be loading it.
    fn ends_with(&self, sensor: &SensorRef, leaving: &ContainerName) -> bool {
        let decided = |name: &ContainerName, member: &super::Member| {
            let closed = member.draining || self.drained.contains_key(name);
            closed || member.reachable() && member.offers.contains_key(sensor)
        };
        self.register.get(leaving).is_some_and(|member| member.draining)
            && self.register.iter().all(|(name, member)| name == leaving || decided(name, member))
    }

    /// A sensor that no container in the register offers any more, because it was taken out of the packs, is over.
    fn drop_withdrawn(&mut self) {
        let register = &self.register;
        if !register.values().all(|member| member.told_offers) {
            return;
        }
        let offered = |sensor: &SensorRef| register.values().any(|member| member.offers.contains_key(sensor));
        self.sensors.retain(|sensor, state| state.offered || !state.is_quiet() || offered(sensor));
    }

    /// What placement decides from.
    pub(super) fn problem(&self, config: &Config, now: Time) -> Problem {
        let reachable = |name: &ContainerName| self.register.get(name).is_some_and(super::Member::reachable);
        let containers = self.register.iter().filter(|(_, member)| member.reachable()).map(|(name, member)| {
            let draining = member.draining || self.drained.contains_key(name);
            (name.clone(), Room { labels: member.labels.clone(), capacity: member.capacity, draining })
        });
        let mut problem = Problem { sensors: std::collections::BTreeMap::new(), containers: containers.collect() };
        for (sensor, state) in &self.sensors {
            let holder = match &state.holder {
                Holder::Unknown => continue,
                Holder::Held(held) if !reachable(&held.by) => continue,
                Holder::Held(held) if held.revoked.is_none() => Some(held.by.clone()),
                Holder::Preparing(preparing) => Some(preparing.to.clone()),
                // What was freed stays where it was, unless something speaks against that.
                Holder::Held(_) | Holder::Free => state.last_on.clone().filter(reachable),
            };
            problem.sensors.insert(sensor.clone(), self.need(config, now, sensor, holder));
        }
        problem
    }

    fn need(&self, config: &Config, now: Time, sensor: &SensorRef, holder: Option<ContainerName>) -> SensorNeed {
        let policy = config.policy.of(sensor);
        let state = self.sensors.get(sensor);
        let newest = self.code.get(sensor);
        let timing = &config.timing;
        let mut movable = false;
        let mut offers = std::collections::BTreeMap::new();
        for (name, member) in self.register.iter().filter(|(_, member)| member.reachable()) {
            let Some(offer) = member.offers.get(sensor) else { continue };
            // Running sensors move to newer code only when it has stood for a while.
            let counts =
                |(_, since): &(Digest, Time)| holder.as_ref() != Some(name) || now >= *since + timing.code_settle;
            let stale_code = newest.is_some_and(|newest| newest.0 != offer.digest && counts(newest));
            let failed_there = state.is_some_and(|state| state.failed_at(name, now, timing.failure_memory));
            offers.insert(name.clone(), Standing { stale_code, failed_there });
            movable |= matches!(offer.kind, Kind::Polling { .. }) && policy.effects(offer) == Effects::Journal;
        }
        let moved_at = state.and_then(|state| state.moved_at);
        let rested = moved_at.is_none_or(|at| now >= at + timing.voluntary_move_interval);
        SensorNeed {
            weight: policy.weight,
            require: policy.require.clone(),
            prefer: policy.prefer.clone(),
            offers,
            holder,
            may_move: movable && rested && self.phase == Phase::Settled,
            wanted: state.and_then(|state| state.wanted.as_ref().map(|(wanted, _)| wanted.clone())),
            paused: self.paused.contains_key(sensor),
        }
    }

    fn next_try(&self, now: Time) -> Time {
        let tries = self.sensors.values().map(|state| state.not_before).filter(|at| *at > now);
        tries.min().unwrap_or(Time::NEVER)
    }

    fn voluntary_moves_under_way(&self) -> usize {
        let voluntary = |cause| matches!(cause, Cause::Balanced | Cause::NewCode);
        let moving = |holder: &Holder| match holder {
            Holder::Held(held) => {
                held.revoked.as_ref().is_some_and(|revoked| voluntary(revoked.cause))
                    || held.unapplied.is_some() && voluntary(held.cause)
            }
            Holder::Preparing(preparing) => voluntary(preparing.cause),
            Holder::Unknown | Holder::Free => false,
        };
        self.sensors.values().filter(|state| moving(&state.holder)).count()
    }

    /// The holder's own files have changed under the instance that runs.
    fn runs_older_files(&mut self, sensor: &SensorRef) -> bool {
        let Some(state) = self.sensors.get_mut(sensor) else { return false };
        let Holder::Held(held) = &mut state.holder else { return false };
        let Some(offer) = self.register.get(&held.by).and_then(|member| member.offers.get(sensor)) else {
            return false;
        };
        *held.digest.get_or_insert(offer.digest) != offer.digest
    }
}

/// What a placement's rule means for the history.
fn cause_of(rule: &Rule) -> Cause {
    match rule {
        Rule::Paused => Cause::Paused,
        Rule::Wanted { .. } => Cause::Moved,
        Rule::LeavesDraining { .. } | Rule::StaysDraining { .. } => Cause::Drained,
        Rule::LeavesFailed { .. } | Rule::StaysFailing { .. } => Cause::Failed,
        Rule::LeavesStaleCode { .. } | Rule::StaysStaleCode { .. } => Cause::NewCode,
        Rule::NobodyOffers | Rule::NobodyEligible { .. } | Rule::LeavesLost { .. } => Cause::NotOffered,
        Rule::Balances { .. } | Rule::MakesRoom { .. } | Rule::LeavesFull { .. } | Rule::StaysFull { .. } => {
            Cause::Balanced
        }
        Rule::Placed { .. } | Rule::LastResort { .. } | Rule::Stays { .. } => Cause::Placed,
    }
}
