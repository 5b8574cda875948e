//! A cluster of three: whatever happens to one member, asks go on.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_go_on_whichever_member_is_killed() {
    let mut members = st2sa_testbed::Etcd::cluster(3);
    let engine = open(&st2sa_testbed::Etcd::url_of(&members), "killed members").await;
    let mut leads = Leads { engine, attempt: 0 };
    leads.on("at first").await;
    for (number, member) in members.iter_mut().enumerate() {
        member.kill();
        leads.on(&format!("without {number}")).await;
        member.start_again();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_go_on_whichever_member_is_silent() {
    let members = st2sa_testbed::Etcd::cluster(3);
    let engine = open(&st2sa_testbed::Etcd::url_of(&members), "silent members").await;
    let mut leads = Leads { engine, attempt: 0 };
    leads.on("at first").await;
    for (number, member) in members.iter().enumerate() {
        member.stop();
        let who = format!("beside {number}");
        leads.on(&who).await;
        member.cont();
        let single = eventually("it answers", async || {
            Etcd::open(&store(&member.url(), "silent members"), lengths()).await.ok()
        })
        .await;
        eventually("it has caught up", async || (paused(&single).await? == [who.as_str()]).then_some(())).await;
    }
}

/// An arbitrator that leads, and tries again where it does not.
struct Leads {
    engine: Etcd,
    attempt: u64,
}

impl Leads {
    /// Until it has renewed its leadership, and written under it: an election of etcd's lasts a second or two.
    async fn on(&mut self, who: &str) {
        let since = Instant::now();
        eventually("it leads", async || {
            match ask(&self.engine, Request::Renew { token: token_of("a", self.attempt) }).await {
                Reply::Done => return Some(()),
                Reply::NotLeader => {
                    self.attempt += 1;
                    ask(&self.engine, campaign_of("a", self.attempt)).await;
                }
                _ => {}
            }
            None
        })
        .await;
        eventually("it writes", async || {
            let write = transact(token_of("a", self.attempt), vec![pause("p.X", who)]);
            matches!(ask(&self.engine, write).await, Reply::Applied { .. }).then_some(())
        })
        .await;
        eprintln!("{who}: goes on after {:?}", since.elapsed());
        assert_eq!(paused(&self.engine).await.unwrap(), [who]);
    }
}
