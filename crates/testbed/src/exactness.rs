//! Kills at random while sensors count, and the account of what arrived: nothing lost, nothing twice, everything in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::failure::{OrFail, fail};
use crate::packs::Pack;
use crate::program::Program;
use crate::testbed::Testbed;
use crate::triggers::Trigger;

/// After whatever was done every sensor dispatches again within this.
const GOES_ON_WITHIN: Duration = Duration::from_mins(1);
/// A struck sensor has polled well so often before the next strike: ten good polls forget a failure, and what is killed again
/// and again before that is held back, longer and longer.
const POLLS_BETWEEN: u64 = 12;
/// Numbers of one poll.
const BATCH: u64 = 3;
/// A crash point that nobody has passed after this is helped: a sensor's process is killed.
const HELPED_AFTER: Duration = Duration::from_millis(1_500);
/// Between the last look of whoever dies and their death.
const DIES_WITHIN: Duration = Duration::from_millis(50);
/// How often it is looked at what has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What arrived of sensors that count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Numbers that arrived, each counted once.
    pub items: u64,
    /// Numbers that are missing below the highest of their sensor.
    pub lost: Vec<(String, u64)>,
    /// Numbers that arrived under two ids.
    pub duplicated: Vec<(String, u64)>,
    /// Triggers that arrived again under the same id: the window between publishing and marking.
    pub repeated: u64,
    /// Numbers that arrived after higher ones.
    pub disordered: Vec<(String, u64)>,
}

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// SIGKILL of a sensor's process.
    Sensor,
    /// Each sensor dies between its dispatches and its save, whichever comes first.
    Between,
    /// SIGKILL of a container: its guardian ends what it ran.
    Container,
    /// A container and everything below it, at once.
    Node,
    /// SIGSTOP of a container until its sensors are elsewhere, then SIGCONT.
    Pause,
    /// SIGKILL of an arbitrator.
    Arbitrator,
    /// Whichever process passes a crash point so often dies there.
    At(&'static str, u32),
}

/// Strikes, and keeps the account.
pub struct Exactness<'a> {
    bed: &'a Testbed,
    sensors: Vec<String>,
    random: u64,
    files: Vec<Read>,
    seen: BTreeMap<String, Seen>,
    /// What was done so far.
    pub strikes: Vec<Strike>,
}

/// A file of triggers, and how much of it was read.
struct Read {
    path: PathBuf,
    bytes: u64,
}

/// What has arrived of one sensor.
#[derive(Debug, Default)]
struct Seen {
    /// When, which number, under which id.
    triggers: Vec<(String, u64, String)>,
}

impl<'a> Exactness<'a> {
    /// Sensors that count on containers with files of their own; what is drawn follows from the seed.
    pub fn new(bed: &'a Testbed, sensors: Vec<String>, containers: &[&str], seed: u64) -> Self {
        let files = containers.iter().map(|name| Read { path: bed.own_file(name), bytes: 0 }).collect();
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { bed, sensors, random, files, seen: BTreeMap::new(), strikes: Vec::new() }
    }

    /// Draws a strike: of ten seven are sensors' processes, two containers, one arbitrators.
    pub fn draw(&mut self) -> Strike {
        match self.below(10) {
            0..=6 => Strike::Sensor,
            7 => Strike::Container,
            8 => [Strike::Node, Strike::Pause][self.below(2)],
            _ => Strike::Arbitrator,
        }
    }

    /// Strikes at a random moment, and waits until every sensor goes on.
    #[track_caller]
    pub fn strike(&mut self, strike: Strike, arbitrators: &mut [Program], containers: &mut [Program]) {
        // At any point of a poll and of what follows it: a random delay is what is wanted here.
        let delay = self.below(250);
        std::thread::sleep(Duration::from_millis(delay as u64));
        self.strikes.push(strike);
        match strike {
            Strike::Sensor => {
                let chosen = self.below(self.sensors.len());
                let sensor = self.sensors[chosen].clone();
                self.kill(&sensor);
            }
            Strike::Between => {
                for pack in [Pack::Cursor, Pack::Saver] {
                    pack.dies(self.bed.folder());
                }
            }
            Strike::Container => {
                let struck = &mut containers[self.below(containers.len())];
                struck.kill(Signal::KILL);
                struck.wait(GOES_ON_WITHIN);
                struck.restart();
            }
            Strike::Node => {
                let struck = &mut containers[self.below(containers.len())];
                struck.kill_with_everything();
                struck.wait(GOES_ON_WITHIN);
                struck.restart();
            }
            Strike::Pause => {
                let struck = self.below(containers.len());
                containers[struck].kill(Signal::STOP);
                self.until_all_go_on("a container stands still");
                containers[struck].kill(Signal::CONT);
            }
            Strike::At(point, times) => self.crash(point, times, arbitrators, containers),
            Strike::Arbitrator => {
                let struck = &mut arbitrators[self.below(arbitrators.len())];
                struck.end();
                struck.restart();
            }
        }
        self.until_all_go_on(&format!("{strike:?}"));
    }

    /// Kills a sensor's process, unless it is between two.
    fn kill(&self, sensor: &str) {
        if let Some(process) = self.bed.sensor_process(sensor).filter(|process| process.lives())
            && let Some(pid) = Pid::from_raw(process.pid)
        {
            // It may have ended by now.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// Waits until somebody has died at a point, and starts them again.
    #[track_caller]
    fn crash(&mut self, point: &str, times: u32, arbitrators: &mut [Program], containers: &mut [Program]) {
        self.bed.crash_at(point, times);
        let since = Instant::now();
        let mut helped = 0;
        while self.bed.is_armed(point) {
            // Some are passed only where a sensor is given away, or a process started.
            if since.elapsed() > HELPED_AFTER * (helped + 1) {
                helped += 1;
                let sensor = self.sensors[helped as usize % self.sensors.len()].clone();
                self.kill(&sensor);
            }
            if since.elapsed() > GOES_ON_WITHIN {
                fail(format!("nobody passes the crash point {point} {times} times"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // Whoever it was is dead, or about to be; a guardian, a host or a sensor's process is started again by others.
        std::thread::sleep(DIES_WITHIN);
        for program in arbitrators.iter_mut().chain(containers).filter(|program| !program.process().lives()) {
            program.wait(GOES_ON_WITHIN);
            program.restart();
        }
    }

    /// Waits until every sensor has polled and dispatched for a while.
    #[track_caller]
    pub fn until_all_go_on(&mut self, after: &str) {
        let before: BTreeMap<String, u64> =
            self.sensors.iter().map(|sensor| (sensor.clone(), self.triggers(sensor))).collect();
        let since = Instant::now();
        loop {
            self.take();
            let waits: Vec<&String> = self
                .sensors
                .iter()
                .filter(|sensor| self.triggers(sensor) < before[*sensor] + POLLS_BETWEEN * BATCH)
                .collect();
            if waits.is_empty() {
                return;
            }
            if since.elapsed() > GOES_ON_WITHIN {
                fail(format!("{waits:?} do not go on after {after}; done so far: {:?}", self.strikes));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The account of all that has arrived so far.
    #[track_caller]
    pub fn account(&mut self) -> Account {
        self.take();
        let mut account = Account::default();
        for (sensor, seen) in &self.seen {
            seen.account_for(sensor, &mut account);
        }
        account
    }

    fn triggers(&self, sensor: &str) -> u64 {
        self.seen.get(sensor).map_or(0, |seen| seen.triggers.len() as u64)
    }

    /// Reads what has been added; a line that is being written is left for the next time.
    #[track_caller]
    fn take(&mut self) {
        for read in &mut self.files {
            let Ok(mut file) = File::open(&read.path) else { continue };
            file.seek(SeekFrom::Start(read.bytes)).or_fail("read on in a file of triggers");
            let (mut reader, mut line) = (BufReader::new(file), String::new());
            loop {
                line.clear();
                let length = reader.read_line(&mut line).or_fail("read a file of triggers");
                if !line.ends_with('\n') {
                    break;
                }
                read.bytes += length as u64;
                let trigger: Trigger = serde_json::from_str(&line).or_fail(format!("understand the line `{line}`"));
                let Some(number) = trigger.payload["number"].as_u64() else { continue };
                self.seen.entry(trigger.sensor).or_default().triggers.push((trigger.at, number, trigger.id));
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound.max(1)
    }
}

impl Seen {
    fn account_for(&self, sensor: &str, account: &mut Account) {
        let mut triggers: Vec<_> = self.triggers.iter().collect();
        // As they were handed on; within one file, and one millisecond, they stay as they are there.
        triggers.sort_by(|a, b| a.0.cmp(&b.0));
        let mut ids: BTreeMap<u64, BTreeSet<&String>> = BTreeMap::new();
        let mut highest = 0;
        for (_, number, id) in triggers {
            let known = ids.entry(*number).or_default();
            let is_first = known.is_empty();
            if !known.insert(id) {
                account.repeated += 1;
            }
            if is_first && *number < highest {
                account.disordered.push((sensor.to_owned(), *number));
            }
            highest = highest.max(*number);
        }
        account.items += ids.len() as u64;
        let missing = (1..=highest).filter(|number| !ids.contains_key(number));
        account.lost.extend(missing.map(|number| (sensor.to_owned(), number)));
        let twice = ids.iter().filter(|(_, ids)| ids.len() > 1);
        account.duplicated.extend(twice.map(|(number, _)| (sensor.to_owned(), *number)));
    }
}

impl Account {
    /// Whether nothing is lost, nothing twice, and everything in order.
    pub fn is_exact(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.disordered.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { items, lost, duplicated, repeated, disordered } = self;
        let (lost_count, twice, late) = (lost.len(), duplicated.len(), disordered.len());
        write!(
            f,
            "{items} items: {lost_count} lost, {twice} duplicated, {late} out of order; {repeated} written again under their own id"
        )?;
        let shown = |name: &str, found: &[(String, u64)]| {
            let first: Vec<String> =
                found.iter().take(8).map(|(sensor, number)| format!("{sensor} {number}")).collect();
            if first.is_empty() { String::new() } else { format!("; {name}: {}", first.join(", ")) }
        };
        write!(f, "{}{}{}", shown("lost", lost), shown("duplicated", duplicated), shown("out of order", disordered))
    }
}
