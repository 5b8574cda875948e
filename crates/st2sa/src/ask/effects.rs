//! `st2sa effects`: what of a sensor's journal waits to be applied; and one entry set aside.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use st2sa_proto::rest::{self, Entry, Outcome};

use super::client::Request;
use super::failure::{Failure, Stop};
use super::orders::Ordering;
use super::paper::Paper;
use super::table::{self, Column};
use super::{Output, reference, wait, words};

/// What waits?
#[derive(Args)]
pub(crate) struct EffectsOrder {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    /// Take this entry out of the journal: what of it has not gone out by now never does. It is printed as JSON first
    #[arg(long, value_name = "ID")]
    discard: Option<String>,
    #[command(flatten)]
    ordering: Ordering,
}

impl EffectsOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.client()?;
        let request = Request { path: rest::EFFECTS, reference: Some(self.sensor.clone()), ..Request::default() };
        let listed = wait::for_it(paper, "the arbitrator", client.document::<Vec<Entry>>(&request)).await?;
        let Some(id) = &self.discard else {
            match self.ordering.output() {
                Output::Json => paper.write_json(&listed.raw)?,
                Output::Table if listed.known.is_empty() => paper.note("nothing waits: all that it did is applied"),
                Output::Table => paper.write(&table::finished(&rendered(&listed.known, paper.width), paper.colour))?,
            }
            return Ok(());
        };
        let Some(position) = listed.known.iter().position(|entry| entry.id == *id) else {
            let hint = format!("`st2sa effects {}` lists what waits", self.sensor);
            return Err(Failure::no(format!("no entry `{id}` waits"), Some(hint)).into());
        };
        let entry = &listed.known[position];
        let what = summary(entry);
        self.ordering.confirm(paper, &format!("{} loses what its poll did: {what}. Go on?", self.sensor))?;
        let body = json!({ "who": self.ordering.who(), "id": id });
        let request = Request {
            path: rest::DISCARD,
            reference: Some(self.sensor.clone()),
            method: Method::POST,
            body: Some(body),
            ..Request::default()
        };
        let outcome = client.document::<Outcome>(&request).await?;
        // Whoever wants it back has it here, and nowhere else.
        paper.write_json(&listed.raw[position])?;
        paper.note(&words::one_line(&outcome.known.done));
        Ok(())
    }
}

fn rendered(entries: &[Entry], width: usize) -> String {
    let each = || entries.iter();
    let columns = vec![
        Column::new("ENTRY").cells(each().map(|entry| words::one_line(&entry.id))),
        Column::new("NUMBER").right().cells(each().map(|entry| entry.sequence.to_string())),
        Column::new("FENCE").rank(1).cells(each().map(|entry| words::one_line(&entry.fence))),
        Column::new("WHAT IT DOES").cut_to(20).cells(each().map(summary)),
    ];
    table::rendered(columns, width)
}

/// In a few words.
fn summary(entry: &Entry) -> String {
    if entry.unfinished {
        return "nothing: a part of what was never finished; it goes with the next activation".to_owned();
    }
    let names = |kind: &str, field: &str| -> Vec<String> {
        let of = entry.effects.iter().filter_map(|effect| effect.get(kind));
        of.map(|effect| words::one_line(&text(effect.get(field).unwrap_or(&Value::Null)))).collect()
    };
    let (triggers, writes) = (names("dispatch", "trigger"), names("write", "name"));
    let mut told = Vec::new();
    if let Some(first) = triggers.first() {
        told.push(format!("{} triggers, the first {first}", triggers.len()));
    }
    if !writes.is_empty() {
        told.push(format!("stores {}", writes.join(", ")));
    }
    told.join("; ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_told_in_a_few_words() {
        let effects = vec![
            json!({"dispatch": {"trigger": "p.t", "payload": {}}}),
            json!({"dispatch": {"trigger": {"type": "p.t"}, "payload": {}}}),
            json!({"write": {"name": "p.X:after", "value": "3"}}),
        ];
        let entry = Entry { id: "0".repeat(32), sequence: 7, fence: "1.2".into(), unfinished: false, effects };
        assert_eq!(summary(&entry), "2 triggers, the first p.t; stores p.X:after");
        let text = rendered(&[entry], usize::MAX);
        assert!(text.contains("NUMBER") && text.contains("1.2"), "{text}");
    }
}
