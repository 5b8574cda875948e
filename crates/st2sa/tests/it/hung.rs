//! What hangs: a process that was killed and does not end, a log that nobody reads. Neither keeps a container from
//! replacing its guardian, nor from stopping.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use st2sa_machine::processes::{Process, below, die_with_parent};
use st2sa_testbed::{FAILOVER, Pack, SESSION_TTL, Signal, Source};

use crate::debugger::Debugger;
use crate::scene::{SETTLES, SLACK, Scene, TICKER, testbed, tickers};

/// A container that is asked twice has stopped within this: a second to kill, a second to reap.
const STOPS: Duration = Duration::from_secs(2);
/// One whose loop hangs ends without it after three seconds.
const ENDS_ANYWAY: Duration = Duration::from_secs(3);

#[test]
fn a_stopped_guardian_is_replaced_though_a_sensor_does_not_end() {
    let scene = Scene::usual();
    let process = scene.bed.sensor_process(TICKER).unwrap();
    let Some(held) = Debugger::holding(process) else { return };
    let guardian = scene.a.guardian();
    let since = Instant::now();
    scene.bed.kill(guardian, Signal::STOP);
    let dead = || (!guardian.lives()).then_some(());
    scene.bed.eventually(SESSION_TTL + STOPS + SLACK, "the stopped guardian is killed", dead);
    assert!(process.lives(), "it is held");
    scene.polled_within(&tickers(&scene), since + SESSION_TTL, STOPS + FAILOVER + SLACK);
    drop(held);
    scene.dead_within(&[process], SLACK, "it ends once nobody holds it");
    scene.is_well();
}

#[test]
fn a_container_stops_though_a_sensor_does_not_end() {
    let mut scene = Scene::usual();
    let process = scene.bed.sensor_process(TICKER).unwrap();
    let Some(held) = Debugger::holding(process) else { return };
    let all = below(scene.a.pid());
    scene.a.kill(Signal::TERM);
    scene.bed.eventually(SLACK, "it begins to hand over", || {
        scene.a.log().contains("handing everything over").then_some(())
    });
    scene.a.kill(Signal::TERM);
    assert_eq!(scene.a.wait(STOPS + SLACK).code(), Some(3), "{}", scene.a.log());
    let others: Vec<Process> = all.into_iter().filter(|other| *other != process).collect();
    scene.dead_within(&others, SLACK, "everything but what is held is dead");
    assert!(process.lives(), "it is held");
    drop(held);
    scene.is_well();
}

#[test]
fn a_container_whose_log_nobody_reads_stops_when_asked_twice() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let (mut reader, writer) = std::io::pipe().unwrap();
    // Opened anew: what is set for the one writer does not hold for the other.
    let filler = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut filler = File::options().write(true).custom_flags(nonblocking).open(filler).unwrap();
    let folder = |name: &str| bed.folder().join(name).display().to_string();
    let mut container = Command::new(env!("CARGO_BIN_EXE_st2sa"));
    container
        .args(["container", "--name=a", "--listen=127.0.0.1:0", "--arbitrators=127.0.0.1:1", "--dispatch=stdout"])
        .args([format!("--state-dir={}", folder("a")), format!("--packs={}", folder("packs"))])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer);
    die_with_parent(&mut container);
    let mut child = container.spawn().unwrap();
    drop(container);
    let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
    let mut log = String::new();
    while !log.contains("offering") {
        let mut buffer = [0; 4_096];
        let length = reader.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{log}");
        log += &String::from_utf8_lossy(&buffer[..length]);
    }
    let all = below(process.pid);
    while filler.write(&[b'\n'; 4_096]).is_ok() {}
    // One byte at a time, up to the last.
    while filler.write(b"\n").is_ok() {}
    bed.kill(process, Signal::TERM);
    std::thread::sleep(SLACK);
    assert!(process.lives(), "once, it hands over, and hangs in the word of that");
    bed.kill(process, Signal::TERM);
    let ended = || child.try_wait().unwrap();
    let status = bed.eventually(ENDS_ANYWAY + SLACK, "it ends, whatever it hangs in", ended);
    assert_eq!(status.code(), Some(3));
    bed.eventually(SETTLES, "nothing is left of it", || all.iter().all(|process| !process.lives()).then_some(()));
}
