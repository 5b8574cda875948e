//! Follows lines for as long as somebody reads: an arbitrator that restarts, or resigns, interrupts but does not end it.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::{Client, Document, Request};
use super::failure::Stop;
use super::lines::{End, Lines};
use super::paper::Paper;
use super::seen::Seen;
use super::{wait, words};

/// Between two tries to reconnect: soon at first, since an arbitrator restarts within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Two requests for the same lines.
pub(crate) struct Asked {
    /// At first.
    pub(crate) first: Request,
    /// When a connection stands again: as much as may have been missed.
    pub(crate) again: Request,
}

/// Shows every new line until the output fails; `seen` leaves out what is said again.
pub(crate) async fn follow<T: DeserializeOwned>(
    client: &Client,
    asked: &Asked,
    seen: &mut impl Seen<T>,
    paper: &mut Paper,
    show: impl Fn(&mut Paper, &Document<T>) -> io::Result<()>,
) -> Result<(), Stop> {
    let mut lines = wait::for_it(paper, "the arbitrator", client.lines(&asked.first)).await?;
    let mut outage = Outage::default();
    let mut shown_any = false;
    loop {
        let end = loop {
            let next = if shown_any { lines.next().await } else { wait::for_it(paper, "lines", lines.next()).await };
            match next {
                Ok(line) if seen.is_new(&line.known) => {
                    outage = Outage::default();
                    shown_any = true;
                    show(paper, &line)?;
                }
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        match end {
            End::Unexpected(failure) => return Err(failure.into()),
            End::Said => outage.say(paper, &format!("{} ended the connection", lines.address())),
            End::Lost(how) => outage.say(paper, &format!("the connection to {} is lost: {how}", lines.address())),
            // A connection may die without a word; nothing is lost by asking again.
            End::Silent => {}
        }
        lines = reconnected(client, &asked.again, &mut outage, paper).await;
        seen.again();
    }
}

async fn reconnected(client: &Client, again: &Request, outage: &mut Outage, paper: &mut Paper) -> Lines {
    loop {
        outage.pause().await;
        match client.lines(again).await {
            Ok(lines) => return lines,
            // Also where the answer is no: an arbitrator that has just started knows no sensors yet.
            Err(failure) => outage.say(paper, failure.text()),
        }
    }
}

/// From the end of a connection to the next new line.
struct Outage {
    said: bool,
    pause: Duration,
}

impl Default for Outage {
    fn default() -> Self {
        Self { said: false, pause: FIRST_PAUSE }
    }
}

impl Outage {
    /// Says what happened, once.
    fn say(&mut self, paper: &mut Paper, what: &str) {
        if !self.said {
            paper.note(&words::plain(&format!("note: {what}; trying again until it answers")));
            self.said = true;
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
