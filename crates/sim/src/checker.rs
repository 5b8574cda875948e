//! The invariants, told from true time and from what really passed, never from core's own opinion.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use st2sa_core::engine::Token;
use st2sa_core::history::{Auditor, Cause, Record};
use st2sa_core::names::{ArbitratorId, EntryId, Fence, ProcessId, Term};
use st2sa_core::time::{Span, Time};

use crate::clock::{MILLI, Nanos, SECOND};
use crate::plan::Setup;
use crate::windows::{Window, Windows};

/// The invariants by name, with what each says.
pub const INVARIANTS: &[(&str, &str)] = &[
    (
        "one-active",
        "No two instances of a sensor are inside an unfrozen poll, or pass an effect, at once in true time.",
    ),
    ("acts-under-lease", "Nothing acts without a lease, counted from the sending of an acknowledged heartbeat."),
    ("fence-order", "The fences under which a sensor acts never fall, and no fence is given to two containers."),
    ("terms-rise", "Terms never fall, and no container follows two leaders of one."),
    ("given-away-stays", "What was given to another is never thawed."),
    (
        "exactly-once",
        "Each item of a journaled sensor reaches the sink once, in order, under one id; after healing, all of them have.",
    ),
    ("hard-rules", "Every grant obeys the hard rules: offered there, not paused, labels, not drained."),
    ("no-needless-move", "A container to which nothing happened loses nothing."),
    ("late-freeze-recorded", "An instance that nobody could freeze in time is recorded as a possible overlap."),
    (
        "nothing-left-behind",
        "A second after a container died, nothing that it ran is left, unless its guardian is stopped.",
    ),
    ("history", "Each leader's history is consistent: the auditor finds nothing."),
    ("liveness", "After everything has healed, somebody leads and every sensor is active exactly once."),
];

/// A broken invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in true time.
    pub at: Nanos,
    /// Which.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken: {}", self.invariant, self.what)
    }
}

/// A process of a sensor, by node.
pub(crate) type Actor = (usize, ProcessId);

/// What a container may count on, told from the messages that passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    pub(crate) line: Option<usize>,
    pub(crate) ttl: Span,
    pub(crate) end: Time,
    pub(crate) check: u64,
    pub(crate) term: Term,
    pub(crate) leader: Option<Token>,
}

pub(crate) struct Checker {
    pub(crate) violation: Option<Violation>,
    pub(crate) windows: Windows,
    pub(crate) leases: Vec<Lease>,
    /// Clock readings at which heartbeats were sent, by stream and sequence.
    pub(crate) sent: BTreeMap<(usize, u64), Time>,
    /// Welcomes by stream: term, leader, ttl.
    pub(crate) welcomes: BTreeMap<usize, (Term, Token, Span)>,
    acting: Vec<BTreeSet<Actor>>,
    /// Actors that began while another was at it, to be judged by who knows the nodes.
    pub(crate) met: Vec<(usize, Actor, Actor)>,
    fences: Vec<Fence>,
    /// The newest grant of each sensor: fence and node.
    pub(crate) newest: Vec<(Fence, usize)>,
    given: BTreeMap<(usize, Fence), usize>,
    items: Vec<BTreeMap<u64, EntryId>>,
    /// The engine forgot: what was lost with it is not held against the rest.
    pub(crate) forgot: bool,
    highest_term: Term,
    auditors: BTreeMap<(ArbitratorId, Term), Auditor>,
    /// When something last happened to a node, or to a sensor.
    pub(crate) touched: Vec<Option<Nanos>>,
    /// Leaders that believe they lead.
    believes: BTreeMap<usize, Term>,
    pub(crate) hidden_until: Nanos,
    /// The same for nodes alone: until then a lease may look longer there than it is.
    pub(crate) hidden_node_until: Nanos,
    pub(crate) paused: BTreeSet<usize>,
    pub(crate) drained: BTreeSet<usize>,
    /// The newest word each node gave on each sensor.
    pub(crate) words: BTreeMap<(usize, usize), Fence>,
    /// Until when electors promised to keep still.
    pub(crate) promised: BTreeMap<usize, Nanos>,
    names: Vec<String>,
    nodes: Vec<String>,
    /// Late freezes to be recorded: node, container's epoch.
    pub(crate) late: BTreeSet<(usize, u64)>,
}

impl Checker {
    pub(crate) fn new(setup: &Setup) -> Self {
        let sensors = setup.sensors.len();
        Self {
            violation: None,
            windows: Windows::default(),
            leases: vec![Lease::default(); setup.machines.len()],
            sent: BTreeMap::new(),
            welcomes: BTreeMap::new(),
            acting: vec![BTreeSet::new(); sensors],
            met: Vec::new(),
            fences: vec![Fence::default(); sensors],
            newest: vec![(Fence::default(), 0); sensors],
            given: BTreeMap::new(),
            items: vec![BTreeMap::new(); sensors],
            forgot: false,
            highest_term: Term(0),
            auditors: BTreeMap::new(),
            touched: vec![None; setup.machines.len()],
            believes: BTreeMap::new(),
            hidden_until: 0,
            hidden_node_until: 0,
            paused: BTreeSet::new(),
            drained: BTreeSet::new(),
            words: BTreeMap::new(),
            promised: BTreeMap::new(),
            names: setup.sensors.iter().map(|sensor| sensor.name.clone()).collect(),
            nodes: setup.machines.iter().map(|machine| machine.name.clone()).collect(),
            late: BTreeSet::new(),
        }
    }

    pub(crate) fn fail(&mut self, at: Nanos, invariant: &'static str, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at, invariant, what });
        }
    }

    /// A process begins to act, or ceases to (frozen, paused, done or dead).
    pub(crate) fn acts(&mut self, _now: Nanos, sensor: usize, actor: Actor, acts: bool) {
        let acting = &mut self.acting[sensor];
        if !acts {
            acting.remove(&actor);
        } else if acting.insert(actor) {
            let others: Vec<_> = acting.iter().filter(|other| **other != actor).copied().collect();
            self.met.extend(others.into_iter().map(|other| (sensor, other, actor)));
        }
    }

    pub(crate) fn still_acts(&self, sensor: usize, actor: Actor) -> bool {
        self.acting[sensor].contains(&actor)
    }

    pub(crate) fn acting_beside(&self, sensor: usize, node: usize) -> Option<Actor> {
        self.acting[sensor].iter().find(|(other, _)| *other != node).copied()
    }

    pub(crate) fn sensor_name(&self, sensor: usize) -> &str {
        &self.names[sensor]
    }

    /// An act under a fence, just decided.
    pub(crate) fn acted_under(&mut self, now: Nanos, sensor: usize, fence: Fence) {
        let newest = self.fences[sensor];
        if fence < newest && now >= self.hidden_until && !self.forgot {
            let name = self.names[sensor].clone();
            self.fail(now, "fence-order", format!("{name} acts under {fence} after {newest}"));
        }
        self.fences[sensor] = newest.max(fence);
    }

    /// Where a sensor was last given to.
    pub(crate) fn last_given(&self, sensor: usize) -> Option<usize> {
        let (fence, node) = self.newest[sensor];
        (fence > Fence::default()).then_some(node)
    }

    /// A leader gives a sensor to a node.
    pub(crate) fn gives(&mut self, now: Nanos, sensor: usize, fence: Fence, node: usize) {
        let other = *self.given.entry((sensor, fence)).or_insert(node);
        if other != node && !self.forgot {
            let (name, one, two) = (&self.names[sensor], &self.nodes[other], &self.nodes[node]);
            self.fail(now, "fence-order", format!("{name}: fence {fence} was given to {one} and to {two}"));
        }
        if fence >= self.newest[sensor].0 {
            self.newest[sensor] = (fence, node);
        }
    }

    /// Effects of a journaled sensor reach the sink. With `gaps` its source may have dropped items.
    pub(crate) fn reaches_sink(&mut self, now: Nanos, sensor: usize, id: EntryId, items: &[u64], gaps: bool) {
        let name = self.names[sensor].clone();
        let mut again = false;
        for &item in items {
            let last = self.items[sensor].last_key_value().map_or(0, |(last, _)| *last);
            match self.items[sensor].get(&item) {
                Some(known) if *known == id => again = true,
                Some(_) if self.forgot => {}
                Some(_) => self.fail(now, "exactly-once", format!("{name}: item {item} under a second id")),
                None if (item <= last || item != last + 1 && !gaps) && !self.forgot => {
                    self.fail(now, "exactly-once", format!("{name}: item {item} comes after {last}"));
                }
                None => drop(self.items[sensor].insert(item, id)),
            }
        }
        if again {
            self.windows.enter(Window::PublishedAgain);
        }
    }

    /// The last item that reached the sink.
    pub(crate) fn delivered(&self, sensor: usize) -> u64 {
        self.items[sensor].last_key_value().map_or(0, |(last, _)| *last)
    }

    pub(crate) fn led_before(&mut self, arbitrator: usize, term: Option<Term>) {
        if term.is_none() {
            self.believes.remove(&arbitrator);
        }
    }

    pub(crate) fn leads(&mut self, _now: Nanos, arbitrator: usize, term: Option<Term>) {
        match term {
            Some(term) => {
                self.believes.insert(arbitrator, term);
                if self.believes.len() > 1 {
                    self.windows.enter(Window::TwoBelieve);
                }
            }
            None => drop(self.believes.remove(&arbitrator)),
        }
    }

    pub(crate) fn won(&mut self, now: Nanos, term: Term) {
        if term <= self.highest_term && !self.forgot {
            let highest = self.highest_term;
            self.fail(now, "terms-rise", format!("term {term} was won after {highest}"));
        }
        self.highest_term = self.highest_term.max(term);
    }

    /// A leader's record.
    pub(crate) fn record(&mut self, now: Nanos, record: &Record) {
        match record.cause {
            Cause::Failed if record.to.is_none() => self.windows.enter(Window::MovedForFailure),
            Cause::Balanced | Cause::NewCode if record.to.is_none() => self.windows.enter(Window::MovedVoluntarily),
            Cause::PossibleOverlap => {
                let name = record.from.as_ref().map(ToString::to_string).unwrap_or_default();
                self.late.retain(|(node, _)| self.nodes[*node] != name);
            }
            _ => {}
        }
        if record.cause == Cause::Lost
            && let Some(from) = &record.from
        {
            let nodes: Vec<_> = (0..self.nodes.len()).filter(|node| self.nodes[*node] == from.as_str()).collect();
            let blamed = nodes.iter().any(|node| self.touched[*node].is_some_and(|at| now < at + BLAMED_FOR));
            if !blamed && !self.forgot && now > 2 * SECOND {
                self.fail(now, "no-needless-move", format!("{record}, though nothing happened to {from}"));
            }
        }
        let key = (ArbitratorId::new("leader"), record.fence.term);
        let auditor = self.auditors.entry(key).or_default();
        if let Some(finding) = auditor.read(record)
            && !self.forgot
        {
            self.fail(now, "history", finding.to_string());
        }
    }

    pub(crate) fn container_ended(&mut self, node: usize) {
        self.leases[node] = Lease { check: self.leases[node].check + 1, ..Lease::default() };
        self.late.retain(|(late, _)| *late != node);
        self.words.retain(|(other, _), _| *other != node);
    }

    /// While the engine is away nothing is struck: what a fault leads to, comes later.
    pub(crate) fn prolong_blame(&mut self, now: Nanos, until: Nanos) {
        for touched in self.touched.iter_mut().flatten() {
            if now < *touched + BLAMED_FOR {
                *touched = (*touched).max(until);
            }
        }
    }

    pub(crate) fn touch(&mut self, node: usize, until: Nanos) {
        self.touched[node] = self.touched[node].max(Some(until));
    }
}

/// After a pause both of those who freeze are late by no more than this.
pub(crate) const WAKE: Nanos = 30 * MILLI;

/// From a fault to the strike that it leads to: a lease, its drift, margins, and a leader change between.
const BLAMED_FOR: Nanos = 12 * SECOND;
