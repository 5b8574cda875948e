//! Machines: network namespaces on one bridge, and which of their links are cut.
//!
//! All of it is in a network namespace of this program's own, see `private.rs`: nothing of the machine around is touched, and
//! nothing is left however this ends. What is cut is dropped where it would arrive, silently, as a network does it. The bridge's own
//! address is the observer's: sensors and questions reach it whatever is cut, so that whoever acts is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use st2sa_testbed::failure::{OrFail, fail};

/// Where whoever looks on listens: the bridge's address.
pub(crate) const OBSERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// What every name begins with.
const PREFIX: &str = "st2sa-";

/// A machine: what it is called, which is its namespace's name behind the prefix.
pub(crate) type Machine = &'static str;

/// All machines.
pub(crate) struct Network {
    machines: BTreeMap<Machine, Ipv4Addr>,
    /// From whom nothing arrives at whom.
    cut: BTreeSet<(Machine, Machine)>,
}

impl Network {
    /// Makes the bridge and a namespace for each machine.
    #[track_caller]
    pub(crate) fn of(machines: &[Machine]) -> Self {
        // One of an earlier cluster of this run goes first.
        let _ = quietly("ip", &["link", "delete", &format!("{PREFIX}bridge")]);
        let bridge = format!("{PREFIX}bridge");
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", &bridge, "type", "bridge"]);
        run("ip", &["address", "add", &format!("{OBSERVER}/24"), "dev", &bridge]);
        run("ip", &["link", "set", &bridge, "up"]);
        let addresses = (11..).map(|last| Ipv4Addr::new(10, 77, 0, last));
        let network = Self { machines: machines.iter().copied().zip(addresses).collect(), cut: BTreeSet::new() };
        for (machine, address) in &network.machines {
            // The kernel takes fifteen letters for the name of a link.
            let (space, link) = (format!("{PREFIX}{machine}"), format!("{PREFIX}{}", address.octets()[3]));
            run("ip", &["netns", "add", &space]);
            run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &space]);
            run("ip", &["link", "set", &link, "master", &bridge, "up"]);
            run("ip", &["-n", &space, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
            run("ip", &["-n", &space, "link", "set", "eth0", "up"]);
            run("ip", &["-n", &space, "link", "set", "lo", "up"]);
        }
        network
    }

    /// Its address.
    #[track_caller]
    pub(crate) fn address(&self, machine: Machine) -> Ipv4Addr {
        self.machines.get(machine).copied().unwrap_or_else(|| fail(format!("there is no machine `{machine}`")))
    }

    /// What a command line begins with that runs there. Not `ip netns exec`, which hides the control groups.
    pub(crate) fn inside(machine: Machine) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{PREFIX}{machine}"), "--".to_owned()]
    }

    /// Nothing passes between these any more, in neither direction.
    #[track_caller]
    pub(crate) fn cut(&mut self, some: &[Machine], others: &[Machine]) {
        let pairs = some.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)));
        for (one, other) in pairs.filter(|(one, other)| one != other) {
            self.cut.extend([(one, other), (other, one)]);
        }
        self.apply();
    }

    /// What these send does not arrive at those any more; the other direction is as it was.
    #[track_caller]
    pub(crate) fn cut_one_way(&mut self, from: &[Machine], to: &[Machine]) {
        let pairs = from.iter().flat_map(|one| to.iter().map(move |other| (*one, *other)));
        self.cut.extend(pairs.filter(|(one, other)| one != other));
        self.apply();
    }

    /// Nothing passes between this one and any other.
    #[track_caller]
    pub(crate) fn cut_off(&mut self, machine: Machine) {
        let all: Vec<_> = self.machines.keys().copied().collect();
        self.cut(&[machine], &all);
    }

    /// Everything passes again.
    #[track_caller]
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.apply();
    }

    #[track_caller]
    fn apply(&self) {
        for machine in self.machines.keys().copied() {
            let from = |(from, to): &(Machine, Machine)| (*to == machine).then(|| self.machines.get(from)).flatten();
            let from: Vec<String> = self.cut.iter().filter_map(from).map(ToString::to_string).collect();
            // The first line makes the table if there is none: the second one would fail.
            let mut rules = "table ip st2sa\ndelete table ip st2sa\n".to_owned();
            if !from.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(
                    rules,
                    "table ip st2sa {{\n chain arriving {{\n  type filter hook input priority 0; policy accept;\n  \
                     ip saddr {{ {} }} drop\n }}\n}}\n",
                    from.join(", ")
                );
            }
            let inside = Self::inside(machine);
            let mut nft = Command::new(&inside[0])
                .args(&inside[1..])
                .args(["nft", "-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .or_fail("start nft (`apt-get install nftables` brings it)");
            let written = nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
            let status = nft.wait().or_fail("wait for nft");
            if !status.success() || !matches!(written, Some(Ok(()))) {
                fail(format!("nft refuses this for {machine}: {status}\n{rules}"));
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (machine, address) in &self.machines {
            // A namespace that is deleted goes when the kernel finds the time, and its link with it: the next one needs the name.
            let _ = quietly("ip", &["link", "delete", &format!("{PREFIX}{}", address.octets()[3])]);
            let _ = quietly("ip", &["netns", "delete", &format!("{PREFIX}{machine}")]);
        }
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    if let Err(error) = quietly(program, arguments) {
        fail(format!("`{program} {}`: {error}", arguments.join(" ")));
    }
}

fn quietly(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{error} (`apt-get install iproute2` brings it)"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
