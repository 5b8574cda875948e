//! `st2sa plan`: what would be moved, and why. Nothing is done.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Placement, Plan};

use super::client::Request;
use super::failure::Stop;
use super::paper::Paper;
use super::table::{self, Column};
use super::{Common, Output, wait, words};

/// What would be moved?
#[derive(Args)]
pub(crate) struct PlanQuestion {
    /// If this container were drained
    #[arg(long, value_name = "CONTAINER", group = "suppose")]
    drain: Option<String>,
    /// If this container were lost
    #[arg(long, value_name = "CONTAINER", group = "suppose")]
    lose: Option<String>,
    /// If a container of this name joined, with every sensor's newest code
    #[arg(long, value_name = "CONTAINER", group = "suppose")]
    join: Option<String>,
    /// List the sensors that stay, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

impl PlanQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let supposed = [("drain", self.drain), ("lose", self.lose), ("join", self.join)];
        let query = supposed.into_iter().filter_map(|(word, name)| Some((word, name?))).collect();
        let request = Request { path: rest::PLAN, query, ..Request::default() };
        let plan = wait::for_it(paper, "the arbitrator", client.document::<Plan>(&request)).await?;
        match self.common.output {
            Output::Json => paper.write_json(&plan.raw)?,
            Output::Table => {
                paper.write(&table::finished(&rendered(&plan.known, self.all, paper.width), paper.colour))?;
            }
        }
        Ok(())
    }
}

/// Whether the sensor would be elsewhere than it is; one that is nowhere does not move, but starts.
pub(crate) fn moves(placement: &Placement) -> bool {
    placement.from.is_some() && placement.from != placement.to
}

/// A table of placements.
pub(crate) fn table_of(placements: &[&Placement], width: usize) -> String {
    let each = || placements.iter();
    let or_dash = |name: &Option<String>| name.as_deref().map_or_else(|| "-".to_owned(), words::one_line);
    let columns = vec![
        Column::new("SENSOR").cells(each().map(|placement| words::one_line(&placement.reference))),
        Column::new("FROM").cells(each().map(|placement| or_dash(&placement.from))),
        Column::new("TO").cells(each().map(|placement| or_dash(&placement.to))),
        Column::new("WHY").cut_to(20).cells(each().map(|placement| words::one_line(&placement.why))),
    ];
    table::rendered(columns, width)
}

fn rendered(plan: &Plan, all: bool, width: usize) -> String {
    let shown: Vec<&Placement> =
        plan.sensors.iter().filter(|placement| all || placement.from.is_none() || moves(placement)).collect();
    let mut text = if shown.is_empty() { String::new() } else { table_of(&shown, width) + "\n" };
    let count = |found: &dyn Fn(&&Placement) -> bool| plan.sensors.iter().filter(found).count();
    let moved = count(&|placement| moves(placement) && placement.to.is_some());
    let started = count(&|placement| placement.from.is_none() && placement.to.is_some());
    let nowhere = count(&|placement| placement.to.is_none());
    let stay = plan.sensors.len() - moved - started - nowhere;
    let supposed = words::one_line(&plan.supposed);
    let supposed = if supposed == "as things are" { supposed } else { format!("if {supposed}") };
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{supposed}: {} sensors, {moved} would move, {started} would start, {nowhere} run nowhere, {stay} stay",
        plan.sensors.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(reference: &str, from: Option<&str>, to: Option<&str>, why: &str) -> Placement {
        let name = |name: Option<&str>| name.map(str::to_owned);
        Placement { reference: reference.to_owned(), from: name(from), to: name(to), why: why.to_owned() }
    }

    fn plan() -> Plan {
        Plan {
            supposed: "node-1 is drained".to_owned(),
            sensors: vec![
                placement("a.Moves", Some("node-1"), Some("node-2"), "leaves node-1, which drains, for node-2"),
                placement("a.Nowhere", None, None, "runs nowhere: no container offers it"),
                placement("a.Stays", Some("node-2"), Some("node-2"), "stays on node-2"),
                placement("a.Waits", None, Some("node-2"), "waits on node-2, where it failed"),
            ],
        }
    }

    #[test]
    fn a_plan_shows_what_moves_and_counts_the_rest() {
        let text = table::finished(&rendered(&plan(), false, 100), false);
        assert_eq!(
            text,
            "\
SENSOR     FROM    TO      WHY
a.Moves    node-1  node-2  leaves node-1, which drains, for node-2
a.Nowhere  -       -       runs nowhere: no container offers it
a.Waits    -       node-2  waits on node-2, where it failed

if node-1 is drained: 4 sensors, 1 would move, 1 would start, 1 run nowhere, 1 stay
",
            "\n{text}"
        );
        assert!(rendered(&plan(), true, 100).contains("a.Stays"));
    }
}
