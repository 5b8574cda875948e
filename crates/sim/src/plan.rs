//! A run, as data: the cluster, and what happens to it when. Drawn from a seed, or written by hand.

use st2sa_core::arbiter::Verb;
use st2sa_core::message::Effects;
use st2sa_core::timing::Timing;

use crate::clock::Nanos;

/// The cluster of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Seeds latencies and other choices that are no faults.
    pub seed: u64,
    /// Lengths of time, for arbitrators and containers.
    pub timing: Timing,
    /// The engine may lose what it confirmed.
    pub forgetful: bool,
    /// Fail-safe is on.
    pub fail_safe: bool,
    /// Clock rates of the arbitrators, in millionths.
    pub arbitrators: Vec<u64>,
    /// Clock rate of the engine.
    pub engine_rate: u64,
    /// The sensor nodes.
    pub machines: Vec<MachineSetup>,
    /// The sensors.
    pub sensors: Vec<SensorSetup>,
    /// One-way latency, shortest and longest.
    pub latency: (Nanos, Nanos),
    /// What the engine adds to a request's way, and to the answer's, at the most.
    pub engine_delay: Nanos,
    /// When everything heals.
    pub heal_at: Nanos,
}

/// A sensor node.
#[derive(Clone, Debug)]
pub struct MachineSetup {
    /// Its container's name; two machines may be given one by mistake.
    pub name: String,
    /// Clock rate, in millionths.
    pub rate: u64,
    /// Its `zone` label.
    pub zone: u8,
    /// How much weight it takes.
    pub capacity: Option<u32>,
    /// Whether it starts with the cluster.
    pub starts: bool,
}

/// A sensor.
#[derive(Clone, Debug)]
pub struct SensorSetup {
    /// `pack.Class`.
    pub name: String,
    /// Interval of a polling one; `None` for a passive one.
    pub interval: Option<Nanos>,
    /// How its effects go out.
    pub effects: Effects,
    /// How long a poll takes, at the least and at the most.
    pub poll: (Nanos, Nanos),
    /// Its source makes an item this often.
    pub item_every: Nanos,
    /// Its source lists an item for so long only; `None` for ever.
    pub listed_for: Option<Nanos>,
    /// It must run in this zone.
    pub zone: Option<u8>,
    /// It keeps its cursor in memory once it has read it.
    pub remembers: bool,
    /// How much of a container it takes.
    pub weight: u32,
}

/// A process, or a whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// An arbitrator.
    Arbitrator(usize),
    /// A container's process.
    Container(usize),
    /// Its guardian.
    Guardian(usize),
    /// Every sensor process of a node.
    Sensors(usize),
    /// A sensor node, whole.
    Machine(usize),
    /// Whoever leads when it happens.
    Leader,
    /// Every arbitrator but that one.
    Followers,
    /// The container that holds the sensor when it happens.
    Holder(usize),
    /// That one's node, whole.
    HoldersMachine(usize),
}

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// An arbitrator.
    Arbitrator(usize),
    /// A sensor node.
    Machine(usize),
    /// The engine.
    Engine,
    /// Whoever leads when it happens.
    Leader,
    /// Every arbitrator but that one.
    Followers,
    /// The node that holds the sensor when it happens.
    Holder(usize),
}

/// How a sensor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    Well,
    /// Its polls raise, at times after having done something.
    Raises,
    /// Its polls do not return.
    Hangs,
    /// Its process dies in a poll.
    Dies,
}

/// A message or a request, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Container to arbitrator.
    Hello,
    /// Container to leader.
    Stopped,
    /// Leader to container: ACTIVE with what to start from.
    Grant,
    /// Leader to container.
    Ack,
    /// Arbitrator to engine.
    Campaign,
    /// Leader to engine: the register and all else that is durable.
    ReadAll,
    /// Leader to engine: a journal.
    ReadJournal,
    /// Leader to engine: a journal commit.
    Commit,
    /// Leader to engine: a strike.
    Strike,
    /// Leader to engine: a new entry in the register.
    Join,
    /// Leader to engine.
    Resign,
}

/// What becomes of the next one of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives so much later; on a stream all that follows it does too.
    Late(Nanos),
    /// A request takes effect, the answer is lost.
    AnswerLost,
    /// A request arrives in time, and once more so much later.
    Again(Nanos),
}

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The process ends; it starts again after so long (never, if `None`).
    Crash(Who, Option<Nanos>),
    /// SIGSTOP for so long.
    Pause(Who, Nanos),
    /// A pause between its next decision and the act.
    Gap(Who, Nanos),
    /// A hypervisor holds the machine and its clock.
    Hidden(Who, Nanos),
    /// Nothing goes from the first end to the second for so long.
    Cut(End, End, Nanos),
    /// Streams between the two that are open now deliver so much later, for good.
    Slow(End, End, Nanos),
    /// What goes from the first end to the second takes so much longer, for so long.
    Lag(End, End, Nanos, Nanos),
    /// The next message or request of a kind meets a fate.
    Intercept(Kind, Fate),
    /// Streams of a node break.
    Break(usize),
    /// The engine answers nothing for so long, then all of it.
    Stall(Nanos),
    /// The engine is gone for so long: requests are lost, keys expire.
    Outage(Nanos),
    /// Requests take effect, their answers are lost, for so long.
    Mute(Nanos),
    /// Requests are sent twice for so long, the second one late.
    Twice(Nanos),
    /// The engine loses what it confirmed in the last so long.
    Forget(Nanos),
    /// An arbitrator's disk is lost.
    Wipe(usize),
    /// A sensor behaves so for so long, on one node or on all.
    Mood(usize, Option<usize>, Mood, Nanos),
    /// A node gets another version of a sensor's code.
    Code(usize, usize, u64),
    /// The packs of a node lack a sensor for so long.
    Withdraw(usize, usize, Nanos),
    /// An operator asks the leader.
    Operator(Verb),
    /// A node is switched on.
    Start(usize),
    /// A container hands over and leaves; it starts again after so long.
    Leave(usize, Option<Nanos>),
    /// An arbitrator's process is replaced by one with other timing, which the containers are told.
    Retime(usize, Timing),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The cluster.
    pub setup: Setup,
    /// What happens, in the order of time.
    pub faults: Vec<(Nanos, Fault)>,
}
