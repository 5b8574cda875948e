//! The real tooz, of both releases that StackStorm may run with, reads our members, and ours reads its.
//!
//! Each release has a virtualenv of its own below `target/tools`, made at its first use. Where that cannot be, the test
//! says so, and nothing is tested.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use st2sa_coordination::registry;
use st2sa_coordination::store::Store;
use st2sa_testbed::{Etcd, RedisServer};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::{GROUP, MEMBER, described, eventually, group, seen};
use crate::zookeeper::shared::shared;

/// What StackStorm's newest release has.
const PINNED: Release = Release {
    version: "6.3.0",
    // Its own pins; newer ones of oslo.utils have lost what it imports.
    with: &["redis==6.1.1", "kazoo==2.11.0", "msgpack==1.2.1", "oslo.utils<8", "etcd3gw==2.7.0"],
};
/// The newest.
const NEWEST: Release =
    Release { version: "9.1.0", with: &["redis==8.1.0", "kazoo==2.11.0", "msgpack==1.2.4", "etcd3gw==2.7.0"] };

/// A release of tooz, and what it is installed with.
struct Release {
    version: &'static str,
    with: &'static [&'static str],
}

#[tokio::test]
async fn tooz_6_3_0_and_ours_see_each_other_in_redis() {
    in_redis(&PINNED).await;
}

#[tokio::test]
async fn tooz_9_1_0_and_ours_see_each_other_in_redis() {
    in_redis(&NEWEST).await;
}

#[tokio::test]
async fn tooz_6_3_0_and_ours_see_each_other_in_zookeeper() {
    in_zookeeper(&PINNED).await;
}

#[tokio::test]
async fn tooz_9_1_0_and_ours_see_each_other_in_zookeeper() {
    in_zookeeper(&NEWEST).await;
}

#[tokio::test]
async fn tooz_6_3_0_and_ours_see_each_other_in_etcd() {
    in_etcd(&PINNED).await;
}

#[tokio::test]
async fn tooz_9_1_0_and_ours_see_each_other_in_etcd() {
    in_etcd(&NEWEST).await;
}

async fn in_redis(release: &Release) {
    let server = RedisServer::start();
    see_each_other(release, &format!("redis://{}", server.address())).await;
}

async fn in_zookeeper(release: &Release) {
    let shared = shared();
    see_each_other(release, &format!("zookeeper://{}?namespace=tooz-{}", shared.address(), release.version)).await;
}

async fn in_etcd(release: &Release) {
    let server = Etcd::start();
    see_each_other(release, &server.url()).await;
}

async fn see_each_other(release: &Release, url: &str) {
    let python = match release.python() {
        Ok(python) => python,
        Err(problem) => {
            eprintln!("not tested with tooz {}: {problem}", release.version);
            return;
        }
    };
    let store = Store::parse(url).unwrap().store;
    let membership = registry::join(&store, super::member());
    let ours = group(GROUP, vec![seen(MEMBER, described())]);
    let listed = async || registry::list(&store).await.ok().filter(|groups| *groups == [ours.clone()]);
    eventually("our member is there", listed).await;

    // Our member is kept by tasks of this thread, which must not be held up.
    let mut child = tokio::process::Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tooz/member.py"))
        .args([url, "rulesengine", "host_7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = lines.next_line().await.unwrap().expect("tooz has failed");
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert_eq!(next().await, json!({ GROUP: { MEMBER: described() } }));
    assert_eq!(next().await, "joined");

    let theirs = json!({"name": "rulesengine", "type": "passive", "hostname": "host", "pid": 7});
    let both = [group("rulesengine", vec![seen("host_7", theirs)]), ours.clone()];
    assert_eq!(registry::list(&store).await.unwrap(), both);

    child.stdin.take().unwrap().write_all(b"\n").await.unwrap();
    let ended = child.wait().await.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(registry::list(&store).await.unwrap(), [group("rulesengine", vec![]), ours]);
    membership.leave().await;
}

impl Release {
    /// The Python that has it.
    fn python(&self) -> Result<PathBuf, String> {
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target folder")?.join("tools");
        let folder = tools.join(format!("tooz-{}", self.version));
        let (python, done) = (folder.join("bin/python"), folder.join("installed"));
        let failed = |error: std::io::Error| format!("`{}`: {error}", folder.display());
        fs::create_dir_all(&tools).map_err(failed)?;
        // Others may be at it, in this process and elsewhere.
        let lock = File::create(tools.join(format!("tooz-{}.lock", self.version))).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let wanted = [&[self.version], self.with].concat().join(" ");
        if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(python);
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=10"];
        run(Command::new(&python).args(pip).arg(format!("tooz=={}", self.version)).args(self.with))?;
        fs::write(&done, wanted).map_err(failed)?;
        Ok(python)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&said).trim()))
}
