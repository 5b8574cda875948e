//! StackStorm's service registry: who stands there, for how long, and that nobody depends on it.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use st2sa_testbed::{Pack, Program, RedisServer, Signal, Source, Testbed, free_port};

use crate::scene::{SETTLES, SLACK, sensors_of, testbed};

/// A member that has died is seen for so long.
const TTL: Duration = Duration::from_secs(10);
/// What a member says changes within this.
const CHANGES: Duration = Duration::from_secs(5);

const ARBITRATORS: &str = "sensorarbitrator";
const CONTAINERS: &str = "sensorcontainer";

/// A configuration file of these lines in `[coordination]`, as a flag.
fn configured(bed: &Testbed, name: &str, lines: &str) -> String {
    let path = bed.folder().join(name);
    std::fs::write(&path, format!("[coordination]\n{lines}\n")).unwrap();
    format!("--config-file={}", path.display())
}

fn asked(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_st2sa"))
        .arg("registry")
        .args(arguments)
        .env_remove("ST2SA_CONFIG_FILE")
        .output()
        .unwrap()
}

/// What each member of a group says of itself, by its process.
fn members(config: &str, group: &str) -> BTreeMap<i64, Value> {
    let output = asked(&[config, "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let groups: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = groups.as_array().unwrap().iter().find(|found| found["group_id"] == group);
    let members = found.and_then(|found| found["members"].as_array()).into_iter().flatten();
    members.map(|member| (member["capabilities"]["pid"].as_i64().unwrap(), member["capabilities"].clone())).collect()
}

fn pid(program: &Program) -> i64 {
    i64::from(program.pid())
}

#[test]
fn the_registry_shows_who_leads_and_what_runs_where_until_they_are_gone() {
    let store = RedisServer::start();
    let bed = Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), 2);
    let (source, url) = (Source::start(), format!("redis://{}", store.address()));
    bed.add_packs(&[Pack::Ticker(3)], &source);
    let sensors = sensors_of(&[Pack::Ticker(3)]);
    let config = configured(&bed, "st2.conf", &format!("url = {url}\nservice_registry = True"));
    let mut arbitrators: Vec<Program> = (0..2).map(|number| bed.arbitrator_on(number, &url, &[&config])).collect();
    let container = bed.container_in("a", "a", &[&config]);
    bed.eventually(SETTLES, "every sensor runs", || bed.placement(&sensors));

    let leader = bed.eventually(SETTLES, "all stand there, and say how they stand", || {
        let (arbitrators, containers) = (members(&config, ARBITRATORS), members(&config, CONTAINERS));
        let stands = |role: &str, sensors: u64, containers: u64| {
            let is_so = |(_, member): &(&i64, &Value)| {
                member["role"] == role && member["sensors"] == sensors && member["containers"] == containers
            };
            arbitrators.iter().find(is_so).map(|(pid, _)| *pid)
        };
        let container = containers.get(&pid(&container))?;
        let runs = container["sensors_active"] == 3 && container["node"] == "a" && container["type"] == "active";
        let leader = stands("leader", 3, 1)?;
        (runs && stands("standby", 0, 0)? != leader && arbitrators.len() == 2).then_some(leader)
    });
    let number = arbitrators.iter().position(|arbitrator| pid(arbitrator) == leader).unwrap();
    let said = &members(&config, ARBITRATORS)[&leader];
    let listens = bed.listens()[number];
    assert_eq!(said["address"], listens.to_string());
    assert_eq!((&said["listen_host"], &said["listen_port"]), (&"127.0.0.1".into(), &listens.port().into()));
    let table = String::from_utf8(asked(&[&config]).stdout).unwrap();
    assert!(table.contains("role=leader term=") && table.contains(CONTAINERS), "{table}");

    // Asked to stop, it leaves: sooner than one that has died.
    let mut leader = arbitrators.swap_remove(number);
    leader.kill(Signal::TERM);
    assert!(leader.wait(SETTLES).success());
    bed.eventually(CHANGES, "it has left", || {
        (!members(&config, ARBITRATORS).contains_key(&pid(&leader))).then_some(())
    });
    bed.eventually(SETTLES, "the other one says that it leads", || {
        let members = members(&config, ARBITRATORS);
        let said = members.get(&pid(&arbitrators[0]))?;
        let follows = said["term"].as_u64()? > 1;
        (said["role"] == "leader" && follows && said["containers"] == 1).then_some(())
    });

    // Killed, in its time.
    container.kill_with_everything();
    bed.eventually(TTL + SLACK, "the container is gone", || members(&config, CONTAINERS).is_empty().then_some(()));
    bed.eventually(CHANGES, "the leader says so", || {
        let members = members(&config, ARBITRATORS);
        (members.get(&pid(&arbitrators[0]))?["containers"] == 0).then_some(())
    });
}

#[test]
fn a_registry_that_cannot_be_reached_holds_no_container_up_and_is_said_once() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let nobody = format!("url = redis://127.0.0.1:{}\nservice_registry = True", free_port());
    let config = configured(&bed, "st2.conf", &nobody);
    let _arbitrator = bed.arbitrator(&[]);
    // There is nobody to hand over to.
    let mut container = bed.container_in("a", "a", &[&config, "--drain-timeout=1s"]);
    bed.eventually(SETTLES, "the sensor runs", || bed.placement(&sensors_of(&[Pack::Ticker(1)])));
    let since = Instant::now();
    bed.eventually(SETTLES, "it polls on", || source.first_since("ticker.Ticker01", since));
    let log = container.log();
    assert_eq!(log.matches("cannot stand in the service registry").count(), 1, "{log}");
    container.kill(Signal::TERM);
    assert!(container.wait(SETTLES).success());
}

#[test]
fn what_keeps_the_registry_from_being_shown_is_said() {
    let bed = testbed();
    let said = |config: &[&str]| {
        let output = asked(config);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = said(&[]);
    assert!(code == Some(2) && text.contains("there is no `url` in [coordination]"), "{code:?}: {text}");
    let (code, text) = said(&[&configured(&bed, "file.conf", "url = file:///tmp/x")]);
    assert!(code == Some(2) && text.contains("file.conf:2: `url` of [coordination]"), "{code:?}: {text}");
    let port = free_port();
    let (code, text) = said(&[&configured(&bed, "away.conf", &format!("url = redis://127.0.0.1:{port}"))]);
    assert!(code == Some(3) && text.contains(&format!("Redis at 127.0.0.1:{port}")), "{code:?}: {text}");
}
