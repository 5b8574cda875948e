//! What a person sees of a simulated cluster: its leader's views, answers and history, as aligned text.

use std::fmt::Write as _;

use st2sa_core::arbiter::{Alarm, Answer, Command, Planned, SensorView, Verb};
use st2sa_core::history::Record;
use st2sa_core::message::State;
use st2sa_core::names::ContainerName;
use st2sa_core::placement::Reason;

use crate::checker::Violation;
use crate::clock::{MILLI, Nanos, SECOND};
use crate::world::World;

/// An operator waits so long for an answer: longer than any engine request of a leader takes.
const ANSWER_WITHIN: Nanos = 2 * SECOND;
/// The most records and alarms that are kept unread; then the oldest are dropped.
const UNREAD_AT_MOST: usize = 10_000;

/// What arbitrators told people, kept from when somebody listens until it is read.
#[derive(Debug, Default)]
pub(crate) struct Told {
    listening: bool,
    unread: Vec<(Nanos, News)>,
    answers: Vec<(u64, Answer)>,
}

#[derive(Debug)]
enum News {
    Record(Record),
    Alarm(Alarm),
}

impl World {
    /// Keeps from now on what arbitrators tell people.
    pub(crate) fn listen(&mut self) {
        self.told.listening = true;
    }

    /// An arbitrator's command is about to be carried out.
    pub(crate) fn hear(&mut self, command: &Command) {
        let told = &mut self.told;
        if !told.listening {
            return;
        }
        match command {
            Command::Record(record) => told.unread.push((self.now, News::Record(record.clone()))),
            Command::Alarm(alarm) => told.unread.push((self.now, News::Alarm(alarm.clone()))),
            Command::Answer { request, answer } => told.answers.push((*request, answer.clone())),
            _ => {}
        }
        if told.unread.len() > UNREAD_AT_MOST {
            told.unread.remove(0);
        }
    }

    /// Asks whoever leads and waits for the answer; nothing if nobody leads, or no answer comes.
    pub(crate) fn ask(&mut self, verb: &Verb) -> Option<Answer> {
        self.leader()?;
        self.told.answers.clear();
        self.operate(verb);
        let request = self.operators;
        let give_up = self.now + ANSWER_WITHIN;
        loop {
            let answers = std::mem::take(&mut self.told.answers);
            if let Some((_, answer)) = answers.into_iter().find(|(to, _)| *to == request) {
                return Some(answer);
            }
            if self.now >= give_up {
                return None;
            }
            self.run_until(self.now + MILLI);
        }
    }

    /// The arbitrator whose leadership is in force; of two that believe so, that of the higher term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let term = |index: &usize| {
            let node = &self.arbitrators[*index];
            node.process.alive.then(|| node.core.leads(node.clock.read(self.now))).flatten()
        };
        (0..self.arbitrators.len()).filter(|index| term(index).is_some()).max_by_key(term)
    }

    /// The first broken invariant, if any.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.checker.violation.as_ref()
    }

    pub(crate) fn show_now(&self) -> String {
        format!("now {} s", seconds(self.now))
    }

    pub(crate) fn show_leader(&self) -> String {
        let Some(leader) = self.leader() else { return "nobody leads".to_owned() };
        let node = &self.arbitrators[leader];
        let term = node.core.leads(node.clock.read(self.now)).unwrap_or_default();
        format!("{} leads term {term}", node.id)
    }

    pub(crate) fn show_sensors(&self) -> String {
        let Some(leader) = self.leader() else { return "nobody leads".to_owned() };
        let rows = self.arbitrators[leader].core.sensors().into_iter().map(|view| {
            let status = match (&view.active, view.paused.is_some()) {
                (Some(_), _) => "ACTIVE",
                (None, true) => "PAUSED",
                (None, false) => "STANDBY",
            };
            let (on, fence, state) = match &view.active {
                Some(active) => (active.container.to_string(), active.fence.to_string(), word(active.state)),
                None => (NOTHING.to_owned(), NOTHING.to_owned(), NOTHING),
            };
            let failed: Vec<_> = view.failed.iter().map(ContainerName::as_str).collect();
            let failed = if failed.is_empty() { NOTHING.to_owned() } else { failed.join(", ") };
            vec![view.sensor.to_string(), status.to_owned(), on, fence, state.to_owned(), failed]
        });
        table(&["SENSOR", "STATUS", "ON", "FENCE", "STATE", "FAILED ON"], &rows.collect::<Vec<_>>())
    }

    pub(crate) fn show_containers(&self) -> String {
        let Some(leader) = self.leader() else { return "nobody leads".to_owned() };
        let core = &self.arbitrators[leader].core;
        let sensors = core.sensors();
        let rows = core.containers().into_iter().map(|view| {
            let up = if view.up { "up" } else { "silent" };
            let draining = if view.draining { "draining" } else { NOTHING };
            let zone = self.run.setup.machines.iter().find(|machine| machine.name == view.name.as_str());
            let zone = zone.map_or_else(|| NOTHING.to_owned(), |machine| machine.zone.to_string());
            let load = self.load(&sensors, &view.name).to_string();
            let (name, registration) = (view.name.to_string(), view.registration.to_string());
            vec![name, up.to_owned(), draining.to_owned(), view.active.to_string(), load, zone, registration]
        });
        table(&["CONTAINER", "UP", "DRAINS", "ACTIVE", "LOAD", "ZONE", "REGISTRATION"], &rows.collect::<Vec<_>>())
    }

    /// What arbitrators told people since this was last read.
    pub(crate) fn show_history(&mut self) -> String {
        let mut rows = Vec::new();
        let mut alarms: Vec<(Nanos, Alarm)> = Vec::new();
        for (at, news) in std::mem::take(&mut self.told.unread) {
            match news {
                News::Record(record) => rows.push(row(at, &record)),
                News::Alarm(alarm) => alarms.push((at, alarm)),
            }
        }
        if rows.is_empty() && alarms.is_empty() {
            return "nothing happened".to_owned();
        }
        let mut text = table(&["AT", "SENSOR", "FROM", "TO", "FENCE", "CAUSE", "WHO"], &rows);
        for (at, alarm) in alarms {
            let _ = writeln!(text, "alarm at {}: {}", seconds(at), sentence(&alarm));
        }
        text
    }

    /// What arbitrators told people up to now is not shown.
    pub(crate) fn forget_history(&mut self) {
        self.told.unread.clear();
    }

    /// An operator's answer, as the command line would show it.
    pub(crate) fn show_answer(&self, answer: Option<Answer>) -> String {
        match answer {
            None if self.leader().is_none() => "no answer: nobody leads".to_owned(),
            None => "no answer".to_owned(),
            Some(Answer::Done) => "done".to_owned(),
            Some(Answer::NotLeader(Some(leader))) => format!("ask {leader}, which leads"),
            Some(Answer::NotLeader(None)) => "it does not lead, and knows nobody who does".to_owned(),
            Some(Answer::Moves(to)) => format!("done: it goes to {to}"),
            Some(Answer::NoSuch(what)) => format!("no: {what}"),
            Some(Answer::Refused(why)) => format!("refused: {why}"),
            Some(Answer::Unknown) => "it may have been done".to_owned(),
            Some(Answer::Why { reason, containers }) => {
                let against = |(name, reason): &(ContainerName, Option<Reason>)| match reason {
                    Some(reason) => format!("\n  {name}: {reason}"),
                    None => format!("\n  {name}: could run it"),
                };
                reason + &containers.iter().map(against).collect::<String>()
            }
            Some(Answer::Plan(plan)) => show_plan(&plan),
        }
    }

    /// The weights of what is ACTIVE on a container.
    fn load(&self, sensors: &[SensorView], on: &ContainerName) -> u32 {
        let here = |view: &&SensorView| view.active.as_ref().is_some_and(|active| active.container == *on);
        let weight = |view: &SensorView| {
            self.sensor_number(&view.sensor).map_or(0, |number| self.run.setup.sensors[number].weight)
        };
        sensors.iter().filter(here).map(weight).sum()
    }
}

fn show_plan(plan: &[Planned]) -> String {
    let rows = plan.iter().map(|planned| {
        let to = planned.to.as_ref().map(ToString::to_string);
        let to = to.map(|to| if planned.from == planned.to { "same".to_owned() } else { to });
        let from = planned.from.as_ref().map(ToString::to_string);
        vec![planned.sensor.to_string(), or_nothing(from), or_nothing(to), planned.why()]
    });
    table(&["SENSOR", "NOW", "PLANNED", "WHY"], &rows.collect::<Vec<_>>())
}

/// Stands in a table for what is not there.
const NOTHING: &str = "-";

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_owned())
}

fn row(at: Nanos, record: &Record) -> Vec<String> {
    let name = |name: &Option<ContainerName>| or_nothing(name.as_ref().map(ToString::to_string));
    let (from, to) = (name(&record.from), name(&record.to));
    let (fence, cause) = (record.fence.to_string(), record.cause.to_string());
    vec![seconds(at), record.sensor.to_string(), from, to, fence, cause, record.who.clone()]
}

fn sentence(alarm: &Alarm) -> String {
    match alarm {
        Alarm::PackFails(pack) => format!("so much of pack {pack} fails that none of it is moved"),
        Alarm::DoesNotApply(container, sensor) => {
            format!("{container} does not apply what it is told of {sensor}: it is acknowledged no more")
        }
        Alarm::ClaimedTwice(sensor) => format!("two containers claim {sensor}"),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Running => "running",
        State::Draining => "draining",
        State::Frozen => "frozen",
        State::Backoff => "backoff",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}

/// True time since the start, to the millisecond.
fn seconds(at: Nanos) -> String {
    let millis = at / MILLI;
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// Columns as wide as what they hold, two spaces between them; a column of times is aligned to the right.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).zip(&head).map(|((cell, width), title)| match title.as_str() {
            "AT" => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
