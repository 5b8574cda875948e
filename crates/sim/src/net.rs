//! Streams as TCP gives them, cut links, and the way to the engine.

use rand::Rng;
use st2sa_core::arbiter;
use st2sa_core::engine::{Key, Reply, Request, Write};
use st2sa_core::message::{Status, ToArbitrator, ToContainer};
use st2sa_core::names::{RequestId, StreamId};
use st2sa_core::session;

use crate::clock::{MILLI, Nanos};
use crate::plan::{End, Fate, Kind};
use crate::windows::Window;
use crate::world::{Happening, Parcel, World};

/// A connection between a container and an arbitrator. What was sent is delivered in order, at any
/// time, also after its receiver has turned to another stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) node: usize,
    pub(crate) node_epoch: u64,
    pub(crate) node_stream: StreamId,
    pub(crate) arbitrator: usize,
    pub(crate) arbitrator_epoch: u64,
    pub(crate) arbitrator_stream: StreamId,
    /// Up (to the arbitrator), down.
    lanes: [Lane; 2],
}

#[derive(Debug, Default)]
struct Lane {
    last: Nanos,
    slower_by: Nanos,
    /// Sent into a cut: goes on when that ends.
    stalled: Vec<Parcel>,
    dead: bool,
}

impl World {
    pub(crate) fn is_cut(&self, from: End, to: End) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    pub(crate) fn connect(&mut self, node: usize, stream: StreamId, arbitrator: usize) {
        let epoch = self.arbitrators[arbitrator].process.epoch;
        let to = &mut self.arbitrators[arbitrator];
        to.next_stream += 1;
        let arbitrator_stream = StreamId(to.next_stream);
        self.streams.push(Stream {
            node,
            node_epoch: self.nodes[node].container.epoch,
            node_stream: stream,
            arbitrator,
            arbitrator_epoch: epoch,
            arbitrator_stream,
            lanes: [Lane::default(), Lane::default()],
        });
        let line = self.streams.len() - 1;
        self.nodes[node].streams.insert(stream, line);
        if self.arbitrators[arbitrator].process.alive {
            self.arbitrators[arbitrator].streams.insert(arbitrator_stream, line);
            self.send(line, true, Parcel::Open);
        } else {
            self.send(line, false, Parcel::Closed);
        }
    }

    pub(crate) fn send(&mut self, line: usize, up: bool, parcel: Parcel) {
        let latency = self.latency();
        let (from, to) = self.ends(line, up);
        let cut = self.is_cut(from, to);
        let lag = self.lags.get(&(from, to)).copied().unwrap_or_default();
        let late = match kind_of(&parcel).and_then(|kind| self.intercept(kind)) {
            Some(Fate::Late(by)) => by,
            _ => 0,
        };
        let now = self.now;
        let lane = &mut self.streams[line].lanes[usize::from(!up)];
        if lane.dead {
            return;
        }
        if cut || !lane.stalled.is_empty() {
            lane.stalled.push(parcel);
            return;
        }
        lane.last = (lane.last + 1).max(now + latency + lag + late + lane.slower_by);
        let at = lane.last;
        self.at(at, Happening::Deliver(line, up, parcel));
    }

    fn ends(&self, line: usize, up: bool) -> (End, End) {
        let stream = &self.streams[line];
        let (node, arbitrator) = (End::Machine(stream.node), End::Arbitrator(stream.arbitrator));
        if up { (node, arbitrator) } else { (arbitrator, node) }
    }

    pub(crate) fn deliver(&mut self, line: usize, up: bool, parcel: Parcel) {
        let stream = &self.streams[line];
        let (node, arbitrator) = (stream.node, stream.arbitrator);
        let (node_stream, arbitrator_stream) = (stream.node_stream, stream.arbitrator_stream);
        let node_lives = self.nodes[node].container.epoch == stream.node_epoch && self.nodes[node].container.alive;
        let far = &self.arbitrators[arbitrator].process;
        let far_lives = far.epoch == stream.arbitrator_epoch && far.alive;
        if up && !far_lives {
            if !matches!(parcel, Parcel::Closed) {
                self.send(line, false, Parcel::Closed);
            }
            return;
        }
        if !up && !node_lives {
            return;
        }
        match parcel {
            Parcel::Open if up => self.send(line, false, Parcel::Open),
            Parcel::Open => self.container(node, session::Event::StreamOpened(node_stream)),
            Parcel::Closed if up => {
                self.arbitrators[arbitrator].streams.remove(&arbitrator_stream);
                self.arbitrator(arbitrator, arbiter::Event::StreamClosed(arbitrator_stream));
            }
            Parcel::Closed => {
                self.streams[line].lanes[0].dead = true;
                self.container(node, session::Event::StreamClosed(node_stream));
            }
            Parcel::Up(message) => {
                self.check_arriving(node, &message);
                self.arbitrator(arbitrator, arbiter::Event::Container { stream: arbitrator_stream, message });
            }
            Parcel::Down(message) => {
                self.check_received(node, line, &message);
                self.container(node, session::Event::Message { stream: node_stream, message });
            }
        }
    }

    pub(crate) fn hang_up(&mut self, node: usize, stream: StreamId) {
        if let Some(line) = self.nodes[node].streams.remove(&stream) {
            self.send(line, true, Parcel::Closed);
            // What the other side still sends is refused, but what is under way arrives.
            self.streams[line].lanes[0].dead = true;
        }
    }

    /// Breaks every stream of a process that ended without its machine.
    pub(crate) fn reset_streams(&mut self, of: End) {
        for line in 0..self.streams.len() {
            let stream = &self.streams[line];
            let (up, ours) = match of {
                End::Machine(node) => {
                    (true, stream.node == node && stream.node_epoch == self.nodes[node].container.epoch)
                }
                End::Arbitrator(index) => (
                    false,
                    stream.arbitrator == index && stream.arbitrator_epoch == self.arbitrators[index].process.epoch,
                ),
                End::Engine | End::Leader | End::Followers | End::Holder(_) => (true, false),
            };
            if ours {
                self.send(line, up, Parcel::Closed);
            }
        }
    }

    pub(crate) fn slow(&mut self, from: End, to: End, by: Nanos) {
        for line in 0..self.streams.len() {
            for up in [true, false] {
                if self.ends(line, up) == (from, to) {
                    self.streams[line].lanes[usize::from(!up)].slower_by += by;
                }
            }
        }
    }

    pub(crate) fn end_of_cut(&mut self, from: End, to: End) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count = count.saturating_sub(1);
            if *count > 0 {
                return;
            }
        }
        for line in 0..self.streams.len() {
            for up in [true, false] {
                if self.ends(line, up) == (from, to) {
                    let stalled = std::mem::take(&mut self.streams[line].lanes[usize::from(!up)].stalled);
                    for parcel in stalled {
                        self.send(line, up, parcel);
                    }
                }
            }
        }
        if from == End::Engine || to == End::Engine {
            self.end_of_stall();
        }
    }

    /// A request on its way to the engine, its answer on the way back, or neither.
    pub(crate) fn ask_engine(&mut self, arbitrator: usize, request: RequestId, ask: Request) {
        let epoch = self.arbitrators[arbitrator].process.epoch;
        self.arbitrators[arbitrator].asked.insert(request);
        let give_up = self.now + self.run.setup.timing.heartbeat.0;
        self.at(give_up, Happening::FromEngine { arbitrator, epoch, request, reply: Reply::Unknown });
        let mut arrives = self.now + self.latency() + self.engine_delay();
        match kind_of_request(&ask).and_then(|kind| self.intercept(kind)) {
            Some(Fate::Late(by)) => arrives += by,
            Some(Fate::AnswerLost) => {
                self.arbitrators[arbitrator].unheard.insert(request);
            }
            Some(Fate::Again(by)) => {
                let ask = ask.clone();
                self.at(arrives + by, Happening::AtEngine { arbitrator, epoch, request, ask });
            }
            None => {}
        }
        if self.now < self.twice_until {
            let late = arrives + self.rng.random_range(0..4_000 * MILLI);
            self.at(late, Happening::AtEngine { arbitrator, epoch, request, ask: ask.clone() });
        }
        self.at(arrives, Happening::AtEngine { arbitrator, epoch, request, ask });
    }

    pub(crate) fn at_engine(&mut self, arbitrator: usize, epoch: u64, request: RequestId, ask: Request) {
        let cut = self.is_cut(End::Arbitrator(arbitrator), End::Engine);
        if cut || self.now < self.stalled_until {
            // Half of what meets a cut is lost; the rest, like all that meets a stall, arrives late.
            if !cut || self.rng.random_bool(0.5) {
                self.stalled.push(Happening::AtEngine { arbitrator, epoch, request, ask });
            }
            return;
        }
        if self.now < self.out_until {
            return;
        }
        let before = self.store.leader(self.now);
        self.check_asking(arbitrator, &ask);
        let reply = self.store.apply(self.now, &ask);
        self.engine_applied(arbitrator, epoch, request, &ask, &reply);
        let after = self.store.leader(self.now);
        if before != after {
            self.leader_changed();
        }
        let mute = self.now < self.mute_until || self.arbitrators[arbitrator].unheard.remove(&request);
        if !mute && !self.is_cut(End::Engine, End::Arbitrator(arbitrator)) {
            let at = self.now + self.latency() + self.engine_delay();
            self.at(at, Happening::FromEngine { arbitrator, epoch, request, reply });
        } else if matches!(reply, Reply::Applied { .. } | Reply::Won { .. }) {
            self.enter(Window::AppliedWithoutAnswer);
        }
    }

    pub(crate) fn leader_changed(&mut self) {
        if let Some(expires) = self.store.expires_at() {
            self.at(expires + 1, Happening::KeyExpires);
        }
        let seen = self.store.leader(self.now);
        for index in 0..self.arbitrators.len() {
            if self.now >= self.out_until && !self.is_cut(End::Engine, End::Arbitrator(index)) {
                let at = self.now + self.latency();
                self.at(at, Happening::Seen(index, seen.clone()));
            }
        }
    }

    pub(crate) fn key_expires(&mut self) {
        match self.store.expires_at() {
            Some(expires) if self.now <= expires => self.at(expires + 1, Happening::KeyExpires),
            _ => self.leader_changed_if_free(),
        }
    }

    fn leader_changed_if_free(&mut self) {
        if self.store.leader(self.now).is_none() {
            for index in 0..self.arbitrators.len() {
                if self.now >= self.out_until && !self.is_cut(End::Engine, End::Arbitrator(index)) {
                    let at = self.now + self.latency();
                    self.at(at, Happening::Seen(index, None));
                }
            }
        }
    }

    pub(crate) fn end_of_stall(&mut self) {
        if self.now < self.stalled_until {
            return;
        }
        let stalled = std::mem::take(&mut self.stalled);
        for happening in stalled {
            let at = self.now + self.latency();
            self.at(at, happening);
        }
    }

    /// What a container sends, on the way to the arbitrator.
    pub(crate) fn send_up(&mut self, node: usize, stream: StreamId, message: ToArbitrator) {
        let Some(&line) = self.nodes[node].streams.get(&stream) else { return };
        self.check_sending(node, line, &message);
        self.send(line, true, Parcel::Up(message));
    }
}

impl World {
    fn engine_delay(&mut self) -> Nanos {
        let most = self.run.setup.engine_delay;
        self.rng.random_range(0..=most)
    }

    fn intercept(&mut self, kind: Kind) -> Option<Fate> {
        let found = self.intercepts.iter().position(|(waits, _)| *waits == kind)?;
        Some(self.intercepts.remove(found).1)
    }
}

fn kind_of(parcel: &Parcel) -> Option<Kind> {
    match parcel {
        Parcel::Up(ToArbitrator::Hello(_)) => Some(Kind::Hello),
        Parcel::Up(ToArbitrator::Stopped { .. }) => Some(Kind::Stopped),
        Parcel::Down(ToContainer::SetStatus { status: Status::Active(Some(_)), .. }) => Some(Kind::Grant),
        Parcel::Down(ToContainer::Ack { .. }) => Some(Kind::Ack),
        Parcel::Up(_) | Parcel::Down(_) | Parcel::Open | Parcel::Closed => None,
    }
}

fn kind_of_request(ask: &Request) -> Option<Kind> {
    match ask {
        Request::Campaign { .. } => Some(Kind::Campaign),
        Request::Resign { .. } => Some(Kind::Resign),
        Request::ReadAll => Some(Kind::ReadAll),
        Request::ReadJournal { .. } => Some(Kind::ReadJournal),
        Request::Transact(transaction) => transaction.writes.iter().find_map(|write| match write {
            Write::Delete(Key::Register(_)) => Some(Kind::Strike),
            Write::Put(Key::Register(_), _) => Some(Kind::Join),
            Write::Put(Key::Entry(..), _) => Some(Kind::Commit),
            Write::Put(..) | Write::Delete(_) => None,
        }),
        _ => None,
    }
}
