//! `st2sa history`: which instance was ACTIVE when, and why that changed.

use clap::Args;
use st2sa_proto::rest::{self, HistoryRecord};

use super::client::{Client, Document, Request};
use super::failure::Stop;
use super::follow::{self, Asked};
use super::paper::Paper;
use super::seen::{SAID_AGAIN, Seen as _, SeenRecords};
use super::table::{self, Column};
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
            Output::Table if records.known.is_empty() => {
                if let Some(sensor) = &self.sensor {
                    // A sensor that there is not has no history: that is another answer.
                    let request = Request { path: rest::SENSOR, reference: Some(sensor.clone()), ..Request::default() };
                    client.document::<rest::Sensor>(&request).await?;
                }
                paper.note("no history yet");
            }
            Output::Table => paper.write(&table::finished(&table_of(&records.known, paper.width), paper.colour))?,
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
        Request { path: rest::HISTORY, query, ..Request::default() }
    }

    fn write(&self, paper: &mut Paper, record: &Document<HistoryRecord>) -> std::io::Result<()> {
        match self.common.output {
            Output::Json => paper.write_json_line(&record.raw),
            Output::Table => paper.write(&rendered(&record.known)),
        }
    }
}

/// Records as a table; those that took a sensor from one container and gave it to another are one line.
pub(crate) fn table_of(records: &[HistoryRecord], width: usize) -> String {
    let records = joined(records);
    let each = || records.iter();
    let or_dash = |name: &Option<String>| name.as_deref().map_or_else(|| "-".to_owned(), words::one_line);
    let columns = vec![
        Column::new("AT").cells(each().map(|record| words::one_line(&record.at))),
        Column::new("SENSOR").cells(each().map(|record| words::one_line(&record.sensor))),
        Column::new("FROM").cells(each().map(|record| or_dash(&record.from))),
        Column::new("TO").cells(each().map(|record| or_dash(&record.to))),
        Column::new("FENCE").rank(2).cells(each().map(|record| words::one_line(&record.fence))),
        Column::new("CAUSE").cells(each().map(|record| words::one_line(&record.cause))),
        Column::new("WHO").rank(1).cells(each().map(|record| words::one_line(&record.who))),
    ];
    table::rendered(columns, width)
}

/// A move is told as two changes: its end there and its beginning here. For people it is one.
fn joined(records: &[HistoryRecord]) -> Vec<HistoryRecord> {
    let mut joined: Vec<HistoryRecord> = Vec::new();
    for record in records {
        let end = joined.iter_mut().rev().find(|earlier| earlier.sensor == record.sensor);
        match end {
            Some(end)
                if end.to.is_none() && record.from.is_none() && record.to.is_some() && end.cause == record.cause =>
            {
                let from = end.from.take();
                *end = HistoryRecord { from, ..record.clone() };
            }
            _ => joined.push(record.clone()),
        }
    }
    joined.sort_by(|a, b| a.at.cmp(&b.at));
    joined
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
    fn a_move_is_one_line_of_a_table() {
        let record = |at: &str, from: Option<&str>, to: Option<&str>, fence: &str, cause: &str| HistoryRecord {
            at: at.to_owned(),
            sensor: "rss.FeedSensor".to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            fence: fence.to_owned(),
            cause: cause.to_owned(),
            who: "arbiter".to_owned(),
        };
        let records = [
            record("10:00", None, Some("node-1"), "5.1", "placed"),
            record("11:00", Some("node-1"), None, "5.1", "container lost"),
            record("11:00", None, Some("node-2"), "5.2", "container lost"),
            record("12:00", Some("node-2"), None, "5.2", "paused"),
        ];
        let text = table::finished(&table_of(&records, 100), false);
        assert_eq!(
            text,
            "\
AT     SENSOR          FROM    TO      FENCE  CAUSE           WHO
10:00  rss.FeedSensor  -       node-1  5.1    placed          arbiter
11:00  rss.FeedSensor  node-1  node-2  5.2    container lost  arbiter
12:00  rss.FeedSensor  node-2  -       5.2    paused          arbiter
",
            "\n{text}"
        );
    }

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
