//! What happens to a cluster: faults, operators' requests, and the healing of everything.

use st2sa_core::arbiter::{self, Verb};
use st2sa_core::engine::Key;
use st2sa_core::guardian;
use st2sa_core::message::Effects;
use st2sa_core::names::ContainerName;
use st2sa_core::session;

use crate::clock::{MILLI, Nanos, SECOND};
use crate::node::Doing;
use crate::plan::{End, Fault, Mood, Who};
use crate::store::Store;
use crate::windows::Window;
use crate::world::{self, Happening, World};

/// By then after healing a cluster must be whole again: the longest back-off that a run can have
/// grown, a leader change, a term's wait and the freeze limit, one after another.
const WHOLE_WITHIN: Nanos = 90 * SECOND;

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        for fault in self.resolve(fault) {
            self.carry_out(fault);
        }
    }

    /// Whoever leads or holds a sensor now, by number.
    fn resolve(&self, fault: Fault) -> Vec<Fault> {
        match fault {
            Fault::Crash(who, again) => self.who(who).into_iter().map(|who| Fault::Crash(who, again)).collect(),
            Fault::Pause(who, span) => self.who(who).into_iter().map(|who| Fault::Pause(who, span)).collect(),
            Fault::Gap(who, span) => self.who(who).into_iter().map(|who| Fault::Gap(who, span)).collect(),
            Fault::Hidden(who, span) => self.who(who).into_iter().map(|who| Fault::Hidden(who, span)).collect(),
            Fault::Cut(from, to, span) => {
                self.pairs(from, to).into_iter().map(|(from, to)| Fault::Cut(from, to, span)).collect()
            }
            Fault::Slow(from, to, by) => {
                self.pairs(from, to).into_iter().map(|(from, to)| Fault::Slow(from, to, by)).collect()
            }
            Fault::Lag(from, to, by, span) => {
                self.pairs(from, to).into_iter().map(|(from, to)| Fault::Lag(from, to, by, span)).collect()
            }
            other => vec![other],
        }
    }

    fn leading(&self, index: usize) -> bool {
        let node = &self.arbitrators[index];
        node.process.alive && node.core.leads(node.clock.read(self.now)).is_some()
    }

    fn who(&self, who: Who) -> Vec<Who> {
        let arbitrators = 0..self.arbitrators.len();
        match who {
            Who::Leader => arbitrators.filter(|index| self.leading(*index)).map(Who::Arbitrator).collect(),
            Who::Followers => arbitrators.filter(|index| !self.leading(*index)).map(Who::Arbitrator).collect(),
            Who::Holder(sensor) => self.holder(sensor).map(Who::Container).into_iter().collect(),
            Who::HoldersMachine(sensor) => self.holder(sensor).map(Who::Machine).into_iter().collect(),
            other => vec![other],
        }
    }

    fn holder(&self, sensor: usize) -> Option<usize> {
        let reference = st2sa_core::names::SensorRef::new(&self.run.setup.sensors[sensor].name);
        let holds = |node: &usize| {
            let session = self.nodes[*node].session.as_ref();
            session.is_some_and(|session| session.active(&reference).is_some())
        };
        // A frozen one holds it no more than on paper.
        let live = |node: &usize| self.nodes[*node].clock.read(self.now) < self.checker.leases[*node].end;
        let mut holders: Vec<_> = (0..self.nodes.len()).filter(holds).collect();
        holders.sort_by_key(|node| !live(node));
        holders.first().copied()
    }

    fn pairs(&self, from: End, to: End) -> Vec<(End, End)> {
        let ends = |end: End| -> Vec<End> {
            let arbitrators = 0..self.arbitrators.len();
            match end {
                End::Leader => arbitrators.filter(|index| self.leading(*index)).map(End::Arbitrator).collect(),
                End::Followers => arbitrators.filter(|index| !self.leading(*index)).map(End::Arbitrator).collect(),
                End::Holder(sensor) => self.holder(sensor).map(End::Machine).into_iter().collect(),
                other => vec![other],
            }
        };
        let tos = ends(to);
        ends(from).into_iter().flat_map(|from| tos.iter().map(move |to| (from, *to))).collect()
    }

    fn carry_out(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(who, again) => self.crash(who, again),
            Fault::Pause(who, span) => self.pause(who, span),
            Fault::Gap(who, span) => self.gap(who, span),
            Fault::Hidden(who, span) => {
                if !self.hidden.contains_key(&who) {
                    self.enter(Window::HiddenPause);
                    self.hidden.insert(who, self.now);
                    self.at(self.now + span, Happening::Unhide(who));
                    self.pause(who, span);
                }
            }
            Fault::Cut(from, to, span) => {
                *self.cuts.entry((from, to)).or_default() += 1;
                self.touch_end(from, span);
                self.touch_end(to, span);
                self.at(self.now + span, Happening::EndOfCut(from, to));
            }
            Fault::Slow(from, to, by) => {
                self.touch_end(from, 10 * by);
                self.touch_end(to, 10 * by);
                self.slow(from, to, by);
            }
            Fault::Lag(from, to, by, span) => {
                self.touch_end(from, span + by);
                self.touch_end(to, span + by);
                *self.lags.entry((from, to)).or_default() += by;
                self.at(self.now + span, Happening::EndOfLag(from, to, by));
            }
            Fault::Intercept(kind, fate) => {
                for node in 0..self.nodes.len() {
                    self.checker.touch(node, self.now + 5 * SECOND);
                }
                self.intercepts.push((kind, fate));
            }
            Fault::Break(node) => {
                self.checker.touch(node, self.now + SECOND);
                self.break_streams(node);
            }
            Fault::Stall(span) => {
                self.touch_end(End::Engine, span);
                self.stalled_until = self.stalled_until.max(self.now + span);
                self.at(self.now + span, Happening::EndOfStall);
            }
            Fault::Outage(span) => {
                self.touch_end(End::Engine, span);
                self.out_until = self.out_until.max(self.now + span);
            }
            Fault::Mute(span) => {
                self.touch_end(End::Engine, span);
                self.mute_until = self.mute_until.max(self.now + span);
            }
            Fault::Twice(span) => self.twice_until = self.twice_until.max(self.now + span),
            Fault::Forget(span) => self.forget(span),
            Fault::Wipe(index) => self.arbitrators[index].disk = st2sa_core::names::Term(0),
            Fault::Mood(sensor, node, mood, span) => self.set_mood(sensor, node, mood, span),
            Fault::Code(node, sensor, digest) => self.new_code(node, sensor, digest),
            Fault::Withdraw(node, sensor, span) => {
                self.nodes[node].withdrawn.insert(sensor);
                self.offer_again(node);
                self.at(self.now + span, Happening::Restore(node, sensor));
            }
            Fault::Operator(verb) => self.operate(&verb),
            Fault::Start(node) => self.start_container(node),
            Fault::Leave(node, again) => self.leave(node, again),
            Fault::Retime(index, timing) => {
                self.arbitrators[index].timing = timing;
                self.crash(Who::Arbitrator(index), Some(200 * MILLI));
            }
        }
    }

    fn touch_end(&mut self, end: End, span: Nanos) {
        match end {
            End::Machine(node) => self.checker.touch(node, self.now + span),
            End::Engine => self.checker.prolong_blame(self.now, self.now + span),
            End::Arbitrator(_) | End::Leader | End::Followers | End::Holder(_) => {}
        }
    }

    pub(crate) fn crash(&mut self, who: Who, again: Option<Nanos>) {
        // Whoever can crash it can let its machine go on.
        match who {
            Who::Container(node) | Who::Guardian(node) | Who::Sensors(node) => self.unhide(Who::Machine(node)),
            other => self.unhide(other),
        }
        match who {
            Who::Arbitrator(index) => {
                self.reset_streams(End::Arbitrator(index));
                let node = &mut self.arbitrators[index];
                node.process.kill();
                node.streams.clear();
                self.checker.leads(self.now, index, None);
                if let Some(after) = again {
                    self.at(self.now + after, Happening::StartArbitrator(index));
                }
            }
            Who::Container(node) => {
                self.checker.touch(node, self.now + again.unwrap_or(0));
                self.reset_streams(End::Machine(node));
                self.end_container(node);
                let epoch = self.nodes[node].guardian.epoch;
                self.at(self.now + MILLI, Happening::ToGuardian(node, epoch, guardian::Event::ContainerGone));
                let died = self.nodes[node].container.epoch;
                self.at(self.now + SECOND, Happening::LeftCheck(node, died));
                if let Some(after) = again {
                    self.at(self.now + after, Happening::StartContainer(node));
                }
            }
            Who::Guardian(node) => {
                if !self.nodes[node].guardian.alive {
                    return;
                }
                self.checker.touch(node, self.now + SECOND);
                self.nodes[node].guardian.kill();
                let ids: Vec<_> = self.nodes[node].sensors.keys().copied().collect();
                self.kill_sensors(node);
                self.tell_container(node, 1, session::Event::GuardianGone);
                for id in ids {
                    self.tell_container(node, 5, session::Event::Gone(id));
                }
                self.start_guardian(node);
            }
            Who::Sensors(node) => {
                self.checker.touch(node, self.now);
                let ids: Vec<_> = self.nodes[node].sensors.keys().copied().collect();
                for id in ids {
                    self.sensor_dies(node, id);
                }
            }
            Who::Machine(node) => {
                // Power is lost: no stream is closed.
                self.checker.touch(node, self.now + again.unwrap_or(0));
                self.kill_sensors(node);
                self.nodes[node].guardian.kill();
                self.end_container(node);
                if let Some(after) = again {
                    self.at(self.now + after, Happening::StartContainer(node));
                }
            }
            Who::Leader | Who::Followers | Who::Holder(_) | Who::HoldersMachine(_) => {}
        }
    }

    fn end_container(&mut self, node: usize) {
        self.checker.container_ended(node);
        let here = &mut self.nodes[node];
        here.container.kill();
        here.session = None;
    }

    /// A container that lives starts another guardian at once, and hands it the page with the lease.
    fn start_guardian(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        here.guard = guardian::Guardian::default();
        here.guardian.alive = here.container.alive;
        here.guardian.epoch += 1;
        here.frozen = true;
        let epoch = here.guardian.epoch;
        let end = self.checker.leases[node].end;
        self.at(self.now + 20 * MILLI, Happening::ToGuardian(node, epoch, guardian::Event::Lease(end, 0)));
    }

    pub(crate) fn pause(&mut self, who: Who, span: Nanos) {
        let until = self.now + span;
        match who {
            Who::Arbitrator(index) => {
                let node = &mut self.arbitrators[index];
                let stalled = span > node.timing.heartbeat.0 && node.core.leads(node.clock.read(self.now)).is_some();
                node.process.paused_until = node.process.paused_until.max(until);
                if stalled {
                    self.enter(Window::LeaderStalled);
                }
                self.at(until, Happening::ResumeArbitrator(index));
            }
            Who::Container(node) => {
                self.checker.touch(node, until);
                let process = &mut self.nodes[node].container;
                process.paused_until = process.paused_until.max(until);
                self.at(until, Happening::ResumeContainer(node));
            }
            Who::Guardian(node) => {
                self.checker.touch(node, until);
                let process = &mut self.nodes[node].guardian;
                process.paused_until = process.paused_until.max(until);
                self.at(until, Happening::ResumeGuardian(node));
            }
            Who::Sensors(node) => {
                self.checker.touch(node, until);
                let here = &mut self.nodes[node];
                here.sensors_paused_until = here.sensors_paused_until.max(until);
                self.at(until, Happening::ResumeSensors(node));
                self.sensors_changed(node);
            }
            Who::Machine(node) => {
                // All wake at one moment; in which order is the scheduler's choice.
                let offset = span % 3;
                let order = [Who::Sensors(node), Who::Container(node), Who::Guardian(node)];
                for turn in 0..3_u64 {
                    let index = usize::try_from((turn + offset) % 3).unwrap_or(0);
                    self.pause(order[index], span + turn * MILLI / 2);
                }
            }
            Who::Leader | Who::Followers | Who::Holder(_) | Who::HoldersMachine(_) => {}
        }
    }

    fn gap(&mut self, who: Who, span: Nanos) {
        match who {
            Who::Arbitrator(index) => self.arbitrators[index].process.gap = Some(span),
            Who::Container(node) => self.nodes[node].container.gap = Some(span),
            Who::Guardian(node) => self.nodes[node].guardian.gap = Some(span),
            _ => {}
        }
        if let Who::Container(node) | Who::Guardian(node) = who {
            self.checker.touch(node, self.now + span + SECOND);
        }
    }

    pub(crate) fn unhide(&mut self, who: Who) {
        let Some(since) = self.hidden.remove(&who) else { return };
        let span = self.now - since;
        let timing = &self.run.setup.timing;
        let ttl = self.checker.leases.iter().map(|lease| lease.ttl).max().unwrap_or_default().max(timing.session_ttl);
        let (lease, leadership) = (timing.outlast(ttl).0, timing.leader_ttl.0);
        match who {
            Who::Arbitrator(index) => {
                self.arbitrators[index].clock.hide(span);
                self.checker.hidden_until = self.checker.hidden_until.max(self.now + leadership + lease);
                self.arbitrator(index, arbiter::Event::Wake);
            }
            Who::Machine(node) => {
                self.nodes[node].clock.hide(span);
                self.checker.hidden_until = self.checker.hidden_until.max(self.now + lease);
                self.checker.hidden_node_until = self.checker.hidden_node_until.max(self.now + lease);
                self.container(node, session::Event::Wake);
                self.guardian(node, guardian::Event::Wake);
            }
            _ => {}
        }
    }

    fn break_streams(&mut self, node: usize) {
        let lines: Vec<_> = self.nodes[node].streams.iter().map(|(stream, line)| (*stream, *line)).collect();
        for (stream, line) in lines {
            self.nodes[node].streams.remove(&stream);
            self.send(line, true, world::Parcel::Closed);
            self.send(line, false, world::Parcel::Closed);
        }
    }

    fn forget(&mut self, span: Nanos) {
        let since = self.now.saturating_sub(span);
        let older = self.backups.iter().rev().find(|(at, _)| *at <= since).map(|(_, older)| older.clone());
        let older = older.unwrap_or_else(|| Store::new(self.run.setup.timing.leader_ttl, self.run.setup.engine_rate));
        self.store = older;
        self.checker.forgot = true;
        self.checker.paused.clear();
        self.checker.drained.clear();
        self.enter(Window::DataLost);
        self.leader_changed();
    }

    fn set_mood(&mut self, sensor: usize, node: Option<usize>, mood: Mood, span: Nanos) {
        for index in 0..self.nodes.len() {
            if node.is_none_or(|node| node == index) {
                self.nodes[index].moods.insert(sensor, mood);
            }
        }
        self.at(self.now + span, Happening::Mood(sensor, node));
    }

    pub(crate) fn mood_over(&mut self, sensor: usize, node: Option<usize>) {
        for index in 0..self.nodes.len() {
            if node.is_none_or(|node| node == index) {
                self.nodes[index].moods.remove(&sensor);
            }
        }
    }

    fn new_code(&mut self, node: usize, sensor: usize, digest: u64) {
        let here = &mut self.nodes[node];
        here.code_before[sensor] = here.code[sensor];
        here.code[sensor] = digest;
        self.offer_again(node);
    }

    pub(crate) fn offer_again(&mut self, node: usize) {
        let offers = self.offers(node);
        self.container(node, session::Event::Offers(offers));
    }

    /// Asks whoever leads; asks again where the answer may have been lost.
    pub(crate) fn operate(&mut self, verb: &Verb) {
        self.operators += 1;
        let request = self.operators;
        self.asked.insert(request, verb.clone());
        for index in 0..self.arbitrators.len() {
            let node = &self.arbitrators[index];
            if node.core.leads(node.clock.read(self.now)).is_some() {
                let who = "operator".to_owned();
                self.arbitrator(index, arbiter::Event::Operator { request, who, at: 0, verb: verb.clone() });
            }
        }
    }

    pub(crate) fn answered(&mut self, request: u64, answer: &arbiter::Answer) {
        let Some(verb) = self.asked.get(&request) else { return };
        if !matches!(answer, arbiter::Answer::Done) {
            return;
        }
        match verb {
            // It may have been resumed by the time this is heard.
            Verb::Pause(sensor) if self.store.get(&Key::Pause(sensor.clone())).is_some() => {
                let number = self.sensor_number(sensor);
                number.map(|number| self.checker.paused.insert(number));
            }
            Verb::Drain(name) if self.store.get(&Key::Drain(name.clone())).is_some() => {
                let node = self.nodes.iter().position(|node| node.name == *name);
                node.map(|node| self.checker.drained.insert(node));
            }
            _ => {}
        }
    }

    fn leave(&mut self, node: usize, again: Option<Nanos>) {
        self.checker.touch(node, self.now + 20 * SECOND);
        self.nodes[node].leaving = true;
        self.nodes[node].back_after = again;
        self.container(node, session::Event::Leave);
    }

    /// Everything works again from here on.
    pub(crate) fn heal(&mut self) {
        self.log(&"fault", &"everything heals");
        for ((from, to), count) in std::mem::take(&mut self.cuts) {
            if count > 0 {
                self.end_of_cut(from, to);
            }
        }
        self.intercepts.clear();
        self.lags.clear();
        (self.stalled_until, self.out_until, self.mute_until, self.twice_until) = (0, 0, 0, 0);
        self.end_of_stall();
        self.leader_changed();
        for who in self.hidden.keys().copied().collect::<Vec<_>>() {
            self.unhide(who);
        }
        for index in 0..self.arbitrators.len() {
            self.arbitrators[index].process.gap = None;
            self.arbitrators[index].process.paused_until = 0;
            self.start_arbitrator(index);
            self.at(self.now, Happening::ResumeArbitrator(index));
        }
        for node in 0..self.nodes.len() {
            let here = &mut self.nodes[node];
            here.moods.clear();
            here.withdrawn.clear();
            here.container.gap = None;
            here.guardian.gap = None;
            here.sensors_paused_until = 0;
            for process in [&mut here.container.paused_until, &mut here.guardian.paused_until] {
                *process = (*process).min(self.now);
            }
            self.at(self.now, Happening::ResumeGuardian(node));
            self.at(self.now, Happening::ResumeContainer(node));
            self.at(self.now, Happening::ResumeSensors(node));
            self.offer_again(node);
            if self.run.setup.machines[node].starts && !self.nodes[node].container.alive {
                self.at(self.now + MILLI, Happening::StartContainer(node));
            }
        }
        for check in 1..=WHOLE_WITHIN / (500 * MILLI) {
            self.at(self.now + check * 500 * MILLI, Happening::Settled);
        }
    }

    /// Whether everything is as it should be; past the bound that it is not is a violation.
    pub(crate) fn settled(&mut self) -> bool {
        let over = self.now >= self.run.setup.heal_at + WHOLE_WITHIN;
        let late = self.checker.late.first().map(|(node, _)| self.nodes[*node].name.clone());
        match (self.missing(), late) {
            (None, None) => return true,
            (Some((invariant, missing)), _) if over => self.checker.fail(self.now, invariant, missing),
            (_, Some(name)) if over => {
                let what = format!("at {name}, which lives on, and no history tells");
                self.checker.fail(self.now, "late-freeze-recorded", what);
            }
            _ => {}
        }
        self.ask_to_resume();
        false
    }

    /// What pauses and drains were left by operators is undone, as an operator would.
    fn ask_to_resume(&mut self) {
        let sensors: Vec<_> = self.run.setup.sensors.iter().map(|sensor| sensor.name.clone()).collect();
        for sensor in sensors {
            let sensor = st2sa_core::names::SensorRef::new(sensor);
            if self.store.get(&Key::Pause(sensor.clone())).is_some() {
                self.operate(&Verb::Resume(sensor));
            }
        }
        for node in 0..self.nodes.len() {
            let name = ContainerName::new(&self.run.setup.machines[node].name);
            if self.store.get(&Key::Drain(name.clone())).is_some() {
                self.operate(&Verb::Undrain(name));
            }
        }
    }

    fn missing(&self) -> Option<(&'static str, String)> {
        let leaders = self.arbitrators.iter().filter(|node| node.core.leads(node.clock.read(self.now)).is_some());
        let leader = match leaders.collect::<Vec<_>>().as_slice() {
            [leader] => *leader,
            [] => return Some(("liveness", "nobody leads".to_owned())),
            _ => return Some(("liveness", "several arbitrators believe that they lead".to_owned())),
        };
        let views = leader.core.sensors();
        for (number, setup) in self.run.setup.sensors.iter().enumerate() {
            let fits = |node: usize| {
                let zone = setup.zone.is_none_or(|zone| zone == self.run.setup.machines[node].zone);
                zone && self.nodes[node].container.alive
            };
            let weights: u32 = self.run.setup.sensors.iter().map(|sensor| sensor.weight).sum();
            let limited =
                self.run.setup.machines.iter().any(|machine| machine.capacity.is_some_and(|least| least < weights));
            if limited || !(0..self.nodes.len()).any(fits) {
                continue;
            }
            let name = &setup.name;
            let view = views.iter().find(|view| view.sensor.as_str() == *name);
            let Some(active) = view.and_then(|view| view.active.as_ref()) else {
                return Some(("liveness", format!("{name} is ACTIVE nowhere, says the leader")));
            };
            let works = |node: &&crate::node::Node| {
                node.sensors.values().any(|sensor| {
                    let at_work = matches!(sensor.doing, Doing::Idle | Doing::Polling | Doing::Watching);
                    sensor.sensor == number && at_work && world::is_running(sensor, node, self.now)
                })
            };
            let at_work: Vec<_> = self.nodes.iter().filter(works).map(|node| node.name.to_string()).collect();
            if at_work != [active.container.to_string()] {
                let what = format!("{name} should be at work on {} alone, and is on {at_work:?}", active.container);
                return Some(("liveness", what));
            }
            let head = self.run.setup.heal_at / setup.item_every;
            let reference = st2sa_core::names::SensorRef::new(name);
            if self.store.unapplied(&reference) > 0 && !self.checker.forgot {
                return Some(("exactly-once", format!("an entry of {name} is in the journal and never applied")));
            }
            let whole = setup.effects == Effects::Journal && setup.listed_for.is_none() && !self.checker.forgot;
            if whole && self.checker.delivered(number) < head {
                let delivered = self.checker.delivered(number);
                return Some(("exactly-once", format!("{name} has delivered {delivered} of {head} items")));
            }
        }
        None
    }
}
