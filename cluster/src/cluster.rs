//! A whole cluster: a store of three servers, three arbitrators, two containers with probes that poll every 200 ms; each on a machine
//! of its own, with TLS and certificates between arbitrators and containers. And what may be asked of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use st2sa_doors::authority::{self, Wanted, Written};
use st2sa_doors::{Caller, Keys, Role};
use st2sa_proto::rest::{self, Sensor, Status, word};
use st2sa_testbed::{LoyalContainer, Pack, Placement, Program, Source, Testbed, longest_gap};
use tokio::runtime::Runtime;

use crate::network::{Machine, Network, OBSERVER};
use crate::servers::{STORES, Servers, Which};
use st2sa_testbed::failure::{OrFail, fail};

/// The machines of arbitrators.
pub(crate) const ARBITRATORS: [Machine; 3] = ["arbitrator1", "arbitrator2", "arbitrator3"];
/// One more machine, for an arbitrator that comes later.
pub(crate) const NEWCOMER: Machine = "arbitrator4";
/// The machines of containers, which are called so, too.
pub(crate) const CONTAINERS: [Machine; 2] = ["container1", "container2"];
/// What is started and healed is whole within this, also on a machine that is swamped.
pub(crate) const WHOLE_WITHIN: Duration = Duration::from_mins(1);

/// How many probes poll.
const PROBES: u32 = 6;
/// Nobody answers for longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const ARBITRATORS_PORT: u16 = 9110;
const CONTAINERS_PORT: u16 = 9111;

/// Everything that runs. Programs go before the network and the store.
pub(crate) struct Cluster {
    pub(crate) arbitrators: Vec<Program>,
    containers: Vec<Program>,
    pub(crate) source: Source,
    pub(crate) bed: Testbed,
    pub(crate) sensors: Vec<String>,
    caller: Caller,
    runtime: Runtime,
    pub(crate) servers: Servers,
    pub(crate) network: Network,
    pub(crate) which: Which,
}

impl Cluster {
    /// Starts it; returns once it is whole.
    #[track_caller]
    pub(crate) fn start(binary: &Path, which: Which) -> Self {
        let network = Network::of(&[&STORES[..], &ARBITRATORS, &[NEWCOMER], &CONTAINERS].concat());
        let servers = Servers::start(which, &network);
        let (bed, source) = (Testbed::new(binary), Source::start_at(OBSERVER));
        let packs = [Pack::Ticker(PROBES)];
        bed.add_packs(&packs, &source);
        authority::init(&bed.folder().join("ca"), 30).or_fail("make an authority");
        let keys = keys(&bed, &issue(&bed, "operator", Role::Operator, "127.0.0.1"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut cluster = Self {
            arbitrators: Vec::new(),
            containers: Vec::new(),
            source,
            bed,
            sensors: packs.into_iter().flat_map(Pack::sensors).collect(),
            caller: Caller::new(keys).or_fail("read certificates"),
            runtime: runtime.or_fail("start a runtime"),
            servers,
            network,
            which,
        };
        cluster.arbitrators = ARBITRATORS.into_iter().map(|machine| cluster.arbitrator(machine)).collect();
        cluster.containers = CONTAINERS.into_iter().map(|machine| cluster.container(machine)).collect();
        cluster.until_whole();
        cluster
    }

    /// Starts an arbitrator on a machine.
    #[track_caller]
    pub(crate) fn arbitrator(&self, machine: Machine) -> Program {
        let configuration = self.bed.folder().join(format!("{machine}.conf"));
        let text = format!("[coordination]\nurl = {}\n", self.servers.url());
        std::fs::write(&configuration, text).or_fail(format!("write `{}`", configuration.display()));
        let own = vec![
            "arbitrator".to_owned(),
            format!("--listen={}", self.arbitrator_at(machine)),
            format!("--data-dir={}", self.bed.folder().join(machine).display()),
            format!("--config-file={}", configuration.display()),
        ];
        self.daemon(machine, Role::Arbitrator, own)
    }

    #[track_caller]
    fn container(&self, machine: Machine) -> Program {
        let arbitrators = ARBITRATORS.map(|machine| self.arbitrator_at(machine).to_string());
        let folder = |name: &str| self.bed.folder().join(name).display().to_string();
        let own = vec![
            "container".to_owned(),
            format!("--name={machine}"),
            format!("--arbitrators={}", arbitrators.join(",")),
            format!("--listen={}:{CONTAINERS_PORT}", self.network.address(machine)),
            format!("--state-dir={}", folder(machine)),
            format!("--packs={}", folder("packs")),
            format!("--configs={}", folder("configs")),
            format!("--dispatch=file:{}", folder(&format!("triggers-{machine}.jsonl"))),
        ];
        self.daemon(machine, Role::Container, own)
    }

    #[track_caller]
    fn daemon(&self, machine: Machine, role: Role, mut arguments: Vec<String>) -> Program {
        let Written { certificate, key } = issue(&self.bed, machine, role, &self.network.address(machine).to_string());
        arguments.extend([
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-key-file={}", key.display()),
            format!("--tls-ca-file={}", authority(&self.bed).display()),
        ]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.bed.program_through(&Network::inside(machine), machine, &arguments)
    }

    /// Where an arbitrator on this machine listens.
    pub(crate) fn arbitrator_at(&self, machine: Machine) -> SocketAddr {
        SocketAddr::from((self.network.address(machine), ARBITRATORS_PORT))
    }

    // Asking.

    /// What an arbitrator says of itself.
    pub(crate) fn status_at(&self, machine: Machine) -> Option<Status> {
        self.document(machine, rest::STATUS)
    }

    /// What each of the three says that says anything, by number.
    pub(crate) fn statuses(&self) -> Vec<(usize, Status)> {
        let all = ARBITRATORS.into_iter().enumerate();
        all.filter_map(|(number, machine)| Some((number, self.status_at(machine)?))).collect()
    }

    /// Who leads, in the highest term of those who say that they do.
    pub(crate) fn leading(&self) -> Option<(usize, Status)> {
        let leaders = self.statuses().into_iter().filter(|(_, status)| status.role == word::LEADER);
        leaders.max_by_key(|(_, status)| status.term)
    }

    /// Waits until one leads.
    #[track_caller]
    pub(crate) fn leader(&self) -> (usize, u64) {
        let (number, status) = self.eventually(WHOLE_WITHIN, "somebody leads", || self.leading());
        (number, status.term)
    }

    /// Waits until another one than this leads, in a later term; when that was seen, and who it is.
    #[track_caller]
    pub(crate) fn until_another_leads(&self, than: usize, term: u64, bound: Duration) -> (Instant, usize, u64) {
        self.eventually(bound, "another one leads", || {
            let (number, status) = self.leading()?;
            (number != than && status.term > term).then(|| (Instant::now(), number, status.term))
        })
    }

    /// Waits until everything is as it should be: one leads, in the one term that all know; every arbitrator may follow it; every
    /// sensor is ACTIVE once and has a standby that is ready. Where each is.
    #[track_caller]
    pub(crate) fn until_whole(&self) -> Placement {
        self.servers.until_all_serve();
        let placement = self.eventually(WHOLE_WITHIN, "everything is whole", || {
            let statuses = self.statuses();
            let (leader, led) = self.leading()?;
            let known = statuses.len() == ARBITRATORS.len() && statuses.iter().all(|(_, one)| one.term == led.term);
            let alone = statuses.iter().filter(|(_, one)| one.role == word::LEADER).count() == 1;
            let listed = led.electors.len() >= ARBITRATORS.len() && led.store == word::THERE;
            let sensors: Vec<Sensor> = self.document(ARBITRATORS[leader], rest::SENSORS)?;
            (known && alone && listed).then(|| self.placed(&sensors))?
        });
        let since = Instant::now();
        self.until_all_poll(since, WHOLE_WITHIN);
        placement
    }

    fn placed(&self, sensors: &[Sensor]) -> Option<Placement> {
        let place = |wanted: &String| {
            let sensor = sensors.iter().find(|sensor| sensor.reference == *wanted)?;
            let is = |status: &str, state: &str| {
                sensor.instances.iter().find(|one| one.status == status && one.state == state)
            };
            let active = is(word::ACTIVE, "running")?;
            let whole = sensor.instances.len() == CONTAINERS.len() && is(word::STANDBY, "ready").is_some();
            whole.then(|| (wanted.clone(), active.container.clone()))
        };
        self.sensors.iter().map(place).collect()
    }

    /// Waits until each sensor has begun a poll at this moment or later.
    #[track_caller]
    pub(crate) fn until_all_poll(&self, since: Instant, bound: Duration) {
        self.eventually(bound, "every sensor polls", || {
            self.sensors.iter().all(|sensor| self.source.first_since(sensor, since).is_some()).then_some(())
        });
    }

    /// The longest time in which a sensor did not poll, of that one which waited longest.
    pub(crate) fn longest_pause(&self, sensors: &[String], since: Instant) -> Duration {
        let (polls, until) = (self.source.polls(), Instant::now());
        sensors.iter().map(|sensor| longest_gap(&polls, sensor, since, until)).max().unwrap_or_default()
    }

    /// Lets so much time pass: what is looked at is all of it, and no condition can tell that nothing happens in it.
    pub(crate) fn wait_out(time: Duration) {
        std::thread::sleep(time);
    }

    /// Gives an order as an operator would.
    #[track_caller]
    pub(crate) fn order(&self, order: &[&str]) {
        let (leader, _) = self.leader();
        let folder = self.bed.folder();
        let options = [
            format!("--arbitrator={}", self.arbitrator_at(ARBITRATORS[leader])),
            format!("--ca-file={}", authority(&self.bed).display()),
            format!("--cert-file={}", folder.join("operator.pem").display()),
            format!("--key-file={}", folder.join("operator-key.pem").display()),
        ];
        let arguments: Vec<&str> = order.iter().copied().chain(options.iter().map(String::as_str)).collect();
        let mut program = self.bed.program("order", &arguments);
        let status = program.wait(WHOLE_WITHIN);
        if !status.success() {
            fail(format!("{order:?}: {status}: {}{}", program.log(), program.output()));
        }
    }

    /// A container that stays with this arbitrator whatever becomes of it; what is at the observer's reaches everybody.
    #[track_caller]
    pub(crate) fn loyal_to(&self, number: usize, name: &str) -> LoyalContainer {
        let written = issue(&self.bed, name, Role::Container, &OBSERVER.to_string());
        let caller = Caller::new(keys(&self.bed, &written)).or_fail("read certificates");
        let at = self.arbitrator_at(ARBITRATORS[number]).to_string();
        LoyalContainer::bound_over(async move { caller.connect(&at, ANSWERED_WITHIN).await }, name)
    }

    /// Looks until there is something, at most for so long; then the scene fails, naming what it waited for.
    #[track_caller]
    pub(crate) fn eventually<T>(&self, bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            if since.elapsed() > bound {
                let statuses = self.statuses();
                let brief: Vec<String> = statuses.iter().map(|(number, status)| brief(*number, status)).collect();
                let sensors: Option<serde_json::Value> =
                    statuses.iter().find_map(|(number, _)| self.document(ARBITRATORS[*number], rest::SENSORS));
                let sensors = sensors.unwrap_or_default();
                // The testbed knows the logs, and shows them.
                let what = format!("{what} (waited for {bound:?})\n{}\nsensors: {sensors}", brief.join("\n"));
                return self.bed.eventually(Duration::ZERO, &what, || None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn document<T: DeserializeOwned>(&self, machine: Machine, path: &str) -> Option<T> {
        let url = format!("{}://{}{path}", self.caller.scheme(), self.arbitrator_at(machine));
        let request = self.caller.sign(self.caller.http().get(url)).timeout(ANSWERED_WITHIN);
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?.error_for_status().ok()?;
            answer.json().await.ok()
        })
    }
}

/// What somebody who looks for a fault wants to know of an arbitrator.
fn brief(number: usize, status: &Status) -> String {
    format!(
        "{}: {} ({}), term {}, store {}, electors {:?}, leader {:?}",
        ARBITRATORS[number], status.role, status.phase, status.term, status.store, status.electors, status.leader
    )
}

fn authority(bed: &Testbed) -> PathBuf {
    bed.folder().join("ca").join(authority::AUTHORITY)
}

#[track_caller]
fn issue(bed: &Testbed, name: &str, role: Role, host: &str) -> Written {
    let wanted = Wanted { name: name.to_owned(), role, hosts: vec![host.to_owned()], sensors: Vec::new(), days: 30 };
    authority::issue(&bed.folder().join("ca"), bed.folder(), &wanted, true).or_fail("issue a certificate")
}

fn keys(bed: &Testbed, written: &Written) -> Keys {
    let Written { certificate, key } = written.clone();
    let authority = Some(authority(bed));
    Keys { tls: true, authority, certificate: Some(certificate), key: Some(key), ..Keys::default() }
}
