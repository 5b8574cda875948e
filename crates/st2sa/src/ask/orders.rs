//! The operator's verbs: each asks first where it stops or moves something, orders, and waits until it is done.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::json;
use st2sa_core::time::Span;
use st2sa_machine::{clock, identity};
use st2sa_proto::rest::{self, Container, Instance, Outcome, Plan, Sensor, word};

use super::client::{Client, Document, Request};
use super::failure::{Failure, Kind, Stop};
use super::paper::Paper;
use super::{Common, Output, plan, reference, table, wait, words};

/// How often it is looked whether an order is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Sensors named in a question.
const NAMED_AT_MOST: usize = 5;

/// Options of every order.
#[derive(Args, Clone)]
pub(crate) struct Ordering {
    /// Do not ask first
    #[arg(short, long)]
    yes: bool,
    /// Who orders it, for the history; `USER@HOST`, if not given
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Options of orders that take a while.
#[derive(Args, Clone)]
pub(crate) struct Waiting {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it is done
    #[arg(long, value_name = "TIME", default_value = "60s", conflicts_with = "no_wait")]
    within: Span,
}

/// Move a sensor.
#[derive(Args)]
pub(crate) struct MoveOrder {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    /// The container to move it to
    #[arg(value_name = "CONTAINER")]
    to: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Move a sensor away.
#[derive(Args)]
pub(crate) struct FailoverOrder {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Poll now.
#[derive(Args)]
pub(crate) struct PollOrder {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Try again.
#[derive(Args)]
pub(crate) struct RetryOrder {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Which sensors.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The sensors, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensors: Vec<String>,
    /// Every sensor that there is now
    #[arg(long)]
    all: bool,
}

/// Pause.
#[derive(Args)]
pub(crate) struct PauseOrder {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Resume.
#[derive(Args)]
pub(crate) struct ResumeOrder {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Drain.
#[derive(Args)]
pub(crate) struct DrainOrder {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    ordering: Ordering,
}

/// Undrain.
#[derive(Args)]
pub(crate) struct UndrainOrder {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[command(flatten)]
    ordering: Ordering,
}

/// Forget.
#[derive(Args)]
pub(crate) struct ForgetOrder {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[command(flatten)]
    ordering: Ordering,
}

/// Fail-safe.
#[derive(Args)]
pub(crate) struct FailSafeOrder {
    /// On, or off
    #[arg(value_enum)]
    switch: OnOff,
    #[command(flatten)]
    ordering: Ordering,
}

/// On, or off.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum OnOff {
    On,
    Off,
}

impl FailSafeOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { switch, ordering } = self;
        let client = ordering.common.client()?;
        let question = match switch {
            OnOff::On => {
                "While the store is away the leader goes on if every other elector agrees; nothing is moved meanwhile, and no \
                 container can join. Turn fail-safe on?"
            }
            OnOff::Off => "While the store is away polling stops. Turn fail-safe off?",
        };
        ordering.confirm(paper, question)?;
        let body = json!({ "who": ordering.who(), "on": switch == OnOff::On });
        let outcome = ordering.order(&client, rest::FAIL_SAFE, None, body).await?;
        ordering.says(paper, &outcome)?;
        Ok(())
    }
}

impl MoveOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { sensor, to, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let from = sensor_of(&client, &sensor).await?.active;
        if from.as_ref() == Some(&to) {
            paper.note(&format!("{sensor} is ACTIVE on {to} already"));
            return Ok(());
        }
        let from = from.unwrap_or_else(|| "nowhere".to_owned());
        ordering.confirm(paper, &format!("{sensor} goes from {from} to {to}, once its poll has ended. Move it?"))?;
        let body = json!({ "who": ordering.who(), "to": to });
        let outcome = ordering.order(&client, rest::MOVE, Some(&sensor), body).await?;
        arrived(&client, paper, &ordering, &waiting, &sensor, &outcome).await
    }
}

impl FailoverOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { sensor, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let from = sensor_of(&client, &sensor).await?.active.unwrap_or_else(|| "nowhere".to_owned());
        ordering.confirm(paper, &format!("{sensor} leaves {from}, as if it had failed there. Move it?"))?;
        let outcome = ordering.order(&client, rest::FAILOVER, Some(&sensor), ordering.body()).await?;
        arrived(&client, paper, &ordering, &waiting, &sensor, &outcome).await
    }
}

impl PollOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { sensor, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let counted = |sensor: &Sensor| {
            let active = sensor.instances.iter().find(|instance| Some(&instance.container) == sensor.active.as_ref());
            active.map(|active| (active.polls, active.errors, active.dropped))
        };
        let before = counted(&sensor_of(&client, &sensor).await?).unwrap_or_default();
        let outcome = ordering.order(&client, rest::POLL, Some(&sensor), ordering.body()).await?;
        if ordering.says(paper, &outcome)? || waiting.no_wait {
            return Ok(());
        }
        let looked = async || {
            let now = sensor_of(&client, &sensor).await.ok()?;
            let instance = now.instances.iter().find(|instance| Some(&instance.container) == now.active.as_ref())?;
            // It is told when something has changed: the poll has begun and, a moment later, ended.
            (instance.polls > before.0 && instance.last_poll_duration_ms.is_some()).then(|| instance.clone())
        };
        let polled = waiting.until(paper, &format!("{sensor} to poll"), looked).await?;
        let took = words::took(polled.last_poll_duration_ms);
        let how = if polled.errors > before.1 {
            format!(", and raised: {}", polled.last_error.as_deref().map(words::gist).unwrap_or_default())
        } else if polled.dropped > before.2 {
            format!(
                "; triggers dropped since their payloads do not fit, or the sink refused them: {}",
                polled.dropped - before.2
            )
        } else {
            String::new()
        };
        paper.write(&format!("{sensor} has polled on {} ({took}){how}\n", polled.container))?;
        Ok(())
    }
}

impl RetryOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { sensor, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let before = sensor_of(&client, &sensor).await?;
        let outcome = ordering.order(&client, rest::RETRY, Some(&sensor), ordering.body()).await?;
        if ordering.says(paper, &outcome)? || waiting.no_wait {
            return Ok(());
        }
        let mut runs_since = None;
        let looked = async || tried(&before, &sensor_of(&client, &sensor).await.ok()?, &mut runs_since);
        let text = match waiting.until(paper, &format!("{sensor} to run"), looked).await? {
            Tried::Well(container) => format!("{sensor} is ACTIVE on {container}\n"),
            Tried::NotYet(container) => format!(
                "{sensor} is ACTIVE on {container}; whether it is well shows when it polls (`st2sa poll {sensor}` has it poll now)\n"
            ),
            Tried::FailedAgain(container, error) => {
                let text = format!("{sensor} was tried on {container}, and failed again: {}", words::gist(&error));
                let hint =
                    format!("`st2sa sensors {sensor}` shows the whole error, `st2sa logs {sensor}` what it printed");
                return Err(Failure::no(text, Some(hint)).into());
            }
        };
        paper.write(&words::plain(&text))?;
        Ok(())
    }
}

/// What came of a retry, and where.
enum Tried {
    Well(String),
    NotYet(String),
    FailedAgain(String, String),
}

/// What has come of it by `now`, if that shows; `runs_since` is kept from one look to the next.
fn tried(before: &Sensor, now: &Sensor, runs_since: &mut Option<Instant>) -> Option<Tried> {
    /// Most polls begin, and end, within this of the start; others may be an hour away.
    const POLLS_WITHIN: Duration = Duration::from_secs(3);
    let errors = |sensor: &Sensor, container: &str| {
        let instance = sensor.instances.iter().find(|instance| instance.container == container);
        instance.map_or(0, |instance| instance.errors)
    };
    let failed = |instance: &&Instance| instance.errors > errors(before, &instance.container);
    if let Some(failed) = now.instances.iter().find(failed) {
        return Some(Tried::FailedAgain(failed.container.clone(), failed.last_error.clone().unwrap_or_default()));
    }
    let is_active = |instance: &&Instance| Some(&instance.container) == now.active.as_ref();
    let active = now.instances.iter().find(is_active).filter(|active| active.state == "running")?;
    if !active.failing {
        return Some(Tried::Well(active.container.clone()));
    }
    let since = runs_since.get_or_insert_with(Instant::now);
    (since.elapsed() >= POLLS_WITHIN).then(|| Tried::NotYet(active.container.clone()))
}

impl PauseOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { which, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let named = if which.all { "every sensor".to_owned() } else { which.sensors.join(", ") };
        ordering.confirm(paper, &format!("{named}: stops until resumed, whatever restarts meanwhile. Pause?"))?;
        which.order(&client, paper, &ordering, (rest::PAUSE, rest::PAUSE_ALL)).await?;
        let stopped = |sensor: &Sensor| sensor.active.is_none();
        which.until(&client, paper, &ordering, &waiting, "to stop", stopped).await
    }
}

impl ResumeOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { which, waiting, ordering } = self;
        let client = ordering.common.client()?;
        which.order(&client, paper, &ordering, (rest::RESUME, rest::RESUME_ALL)).await?;
        let runs = |sensor: &Sensor| sensor.active.is_some();
        which.until(&client, paper, &ordering, &waiting, "to run", runs).await
    }
}

impl Which {
    async fn order(
        &self,
        client: &Client,
        paper: &mut Paper,
        ordering: &Ordering,
        (one, all): (&'static str, &'static str),
    ) -> Result<(), Stop> {
        if self.all {
            let outcome = ordering.order(client, all, None, ordering.body()).await?;
            ordering.says(paper, &outcome)?;
        }
        for sensor in &self.sensors {
            let outcome = ordering.order(client, one, Some(sensor), ordering.body()).await?;
            ordering.says(paper, &outcome)?;
        }
        Ok(())
    }

    async fn until(
        &self,
        client: &Client,
        paper: &mut Paper,
        ordering: &Ordering,
        waiting: &Waiting,
        what: &str,
        is_so: impl Fn(&Sensor) -> bool,
    ) -> Result<(), Stop> {
        if waiting.no_wait {
            return Ok(());
        }
        let mine = |sensor: &&Sensor| self.all || self.sensors.contains(&sensor.reference);
        // What nobody can run is not waited for.
        let could = |sensor: &&Sensor| sensor.instances.iter().any(|instance| instance.state == "ready");
        let looked = async || {
            let request = Request { path: rest::SENSORS, ..Request::default() };
            let sensors = client.document::<Vec<Sensor>>(&request).await.ok()?.known;
            sensors
                .iter()
                .filter(mine)
                .all(|sensor| is_so(sensor) || !could(&sensor) && sensor.active.is_none())
                .then_some(())
        };
        waiting.until(paper, &format!("them {what}"), looked).await?;
        if ordering.common.output == Output::Table {
            paper.write("done\n")?;
        }
        Ok(())
    }
}

impl DrainOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let Self { container, waiting, ordering } = self;
        let client = ordering.common.client()?;
        let query = vec![("drain", container.clone())];
        let request = Request { path: rest::PLAN, query, ..Request::default() };
        let question = match client.document::<Plan>(&request).await {
            Ok(plan) => about_to_drain(&container, &plan.known),
            // A lost one can be drained, too: it is, should it come back.
            Err(_) => format!("{container} is not up; should it come back, it gets nothing. Drain it?"),
        };
        ordering.confirm(paper, &question)?;
        let outcome = ordering.order(&client, rest::DRAIN, Some(&container), ordering.body()).await?;
        if ordering.says(paper, &outcome)? || waiting.no_wait {
            return Ok(());
        }
        let stays = outcome.known.stays.len() as u64;
        let looked = async || {
            let request = Request { path: rest::CONTAINERS, ..Request::default() };
            let containers = client.document::<Vec<Container>>(&request).await.ok()?.known;
            let here = containers.into_iter().find(|here| here.name == container)?;
            (here.sensors_active <= stays || here.state == word::LOST).then_some(())
        };
        waiting.until(paper, &format!("{container} to hand over"), looked).await?;
        let moved = outcome.known.moves.len();
        let mut text = format!("{container} has handed over: {moved} moved, {stays} stay\n");
        if stays > 0 {
            let stays: Vec<_> = outcome.known.stays.iter().collect();
            text.push_str(&table::finished(&plan::table_of(&stays, paper.width), paper.colour));
        }
        paper.write(&text)?;
        Ok(())
    }
}

fn about_to_drain(container: &str, plan: &Plan) -> String {
    let here = |placement: &&rest::Placement| placement.from.as_deref() == Some(container);
    let (moves, stays): (Vec<_>, Vec<_>) =
        plan.sensors.iter().filter(here).partition(|placement| plan::moves(placement));
    let named: Vec<&str> = stays.iter().take(NAMED_AT_MOST).map(|placement| placement.reference.as_str()).collect();
    let more = if stays.len() > NAMED_AT_MOST { ", …" } else { "" };
    let stay = if stays.is_empty() {
        String::new()
    } else {
        format!(", {} can run nowhere else and stay: {}{more}", stays.len(), named.join(", "))
    };
    format!("{container}: {} sensors move{stay}. Drain it?", moves.len())
}

impl UndrainOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.common.client()?;
        let ordering = &self.ordering;
        let outcome = ordering.order(&client, rest::UNDRAIN, Some(&self.container), ordering.body()).await?;
        ordering.says(paper, &outcome)?;
        Ok(())
    }
}

impl ForgetOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.common.client()?;
        let ordering = &self.ordering;
        let outcome = ordering.order(&client, rest::FORGET, Some(&self.container), ordering.body()).await?;
        ordering.says(paper, &outcome)?;
        Ok(())
    }
}

impl Ordering {
    /// Makes sure that a person wants it.
    pub(crate) fn confirm(&self, paper: &mut Paper, question: &str) -> Result<(), Stop> {
        if self.yes {
            return Ok(());
        }
        match paper.ask(&words::plain(question))? {
            Some(reply) if matches!(reply.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
            Some(_) => Err(Failure::of(Kind::NotConfirmed, "not confirmed: nothing was done", None).into()),
            None => {
                let text = format!("this asks first, and there is no terminal to ask on: {question}");
                Err(Failure::of(Kind::Usage, text, "add --yes".to_owned()).into())
            }
        }
    }

    /// Who orders.
    pub(crate) fn who(&self) -> String {
        let user = || {
            std::env::var("USER")
                .or_else(|_| std::env::var("LOGNAME"))
                .unwrap_or_else(|_| format!("uid-{}", rustix::process::getuid().as_raw()))
        };
        self.who.clone().unwrap_or_else(|| format!("{}@{}", user(), identity::host()))
    }

    pub(crate) fn client(&self) -> Result<Client, Stop> {
        self.common.client()
    }

    fn body(&self) -> serde_json::Value {
        json!({ "who": self.who() })
    }

    async fn order(
        &self,
        client: &Client,
        path: &'static str,
        subject: Option<&str>,
        body: serde_json::Value,
    ) -> Result<Document<Outcome>, Stop> {
        let reference = subject.map(str::to_owned);
        let request = Request { path, reference, method: Method::POST, body: Some(body), ..Request::default() };
        Ok(client.document(&request).await?)
    }

    /// Says what is so now; whether that is all that is to be said.
    pub(crate) fn says(&self, paper: &mut Paper, outcome: &Document<Outcome>) -> Result<bool, Stop> {
        match self.common.output {
            Output::Json => paper.write_json(&outcome.raw)?,
            Output::Table => paper.write(&format!("{}\n", words::one_line(&outcome.known.done)))?,
        }
        Ok(self.common.output == Output::Json)
    }

    /// How the answer is written.
    pub(crate) fn output(&self) -> Output {
        self.common.output
    }
}

impl Waiting {
    /// Looks until it is so.
    async fn until<T>(&self, paper: &Paper, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T, Stop> {
        let until = Instant::now() + clock::duration(self.within);
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return Some(found);
                }
                if Instant::now() >= until {
                    return None;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let found = wait::for_it(paper, what, looking).await;
        found.ok_or_else(|| {
            let text = format!("ordered, and not done within {}: waited for {what}", self.within);
            let hint = "it goes on: 'st2sa why REF' says what it waits for, 'st2sa history' what has happened";
            Failure::of(Kind::NotDone, text, hint.to_owned()).into()
        })
    }
}

async fn sensor_of(client: &Client, sensor: &str) -> Result<Sensor, Stop> {
    let request = Request { path: rest::SENSOR, reference: Some(sensor.to_owned()), ..Request::default() };
    Ok(client.document::<Sensor>(&request).await?.known)
}

/// Waits until a sensor is where it was ordered to.
async fn arrived(
    client: &Client,
    paper: &mut Paper,
    ordering: &Ordering,
    waiting: &Waiting,
    sensor: &str,
    outcome: &Document<Outcome>,
) -> Result<(), Stop> {
    if ordering.says(paper, outcome)? || waiting.no_wait {
        return Ok(());
    }
    let Some(to) = outcome.known.moves.first().and_then(|placement| placement.to.clone()) else { return Ok(()) };
    let looked = async || {
        let now = sensor_of(client, sensor).await.ok()?;
        let instance = now.instances.iter().find(|instance| instance.container == to)?;
        (now.active.as_ref() == Some(&to) && instance.state == "running").then_some(())
    };
    waiting.until(paper, &format!("{sensor} to run on {to}"), looked).await?;
    paper.write(&format!("{sensor} is ACTIVE on {to}\n"))?;
    Ok(())
}
