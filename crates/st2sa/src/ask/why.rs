//! `st2sa why`: why a sensor is where it is.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Why};

use super::client::Request;
use super::failure::Stop;
use super::history;
use super::paper::Paper;
use super::table::{self, Column};
use super::{Common, Output, reference, wait, words};

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
        let against =
            |against: &Option<String>| against.as_deref().map_or_else(|| "nothing".to_owned(), words::one_line);
        let columns = vec![
            Column::new("CONTAINER").cells(each().map(|candidate| words::one_line(&candidate.container))),
            Column::new("WHAT STANDS AGAINST IT").cut_to(20).cells(each().map(|candidate| against(&candidate.against))),
        ];
        text.push('\n');
        text.push_str(&table::rendered(columns, width));
    }
    if !why.history.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(text, "\n{}", history::table_of(&why.history, width));
    }
    text
}

#[cfg(test)]
mod tests {
    use st2sa_proto::rest::{Candidate, HistoryRecord};

    use super::*;

    #[test]
    fn a_reason_stands_above_what_speaks_against_each_container_and_what_happened() {
        let why = Why {
            reference: "a.B".to_owned(),
            why: "a.B stays on node-1".to_owned(),
            containers: vec![
                Candidate { container: "node-1".to_owned(), against: None },
                Candidate { container: "node-2".to_owned(), against: Some("it failed there".to_owned()) },
            ],
            history: vec![HistoryRecord {
                at: "2026-03-01T10:00:00.123Z".to_owned(),
                sensor: "a.B".to_owned(),
                from: None,
                to: Some("node-1".to_owned()),
                fence: "5.12".to_owned(),
                cause: "moved".to_owned(),
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
node-2     it failed there

AT                        SENSOR  FROM  TO      FENCE  CAUSE  WHO
2026-03-01T10:00:00.123Z  a.B     -     node-1  5.12   moved  anne@desk
",
            "\n{text}"
        );
    }
}
