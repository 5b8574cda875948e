//! `st2sa containers`: who could run sensors.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Container, Instance, Sensor, word};

use super::client::Request;
use super::failure::{Failure, Stop};
use super::paper::Paper;
use super::table::{self, Column, Tone};
use super::{Common, Output, sensors, wait, words};

/// Who could run sensors?
#[derive(Args)]
pub(crate) struct ContainersQuestion {
    /// The one to show with all its sensors
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl ContainersQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let request = Request { path: rest::CONTAINERS, ..Request::default() };
        let mut containers = wait::for_it(paper, "the arbitrator", client.document::<Vec<Container>>(&request)).await?;
        if let Some(name) = &self.container {
            containers.known.retain(|container| container.name == *name);
            if let Some(raw) = containers.raw.as_array_mut() {
                raw.retain(|container| container["name"] == name.as_str());
            }
            let hint = "'st2sa containers' lists all that there are";
            let Some(container) = containers.known.first() else {
                return Err(Failure::no(format!("there is no container `{name}`"), Some(hint.to_owned())).into());
            };
            if self.common.output == Output::Table {
                let request = Request { path: rest::SENSORS, ..Request::default() };
                let sensors = client.document::<Vec<Sensor>>(&request).await?.known;
                paper.write(&table::finished(&in_detail(container, &sensors, paper.width), paper.colour))?;
                return Ok(());
            }
        }
        match self.common.output {
            Output::Json => paper.write_json(&containers.raw)?,
            Output::Table if containers.known.is_empty() => {
                paper.note("no containers\nhint: start one with 'st2sa container'");
            }
            Output::Table => {
                let text = rendered(&containers.known, paper.width);
                paper.write(&table::finished(&text, paper.colour))?;
            }
        }
        Ok(())
    }
}

fn rendered(containers: &[Container], width: usize) -> String {
    let each = || containers.iter();
    let columns = vec![
        Column::new("CONTAINER").cells(each().map(|container| words::one_line(&container.name))),
        Column::new("STATE").cells(each().map(|container| state(&container.state))),
        Column::new("ACTIVE").right().cells(each().map(|container| container.sensors_active.to_string())),
        Column::new("LAST HEARTBEAT").cells(each().map(|container| words::ago(container.last_heartbeat_ms_ago))),
        Column::new("PID").rank(1).right().cells(each().map(|container| match container.pid {
            0 => "-".to_owned(),
            pid => pid.to_string(),
        })),
        Column::new("LABELS").cut_to(12).cells(each().map(labels)),
    ];
    table::rendered(columns, width)
}

fn in_detail(container: &Container, sensors: &[Sensor], width: usize) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<15}{value}");
    };
    line("container", &words::one_line(&container.name));
    line("state", &state(&container.state));
    if let Some(drained) = &container.drained {
        line("drained", &format!("by {}, at {}", words::one_line(&drained.who), words::one_line(&drained.at)));
    }
    line("last heartbeat", &words::ago(container.last_heartbeat_ms_ago));
    line("pid", &if container.pid == 0 { "-".to_owned() } else { container.pid.to_string() });
    line("labels", &labels(container));
    let here: Vec<(&Sensor, &Instance)> = sensors
        .iter()
        .flat_map(|sensor| sensor.instances.iter().map(move |instance| (sensor, instance)))
        .filter(|(_, instance)| instance.container == container.name)
        .collect();
    let each = || here.iter();
    let columns = vec![
        Column::new("SENSOR").cells(each().map(|(sensor, _)| words::one_line(&sensor.reference))),
        Column::new("STATUS").cells(each().map(|(_, instance)| words::one_line(&instance.status))),
        Column::new("STATE").cells(each().map(|(_, instance)| sensors::state_of_instance(instance))),
        Column::new("LAST ERROR").rank(1).cut_to(12).cells(each().map(|(_, instance)| sensors::error_of(instance))),
    ];
    text + "\n" + &table::rendered(columns, width)
}

fn state(state: &str) -> String {
    let tone = match state {
        word::UP => Tone::Good,
        word::DRAINING => Tone::Odd,
        word::LOST => Tone::Bad,
        _ => return words::one_line(state),
    };
    table::toned(tone, state)
}

fn labels(container: &Container) -> String {
    let pairs: Vec<String> =
        container.labels.iter().map(|(key, value)| words::one_line(&format!("{key}={value}"))).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> Vec<Container> {
        let container = |name: &str, pid, state: &str, sensors_active, ago| Container {
            name: name.to_owned(),
            pid,
            state: state.to_owned(),
            sensors_active,
            last_heartbeat_ms_ago: ago,
            labels: std::collections::BTreeMap::new(),
            drained: None,
        };
        let mut first = container("node-1", 811, "up", 3, Some(120));
        first.labels = [("rack", "7"), ("zone", "eu-central-1a")].map(|(key, value)| (key.into(), value.into())).into();
        vec![first, container("node-2", 0, "lost", 0, Some(75_000)), container("node-3", 9, "draining", 1, None)]
    }

    #[test]
    fn containers_fit_into_140_columns() {
        assert_eq!(
            table::finished(&rendered(&containers(), 140), false),
            "\
CONTAINER  STATE     ACTIVE  LAST HEARTBEAT  PID  LABELS
node-1     up             3  0.1 s ago       811  rack=7 zone=eu-central-1a
node-2     lost           0  1 min ago         -  -
node-3     draining       1  -                 9  -
"
        );
    }

    #[test]
    fn labels_are_cut_where_there_is_no_room() {
        assert_eq!(
            table::finished(&rendered(&containers()[..1], 60), false),
            "\
CONTAINER  STATE  ACTIVE  LAST HEARTBEAT  PID  LABELS
node-1     up          3  0.1 s ago       811  rack=7 zone=…
"
        );
    }
}
