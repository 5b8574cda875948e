//! `st2sa status`: how the whole is.

use std::fmt::Write as _;

use clap::Args;
use st2sa_proto::rest::{self, Status, word};

use super::client::Request;
use super::failure::Stop;
use super::paper::Paper;
use super::table::{self, Tone};
use super::{Common, Output, wait, words};

/// How is the whole?
#[derive(Args)]
pub(crate) struct StatusQuestion {
    #[command(flatten)]
    common: Common,
}

impl StatusQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        let request = Request { path: rest::STATUS, ..Request::default() };
        let status = wait::for_it(paper, "the arbitrator", client.document::<Status>(&request)).await?;
        match self.common.output {
            Output::Json => paper.write_json(&status.raw)?,
            Output::Table => paper.write(&table::finished(&rendered(&status.known), paper.colour))?,
        }
        Ok(())
    }
}

fn rendered(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line(
        "arbitrator",
        &format!(
            "{} ({}, {}), release {}, up for {}",
            words::one_line(&status.arbitrator),
            words::one_line(&status.role),
            words::one_line(&status.phase),
            words::one_line(&status.version),
            words::length(status.uptime_ms)
        ),
    );
    let leader = status.leader.as_deref().map_or_else(|| table::toned(Tone::Bad, "none"), words::one_line);
    line("leader", &format!("{leader}, term {}", status.term));
    let sensors = &status.sensors;
    let of = |count: u64, word: &str, tone: Tone| {
        let words = format!("{count} {word}");
        if count == 0 { words } else { table::toned(tone, &words) }
    };
    line(
        "sensors",
        &format!(
            "{}: {}, {}, {}, {}",
            sensors.total,
            of(sensors.active, "active", Tone::Good),
            of(sensors.paused, "paused", Tone::Odd),
            of(sensors.waiting, "waiting", Tone::Odd),
            of(sensors.failing, "failing", Tone::Bad),
        ),
    );
    let containers = &status.containers;
    line(
        "containers",
        &format!(
            "{}: {}, {}, {}",
            containers.up.saturating_add(containers.draining).saturating_add(containers.lost),
            of(containers.up, "up", Tone::Good),
            of(containers.draining, "draining", Tone::Odd),
            of(containers.lost, "lost", Tone::Bad),
        ),
    );
    if !status.engine.is_empty() {
        let store = match status.store.as_str() {
            word::AWAY => table::toned(Tone::Bad, ", away"),
            word::EXTENDED => table::toned(Tone::Odd, ", away: the other electors let the leader go on"),
            _ => String::new(),
        };
        line("store", &format!("{}{store}", words::one_line(&status.engine)));
    }
    // An arbitrator with a store of its own has nobody to elect it.
    if status.electors.len() > 1 {
        let electors: Vec<String> = status.electors.iter().map(|elector| words::one_line(elector)).collect();
        let fail_safe = if status.fail_safe { "on" } else { "off" };
        line("electors", &format!("{}; fail-safe is {fail_safe}", electors.join(", ")));
    }
    if status.alarms.is_empty() {
        line("alarms", "none");
    }
    for (index, alarm) in status.alarms.iter().enumerate() {
        line(if index == 0 { "alarms" } else { "" }, &table::toned(Tone::Bad, &words::one_line(alarm)));
    }
    text
}

#[cfg(test)]
mod tests {
    use st2sa_proto::rest::{ContainerCounts, SensorCounts};

    use super::*;

    fn status() -> Status {
        Status {
            arbitrator: "a1".to_owned(),
            role: "leader".to_owned(),
            phase: "leading".to_owned(),
            term: 5,
            leader: Some("a1".to_owned()),
            version: "0.1.0".to_owned(),
            uptime_ms: 12_000_000,
            sensors: SensorCounts { total: 5, active: 4, paused: 1, waiting: 0, failing: 0 },
            containers: ContainerCounts { up: 2, draining: 1, lost: 0 },
            alarms: vec![],
            engine: "etcd at e1:2379".to_owned(),
            store: "there".to_owned(),
            electors: vec!["a1".to_owned(), "a2".to_owned()],
            fail_safe: true,
        }
    }

    #[test]
    fn a_sound_whole_is_seven_lines() {
        assert_eq!(
            table::finished(&rendered(&status()), false),
            "\
arbitrator  a1 (leader, leading), release 0.1.0, up for 3 h 20 min
leader      a1, term 5
sensors     5: 4 active, 1 paused, 0 waiting, 0 failing
containers  3: 2 up, 1 draining, 0 lost
store       etcd at e1:2379
electors    a1, a2; fail-safe is on
alarms      none
"
        );
    }

    #[test]
    fn a_store_that_is_away_is_told_and_one_arbitrator_has_no_electors() {
        let status = Status { store: "away".to_owned(), electors: vec!["a1".to_owned()], ..status() };
        let text = table::finished(&rendered(&status), false);
        assert!(text.contains("store       etcd at e1:2379, away\nalarms"), "{text}");
    }

    #[test]
    fn each_alarm_has_its_line() {
        let status =
            Status { alarms: vec!["pack `a` fails".to_owned(), "b\u{7}".to_owned()], leader: None, ..status() };
        let text = table::finished(&rendered(&status), false);
        assert!(text.contains("leader      none, term 5\n"), "{text}");
        assert!(text.ends_with("alarms      pack `a` fails\n            b\u{fffd}\n"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_red_and_zeros_are_plain() {
        let text = table::finished(&rendered(&Status { leader: None, ..status() }), true);
        assert!(text.contains("\u{1b}[31mnone\u{1b}[0m, term 5"), "{text:?}");
        assert!(text.contains(", 0 failing\n"), "{text:?}");
    }
}
