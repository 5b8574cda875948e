//! `st2sa registry`: who stands in StackStorm's service registry. The store is asked, not an arbitrator.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use st2sa_coordination::registry::{self, Group, Seen};
use st2sa_coordination::store::Store;

use super::failure::{Failure, Kind, Stop};
use super::paper::Paper;
use super::table::{self, Column};
use super::{Output, wait, words};
use crate::arbitrator::StoreUrl;
use crate::settings::Settings;

/// What stands below the options.
pub(super) const AFTER_HELP: &str = "\
The groups are those of StackStorm's own services, too: what `st2 service-registry member list` shows.

Exit codes:
  0  answered
  2  wrong usage, or there is no `url` in [coordination] that can be used
  3  the store could not be reached, or refused";

/// Said by every service of StackStorm, and shown in columns of their own.
const SHOWN: [&str; 6] = ["name", "type", "hostname", "pid", "listen_host", "listen_port"];

/// Who is there?
#[derive(Args)]
pub(crate) struct RegistryQuestion {
    /// A configuration file such as st2.conf, whose `[coordination] url` names the store; may be given several times, later
    /// ones count more
    #[arg(long, value_name = "FILE", env = "ST2SA_CONFIG_FILE", value_delimiter = ',')]
    config_file: Vec<PathBuf>,
    /// How to write the answer: for people, or as a JSON document
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    output: Output,
}

impl RegistryQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let store = self.store()?;
        let groups = wait::for_it(paper, "the store", Box::pin(registry::list(&store))).await;
        let hint = "the store is the one that `url` of [coordination] names";
        let groups = groups.map_err(|error| Failure::of(Kind::Unreachable, error.to_string(), hint.to_owned()))?;
        match self.output {
            Output::Json => paper.write_json(&groups.iter().map(document).collect())?,
            Output::Table if groups.is_empty() => {
                paper.note("nobody stands in the service registry\nhint: 'service_registry = True' in [coordination] has services stand there");
            }
            Output::Table => {
                let text = rendered(&groups, paper.width);
                paper.write(&table::finished(&text, paper.colour))?;
            }
        }
        Ok(())
    }

    fn store(&self) -> Result<Store, Failure> {
        let unusable = |error: anyhow::Error| Failure::of(Kind::Usage, format!("{error:#}"), None);
        let settings = Settings::read(&self.config_file).map_err(unusable)?;
        let url = settings.get::<StoreUrl>(None, "coordination", "url");
        settings.finish().map_err(unusable)?;
        url.map(|url| url.0).ok_or_else(|| {
            let hint = "name the configuration file that has it, with --config-file";
            Failure::of(Kind::Usage, "no store is named: there is no `url` in [coordination]", hint.to_owned())
        })
    }
}

fn document(group: &Group) -> Value {
    let member = |member: &Seen| {
        let mut document = json!({ "member_id": member.id, "capabilities": member.capabilities });
        if let Some(problem) = &member.problem {
            document["problem"] = problem.as_str().into();
        }
        document
    };
    json!({ "group_id": group.name, "members": group.members.iter().map(member).collect::<Value>() })
}

fn rendered(groups: &[Group], width: usize) -> String {
    // A group without members has a row, too.
    let mut rows: Vec<(&Group, Option<&Seen>)> = Vec::new();
    for group in groups {
        let none = group.members.is_empty().then_some((group, None));
        rows.extend(group.members.iter().map(|member| (group, Some(member))).chain(none));
    }
    let each = |cell: fn(&Seen) -> String| {
        let rows = rows.iter();
        rows.map(move |(_, member)| member.map_or_else(String::new, cell)).map(|cell| or_dash(&cell))
    };
    let columns = vec![
        Column::new("GROUP").cells(rows.iter().map(|(group, _)| words::one_line(&group.name))),
        Column::new("MEMBER").cells(each(|member| member.id.clone())),
        Column::new("TYPE").rank(2).cells(each(|member| said(&member.capabilities, "type"))),
        Column::new("LISTENS AT").rank(1).cells(each(|member| {
            let [host, port] = ["listen_host", "listen_port"].map(|name| said(&member.capabilities, name));
            if host.is_empty() || port.is_empty() { String::new() } else { format!("{host}:{port}") }
        })),
        Column::new("SAYS").cut_to(20).cells(each(others)),
    ];
    table::rendered(columns, width)
}

/// What a member says beside what all say, or why that cannot be read.
fn others(member: &Seen) -> String {
    if let Some(problem) = &member.problem {
        return format!("cannot be read: {problem}");
    }
    let Value::Object(all) = &member.capabilities else { return text(&member.capabilities) };
    let others = all.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
    others.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

fn said(capabilities: &Value, name: &str) -> String {
    capabilities.get(name).map(text).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn or_dash(cell: &str) -> String {
    let cell = words::one_line(cell);
    if cell.is_empty() { "-".to_owned() } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        let seen = |id: &str, capabilities: Value| Seen { id: id.to_owned(), capabilities, problem: None };
        let group = |name: &str, members| Group { name: name.to_owned(), members };
        let arbitrator = json!({
            "name": "sensorarbitrator", "type": "active", "hostname": "ops-1", "pid": 811, "listen_host": "127.0.0.1",
            "listen_port": 9110, "role": "leader", "term": 3,
        });
        let odd = Seen { problem: Some("it is no msgpack".to_owned()), ..seen("odd\u{1b}[2J", Value::Null) };
        let api = json!({"name": "api", "type": "passive", "hostname": "ops-1", "pid": 7});
        vec![
            group("api", vec![seen("ops-1_7", api), odd]),
            group("empty", vec![]),
            group("sensorarbitrator", vec![seen("ops-1_811", arbitrator)]),
        ]
    }

    #[test]
    fn every_group_has_a_row_and_every_member_says_what_is_its_own() {
        assert_eq!(
            rendered(&groups(), 100),
            "\
GROUP             MEMBER     TYPE     LISTENS AT      SAYS
api               ops-1_7    passive  -               -
api               odd\u{fffd}[2J    -        -               cannot be read: it is no msgpack
empty             -          -        -               -
sensorarbitrator  ops-1_811  active   127.0.0.1:9110  role=leader term=3
"
        );
    }

    #[test]
    fn the_document_is_close_to_that_of_stackstorm() {
        let documents: Vec<Value> = groups().iter().map(document).collect();
        let api = json!({"name": "api", "type": "passive", "hostname": "ops-1", "pid": 7});
        let expected = json!({"group_id": "api", "members": [
            {"member_id": "ops-1_7", "capabilities": api},
            {"member_id": "odd\u{1b}[2J", "capabilities": null, "problem": "it is no msgpack"},
        ]});
        assert_eq!(documents[0], expected);
        assert_eq!(documents[1], json!({"group_id": "empty", "members": []}));
    }
}
