//! `st2sa history`: which instance was ACTIVE when, and why that changed.

use clap::Args;
use st2sa_proto::rest::{self, HistoryRecord};

use super::client::{Client, Document, Request};
use super::failure::Stop;
use super::follow::{self, Asked};
use super::paper::Paper;
use super::seen::{SAID_AGAIN, Seen as _, SeenRecords};
use super::{Common, Output, reference, wait, words};

/// Which instance was ACTIVE when?
#[derive(Args)]
pub(crate) struct HistoryQuestion {
    /// Of this sensor alone, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: Option<String>,
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest records to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

impl HistoryQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        if self.follow { self.follow(&client, paper).await } else { self.show(&client, paper).await }
    }

    async fn show(&self, client: &Client, paper: &mut Paper) -> Result<(), Stop> {
        let request = self.request(self.limit.to_string());
        let records = wait::for_it(paper, "the arbitrator", client.document::<Vec<HistoryRecord>>(&request)).await?;
        match self.common.output {
            Output::Json => paper.write_json(&records.raw)?,
            Output::Table if records.known.is_empty() => paper.note("no history yet"),
            Output::Table => paper.write(&records.known.iter().map(rendered).collect::<String>())?,
        }
        Ok(())
    }

    async fn follow(&self, client: &Client, paper: &mut Paper) -> Result<(), Stop> {
        // All that may be said again is known before anything is followed.
        let all = self.request(SAID_AGAIN.to_string());
        let newest = wait::for_it(paper, "the arbitrator", client.document::<Vec<HistoryRecord>>(&all)).await?;
        let Document { raw, known } = newest;
        let mut seen = SeenRecords::default();
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let hidden = known.len().saturating_sub(limit);
        let raw = match raw {
            serde_json::Value::Array(raw) => raw,
            _ => Vec::new(),
        };
        for (index, (known, raw)) in known.into_iter().zip(raw).enumerate() {
            let record = Document { raw, known };
            if seen.is_new(&record.known) && index >= hidden {
                self.write(paper, &record)?;
            }
        }
        let mut again = all;
        again.query.push(("follow", "true".to_owned()));
        let asked = Asked { first: again.clone(), again };
        follow::follow(client, &asked, &mut seen, paper, |paper, record| self.write(paper, record)).await
    }

    fn request(&self, limit: String) -> Request {
        let mut query = vec![("limit", limit)];
        query.extend(self.sensor.clone().map(|sensor| ("sensor", sensor)));
        Request { path: rest::HISTORY, reference: None, query }
    }

    fn write(&self, paper: &mut Paper, record: &Document<HistoryRecord>) -> std::io::Result<()> {
        match self.common.output {
            Output::Json => paper.write_json_line(&record.raw),
            Output::Table => paper.write(&rendered(&record.known)),
        }
    }
}

fn rendered(record: &HistoryRecord) -> String {
    let or_dash = |name: &Option<String>| name.as_deref().unwrap_or("-").to_owned();
    let line = format!(
        "{} {} {} -> {} fence {} ({}, {})",
        record.at,
        record.sensor,
        or_dash(&record.from),
        or_dash(&record.to),
        record.fence,
        record.cause,
        record.who
    );
    words::one_line(&line) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let record = HistoryRecord {
            at: "2026-03-01T10:00:00.123Z".to_owned(),
            sensor: "rss.FeedSensor".to_owned(),
            from: None,
            to: Some("node-1".to_owned()),
            fence: "5.12".to_owned(),
            cause: "moved".to_owned(),
            who: "anna\nof the night shift".to_owned(),
        };
        assert_eq!(
            rendered(&record),
            "2026-03-01T10:00:00.123Z rss.FeedSensor - -> node-1 fence 5.12 (moved, anna of the night shift)\n"
        );
    }
}
