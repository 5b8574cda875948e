//! `st2sa why`: why a sensor is where it is.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Candidate, Why};

use super::client::Request;
use super::failure::Stop;
use super::history;
use super::paper::Paper;
use super::table::{self, Column};
use super::{Common, Output, reference, wait, words};

/// Lines of its history.
const CHANGES: usize = 5;

/// Why is it there?
#[derive(Args)]
pub(crate) struct WhyQuestion {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    #[command(flatten)]
    common: Common,
}

impl WhyQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let request = Request { path: rest::WHY, reference: Some(self.sensor), ..Request::default() };
        let why = wait::for_it(paper, "the arbitrator", client.document::<Why>(&request)).await?;
        match self.common.output {
            Output::Json => paper.write_json(&why.raw)?,
            Output::Table => paper.write(&table::finished(&rendered(&why.known, paper.width), paper.colour))?,
        }
        Ok(())
    }
}

fn rendered(why: &Why, width: usize) -> String {
    let mut text = words::one_line(&why.why) + "\n";
    if !why.containers.is_empty() {
        let each = || why.containers.iter();
        let against = |candidate: &Candidate| match (&candidate.against, &candidate.last_error) {
            (None, _) => "nothing".to_owned(),
            (Some(against), None) => words::one_line(against),
            (Some(against), Some(error)) => format!("{}: {}", words::one_line(against), words::gist(error)),
        };
        let columns = vec![
            Column::new("CONTAINER").cells(each().map(|candidate| words::one_line(&candidate.container))),
            Column::new("WHAT STANDS AGAINST IT").cut_to(20).cells(each().map(against)),
        ];
        text.push('\n');
        text.push_str(&table::rendered(columns, width));
    }
    if !why.history.is_empty() {
        // Writing to a String does not fail.
        let changes = history::told(&why.history);
        let newest = &changes[changes.len().saturating_sub(CHANGES)..];
        let _ = write!(text, "\n{}", history::table_of(newest, width));
    }
    text
}

#[cfg(test)]
mod tests {
    use st2sa_proto::rest::HistoryRecord;

    use super::*;

    fn candidate(container: &str, against: Option<&str>, last_error: Option<&str>) -> Candidate {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Candidate { container: container.to_owned(), against: text(against), last_error: text(last_error) }
    }

    #[test]
    fn a_reason_stands_above_what_speaks_against_each_container_and_what_happened() {
        let why = Why {
            reference: "a.B".to_owned(),
            why: "a.B stays on node-1".to_owned(),
            containers: vec![
                candidate("node-1", None, Some("of last week")),
                candidate("node-2", Some("it failed there"), Some("Traceback:\nValueError: no")),
                candidate("node-3", Some("is lost"), None),
            ],
            history: vec![HistoryRecord {
                at: "2026-03-01T10:00:00.123Z".to_owned(),
                sensor: "a.B".to_owned(),
                from: None,
                to: Some("node-1".to_owned()),
                fence: "5.12".to_owned(),
                cause: "placed".to_owned(),
                who: "anne@desk".to_owned(),
            }],
        };
        let text = table::finished(&rendered(&why, 100), false);
        assert_eq!(
            text,
            "\
a.B stays on node-1

CONTAINER  WHAT STANDS AGAINST IT
node-1     nothing
node-2     it failed there: ValueError: no
node-3     is lost

AT                        SENSOR  FROM  TO      FENCE  CAUSE   WHO
2026-03-01T10:00:00.123Z  a.B     -     node-1  5.12   placed  anne@desk
",
            "\n{text}"
        );
    }
}
