//! Every arbitrator of the store's list is gone for good: another one is admitted by an operator's word, and not without.

use st2sa_proto::rest::word;
use st2sa_testbed::{Etcd, RedisServer, Testbed, ZooKeeperServer};

use crate::scene::SETTLES;
use crate::shared::Store;

#[test]
fn on_redis() {
    a_new_arbitrator_leads_once_it_is_admitted::<RedisServer>();
}

#[test]
fn on_zookeeper() {
    a_new_arbitrator_leads_once_it_is_admitted::<ZooKeeperServer>();
}

#[test]
fn on_etcd() {
    a_new_arbitrator_leads_once_it_is_admitted::<Etcd>();
}

fn a_new_arbitrator_leads_once_it_is_admitted<S: Store>() {
    let store = S::start();
    let [old, new] = [(); 2].map(|()| Testbed::for_arbitrators(env!("CARGO_BIN_EXE_st2sa"), 1));
    let mut listed = old.arbitrator_on(0, &store.url(), &[]);
    let leads = |bed: &Testbed| bed.status_of(0).filter(|status| status.role == word::LEADER);
    let first =
        old.eventually(SETTLES, "it leads, and is listed", || leads(&old).filter(|led| led.electors.len() == 1));
    let configuration = format!("--config-file={}", old.folder().join("arbitrator-0.conf").display());
    let ask = |more: &[&str]| {
        let mut asked = new.program("admit", &[&["arbitrator", "admit", &configuration], more].concat());
        let status = asked.wait(SETTLES).code();
        (status, asked.log() + &asked.output())
    };
    let id = format!("somebody@{}", new.listen());
    let (code, said) = ask(&[&id, "--force"]);
    assert!(code == Some(1) && said.contains("leads: it takes newcomers into the list by itself"), "{said}");
    // Stopped, it gives up its leadership, and is still there for whoever asks.
    listed.end();
    let unlisted = new.arbitrator_on(0, &store.url(), &[]);
    let id = new.eventually(SETTLES * 2, "it may not lead", || {
        let status = new.status_of(0)?;
        status.phase.contains("list of electors").then_some(status.arbitrator)
    });
    let (code, said) = ask(&[&id]);
    assert!(code == Some(1) && said.contains("add --force") && said.contains(&first.arbitrator), "{said}");
    let (code, said) = ask(&["somebody", "--force"]);
    assert!(code == Some(2) && said.contains("NAME@HOST:PORT"), "{said}");
    let (code, said) = ask(&[&id, "--force"]);
    assert!(code == Some(0) && said.contains(&format!("{id} may lead")), "{said}");
    let led = new.eventually(SETTLES, "it leads", || leads(&new).filter(|led| led.electors == [id.clone()]));
    assert!(led.term > first.term);
    drop(unlisted);
}
