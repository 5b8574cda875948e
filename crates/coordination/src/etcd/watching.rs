//! Hearing of leaders that come and go.

use std::sync::Weak;

use st2sa_core::engine::LeaderSeen;
use tokio::sync::watch::Receiver;

use super::Inner;
use super::line;
use crate::Watcher;

/// Tells of every change until the engine is gone.
pub(super) async fn run(engine: Weak<Inner>, mut changes: Receiver<u64>, tell: Watcher) {
    let mut telling = Telling { tell, told: Told::Nothing };
    // Behind what was told; not known at first, and where etcd has forgotten it.
    let mut from = None;
    loop {
        // Closed with the engine; marked as seen, so that what follows notices the next change.
        changes.borrow_and_update();
        let Some(inner) = engine.upgrade() else { return };
        if from.is_none() {
            from = telling.look(&inner).await;
        }
        let stream = match from {
            Some(from) => inner.client.watch(inner.names.leader(), from).await.ok(),
            None => None,
        };
        drop(inner);
        let Some(mut stream) = stream else {
            if !pause(&mut changes).await {
                return;
            }
            continue;
        };
        loop {
            let answer = tokio::select! {
                changed = changes.changed() => match changed {
                    // On to the server in use.
                    Ok(()) => break,
                    Err(_) => return,
                },
                answer = stream.next() => answer,
            };
            match answer {
                Ok(Some(answer)) if answer.canceled => {
                    // What is to be told of next is forgotten, or it was not to be had.
                    from = None;
                    if !pause(&mut changes).await {
                        return;
                    }
                    break;
                }
                Ok(Some(answer)) if answer.events.is_empty() => {}
                Ok(Some(_)) => {
                    let Some(inner) = engine.upgrade() else { return };
                    from = telling.look(&inner).await;
                    if from.is_none() {
                        break;
                    }
                }
                Ok(None) | Err(_) => {
                    if !pause(&mut changes).await {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

struct Telling {
    tell: Watcher,
    told: Told,
}

#[derive(PartialEq, Eq)]
enum Told {
    Nothing,
    Leader(Option<LeaderSeen>),
}

impl Telling {
    /// Looks who leads and tells if that is new; from where on to watch.
    async fn look(&mut self, inner: &Inner) -> Option<i64> {
        let (seen, revision) = inner.observe().await.ok()?;
        let told = Told::Leader(seen.clone());
        if self.told != told {
            (self.tell)(seen);
            self.told = told;
        }
        Some(revision + 1)
    }
}

/// Waits a little; false where the engine is gone.
async fn pause(changes: &mut Receiver<u64>) -> bool {
    let until = tokio::time::Instant::now() + line::pause();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return false;
            },
            () = tokio::time::sleep_until(until) => return true,
        }
    }
}
