//! Says in words what happens: where sensors are ACTIVE, and what they dispatch.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use st2sa_doors::{Caller, Keys};
use st2sa_proto::rest::{self, HistoryRecord};
use tokio::runtime::Handle;

use super::Happened;

/// How often the history is asked for again when the arbitrator is away.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Without a line (or an empty one, that keeps alive) for so long, the arbitrator is asked again.
const SILENT_AT_MOST: Duration = Duration::from_secs(15);
/// The longest line of the history.
const LINE_BYTES_AT_MOST: usize = 64 * 1024;
/// How wide a line may be where the terminal does not say.
const WIDTH: usize = 160;

/// Writes to the standard output.
pub(super) struct Narrator {
    width: Option<usize>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal.then(|| {
            let size = rustix::termios::tcgetwinsize(std::io::stdout());
            size.map_or(WIDTH, |size| usize::from(size.ws_col).max(40))
        });
        Self { width }
    }

    /// A sentence of its own.
    pub(super) fn say(&self, text: &str) {
        let now = jiff::Timestamp::now();
        let time = format!("{now:.3}");
        // The time of day alone: whoever watches knows the date.
        let time = time.get(11..23).unwrap_or_default();
        let mut line = format!("{time}  {}", crate::ask::one_line(text));
        if let Some(width) = self.width
            && line.chars().count() > width
        {
            line = line.chars().take(width - 1).chain(['…']).collect();
        }
        // Whoever reads may have gone; everything runs on until it is stopped.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// A line that a program wrote: a container's are triggers.
    pub(super) fn line(&self, name: &str, line: &str) {
        /// What of a trigger is said.
        #[derive(Deserialize)]
        struct Trigger {
            sensor: String,
            container: String,
            fence: String,
            trigger: serde_json::Value,
            payload: serde_json::Value,
        }
        match serde_json::from_str::<Trigger>(line) {
            Ok(Trigger { sensor, container, fence, trigger, payload }) => {
                let trigger = trigger.as_str().map_or_else(|| trigger.to_string(), str::to_owned);
                self.say(&format!("trigger {trigger} {payload} from {sensor} on {container}, fence {fence}"));
            }
            Err(_) => self.say(&format!("{name}: {line}")),
        }
    }
}

/// Has the history said, as it is made.
pub(super) fn follow_history(runtime: &Handle, arbitrator: SocketAddr, sender: Sender<Happened>) {
    runtime.spawn(async move {
        // What is started here listens on loopback, without keys: nothing can be wrong with them.
        let Ok(caller) = Caller::new(Keys::default()) else { return };
        let client = caller.http();
        // What was before is no news.
        let began = format!("{:.3}", jiff::Timestamp::now());
        let mut said: Option<HistoryRecord> = None;
        loop {
            if follow(&client, arbitrator, &began, &mut said, &sender).await.is_none() {
                return;
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    });
}

/// One connection's worth of history; `None` when nobody listens any more.
async fn follow(
    client: &reqwest::Client,
    arbitrator: SocketAddr,
    began: &str,
    said: &mut Option<HistoryRecord>,
    sender: &Sender<Happened>,
) -> Option<()> {
    let url = format!("http://{arbitrator}{}?follow=true&limit=1000", rest::HISTORY);
    let Ok(Ok(answer)) = tokio::time::timeout(SILENT_AT_MOST, client.get(url).send()).await else { return Some(()) };
    let mut chunks = answer.bytes_stream();
    let mut open = Vec::new();
    // What was said already comes first: up to the last that was, or to what is later than that.
    let mut known = said.clone();
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENT_AT_MOST, chunks.next()).await {
        open.extend_from_slice(&chunk);
        while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            let Ok(record) = serde_json::from_slice::<HistoryRecord>(&line) else { continue };
            if let Some(last) = &known {
                let repeated = record.at <= last.at;
                if record == *last || !repeated {
                    known = None;
                }
                if repeated {
                    continue;
                }
            }
            if record.at.as_str() >= began {
                sender.send(Happened::Say(in_words(&record))).ok()?;
            }
            *said = Some(record);
        }
        if open.len() > LINE_BYTES_AT_MOST {
            break;
        }
    }
    Some(())
}

/// One change, as a person would say it.
fn in_words(record: &HistoryRecord) -> String {
    let HistoryRecord { sensor, from, to, fence, cause, who, .. } = record;
    let by = if who == "arbiter" { String::new() } else { format!(", by {who}") };
    match (from, to) {
        (Some(from), Some(to)) if from == to => {
            format!("{sensor} goes on on {to} ({cause}{by}), fence {fence}")
        }
        (Some(from), Some(to)) => format!("{sensor} is ACTIVE on {to} instead of {from} ({cause}{by}), fence {fence}"),
        (None, Some(to)) => format!("{sensor} is ACTIVE on {to} ({cause}{by}), fence {fence}"),
        (Some(from), None) => format!("{sensor} is no longer ACTIVE on {from} ({cause}{by}), fence {fence}"),
        (None, None) => format!("{sensor}: {cause}{by}, fence {fence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(from: Option<&str>, to: Option<&str>) -> HistoryRecord {
        HistoryRecord {
            at: "2026-11-23T00:00:00.000Z".to_owned(),
            sensor: "p.X".to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            fence: "1.2".to_owned(),
            cause: "container lost".to_owned(),
            who: "arbiter".to_owned(),
        }
    }

    #[test]
    fn changes_are_said_in_words() {
        assert_eq!(
            in_words(&record(Some("a"), Some("b"))),
            "p.X is ACTIVE on b instead of a (container lost), fence 1.2"
        );
        assert_eq!(in_words(&record(Some("a"), None)), "p.X is no longer ACTIVE on a (container lost), fence 1.2");
        let by_anne = HistoryRecord { who: "anne".to_owned(), ..record(None, Some("b")) };
        assert_eq!(in_words(&by_anne), "p.X is ACTIVE on b (container lost, by anne), fence 1.2");
    }
}
