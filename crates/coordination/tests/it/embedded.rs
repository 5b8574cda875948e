//! The embedded engine: the suite, and its files.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use st2sa_coordination::embedded::{Embedded, OpenError};
use st2sa_coordination::{Datastore, Engine, ValueWrite};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::names::Term;

use crate::conformance::{self, campaign, token};

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder).unwrap()
}

/// One test a case of the suite.
macro_rules! conforms {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            let folder = tempfile::tempdir().unwrap();
            conformance::$case(&open(folder.path())).await;
        }
    )*};
}

conforms!(
    terms_rise,
    a_deposed_leadership_changes_nothing,
    transactions_are_whole,
    everything_is_read_back,
    journals_are_apart,
    values_are_kept,
    pages_are_short
);

#[tokio::test]
async fn the_term_rises_at_each_start_even_if_its_file_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    assert!(matches!(campaign(&engine, 1, 6).await, Reply::Won { term: Term(7), .. }));
    drop(engine);
    std::fs::remove_file(folder.path().join("term")).unwrap();
    let engine = open(folder.path());
    assert_eq!(engine.ask(Request::Observe).await, Reply::Observed { leader: None });
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { term: Term(8), .. }));
}

#[test]
fn a_damaged_term_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["", "term", "term x", "7"] {
        std::fs::write(folder.path().join("term"), text).unwrap();
        let Err(OpenError::File(error)) = Embedded::open(folder.path()) else { panic!("opened with `{text}`") };
        assert!(error.to_string().contains("it should read `term NUMBER`"), "{error}");
    }
}

#[tokio::test]
async fn a_campaign_whose_term_cannot_be_stored_is_not_won() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    // A folder stands where the new file is written first.
    std::fs::create_dir(folder.path().join("term.new")).unwrap();
    assert_eq!(campaign(&engine, 1, 0).await, Reply::Unknown);
    std::fs::remove_dir(folder.path().join("term.new")).unwrap();
    assert!(matches!(campaign(&engine, 2, 0).await, Reply::Won { term: Term(1), .. }));
}

#[tokio::test]
async fn a_campaign_that_comes_after_a_later_one_is_not_won() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    assert!(matches!(campaign(&engine, 2, 0).await, Reply::Won { term: Term(1), .. }));
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::NotWon { .. }));
    assert_eq!(engine.ask(Request::Renew { token: token(2) }).await, Reply::Done);
}

/// A file system of 2 MiB that is full refuses, and takes writes again when there is room.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let engine = open(folder.path());
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
    let ballast = folder.path().join("ballast");
    while std::fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap().write_all(&[0; 4096]).is_ok() {}
    let value = "x".repeat(100_000);
    let mut failed = false;
    for name in 0..20 {
        let write = ValueWrite::Set { name: name.to_string(), value: value.clone(), ttl: None };
        failed |= engine.apply(token(1), Box::new(|| true), vec![write]).await.is_err();
    }
    assert!(failed, "the disk was not full");
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    std::fs::remove_file(ballast).unwrap();
    let write = ValueWrite::Set { name: "a".to_owned(), value: "1".to_owned(), ttl: None };
    // The first to come finds the database closed, or closes it; the next one has it open again.
    let mut stored = engine.apply(token(1), Box::new(|| true), vec![write.clone()]).await;
    if stored.is_err() {
        stored = engine.apply(token(1), Box::new(|| true), vec![write]).await;
    }
    stored.unwrap();
    assert_eq!(engine.get("a".to_owned()).await.unwrap().as_deref(), Some("1"));
    drop(engine);
    drop(disk);
}

/// A tmpfs, where this user may mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder).output().ok()?;
        mount.status.success().then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_not_begun_anew_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path());
    campaign(&engine, 1, 0).await;
    drop(engine);
    let database = folder.path().join("engine.redb");
    std::fs::write(&database, "").unwrap();
    assert!(matches!(Embedded::open(folder.path()), Err(OpenError::Lost { .. })));
    std::fs::write(&database, "no database").unwrap();
    let error = Embedded::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("put a copy of it back"), "{error}");
    std::fs::remove_file(&database).unwrap();
    std::fs::remove_file(folder.path().join("term")).unwrap();
    open(folder.path());
}
