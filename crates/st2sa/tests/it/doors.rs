//! Doors, on real processes: everything over TLS, limits of certificates and tokens, and whoever comes with bad intent.

mod hostile;
mod visitor;

use std::path::{Path, PathBuf};

use st2sa_doors::authority::{self, Written};
use st2sa_doors::tokens::{self, Wanted};
use st2sa_doors::{Keys, Limits, Role, Secret};
use st2sa_proto::rest::word;
use st2sa_testbed::{FAILOVER, Pack, RedisServer, Source, Testbed};

use crate::scene::{SETTLES, sensors_of, testbed};
use visitor::Visitor;

/// A file that has changed is read within this, and what follows from it happens.
const NOTICED: std::time::Duration = std::time::Duration::from_secs(10);

/// An authority beside a testbed, and tokens.
pub(crate) struct Keyring<'a> {
    folder: &'a Path,
}

impl<'a> Keyring<'a> {
    fn new(bed: &'a Testbed) -> Self {
        let keyring = Self { folder: bed.folder() };
        authority::init(&keyring.folder.join("ca"), 30).unwrap();
        keyring
    }

    /// Flags of a daemon with a certificate.
    fn flags(&self, name: &str, role: Role) -> Vec<String> {
        let Written { certificate, key } = self.issue(name, role, &[]);
        vec![
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-key-file={}", key.display()),
            self.trust(),
        ]
    }

    fn trust(&self) -> String {
        format!("--tls-ca-file={}", self.authority().display())
    }

    fn authority(&self) -> PathBuf {
        self.folder.join("ca/ca.pem")
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.json")
    }

    fn issue(&self, name: &str, role: Role, sensors: &[&str]) -> Written {
        let sensors = sensors.iter().map(|sensor| (*sensor).to_owned()).collect();
        let hosts = vec!["127.0.0.1".to_owned()];
        let wanted = authority::Wanted { name: name.to_owned(), role, hosts, sensors, days: 30 };
        authority::issue(&self.folder.join("ca"), self.folder, &wanted, false).unwrap()
    }

    /// Somebody with a certificate.
    fn visitor(&self, name: &str, role: Role) -> Visitor {
        let Written { certificate, key } = self.issue(name, role, &[]);
        let (certificate, key) = (Some(certificate), Some(key));
        Visitor::new(Keys { tls: true, authority: Some(self.authority()), certificate, key, ..Keys::default() })
    }

    /// A token's text.
    fn token(&self, name: &str, role: Role, limits: Limits, days: Option<u32>) -> String {
        tokens::create(&self.tokens(), Wanted { name: name.to_owned(), role, limits, days }).unwrap()
    }

    /// Somebody with a token, or what should be one.
    fn visitor_with(&self, token: &str) -> Visitor {
        let token_text = Some(Secret(token.to_owned()));
        Visitor::new(Keys { tls: true, authority: Some(self.authority()), token_text, ..Keys::default() })
    }
}

fn as_str(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn everything_between_arbitrators_containers_and_people_goes_over_tls() {
    let store = RedisServer::start();
    let url = format!("redis://{}", store.address());
    let bed = Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), 2);
    let (source, packs) = (Source::start(), [Pack::Ticker(4), Pack::Cursor]);
    bed.add_packs(&packs, &source);
    let keyring = Keyring::new(&bed);
    let node = |number: usize| keyring.flags(&format!("node-{number}"), Role::Arbitrator);
    let mut arbitrators: Vec<_> =
        (0..2).map(|number| bed.arbitrator_on(number, &url, &as_str(&node(number)))).collect();
    let containers = ["a", "b"];
    let _containers =
        containers.map(|name| bed.container_in(name, name, &as_str(&keyring.flags(name, Role::Container))));
    let anna = keyring.visitor("anna", Role::Operator);
    let listens = bed.listens();
    let leads = |at: std::net::SocketAddr| {
        let status = anna.json(at, "/v1/status")?;
        (status["role"] == word::LEADER).then_some(status)
    };
    let leader = || listens.iter().position(|at| leads(*at).is_some());
    bed.eventually(SETTLES * 2, "two electors, and every sensor is ACTIVE with a standby", || {
        let at = listens[leader()?];
        let sensors = anna.json(at, "/v1/sensors")?;
        let settled = sensors.as_array().filter(|sensors| sensors.len() == 5)?.iter().all(|sensor| {
            let ready =
                |instance: &serde_json::Value| instance["status"] == word::ACTIVE || instance["state"] == "ready";
            let instances = sensor["instances"].as_array();
            let settled = instances.is_some_and(|instances| instances.len() == 2 && instances.iter().all(ready));
            settled && sensor["status"] == word::ACTIVE
        });
        (settled && leads(at)?["electors"].as_array()?.len() == 2).then_some(())
    });
    let first = leader().unwrap();
    let standby = 1 - first;
    // An order goes from the standby to the leader, signed with what was shown at the standby.
    let ordered = anna.order(listens[standby], "/v1/sensors/ticker.Ticker01/pause");
    assert_eq!(ordered.0, 200, "{ordered:?}");
    let paused = anna.json(listens[standby], "/v1/sensors/ticker.Ticker01").unwrap();
    assert_eq!(paused["paused"]["who"], "anna@desk (operator anna)");
    // Logs come from a container's own port; what sensors keep goes over gRPC.
    assert_eq!(anna.get(listens[standby], "/v1/sensors/ticker.Ticker02/logs").0, 200);
    bed.eventually(SETTLES, "a cursor is stored", || anna.json(listens[standby], "/v1/datastore/cursor.Cursor:after"));
    // The standby follows the history, and knows it once it leads.
    let knows = || {
        let history = anna.json(listens[standby], "/v1/history?limit=1000")?;
        history.as_array()?.iter().any(|record| record["cause"] == "paused").then_some(())
    };
    bed.eventually(SETTLES, "the standby has followed the history", knows);
    arbitrators[first].end();
    bed.eventually(FAILOVER + SETTLES, "the other one leads", || leads(listens[standby]));
    assert!(knows().is_some());
    let since = std::time::Instant::now();
    for sensor in sensors_of(&packs).iter().filter(|sensor| *sensor != "ticker.Ticker01") {
        bed.eventually(SETTLES, "it polls on", || source.first_since(sensor, since));
    }
    source.assert_no_overlap();
}

#[test]
fn a_container_has_the_name_and_the_sensors_that_its_token_allows_until_that_is_revoked() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(3)], &source);
    let keyring = Keyring::new(&bed);
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let limits = Limits { containers: own(&["web-*"]), sensors: own(&["ticker.Ticker01", "ticker.Ticker02"]) };
    let token = keyring.token("web", Role::Container, limits.clone(), None);
    let file = bed.folder().join("web.token");
    std::fs::write(&file, &token).unwrap();
    let tokens = format!("--tokens-file={}", keyring.tokens().display());
    let flags = [keyring.flags("node", Role::Arbitrator), vec![tokens]].concat();
    let _arbitrator = bed.arbitrator(&as_str(&flags));
    let shown = [keyring.trust(), format!("--token-file={}", file.display())];
    let other = bed.container_in("db-1", "db-1", &as_str(&shown));
    bed.eventually(SETTLES, "another name is refused, and it says why", || {
        other.log().contains("container web may not be the container `db-1`").then_some(())
    });
    let web = bed.container_in("web-1", "web-1", &as_str(&shown));
    let anna = keyring.visitor("anna", Role::Operator);
    let sensors = || anna.json(bed.listen(), "/v1/sensors")?.as_array().cloned();
    let offered = bed.eventually(SETTLES, "what it may offer is ACTIVE there", || {
        let sensors = sensors()?;
        let active = sensors.iter().filter(|sensor| sensor["active"] == "web-1");
        let active: Vec<String> = active.map(|sensor| sensor["ref"].to_string()).collect();
        (active.len() == 2).then_some(active)
    });
    assert_eq!(offered, ["\"ticker.Ticker01\"", "\"ticker.Ticker02\""]);
    tokens::revoke(&keyring.tokens(), "web").unwrap();
    bed.eventually(NOTICED, "its stream is closed", || web.log().contains("expired, or was revoked").then_some(()));
    bed.eventually(FAILOVER + NOTICED, "it polls no more", || {
        let last = source.polls().iter().map(|poll| poll.begun).max()?;
        (last.elapsed() > FAILOVER).then_some(())
    });
    let since = std::time::Instant::now();
    std::fs::write(&file, keyring.token("web", Role::Container, limits, None)).unwrap();
    bed.eventually(SETTLES, "with a new token it polls again", || source.first_since("ticker.Ticker01", since));
    source.assert_no_overlap();
}
