//! Hosts: Python processes, one a virtualenv, that fork the sensor processes of it; and when each is started.
//!
//! A few are started at a time, and one that ends again and again is started less and less often: whatever a node has to
//! do, it is not all done at once, nor over and over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread::available_parallelism;

use st2sa_core::time::{Span, Time};
use st2sa_machine::identity;
use tokio::sync::mpsc;

use super::child::{Child, Phase};
use super::{Home, Nursery};
use crate::input::Whose;
use crate::keeper::Keeper;
use crate::wire::{Do, Operation};

/// Hosts that start, or whose sensors load, at once. Each keeps a processor busy for about a second: more of them finish
/// no sooner, and take the processors from the guardian, the lease and the sensors that run.
const HOSTS_STARTING_PER_PROCESSOR: usize = 2;
/// A host counts as starting for so long at the most: a module that hangs when it is imported holds up no other pack.
const STARTING_AT_MOST: Span = Span::from_secs(10);
/// A host that ends again within this has been killed by one of its sensors, for all one knows: then their
/// processes' ends count as failures, and move them.
const FORGIVEN_AFTER: Span = Span::from_secs(60);
/// The second that ends is started again after this, doubled each time, up to the longest: less than what is forgiven.
const AGAIN_FIRST: Span = Span::from_secs(1);
const AGAIN_LONGEST: Span = Span::from_secs(30);

/// In the place of a sensor process's number, where a host is killed.
const HOST: u64 = 0;

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    /// The Python that it runs.
    pub(super) python: PathBuf,
    pub(super) token: String,
    /// When it may be started, and when it was.
    not_before: Time,
    started: Option<Time>,
    /// Its process, once it is started.
    pub(super) pid: Option<i32>,
    /// It has connected at least once: that Python works.
    pub(super) was_connected: bool,
    connection: Option<(u64, mpsc::UnboundedSender<Operation>)>,
}

/// How often something has ended lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    times: u32,
    last: Time,
}

impl Ended {
    /// It has ended again; how often that makes.
    pub(super) fn again(&mut self, now: Time) -> u32 {
        self.times = if now < self.last + FORGIVEN_AFTER { self.times.saturating_add(1) } else { 1 };
        self.last = now;
        self.times
    }

    /// When what takes its place may be started: at once the first time, then later and later.
    fn next_start(self) -> Time {
        match self.times {
            0 | 1 => self.last,
            times => self.last + jittered((AGAIN_FIRST * (1_u64 << (times - 2).min(10))).min(AGAIN_LONGEST)),
        }
    }
}

/// A quarter shorter at the least, a quarter longer at the most: what failed together is not tried together for ever.
pub(super) fn jittered(wait: Span) -> Span {
    let half = wait.0 / 2;
    Span(wait.0 - half / 2 + identity::random() % half.max(1))
}

impl Host {
    fn new(python: PathBuf, token: String, not_before: Time) -> Self {
        Self { python, token, not_before, started: None, pid: None, was_connected: false, connection: None }
    }

    /// It has connected; `false` for anybody else who has learnt its token.
    pub(super) fn connected(&mut self, connection: u64, pid: i32, sender: mpsc::UnboundedSender<Operation>) -> bool {
        if self.was_connected || self.pid.is_some_and(|own| own != pid) {
            return false;
        }
        self.was_connected = true;
        self.connection = Some((connection, sender));
        true
    }

    pub(super) fn disconnected(&mut self, connection: u64) {
        self.connection.take_if(|(own, _)| *own == connection);
    }

    /// Asks it for a sensor process; `false` while it is not there.
    pub(super) fn fork(&self, process: u64, token: &str) -> bool {
        let fork = Operation::Do(Do::Fork { process, token: token.to_owned() });
        self.connection.as_ref().is_some_and(|(_, sender)| sender.send(fork).is_ok())
    }
}

impl Nursery {
    /// The host of a Python: one that is there already, or a new one, to be started.
    pub(super) fn host_for(&mut self, now: Time, python: PathBuf) -> u64 {
        if let Some((number, _)) = self.hosts.iter().find(|(_, host)| host.python == python) {
            return *number;
        }
        self.numbers += 1;
        let number = self.numbers;
        let token = self.tokens.give(Whose::Host(number), None);
        let own = self.hosts_ended.get(&python).copied().unwrap_or_default();
        let not_before = now.max(own.next_start()).max(self.guardians_ended.next_start());
        self.hosts.insert(number, Host::new(python, token, not_before));
        number
    }

    /// Starts hosts that wait for it, as long as few others are starting.
    pub(super) fn start_hosts(&mut self, now: Time, keeper: &mut Keeper) {
        if self.hosts.values().all(|host| host.started.is_some()) {
            return;
        }
        let starting = self.hosts.keys().filter(|number| self.is_starting(now, **number)).count();
        let due = |host: &Host| host.started.is_none() && now >= host.not_before;
        let waiting = self.hosts.iter_mut().filter(|(_, host)| due(host));
        // Their numbers rise: who has waited longest is the first.
        for (&number, host) in waiting.take(starting_at_most().saturating_sub(starting)) {
            host.started = Some(now);
            let environment = self.home.environment(&host.token);
            let arguments = ["-m", "st2sa_host"].map(str::to_owned).to_vec();
            keeper.start_host(number, host.python.to_string_lossy().into_owned(), arguments, environment);
        }
    }

    /// When the next host may be started, whatever else happens: sooner, once others have started.
    pub(super) fn next_start(&self) -> Option<Time> {
        let waiting = self.hosts.values().filter(|host| host.started.is_none());
        let first = waiting.map(|host| host.not_before).min()?;
        let starting = |(number, host): (&u64, &Host)| {
            let ends = host.started? + STARTING_AT_MOST;
            self.is_starting(first, *number).then_some(ends)
        };
        let mut ends: Vec<Time> = self.hosts.iter().filter_map(starting).collect();
        ends.sort_unstable();
        let place = ends.len().checked_sub(starting_at_most()).and_then(|over| ends.get(over).copied());
        Some(place.map_or(first, |place| place.max(first)))
    }

    fn is_starting(&self, now: Time, number: u64) -> bool {
        let Some(host) = self.hosts.get(&number) else { return false };
        let loads = |child: &Child| child.host == number && child.is_loading();
        let recent = host.started.is_some_and(|started| now < started + STARTING_AT_MOST);
        recent && (!host.was_connected || self.children.values().any(loads))
    }

    /// Ends a host that does not do what it is told; without one, a child that it never forked is gone.
    pub(super) fn end_host(&mut self, child: u64, host: u64, keeper: &mut Keeper) {
        if let Some(child) = self.children.get_mut(&child) {
            child.phase = Phase::Ending { until: None };
        }
        match self.hosts.get(&host).and_then(|host| host.pid) {
            // Its guardian says when it has ended: then its children are ended, too.
            Some(pid) => keeper.kill(HOST, pid),
            None => keeper.kill(child, 0),
        }
    }

    pub(super) fn host_ended(&mut self, now: Time, number: u64, how: &str, keeper: &mut Keeper) {
        let Some(host) = self.hosts.remove(&number) else { return };
        self.tokens.take_back(&host.token);
        let mut lost = BTreeSet::new();
        // The first time it is nobody's fault; when it comes again and again, some sensor may be what kills it.
        let blameless = self.hosts_ended.entry(host.python.clone()).or_default().again(now) == 1;
        for child in self.children.values_mut().filter(|child| child.host == number) {
            lost.insert(child.number);
            child.is_lost = blameless;
        }
        let python = host.python.display();
        tracing::error!(%python, how, sensors = lost.len(), "a host has ended, and every sensor process of it");
        for child in lost {
            let never_connected = !host.was_connected;
            if never_connected && let Some(sensor) = self.children.get(&child).map(|child| child.sensor.clone()) {
                self.disable(now, &sensor, format!("its Python `{python}` does not run: {how}"));
            }
            self.end(child, keeper);
            // One whose number was awaited of the host will not get it any more.
            if self.children.get(&child).is_some_and(|child| child.pid.is_none()) {
                keeper.kill(child, 0);
            }
        }
    }
}

impl Home {
    /// What a host, and everything that it forks, finds in its environment.
    fn environment(&self, token: &str) -> BTreeMap<String, String> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        // As StackStorm has it: what its own service was started with is its sensors', too.
        let inherited = std::env::var("PYTHONPATH").unwrap_or_default();
        let python_path = if inherited.is_empty() {
            path(&self.python_path)
        } else {
            format!("{}:{inherited}", path(&self.python_path))
        };
        let mut environment = BTreeMap::from([
            ("ST2SA_SOCKET".to_owned(), path(&self.socket)),
            ("ST2SA_TOKEN".to_owned(), token.to_owned()),
            ("ST2SA_ROLE".to_owned(), "host".to_owned()),
            ("ST2SA_INCARNATION".to_owned(), self.incarnation.clone()),
            ("PYTHONPATH".to_owned(), python_path),
            ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        ]);
        if let Some(stackstorm) = &self.libraries.stackstorm {
            environment.insert("ST2SA_STACKSTORM".to_owned(), path(stackstorm));
        }
        environment
    }
}

fn starting_at_most() -> usize {
    HOSTS_STARTING_PER_PROCESSOR * available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_again_and_again_is_started_later_each_time_until_it_is_forgiven() {
        let mut ended = Ended::default();
        let mut now = Time(0) + Span::from_secs(1_000);
        let mut waits = Vec::new();
        for _ in 0..8 {
            ended.again(now);
            let next = ended.next_start();
            waits.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(waits[0], 0, "the first time it is nobody's fault");
        for (wait, around) in waits[1..].iter().zip([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
            assert!((around * 3 / 4..=around * 5 / 4).contains(wait), "{waits:?}");
        }
        assert_eq!(ended.again(now + FORGIVEN_AFTER), 1);
    }
}
