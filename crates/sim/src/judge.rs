//! What the world shows the checker: messages that pass, acts, meetings of two instances.

use st2sa_core::engine::{Body, Key, Reply, Request, Value, Write};
use st2sa_core::message::{Status, ToArbitrator, ToContainer};
use st2sa_core::names::{EntryId, Fence, ProcessId, RequestId};

use crate::checker::{Actor, Lease, WAKE};
use crate::clock::{MILLI, Nanos};
use crate::node::Doing;
use crate::windows::Window;
use crate::world::{self, Happening, World};

impl World {
    /// A container sends.
    pub(crate) fn check_sending(&mut self, node: usize, line: usize, message: &ToArbitrator) {
        match message {
            ToArbitrator::Heartbeat(heartbeat) => {
                let now = self.nodes[node].clock.read(self.nodes[node].container.decided_at);
                self.checker.sent.insert((line, heartbeat.sequence), now);
                if heartbeat.binds.is_some() {
                    self.check_binding(node, line, now);
                }
            }
            ToArbitrator::Stopped { sensor, fence, .. } => {
                if let Some(number) = self.sensor_number(sensor) {
                    self.checker.words.insert((node, number), *fence);
                }
            }
            ToArbitrator::Hello(hello) => {
                let arbitrator = self.streams[line].arbitrator;
                let core = &self.arbitrators[arbitrator];
                let leads = core.core.leads(core.clock.read(self.now));
                if let (Some(term), Some((shown, whose))) = (leads, &hello.highest)
                    && (*shown > term || *shown == term && whose.arbitrator != core.id)
                {
                    self.enter(Window::HigherTermShown);
                }
            }
            _ => {}
        }
    }

    fn check_binding(&mut self, node: usize, line: usize, now: st2sa_core::time::Time) {
        let Some((term, leader, ttl)) = self.checker.welcomes.get(&line).cloned() else { return };
        let lease = self.checker.leases[node].clone();
        let twice = term == lease.term && lease.leader.as_ref().is_some_and(|known| *known != leader);
        if term < lease.term || twice {
            let name = &self.nodes[node].name;
            let what =
                format!("{name} bound itself to {leader:?} in term {term} after {:?} in {}", lease.leader, lease.term);
            self.checker.fail(self.now, "terms-rise", what);
        }
        let end = now + ttl;
        if lease.end > end {
            self.enter(Window::LeaseLongerThanTtl);
        }
        let check = lease.check + 1;
        self.checker.leases[node] =
            Lease { line: Some(line), ttl, end: lease.end.min(end), check, term, leader: Some(leader) };
        self.watch_lease(node);
    }

    /// A message reaches a container.
    pub(crate) fn check_received(&mut self, node: usize, line: usize, message: &ToContainer) {
        let lease = &self.checker.leases[node];
        if lease.line.is_some_and(|bound| bound > line) && !matches!(message, ToContainer::NotLeader { .. }) {
            self.enter(Window::OldStreamDelivered);
        }
        match message {
            ToContainer::Welcome { term, leadership, session_ttl, .. } => {
                self.checker.welcomes.insert(line, (*term, leadership.clone(), *session_ttl));
            }
            ToContainer::Ack { sequence, .. } if self.checker.leases[node].line == Some(line) => {
                let Some(&sent_at) = self.checker.sent.get(&(line, *sequence)) else { return };
                let lease = &mut self.checker.leases[node];
                let end = sent_at + lease.ttl;
                if end > lease.end {
                    lease.end = end;
                    lease.check += 1;
                    self.watch_lease(node);
                }
            }
            ToContainer::SetStatus { sensor, fence, status: Status::Active(Some(_)) } => {
                let word = self.sensor_number(sensor).and_then(|number| self.checker.words.get(&(node, number)));
                if word.is_some_and(|word| fence <= word) {
                    self.enter(Window::GrantAfterStop);
                }
            }
            ToContainer::NameTaken { .. } => self.enter(Window::NameHeldTwice),
            _ => {}
        }
    }

    fn watch_lease(&mut self, node: usize) {
        let lease = &self.checker.leases[node];
        let margin = self.run.setup.timing.margin;
        let at = self.nodes[node].clock.when(lease.end + margin) + 5 * MILLI;
        let check = lease.check;
        self.at(at, Happening::LeaseCheck(node, check));
    }

    /// A lease ended a margin ago: nothing runs on, unless nobody was there to freeze it.
    pub(crate) fn lease_check(&mut self, node: usize, check: u64) {
        let lease = &self.checker.leases[node];
        let end = lease.end + self.run.setup.timing.margin;
        if lease.check != check {
            return;
        }
        let here = &self.nodes[node];
        if here.clock.read(self.now) < end {
            self.watch_lease(node);
            return;
        }
        let runs_on =
            here.sensors.values().find(|sensor| sensor.doing.acts() && world::is_running(sensor, here, self.now));
        let Some(sensor) = runs_on else { return };
        let number = sensor.sensor;
        if self.nobody_to_freeze(node) {
            self.enter(Window::FrozenLate);
            // One that lost its name to a twin has nobody to tell.
            let twins = self.nodes.iter().filter(|other| other.name == self.nodes[node].name).count();
            if self.nodes[node].container.alive && twins == 1 {
                self.checker.late.insert((node, self.nodes[node].container.epoch));
            }
            self.at(self.now + 100 * MILLI, Happening::LeaseCheck(node, check));
            return;
        }
        let what = format!("{} runs on at {}", self.checker.sensor_name(number), self.nodes[node].name);
        self.checker.fail(self.now, "acts-under-lease", what);
    }

    /// A container died a second ago: its guardian has killed what it ran.
    pub(crate) fn left_check(&mut self, node: usize, died: u64) {
        let here = &self.nodes[node];
        if here.container.epoch != died || here.container.alive {
            return;
        }
        if here.guardian.alive && self.now < here.guardian.paused_until + WAKE {
            let again = here.guardian.paused_until + 2 * WAKE;
            self.at(again, Happening::LeftCheck(node, died));
            return;
        }
        if let Some(left) = here.sensors.values().find(|sensor| sensor.alive) {
            let what = format!("{} of {} outlives it", self.checker.sensor_name(left.sensor), here.name);
            self.checker.fail(self.now, "nothing-left-behind", what);
        }
    }

    /// Neither the container nor its guardian can run, or could until just now.
    pub(crate) fn nobody_to_freeze(&self, node: usize) -> bool {
        let here = &self.nodes[node];
        let out = |alive: bool, paused_until: Nanos| !alive || self.now < paused_until + WAKE && paused_until > 0;
        out(here.container.alive, here.container.paused_until) && out(here.guardian.alive, here.guardian.paused_until)
    }

    /// Instances of one sensor that act at once.
    pub(crate) fn judge_meetings(&mut self) {
        for (sensor, one, two) in std::mem::take(&mut self.checker.met) {
            self.judge(sensor, one, two);
        }
    }

    pub(crate) fn judge_again(&mut self, sensor: usize, one: Actor, two: Actor) {
        if self.checker.still_acts(sensor, one) && self.checker.still_acts(sensor, two) {
            self.judge(sensor, one, two);
        }
    }

    fn judge(&mut self, sensor: usize, one: Actor, two: Actor) {
        let excused =
            self.now < self.checker.hidden_until || self.nobody_to_freeze(one.0) || self.nobody_to_freeze(two.0);
        if excused {
            // Looked at again: an excuse lasts as long as its cause.
            self.enter(Window::FrozenLate);
            self.at(self.now + 100 * MILLI, Happening::JudgeAgain(sensor, one, two));
            return;
        }
        let (first, second) = (&self.nodes[one.0].name, &self.nodes[two.0].name);
        let what = format!("{} acts at {first} and at {second} ({one:?}, {two:?})", self.checker.sensor_name(sensor));
        self.checker.fail(self.now, "one-active", what);
    }

    pub(crate) fn check_poll(&mut self, node: usize, process: ProcessId, fence: Fence, decided_at: Nanos) {
        let Some(sensor) = self.nodes[node].sensors.get(&process) else { return };
        let number = sensor.sensor;
        if decided_at == self.now {
            self.checker.acted_under(self.now, number, fence);
        }
    }

    pub(crate) fn check_publish(&mut self, node: usize, sensor: usize, fence: Fence, id: EntryId, effects: &Body) {
        let reading = self.nodes[node].clock.read(self.now);
        if reading >= self.checker.leases[node].end {
            let what = format!("{} passes an effect at {}", self.checker.sensor_name(sensor), self.nodes[node].name);
            self.checker.fail(self.now, "acts-under-lease", what);
        }
        self.checker.acted_under(self.now, sensor, fence);
        if let Some(other) = self.checker.acting_beside(sensor, node) {
            self.judge(sensor, (node, ProcessId(0)), other);
        }
        if self.run.setup.sensors[sensor].effects == st2sa_core::message::Effects::Journal {
            let items: Vec<u64> = effects
                .bytes()
                .chunks_exact(8)
                .filter_map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes))
                .collect();
            let gaps = self.run.setup.sensors[sensor].listed_for.is_some();
            self.checker.reaches_sink(self.now, sensor, id, &items, gaps);
        }
    }

    /// A guardian is about to let a node go on.
    pub(crate) fn check_thaw(&mut self, node: usize) {
        let here = &self.nodes[node];
        let mut bad = None;
        for sensor in here.sensors.values().filter(|sensor| sensor.alive && sensor.doing == Doing::Polling) {
            let (fence, given_to) = self.checker.newest[sensor.sensor];
            if given_to != node && fence > sensor.fence {
                bad = Some((sensor.sensor, fence, given_to));
            }
        }
        // A guardian that was stopped between look and act looks again at once: what it lets go on by
        // mistake runs for no time, and if it ran for longer, other invariants would tell.
        let woke = self.now < here.guardian.paused_until + WAKE && here.guardian.paused_until > 0;
        let excused = woke || self.now < self.checker.hidden_node_until;
        if let Some((sensor, fence, given_to)) = bad.filter(|_| !excused) {
            let (name, other) = (&self.nodes[node].name, &self.nodes[given_to].name);
            let what =
                format!("{} is thawed at {name} after {fence} gave it to {other}", self.checker.sensor_name(sensor));
            self.checker.fail(self.now, "given-away-stays", what);
        }
    }

    /// A leader sends.
    pub(crate) fn check_sent(&mut self, arbitrator: usize, line: usize, message: &ToContainer) {
        let node = self.streams[line].node;
        if let ToContainer::Ack { .. } = message {
            let key = self.store.leader(self.now);
            let holds = key.is_some_and(|leader| leader.arbitrator == self.arbitrators[arbitrator].id);
            if self.run.setup.fail_safe && !holds {
                self.enter(Window::LedWithoutStore);
            }
        }
        let ToContainer::SetStatus { sensor, fence, status: Status::Active(activation) } = message else { return };
        let Some(number) = self.sensor_number(sensor) else { return };
        let before = self.checker.last_given(number);
        self.checker.gives(self.now, number, *fence, node);
        if activation.is_some() && self.hidden.keys().any(|who| matches!(who, crate::plan::Who::Arbitrator(_))) {
            self.enter(Window::GivenAwayWhileLeaderHidden);
        }
        match activation {
            None if self.nodes[node].frozen => self.enter(Window::AdoptedFrozen),
            None => {}
            Some(activation) => {
                if activation.journal.as_ref().is_some_and(|journal| !journal.unapplied.is_empty()) {
                    self.enter(Window::LeftUnapplied);
                }
                self.check_hard_rules(node, number, before);
            }
        }
    }

    fn check_hard_rules(&mut self, node: usize, sensor: usize, before: Option<usize>) {
        let zone = self.run.setup.sensors[sensor].zone;
        let name = self.checker.sensor_name(sensor).to_owned();
        if zone.is_some_and(|zone| zone != self.run.setup.machines[node].zone) {
            self.checker.fail(self.now, "hard-rules", format!("{name} may not run in that zone"));
        }
        if self.checker.paused.contains(&sensor) {
            self.checker.fail(self.now, "hard-rules", format!("{name} is paused"));
        }
        // What nobody else can run stays where it was.
        if self.checker.drained.contains(&node) && before != Some(node) {
            let what = format!("{name} is given to {}, which is drained", self.nodes[node].name);
            self.checker.fail(self.now, "hard-rules", what);
        }
    }

    /// The engine applied something, or refused to.
    pub(crate) fn engine_applied(
        &mut self,
        arbitrator: usize,
        epoch: u64,
        request: RequestId,
        ask: &Request,
        reply: &Reply,
    ) {
        let node = &self.arbitrators[arbitrator];
        let stale = node.process.epoch != epoch || !node.asked.contains(&request);
        match (ask, reply) {
            (_, Reply::Won { term, .. }) => {
                self.checker.won(self.now, *term);
                self.check_leases_at_election();
                self.keep_backup();
            }
            (Request::Transact(_), Reply::NotLeader) => self.enter(Window::DeposedWriteRefused),
            (Request::Retake { .. }, Reply::Done) => self.enter(Window::Retaken),
            (Request::Resign { .. }, Reply::Done) => self.enter(Window::Resigned),
            (Request::Transact(transaction), Reply::Applied { .. }) => {
                if stale {
                    self.enter(Window::AppliedWithoutAnswer);
                }
                for write in transaction.writes.clone() {
                    self.check_written(&write);
                }
                self.keep_backup();
            }
            _ => {}
        }
    }

    /// Who may still act when a term begins.
    fn check_leases_at_election(&mut self) {
        for node in 0..self.nodes.len() {
            let here = &self.nodes[node];
            if here.clock.read(self.now) >= self.checker.leases[node].end {
                continue;
            }
            let acts = here.sensors.values().any(|sensor| sensor.alive && sensor.doing.at_work());
            let registered = self.store.get(&Key::Register(here.name.clone())).is_some();
            self.enter(Window::LeaseAcrossTerms);
            if acts {
                self.enter(if registered { Window::UnboundActs } else { Window::UnregisteredActs });
            }
        }
    }

    /// A request is about to be applied.
    pub(crate) fn check_asking(&mut self, arbitrator: usize, ask: &Request) {
        if let (Request::Campaign { .. }, Some(Value::Electors(electors))) = (ask, self.store.get(&Key::Electors))
            && !electors.members.contains(&self.arbitrators[arbitrator].id)
            && self.store.leader(self.now).is_none()
        {
            self.enter(Window::UnlistedCampaign);
        }
    }

    /// A container's message is about to be read.
    pub(crate) fn check_arriving(&mut self, node: usize, message: &ToArbitrator) {
        if let ToArbitrator::Stopped { sensor, fence, .. } = message
            && let Some(session) = &self.nodes[node].session
            && session.active(sensor).is_some_and(|held| held > *fence)
        {
            self.enter(Window::WordForOlderFence);
        }
    }

    /// An arbitrator learns that nobody leads.
    pub(crate) fn check_free(&mut self, arbitrator: usize) {
        if self.checker.promised.get(&arbitrator).is_some_and(|until| self.now < *until) {
            self.enter(Window::PromiseKept);
        }
    }

    fn check_written(&mut self, write: &Write) {
        match write {
            Write::Delete(Key::Register(name)) => {
                let alive = |node: &crate::node::Node| node.name == *name && node.container.alive && !node.leaving;
                if self.nodes.iter().any(alive) {
                    self.enter(Window::StruckAlive);
                }
            }
            Write::Put(Key::Record(_), Value::Record(record)) if record.sealed.n > 0 => self.enter(Window::Sealed),
            // Paused counts from when a leader knows it: see `intents`.
            Write::Delete(Key::Pause(sensor)) => {
                if let Some(number) = self.sensor_number(sensor) {
                    self.checker.paused.remove(&number);
                }
            }
            Write::Delete(Key::Drain(name)) => {
                let node = self.nodes.iter().position(|node| node.name == *name);
                node.map(|node| self.checker.drained.remove(&node));
            }
            _ => {}
        }
    }

    fn keep_backup(&mut self) {
        if self.run.setup.forgetful {
            self.backups.push_back((self.now, self.store.clone()));
            if self.backups.len() > 64 {
                self.backups.pop_front();
            }
        }
    }
}
