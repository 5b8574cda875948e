//! The embedded engine: the suite, and its files.

use std::path::Path;

use st2sa_coordination::Engine;
use st2sa_coordination::embedded::{Embedded, OpenError};
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
    values_are_kept
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
