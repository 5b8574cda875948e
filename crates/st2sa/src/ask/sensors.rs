//! `st2sa sensors`: where each sensor is ACTIVE, or one of them with all its instances.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Instance, Sensor, word};

use super::client::Request;
use super::failure::Stop;
use super::paper::Paper;
use super::table::{self, Column, Tone};
use super::{Common, Output, reference, wait, words};

/// Which sensors are there, and where are they ACTIVE?
#[derive(Args)]
pub(crate) struct SensorsQuestion {
    /// The one to show in detail, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: Option<String>,
    /// Only those that fail: ACTIVE nowhere though they should be, or failing where they are
    #[arg(long, conflicts_with = "sensor")]
    failing: bool,
    #[command(flatten)]
    common: Common,
}

impl SensorsQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        match &self.sensor {
            Some(sensor) => self.ask_for_one(sensor, paper).await,
            None => self.ask_for_all(paper).await,
        }
    }

    async fn ask_for_all(&self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let request = Request { path: rest::SENSORS, ..Request::default() };
        let mut sensors = wait::for_it(paper, "the arbitrator", client.document::<Vec<Sensor>>(&request)).await?;
        if self.failing {
            let failing: Vec<bool> = sensors.known.iter().map(|sensor| sensor.failing).collect();
            let mut kept = failing.iter();
            sensors.known.retain(|_| kept.next().is_some_and(|fails| *fails));
            let mut kept = failing.iter();
            if let Some(raw) = sensors.raw.as_array_mut() {
                raw.retain(|_| kept.next().is_some_and(|fails| *fails));
            }
        }
        match self.common.output {
            Output::Json => paper.write_json(&sensors.raw)?,
            Output::Table if sensors.known.is_empty() && self.failing => paper.note("no sensor fails"),
            Output::Table if sensors.known.is_empty() => {
                paper.note("no sensors\nhint: a sensor shows once a container offers it: see 'st2sa containers'");
            }
            Output::Table => {
                let text = rendered(&sensors.known, paper.width);
                paper.write(&table::finished(&text, paper.colour))?;
            }
        }
        Ok(())
    }

    async fn ask_for_one(&self, sensor: &str, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let request = Request { path: rest::SENSOR, reference: Some(sensor.to_owned()), ..Request::default() };
        let sensor = wait::for_it(paper, "the arbitrator", client.document::<Sensor>(&request)).await?;
        match self.common.output {
            Output::Json => paper.write_json(&sensor.raw)?,
            Output::Table => {
                let text = in_detail(&sensor.known, paper.width);
                paper.write(&table::finished(&text, paper.colour))?;
            }
        }
        Ok(())
    }
}

fn rendered(sensors: &[Sensor], width: usize) -> String {
    let each = || sensors.iter();
    let of_active = |column: fn(&Instance) -> String| {
        each().map(move |sensor| active(sensor).map_or_else(|| "-".to_owned(), column))
    };
    let mut columns = vec![
        Column::new("SENSOR").cells(each().map(|sensor| words::one_line(&sensor.reference))),
        Column::new("KIND").rank(4).cells(each().map(|sensor| words::one_line(&sensor.kind))),
        Column::new("STATUS").cells(each().map(|sensor| status_of_sensor(&sensor.status))),
        Column::new("ACTIVE ON").cells(each().map(|sensor| or_dash(sensor.active.as_deref()))),
        Column::new("STATE").cells(each().map(state_of_sensor)),
        Column::new("LAST POLL").rank(1).cells(of_active(|instance| words::ago(instance.last_poll_ms_ago))),
        Column::new("POLLS").rank(6).right().cells(of_active(|instance| instance.polls.to_string())),
        Column::new("TRIGGERS").rank(5).right().cells(of_active(|instance| instance.triggers.to_string())),
        Column::new("FENCE").rank(7).cells(each().map(|sensor| or_dash(sensor.fence.as_deref()))),
        Column::new("STANDBYS").rank(3).right().cells(each().map(|sensor| standbys(sensor).to_string())),
    ];
    columns.extend(dropped(each().map(|sensor| sensor.instances.iter().map(|instance| instance.dropped).sum())));
    columns.push(Column::new("LAST ERROR").rank(2).cut_to(12).cells(each().map(last_error)));
    table::rendered(columns, width)
}

/// Triggers that were dropped: a column only where there are any, and then one that is never left out.
fn dropped(counts: impl Iterator<Item = u64>) -> Option<Column> {
    let counts: Vec<u64> = counts.collect();
    let cell = |count: u64| if count == 0 { "0".to_owned() } else { table::toned(Tone::Bad, &count.to_string()) };
    let any = counts.iter().any(|count| *count > 0);
    any.then(|| Column::new("DROPPED").right().cells(counts.into_iter().map(cell)))
}

fn in_detail(sensor: &Sensor, width: usize) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<9}{value}");
    };
    line("sensor", &words::one_line(&sensor.reference));
    line("kind", &words::one_line(&sensor.kind));
    let status = status_of_sensor(&sensor.status);
    match &sensor.active {
        Some(container) => line("status", &format!("{status} on {}", words::one_line(container))),
        None => line("status", &status),
    }
    if let Some(paused) = &sensor.paused {
        line("paused", &format!("by {}, at {}", words::one_line(&paused.who), words::one_line(&paused.at)));
    }
    line("fence", &or_dash(sensor.fence.as_deref()));
    if !sensor.effects.is_empty() {
        line("effects", &format!("{}: {}", words::one_line(&sensor.effects), words::one_line(&sensor.effects_why)));
    }
    if sensor.failing {
        let how = match &sensor.active {
            None => format!("it is ACTIVE nowhere: `st2sa why {}` says why", words::one_line(&sensor.reference)),
            Some(_) => "what went wrong last is not over".to_owned(),
        };
        line("failing", &table::toned(Tone::Bad, &how));
    }
    if sensor.instances.is_empty() {
        text.push_str("\nno container offers it\n");
        return text;
    }
    let each = || sensor.instances.iter();
    let mut columns = vec![
        Column::new("CONTAINER").cells(each().map(|instance| words::one_line(&instance.container))),
        Column::new("STATUS").cells(each().map(|instance| status_of_instance(&instance.status))),
        Column::new("STATE").cells(each().map(state_of_instance)),
        Column::new("LAST POLL").cells(each().map(|instance| words::ago(instance.last_poll_ms_ago))),
        Column::new("TOOK").rank(2).cells(each().map(|instance| words::took(instance.last_poll_duration_ms))),
        Column::new("POLLS").rank(1).right().cells(each().map(|instance| instance.polls.to_string())),
        Column::new("ERRORS").right().cells(each().map(|instance| instance.errors.to_string())),
        Column::new("TRIGGERS").rank(1).right().cells(each().map(|instance| instance.triggers.to_string())),
    ];
    columns.extend(dropped(each().map(|instance| instance.dropped)));
    let pid = |instance: &Instance| instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    columns.push(Column::new("PID").rank(3).right().cells(each().map(pid)));
    text.push('\n');
    text.push_str(&table::rendered(columns, width));
    for instance in each() {
        if let Some(error) = instance.last_error.as_deref().filter(|error| !error.trim().is_empty()) {
            let over = if instance.failing { "" } else { " (over)" };
            let when = when(instance).map(|when| format!(", {when}{over}")).unwrap_or_default();
            let _ = writeln!(text, "\nlast error on {}{when}:", words::one_line(&instance.container));
            for line in words::plain(error.trim_end()).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    for instance in each().filter(|instance| instance.dropped > 0) {
        let (container, dropped) = (words::one_line(&instance.container), instance.dropped);
        let _ = writeln!(
            text,
            "\ndropped on {container}: {dropped} triggers, whose payloads do not fit the schema of their trigger type, or which the \
             sink refused for good; the container's own log says which, and why"
        );
    }
    text
}

fn active(sensor: &Sensor) -> Option<&Instance> {
    sensor.instances.iter().find(|instance| Some(&instance.container) == sensor.active.as_ref())
}

/// Instances that could take over.
fn standbys(sensor: &Sensor) -> usize {
    sensor
        .instances
        .iter()
        .filter(|instance| Some(&instance.container) != sensor.active.as_ref() && instance.state == "ready")
        .count()
}

/// That of the ACTIVE instance, or, where there is none, of any, rather of one that fails.
fn last_error(sensor: &Sensor) -> String {
    let with_error = || sensor.instances.iter().filter(|instance| instance.last_error.is_some());
    let told =
        active(sensor).or_else(|| with_error().find(|instance| instance.failing).or_else(|| with_error().next()));
    told.map(error_of).unwrap_or_default()
}

/// What went wrong last with an instance, and when; red for as long as it is not over.
pub(super) fn error_of(instance: &Instance) -> String {
    let Some(gist) = instance.last_error.as_deref().map(words::gist) else { return String::new() };
    let told = match when(instance) {
        Some(when) => format!("{gist} ({when})"),
        None => gist,
    };
    if instance.failing { table::toned(Tone::Bad, &told) } else { told }
}

/// When that was, as far as that is known.
fn when(instance: &Instance) -> Option<String> {
    instance.last_error_ms_ago.map(|ago| words::ago(Some(ago)))
}

fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), words::one_line)
}

/// A sensor that stands by runs nowhere, though it should.
fn status_of_sensor(status: &str) -> String {
    match status {
        word::ACTIVE => table::toned(Tone::Good, status),
        word::STANDBY | word::PAUSED => table::toned(Tone::Odd, status),
        _ => words::one_line(status),
    }
}

fn status_of_instance(status: &str) -> String {
    if status == word::STANDBY { status.to_owned() } else { status_of_sensor(status) }
}

/// What the ACTIVE instance does; of a sensor that is ACTIVE nowhere, whether it fails or just waits.
fn state_of_sensor(sensor: &Sensor) -> String {
    match active(sensor) {
        Some(instance) => state_of_instance(instance),
        None if sensor.status != word::STANDBY => "-".to_owned(),
        None if sensor.instances.iter().any(|instance| instance.failing) => table::toned(Tone::Bad, "failing"),
        None => table::toned(Tone::Odd, "waiting"),
    }
}

/// What it does, and that it fails where its own word does not say so.
pub(super) fn state_of_instance(instance: &Instance) -> String {
    let own = state(&instance.state);
    match instance.state.as_str() {
        "failed" | "backoff" => own,
        _ if instance.failing => format!("{own}, {}", table::toned(Tone::Bad, "failing")),
        _ => own,
    }
}

fn state(state: &str) -> String {
    let tone = match state {
        "frozen" | "failed" => Tone::Bad,
        "backoff" | "draining" => Tone::Odd,
        _ => return words::one_line(state),
    };
    table::toned(tone, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(container: &str, status: &str, state: &str) -> Instance {
        Instance {
            container: container.to_owned(),
            status: status.to_owned(),
            state: state.to_owned(),
            pid: Some(4_211),
            polls: 0,
            errors: 0,
            last_poll_ms_ago: None,
            last_poll_duration_ms: None,
            triggers: 0,
            dropped: 0,
            last_error: None,
            last_error_ms_ago: None,
            failing: false,
        }
    }

    fn sensors() -> Vec<Sensor> {
        let running = Instance {
            polls: 8_120,
            errors: 2,
            last_poll_ms_ago: Some(240),
            last_poll_duration_ms: Some(31),
            triggers: 40,
            last_error: Some(
                "Traceback (most recent call last):\n  File \"rss.py\", line 7\n\
                 ConnectionError: the feed did not answer, and what it sent before that was no feed at all\n"
                    .to_owned(),
            ),
            last_error_ms_ago: Some(75_000),
            ..instance("node-1", "ACTIVE", "running")
        };
        vec![
            Sensor {
                reference: "rss.FeedSensor".to_owned(),
                kind: "polling".to_owned(),
                status: "ACTIVE".to_owned(),
                active: Some("node-1".to_owned()),
                fence: Some("5.12".to_owned()),
                paused: None,
                failing: false,
                effects: "journal".to_owned(),
                effects_why: "the policy says so".to_owned(),
                instances: vec![running, instance("node-2", "STANDBY", "ready")],
            },
            Sensor {
                reference: "linux.FileWatchSensor".to_owned(),
                kind: "passive".to_owned(),
                status: "PAUSED".to_owned(),
                active: None,
                fence: None,
                paused: None,
                failing: false,
                effects: "journal".to_owned(),
                effects_why: "the policy says so".to_owned(),
                instances: vec![instance("node-2", "PAUSED", "stopped")],
            },
        ]
    }

    #[test]
    fn sensors_fit_into_140_columns() {
        let text = table::finished(&rendered(&sensors(), 140), false);
        assert_eq!(
            text,
            "\
SENSOR                 KIND     STATUS  ACTIVE ON  STATE    LAST POLL  POLLS  TRIGGERS  FENCE  STANDBYS  LAST ERROR
rss.FeedSensor         polling  ACTIVE  node-1     running  0.2 s ago   8120        40  5.12          1  ConnectionError: the feed did not…
linux.FileWatchSensor  passive  PAUSED  -          -        -              -         -  -             0
",
            "\n{text}"
        );
    }

    #[test]
    fn sensors_fit_into_80_columns() {
        let text = table::finished(&rendered(&sensors(), 80), false);
        assert_eq!(
            text,
            "\
SENSOR                 STATUS  ACTIVE ON  STATE    LAST POLL  LAST ERROR
rss.FeedSensor         ACTIVE  node-1     running  0.2 s ago  ConnectionError:…
linux.FileWatchSensor  PAUSED  -          -        -
",
            "\n{text}"
        );
    }

    #[test]
    fn one_sensor_is_shown_with_its_whole_error() {
        let text = table::finished(&in_detail(&sensors()[0], 80), false);
        assert_eq!(
            text,
            "\
sensor   rss.FeedSensor
kind     polling
status   ACTIVE on node-1
fence    5.12
effects  journal: the policy says so

CONTAINER  STATUS   STATE    LAST POLL  TOOK   POLLS  ERRORS  TRIGGERS   PID
node-1     ACTIVE   running  0.2 s ago  31 ms   8120       2        40  4211
node-2     STANDBY  ready    -          -          0       0         0  4211

last error on node-1, 1 min ago (over):
  Traceback (most recent call last):
    File \"rss.py\", line 7
  ConnectionError: the feed did not answer, and what it sent before that was no feed at all
",
            "\n{text}"
        );
    }

    /// One that raises where it is ACTIVE, and whose triggers are dropped; one that failed wherever it was tried.
    fn failing() -> Vec<Sensor> {
        let raises = Instance {
            failing: true,
            dropped: 12,
            last_error: Some("ValueError: no".to_owned()),
            ..instance("node-1", "ACTIVE", "running")
        };
        let failed = Instance {
            failing: true,
            last_error: Some("exit code 3".to_owned()),
            last_error_ms_ago: Some(1_500),
            ..instance("node-2", "STANDBY", "ready")
        };
        let [first, second] = sensors().try_into().unwrap();
        vec![
            Sensor { failing: true, instances: vec![raises], ..first },
            Sensor { status: "STANDBY".to_owned(), failing: true, instances: vec![failed], ..second },
        ]
    }

    #[test]
    fn what_fails_and_what_is_dropped_cannot_be_overlooked() {
        let text = table::finished(&rendered(&failing(), 100), false);
        assert_eq!(
            text,
            "\
SENSOR                 STATUS   ACTIVE ON  STATE             LAST POLL  DROPPED  LAST ERROR
rss.FeedSensor         ACTIVE   node-1     running, failing  -               12  ValueError: no
linux.FileWatchSensor  STANDBY  -          failing           -                0  exit code 3 (1.5 s…
",
            "\n{text}"
        );
        let [raises, waits] = failing().try_into().unwrap();
        let text = table::finished(&in_detail(&raises, 100), false);
        assert!(text.contains("failing  what went wrong last is not over\n"), "{text}");
        assert!(text.contains("ERRORS  TRIGGERS  DROPPED"), "{text}");
        assert!(text.contains("\ndropped on node-1: 12 triggers, whose payloads do not fit"), "{text}");
        let text = table::finished(&in_detail(&waits, 100), false);
        assert!(text.contains("ACTIVE nowhere: `st2sa why linux.FileWatchSensor` says why\n"), "{text}");
        assert!(text.contains("node-2     STANDBY  ready, failing  -"), "{text}");
    }

    #[test]
    fn a_sensor_that_nobody_offers_says_so() {
        let sensor = Sensor { instances: vec![], active: None, ..sensors().remove(0) };
        let text = table::finished(&in_detail(&sensor, 80), false);
        assert!(
            text.ends_with("fence    5.12\neffects  journal: the policy says so\n\nno container offers it\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_cut_keeps_its_colour_within_the_line() {
        for width in 20..140 {
            for line in table::finished(&rendered(&sensors(), width), true).lines() {
                let (starts, ends) = (line.matches("\u{1b}[3").count(), line.matches("\u{1b}[0m").count());
                assert!(ends >= starts, "width {width}: {line:?}");
            }
        }
    }
}
