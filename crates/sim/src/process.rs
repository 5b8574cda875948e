//! Processes: each has a mailbox, is stopped and goes on separately, and may be stopped between deciding and acting.

use std::collections::VecDeque;

use rand::Rng;
use st2sa_core::message::ToContainer;
use st2sa_core::{arbiter, guardian, session};

use crate::clock::{MILLI, Nanos};
use crate::plan::{End, Who};
use crate::windows::Window;
use crate::world::{Happening, Parcel, World};

/// A process's mailbox and what the operating system does to it.
#[derive(Debug)]
pub(crate) struct Process<E, C> {
    pub(crate) alive: bool,
    /// Which run of it: what was on its way to an earlier one is lost.
    pub(crate) epoch: u64,
    pub(crate) paused_until: Nanos,
    /// The pause that comes between its next decision and the act.
    pub(crate) gap: Option<Nanos>,
    pub(crate) mailbox: VecDeque<E>,
    /// Decided and not yet done.
    pub(crate) decided: Vec<C>,
    pub(crate) decided_at: Nanos,
    pub(crate) wake: u64,
}

impl<E, C> Process<E, C> {
    pub(crate) fn new() -> Self {
        Self {
            alive: false,
            epoch: 0,
            paused_until: 0,
            gap: None,
            mailbox: VecDeque::new(),
            decided: Vec::new(),
            decided_at: 0,
            wake: 0,
        }
    }

    /// It is stopped, or has not yet done and read what it was stopped before.
    fn waits(&self, now: Nanos) -> bool {
        now < self.paused_until || !self.decided.is_empty() || !self.mailbox.is_empty()
    }

    pub(crate) fn kill(&mut self) {
        self.alive = false;
        self.epoch += 1;
        self.mailbox.clear();
        self.decided.clear();
        self.paused_until = 0;
        self.gap = None;
    }
}

impl World {
    // The three kinds of processes differ in types alone.

    pub(crate) fn arbitrator(&mut self, index: usize, event: arbiter::Event) {
        let node = &mut self.arbitrators[index];
        if !node.process.alive {
            return;
        }
        if node.process.waits(self.now) {
            if event != arbiter::Event::Wake {
                node.process.mailbox.push_back(event);
            }
            return;
        }
        let now = node.clock.read(self.now);
        self.checker.led_before(index, node.core.leads(now));
        let commands = node.core.handle(now, event.clone());
        let deadline = node.core.next_deadline().map(|(time, _)| node.clock.when(time));
        let leads = node.core.leads(now);
        node.process.wake += 1;
        let wake = node.process.wake;
        if self.trace.on() && !matches!(event, arbiter::Event::Wake) {
            let who = node.id.clone();
            self.log(&who, &event);
        }
        self.checker.leads(self.now, index, leads);
        if let Some(deadline) = deadline {
            let at = deadline.max(self.now) + self.rng.random_range(0..MILLI);
            self.at(at, Happening::WakeArbitrator(index, wake));
        }
        let node = &mut self.arbitrators[index];
        node.process.decided_at = self.now;
        if let Some(gap) = node.process.gap.take_if(|_| !commands.is_empty()) {
            node.process.decided = commands;
            self.enter(Window::DecidedThenPaused);
            self.pause(Who::Arbitrator(index), gap);
            return;
        }
        for command in commands {
            self.do_arbitrator(index, command);
        }
    }

    pub(crate) fn resume_arbitrator(&mut self, index: usize) {
        let node = &mut self.arbitrators[index];
        if !node.process.alive || self.now < node.process.paused_until {
            return;
        }
        let decided = std::mem::take(&mut node.process.decided);
        let waiting = std::mem::take(&mut node.process.mailbox);
        for command in decided {
            self.do_arbitrator(index, command);
        }
        for event in waiting {
            self.arbitrator(index, event);
        }
        self.arbitrator(index, arbiter::Event::Wake);
    }

    pub(crate) fn container(&mut self, index: usize, event: session::Event) {
        let node = &mut self.nodes[index];
        if !node.container.alive {
            return;
        }
        if node.container.waits(self.now) {
            if event != session::Event::Wake {
                node.container.mailbox.push_back(event);
            }
            return;
        }
        let now = node.clock.read(self.now);
        let Some(core) = &mut node.session else { return };
        let commands = core.handle(now, event.clone());
        let deadline = core.next_deadline().map(|(time, _)| node.clock.when(time));
        node.container.wake += 1;
        let wake = node.container.wake;
        if self.trace.on() && !matches!(event, session::Event::Wake) {
            let who = node.name.clone();
            self.log(&who, &event);
        }
        if let Some(deadline) = deadline {
            let at = deadline.max(self.now) + self.rng.random_range(0..MILLI);
            self.at(at, Happening::WakeContainer(index, wake));
        }
        let node = &mut self.nodes[index];
        node.container.decided_at = self.now;
        if let Some(gap) = node.container.gap.take_if(|_| !commands.is_empty()) {
            node.container.decided = commands;
            self.enter(Window::DecidedThenPaused);
            self.pause(Who::Container(index), gap);
            return;
        }
        for command in commands {
            self.do_container(index, command, self.now);
        }
    }

    pub(crate) fn resume_container(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.container.alive || self.now < node.container.paused_until {
            return;
        }
        let decided = std::mem::take(&mut node.container.decided);
        let decided_at = node.container.decided_at;
        let waiting = std::mem::take(&mut node.container.mailbox);
        for command in decided {
            self.do_container(index, command, decided_at);
        }
        for event in waiting {
            self.container(index, event);
        }
        self.container(index, session::Event::Wake);
    }

    pub(crate) fn guardian(&mut self, index: usize, event: guardian::Event) {
        let node = &mut self.nodes[index];
        if !node.guardian.alive {
            return;
        }
        if node.guardian.waits(self.now) {
            if event != guardian::Event::Wake {
                node.guardian.mailbox.push_back(event);
            }
            return;
        }
        let now = node.clock.read(self.now);
        let commands = node.guard.handle(now, event);
        let deadline = node.guard.next_deadline().map(|time| node.clock.when(time));
        node.guardian.wake += 1;
        let wake = node.guardian.wake;
        if let Some(deadline) = deadline {
            let at = deadline.max(self.now) + self.rng.random_range(0..2 * MILLI);
            self.at(at, Happening::WakeGuardian(index, wake));
        }
        if let Some(gap) = self.nodes[index].guardian.gap.take_if(|_| !commands.is_empty()) {
            self.nodes[index].guardian.decided = commands;
            self.enter(Window::DecidedThenPaused);
            self.pause(Who::Guardian(index), gap);
            return;
        }
        self.do_guardian(index, commands);
    }

    pub(crate) fn resume_guardian(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.guardian.alive || self.now < node.guardian.paused_until {
            return;
        }
        let decided = std::mem::take(&mut node.guardian.decided);
        let waiting = std::mem::take(&mut node.guardian.mailbox);
        self.do_guardian(index, decided);
        for event in waiting {
            self.guardian(index, event);
        }
        self.guardian(index, guardian::Event::Wake);
    }

    fn do_guardian(&mut self, index: usize, commands: Vec<guardian::Command>) {
        for command in commands {
            let name = format!("{} guardian", self.nodes[index].name);
            self.log(&name, &command);
            match command {
                guardian::Command::Freeze => {
                    self.freeze(index, true);
                    self.guardian(index, guardian::Event::Stopped);
                }
                guardian::Command::Report { late_by } => {
                    self.tell_container(index, 1, session::Event::Froze { late_by });
                }
                guardian::Command::Thaw => {
                    self.check_thaw(index);
                    self.freeze(index, false);
                    // The look right after (see core's guardian).
                    self.guardian(index, guardian::Event::Wake);
                }
                guardian::Command::Kill => {
                    self.enter(Window::GuardianKilled);
                    self.kill_sensors(index);
                    self.nodes[index].guardian.kill();
                }
            }
        }
    }

    pub(crate) fn tell_container(&mut self, index: usize, millis: u64, event: session::Event) {
        let epoch = self.nodes[index].container.epoch;
        let at = self.now + millis * MILLI;
        self.at(at, Happening::ToContainer(index, epoch, event));
    }

    fn do_arbitrator(&mut self, index: usize, command: arbiter::Command) {
        let id = self.arbitrators[index].id.clone();
        if !matches!(command, arbiter::Command::Send { message: ToContainer::Ack { .. }, .. }) {
            self.log(&id, &command);
        }
        self.hear(&command);
        match command {
            arbiter::Command::Send { stream, message } => {
                let Some(&line) = self.arbitrators[index].streams.get(&stream) else { return };
                self.check_sent(index, line, &message);
                self.send(line, false, Parcel::Down(message));
            }
            arbiter::Command::Close(stream) => {
                if let Some(line) = self.arbitrators[index].streams.remove(&stream) {
                    self.send(line, false, Parcel::Closed);
                }
            }
            arbiter::Command::Engine { request, ask } => self.ask_engine(index, request, ask),
            arbiter::Command::Peer { to, message } => {
                let Some(to) = self.arbitrators.iter().position(|node| node.id == to) else { return };
                if matches!(message, st2sa_core::message::ToPeer::Extended { .. }) {
                    let timing = &self.arbitrators[index].timing;
                    let until = self.now + timing.outlast(timing.leader_ttl).0;
                    self.checker.promised.insert(index, until);
                }
                if !self.is_cut(End::Arbitrator(index), End::Arbitrator(to)) {
                    let at = self.now + self.latency();
                    self.at(at, Happening::Peer { from: index, to, message });
                }
            }
            arbiter::Command::Remember(term) => self.arbitrators[index].disk = term,
            arbiter::Command::Record(record) => {
                self.checker.record(self.now, &record);
            }
            arbiter::Command::Alarm(_) => {}
            arbiter::Command::Answer { request, answer } => self.answered(request, &answer),
        }
    }
}
