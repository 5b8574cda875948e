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
    /// How many of the newest changes to show; a move is one, and so are tries in one place that follow one another
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
        if self.common.output == Output::Json {
            let request = self.request(self.limit.to_string());
            let records = client.document::<Vec<HistoryRecord>>(&request);
            paper.write_json(&wait::for_it(paper, "the arbitrator", records).await?.raw)?;
            return Ok(());
        }
        let changes = self.newest(client, paper).await?;
        if changes.is_empty() {
            if let Some(sensor) = &self.sensor {
                // A sensor that there is not has no history: that is another answer.
                let request = Request { path: rest::SENSOR, reference: Some(sensor.clone()), ..Request::default() };
                client.document::<rest::Sensor>(&request).await?;
            }
            paper.note("no history yet");
            return Ok(());
        }
        paper.write(&table::finished(&table_of(&changes, paper.width), paper.colour))?;
        Ok(())
    }

    /// As many changes as are to be shown, each of them whole. How many records that takes is seen in the records.
    async fn newest(&self, client: &Client, paper: &Paper) -> Result<Vec<Told>, Stop> {
        const ASKED_FIRST: usize = 100;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut asked = (4 * limit).clamp(ASKED_FIRST, SAID_AGAIN);
        loop {
            let request = self.request(asked.to_string());
            let records = client.document::<Vec<HistoryRecord>>(&request);
            let records = wait::for_it(paper, "the arbitrator", records).await?.known;
            let mut changes = told(&records);
            let shown = changes.split_off(changes.len().saturating_sub(limit));
            // The change before those that are shown has to be there, or the first of them may be more than is seen.
            let whole = !changes.is_empty() && !shown.iter().any(|change| change.is_cut);
            if whole || records.len() < asked || asked == SAID_AGAIN {
                return Ok(shown);
            }
            asked = (4 * asked).min(SAID_AGAIN);
        }
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

/// A line of the table: a change, or several that are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The last of them.
    record: HistoryRecord,
    /// How many tries in one place it stands for, and when the first was; none of any other change.
    tries: Option<(usize, String)>,
    /// Its beginning is not among the records: where the sensor was before is not known.
    is_cut: bool,
}

/// Changes as a table.
pub(crate) fn table_of(changes: &[Told], width: usize) -> String {
    let each = || changes.iter();
    let of = |field: fn(&HistoryRecord) -> &String| each().map(move |change| words::one_line(field(&change.record)));
    let name = |name: &Option<String>, otherwise: &str| name.as_deref().map_or(otherwise.to_owned(), words::one_line);
    let from = |change: &Told| name(&change.record.from, if change.is_cut { "?" } else { "-" });
    let cause = |change: &Told| match &change.tries {
        Some((times, since)) if *times > 1 => {
            words::one_line(&format!("{}, {times} times since {since}", change.record.cause))
        }
        _ => words::one_line(&change.record.cause),
    };
    let columns = vec![
        Column::new("AT").cells(of(|record| &record.at)),
        Column::new("SENSOR").cells(of(|record| &record.sensor)),
        Column::new("FROM").cells(each().map(from)),
        Column::new("TO").cells(each().map(|change| name(&change.record.to, "-"))),
        Column::new("FENCE").rank(2).cells(of(|record| &record.fence)),
        Column::new("CAUSE").cells(each().map(cause)),
        Column::new("WHO").rank(1).cells(of(|record| &record.who)),
    ];
    table::rendered(columns, width)
}

/// Records as people tell them. A move is two: its end there and its beginning here. So is a try where it failed before,
/// and a sensor that fails for a night is tried hundreds of times: tries that follow one another are told as one.
pub(crate) fn told(records: &[HistoryRecord]) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    for record in records {
        let earlier: Vec<usize> =
            (0..told.len()).rev().filter(|index| told[*index].record.sensor == record.sensor).take(2).collect();
        let begins = record.from.is_none() && record.to.is_some();
        match earlier[..] {
            [end, ..] if begins && told[end].record.to.is_none() && told[end].record.cause == record.cause => {
                let from = told[end].record.from.take();
                let tries = (from == record.to).then(|| (1, record.at.clone()));
                told[end] = Told { record: HistoryRecord { from, ..record.clone() }, tries, is_cut: false };
                if let Some(before) = earlier.get(1) {
                    merge(&mut told, *before, end);
                }
            }
            [] => {
                let is_cut = begins && !STARTS.contains(&record.cause.as_str());
                told.push(Told { record: record.clone(), tries: None, is_cut });
            }
            _ => told.push(Told { record: record.clone(), tries: None, is_cut: false }),
        }
    }
    told.sort_by(|a, b| a.record.at.cmp(&b.record.at));
    told
}

/// Causes for which a sensor starts that was ACTIVE nowhere: nothing is missing before.
const STARTS: [&str; 3] = ["placed", "resumed", "retried"];

/// Makes one of two tries in the same place.
fn merge(told: &mut Vec<Told>, before: usize, last: usize) {
    let same = |a: &HistoryRecord, b: &HistoryRecord| (&a.to, &a.cause, &a.who) == (&b.to, &b.cause, &b.who);
    let (first, second) = (&told[before], &told[last]);
    if let (Some((times, since)), Some((more, _))) = (&first.tries, &second.tries)
        && same(&first.record, &second.record)
    {
        let tries = Some((times + more, since.clone()));
        told[last].tries = tries;
        told.remove(before);
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

    fn record(at: &str, from: Option<&str>, to: Option<&str>, fence: &str, cause: &str) -> HistoryRecord {
        HistoryRecord {
            at: at.to_owned(),
            sensor: "rss.FeedSensor".to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            fence: fence.to_owned(),
            cause: cause.to_owned(),
            who: "arbiter".to_owned(),
        }
    }

    #[test]
    fn a_move_is_one_line_of_a_table() {
        let records = [
            record("10:00", None, Some("node-1"), "5.1", "placed"),
            record("11:00", Some("node-1"), None, "5.1", "container lost"),
            record("11:00", None, Some("node-2"), "5.2", "container lost"),
            record("12:00", Some("node-2"), None, "5.2", "paused"),
        ];
        let text = table::finished(&table_of(&told(&records), 100), false);
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
    fn tries_in_one_place_are_one_line() {
        let mut records = vec![
            record("10:00", Some("node-1"), None, "5.1", "failed"),
            record("10:00", None, Some("node-2"), "5.2", "failed"),
        ];
        let other = |record: HistoryRecord| HistoryRecord { sensor: "a.Other".to_owned(), ..record };
        for minute in 11..14 {
            let at = format!("10:{minute}");
            records.push(record(&at, Some("node-2"), None, "5.3", "failed"));
            records.push(other(record(&at, None, Some("node-1"), "5.3", "placed")));
            records.push(record(&at, None, Some("node-2"), "5.4", "failed"));
        }
        records.push(record("10:20", Some("node-2"), None, "5.4", "failed"));
        let changes = told(&records);
        let text = table::finished(&table_of(&changes, 120), false);
        assert_eq!(
            text,
            "\
AT     SENSOR          FROM    TO      FENCE  CAUSE                        WHO
10:00  rss.FeedSensor  node-1  node-2  5.2    failed                       arbiter
10:11  a.Other         -       node-1  5.3    placed                       arbiter
10:12  a.Other         -       node-1  5.3    placed                       arbiter
10:13  rss.FeedSensor  node-2  node-2  5.4    failed, 3 times since 10:11  arbiter
10:13  a.Other         -       node-1  5.3    placed                       arbiter
10:20  rss.FeedSensor  node-2  -       5.4    failed                       arbiter
",
            "\n{text}"
        );
    }

    #[test]
    fn of_a_move_whose_beginning_is_not_there_it_is_not_said_that_it_came_from_nowhere() {
        let cut = told(&[record("11:00", None, Some("node-2"), "5.2", "container lost")]);
        assert!(table_of(&cut, 100).contains("rss.FeedSensor  ?     node-2"), "{}", table_of(&cut, 100));
        let started = told(&[record("11:00", None, Some("node-2"), "5.2", "resumed")]);
        assert!(table_of(&started, 100).contains("rss.FeedSensor  -     node-2"));
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
