//! The arbitrator's data: its disk full, its files damaged, gone, or in use. What was stored is not lost, what cannot be used
//! is refused with what to do, and nothing is thrown away to make it usable.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{FAILOVER, Pack, Signal, SmallDisk, Source, Testbed};

use crate::scene::{SETTLES, SLACK, Scene, sensors_of, testbed};

/// A start is refused at once.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// Room for the engine's file and the history, and some to spare.
const DISK_KIBIBYTES: u32 = 8 * 1024;

/// An arbitrator that was there, has stored something, and has been stopped.
struct Left {
    bed: Testbed,
}

impl Left {
    fn new() -> Self {
        let (bed, source) = (testbed(), Source::start());
        bed.add_packs(&[Pack::Cursor], &source);
        let mut arbitrator = bed.arbitrator(&[]);
        let mut a = bed.container("a");
        bed.eventually(SETTLES, "a cursor is stored", || (bed.triggers().len() > 5).then_some(()));
        a.end();
        arbitrator.kill(Signal::TERM);
        arbitrator.wait(SETTLES);
        assert!(bed.folder().join("arbitrator/engine.redb").is_file());
        Self { bed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bed.folder().join("arbitrator").join(name)
    }

    /// The arbitrator refuses to start, says all of `words`, and leaves the file `kept` as it is.
    fn is_refused(&self, kept: &str, words: &[&str]) {
        let before = std::fs::read(self.path(kept)).ok();
        let mut arbitrator = self.bed.arbitrator(&[]);
        let status = arbitrator.wait(REFUSED_WITHIN);
        let log = arbitrator.log();
        assert_eq!(status.code(), Some(1), "{status}: {log}");
        for word in words {
            assert!(log.contains(word), "it does not say `{word}`: {log}");
        }
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(std::fs::read(self.path(kept)).ok(), before, "`{kept}` was changed");
    }

    /// The arbitrator refuses to start as it should, or it has everything that was stored.
    fn is_refused_or_whole(&self) {
        let before = std::fs::read(self.path("engine.redb")).unwrap();
        let arbitrator = self.bed.arbitrator(&[]);
        let refused = self.bed.eventually(SETTLES, "it refuses, or leads", || {
            let leads = || self.bed.status().is_some_and(|status| status.role == word::LEADER);
            if arbitrator.process().lives() { leads().then_some(false) } else { Some(true) }
        });
        if refused {
            assert!(arbitrator.log().contains("put a copy of it back"), "{}", arbitrator.log());
            assert!(std::fs::read(self.path("engine.redb")).unwrap() == before, "what was refused was changed");
        } else {
            let value = self.bed.document("/v1/datastore/cursor.Cursor:after").unwrap();
            assert!(value.0 == 200, "{value:?}");
        }
        assert!(!arbitrator.log().contains("panicked"), "{}", arbitrator.log());
    }

    /// It starts, in a term above every earlier one, and knows what was stored.
    fn works(&self, above: u64) {
        let arbitrator = self.bed.arbitrator(&[]);
        self.bed.eventually(SETTLES, "it leads", || self.bed.status().filter(|status| status.term > above));
        let value = self.bed.document("/v1/datastore/cursor.Cursor:after").unwrap();
        assert!(value.0 == 200, "{value:?}");
        drop(arbitrator);
    }
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let left = Left::new();
    let whole = std::fs::read(left.path("engine.redb")).unwrap();
    // Cut short, as a copy may have been.
    for kept in [100, whole.len() / 4] {
        std::fs::write(left.path("engine.redb"), &whole[..kept]).unwrap();
        left.is_refused("engine.redb", &["cannot open the database", "put a copy of it back"]);
    }
    // Where nothing was lost that was in use, it may be mended; all that was stored is there then.
    for kept in [whole.len() / 2, whole.len() - 4096] {
        std::fs::write(left.path("engine.redb"), &whole[..kept]).unwrap();
        left.is_refused_or_whole();
    }
    // Its head overwritten.
    let mut garbled = whole.clone();
    garbled[..512].fill(0xA5);
    std::fs::write(left.path("engine.redb"), &garbled).unwrap();
    left.is_refused("engine.redb", &["cannot open the database", "put a copy of it back"]);
    std::fs::write(left.path("engine.redb"), &whole).unwrap();
    left.works(1);
}

#[test]
fn a_store_or_a_term_that_is_gone_is_never_begun_anew_in_silence() {
    let left = Left::new();
    let (store, term) = (std::fs::read(left.path("engine.redb")).unwrap(), std::fs::read(left.path("term")).unwrap());
    std::fs::remove_file(left.path("engine.redb")).unwrap();
    left.is_refused("term", &["is gone or empty", "put it back"]);
    std::fs::write(left.path("engine.redb"), "").unwrap();
    left.is_refused("term", &["is gone or empty", "put it back"]);
    std::fs::write(left.path("engine.redb"), &store).unwrap();
    std::fs::write(left.path("term"), "term soon\n").unwrap();
    left.is_refused("engine.redb", &["term"]);
    // The store has a copy of the term.
    std::fs::remove_file(left.path("term")).unwrap();
    left.works(1);
    std::fs::write(left.path("term"), term).unwrap();
    left.works(2);
}

#[test]
fn small_files_that_are_damaged_say_what_to_do() {
    let left = Left::new();
    for (file, content, words) in [
        ("id", "", ["it is empty", "a new id is drawn"]),
        ("highest_term", "many", ["it should hold a number", "remove it"]),
    ] {
        let whole = std::fs::read(left.path(file)).unwrap();
        std::fs::write(left.path(file), content).unwrap();
        left.is_refused(file, &[&words[..], &[file]].concat());
        std::fs::write(left.path(file), whole).unwrap();
    }
    left.works(1);
}

#[test]
fn a_second_arbitrator_on_one_folder_is_refused_and_told_who_has_it() {
    let scene = Scene::of(&[Pack::Ticker(1)]);
    let data = scene.bed.folder().join("arbitrator").display().to_string();
    let mut second =
        scene.bed.program("second", &["arbitrator", "--listen=127.0.0.1:0", &format!("--data-dir={data}")]);
    let status = second.wait(REFUSED_WITHIN);
    let log = second.log();
    assert_eq!(status.code(), Some(1), "{status}: {log}");
    assert!(log.contains(&format!("arbitrator, process {}", scene.arbitrator.pid())), "{log}");
    scene.is_well();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let bed = testbed();
    let Some(disk) = SmallDisk::mount(&bed.folder().join("arbitrator"), DISK_KIBIBYTES) else { return };
    disk.set_read_only(true);
    let mut arbitrator = bed.arbitrator(&[]);
    let status = arbitrator.wait(REFUSED_WITHIN);
    assert_eq!(status.code(), Some(1), "{status}: {}", arbitrator.log());
    assert!(arbitrator.log().contains("Read-only file system"), "{}", arbitrator.log());
    // A file in its place.
    let file = bed.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let listen = format!("--listen={}", bed.listen());
    let mut arbitrator = bed.program("second", &["arbitrator", &listen, &format!("--data-dir={}", file.display())]);
    assert_eq!(arbitrator.wait(REFUSED_WITHIN).code(), Some(1));
    assert!(arbitrator.log().contains(&file.display().to_string()), "{}", arbitrator.log());
}

#[test]
fn a_full_disk_stops_no_sensor_and_is_told_and_what_was_stored_stays() {
    let bed = testbed();
    let Some(disk) = SmallDisk::mount(&bed.folder().join("arbitrator"), DISK_KIBIBYTES) else { return };
    let source = Source::start();
    let packs = [Pack::Ticker(3)];
    bed.add_packs(&packs, &source);
    let sensors = sensors_of(&packs);
    let arbitrator = bed.arbitrator(&[]);
    let a = bed.container("a");
    bed.eventually(SETTLES, "every sensor is ACTIVE on a", || bed.placement(&sensors));
    let b = bed.container("b");
    let mut scene = Scene::made_of(arbitrator, [a, b], source, bed, sensors);
    scene.until_ready("b");
    disk.fill();
    // A container dies while there is no room: its strike has to be stored before anybody may go on.
    let since = Instant::now();
    scene.a.kill(Signal::KILL);
    scene.a.wait(SETTLES);
    scene.polled_within(&scene.sensors, since, FAILOVER + SLACK);
    // The arbitrator is killed while there is no room: it has no term before there is, and says so.
    let term = scene.bed.status().unwrap().term;
    scene.arbitrator.end();
    scene.arbitrator.restart();
    let told = scene.bed.eventually(SETTLES, "it says that it cannot store anything", || {
        let ended = !scene.arbitrator.process().lives();
        let log = scene.arbitrator.log();
        (ended || log.contains("the new term cannot be stored")).then_some((ended, log))
    });
    assert!(told.1.contains("No space left on device"), "{}", told.1);
    disk.empty();
    if told.0 {
        scene.arbitrator.restart();
    }
    scene.bed.eventually(SETTLES, "it leads again", || {
        scene.bed.status().filter(|status| status.term > term && status.role == word::LEADER)
    });
    scene.settled(SETTLES);
    let back = Instant::now();
    scene.polled_within(&scene.sensors, back, SETTLES);
    scene.source.assert_no_overlap();
    // They have the disk open.
    drop(scene);
    drop(disk);
}
