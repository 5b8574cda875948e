//! Who leads, told as soon as it changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::requests;
use crate::Watcher;

/// How soon a look follows the moment at which the leader's key ends: a clock's tick.
const AFTER_THE_END: Duration = Duration::from_millis(5);
/// How often it is looked whether there is a leader, besides what is told on the channel.
const WITHOUT_LEADER: Duration = Duration::from_secs(1);
/// A key that ends much later than any of ours was tampered with: it is looked at again after this.
const LONGEST_LOOK: Duration = Duration::from_mins(1);

/// Tells each change until it is dropped. Campaigns and resignations are told on a channel; that the leader's key
/// has run out is found by looking when it would, which the last look said.
pub(super) async fn watch(link: Arc<Link>, tell: Watcher) {
    let mut told = None;
    loop {
        let session = link.session().await;
        let channel = link.settings.names.leader();
        let deadline = link.settings.deadline;
        let subscribed = timeout(deadline, session.subscribe(&link.settings, &channel)).await;
        // A user who may not subscribe: it is found by looking.
        let mut heard = subscribed.ok().and_then(Result::ok).map(redis::aio::PubSub::into_on_message);
        loop {
            let next = match requests::observe(&link).await {
                Ok(leader) => {
                    let left = leader.as_ref().map(|(_, left)| Duration::from_millis(*left));
                    let leader = leader.map(|(seen, _)| seen);
                    if told.as_ref() != Some(&leader) {
                        tell(leader.clone());
                        told = Some(leader);
                    }
                    left.map_or(WITHOUT_LEADER, |left| (left + AFTER_THE_END).min(LONGEST_LOOK))
                }
                Err(_) => WITHOUT_LEADER,
            };
            let message = async {
                match &mut heard {
                    Some(heard) => heard.next().await.is_some(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = link.until_replaced(&session) => break,
                more = message => if !more { heard = None },
                () = sleep(next) => {}
            }
        }
    }
}
