//! Golden scripts: lines of commands over one simulated cluster, and what a person would read of it.
//!
//! The first line is `cluster …`; `container` and `sensor` lines may follow, then `start`, then the rest:
//! see [`USAGE`]. What is printed is each line again with its result below it.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use st2sa_core::arbiter::{Suppose, Verb};
use st2sa_core::message::Effects;
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::timing::Timing;

use crate::clock::{MILLI, Nanos, SECOND};
use crate::plan::{End, Fault, MachineSetup, Mood, Run, SensorSetup, Setup, Who};
use crate::trace::Trace;
use crate::world::World;

/// The commands and their arguments.
pub const USAGE: &[(&str, &str)] = &[
    ("cluster", "cluster arbitrators=N containers=N sensors=N [zones=N] [fail-safe]"),
    ("container", "container NAME [zone=N] [capacity=N] [late]"),
    ("sensor", "sensor NAME [passive] [direct] [weight=N] [zone=N] [interval=TIME] [poll=TIME]"),
    ("start", "start"),
    ("run", "run TIME"),
    ("join", "join CONTAINER"),
    ("leave", "leave CONTAINER [back TIME]"),
    ("kill", "kill CONTAINER [back TIME] | kill arbitrator (NAME | leader) [back TIME]"),
    ("power-off", "power-off CONTAINER [back TIME]"),
    ("pause", "pause CONTAINER TIME | pause arbitrator (NAME | leader) TIME"),
    ("cut", "cut CONTAINER TIME"),
    ("store-away", "store-away TIME"),
    ("fail", "fail SENSOR [on CONTAINER] (raises | hangs | dies) TIME"),
    ("new-code", "new-code CONTAINER SENSOR DIGEST"),
    ("drain", "drain CONTAINER"),
    ("undrain", "undrain CONTAINER"),
    ("move", "move SENSOR CONTAINER"),
    ("pause-sensor", "pause-sensor SENSOR"),
    ("resume-sensor", "resume-sensor SENSOR"),
    ("resign", "resign"),
    ("plan", "plan [(drained | lost | joined) CONTAINER]"),
    ("failover", "failover SENSOR"),
    ("poll", "poll SENSOR"),
    ("retry", "retry SENSOR"),
    ("why", "why SENSOR"),
    ("sensors", "sensors"),
    ("containers", "containers"),
    ("history", "history"),
    ("forget-history", "forget-history"),
    ("leader", "leader"),
];

/// Plays a script: its lines with what came of them.
///
/// # Errors
/// What is wrong with the script, or the invariant that its cluster broke, with the file's name and line.
pub fn play(file: &str, text: &str) -> Result<String> {
    let script = parse(file, text)?;
    let mut cluster = None;
    let mut output = String::new();
    for (number, line) in (1..).zip(&script.lines) {
        let Some(command) = &line.command else {
            let _ = writeln!(output, "{}", line.text);
            continue;
        };
        let _ = writeln!(output, "> {}", line.text);
        let result = carry_out(&script.setup, &mut cluster, command).with_context(|| format!("{file}:{number}"))?;
        for line in result.lines() {
            let _ = writeln!(output, "  {line}");
        }
        if let Some(violation) = cluster.as_ref().and_then(World::violation) {
            bail!("{file}:{number}: {violation}, at {} ms\n\n{output}", violation.at / MILLI);
        }
    }
    Ok(output)
}

#[derive(Debug)]
struct Script {
    setup: Setup,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Nothing for a comment or an empty line.
    command: Option<Command>,
}

#[derive(Debug)]
enum Command {
    /// It has gone into the setup.
    Declared,
    Start,
    Run(Nanos),
    Inflict(Vec<Fault>),
    KillArbitrator(Arbitrator, Option<Nanos>),
    PauseArbitrator(Arbitrator, Nanos),
    Ask(Verb),
    Show(Show),
}

#[derive(Clone, Copy, Debug)]
enum Arbitrator {
    Number(usize),
    Leader,
}

#[derive(Clone, Copy, Debug)]
enum Show {
    Sensors,
    Containers,
    History,
    /// What happened up to now is no part of the story.
    Nothing,
    Leader,
}

fn carry_out(setup: &Setup, cluster: &mut Option<World>, command: &Command) -> Result<String> {
    if let Command::Declared = command {
        return Ok(String::new());
    }
    if let Command::Start = command {
        let run = Run { setup: setup.clone(), faults: Vec::new() };
        cluster.insert(World::new(run, Trace::silent())).listen();
        return Ok(String::new());
    }
    let Some(world) = cluster else { bail!("`start` comes before this") };
    let inflict = |world: &mut World, fault| {
        world.inflict(fault);
        String::new()
    };
    Ok(match command {
        Command::Declared | Command::Start => String::new(),
        Command::Run(span) => {
            world.run_until(world.now + span);
            world.show_now()
        }
        Command::Inflict(faults) => {
            for fault in faults {
                world.inflict(fault.clone());
            }
            String::new()
        }
        Command::KillArbitrator(which, back) => {
            let who = Who::Arbitrator(resolve(world, *which)?);
            inflict(world, Fault::Crash(who, *back))
        }
        Command::PauseArbitrator(which, span) => {
            let who = Who::Arbitrator(resolve(world, *which)?);
            inflict(world, Fault::Pause(who, *span))
        }
        Command::Ask(verb) => {
            let answer = world.ask(verb);
            world.show_answer(answer)
        }
        Command::Show(Show::Sensors) => world.show_sensors(),
        Command::Show(Show::Containers) => world.show_containers(),
        Command::Show(Show::History) => world.show_history(),
        Command::Show(Show::Nothing) => {
            world.forget_history();
            String::new()
        }
        Command::Show(Show::Leader) => world.show_leader(),
    })
}

fn resolve(world: &World, which: Arbitrator) -> Result<usize> {
    match which {
        Arbitrator::Number(index) => Ok(index),
        Arbitrator::Leader => world.leader().context("nobody leads at this moment"),
    }
}

fn parse(file: &str, text: &str) -> Result<Script> {
    let mut setup = None;
    let mut started = false;
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        let words: Vec<&str> = text.split_whitespace().collect();
        let command = match words.as_slice() {
            [] => None,
            [first, ..] if first.starts_with('#') => None,
            words => {
                let command = command(&mut setup, started, words).with_context(|| format!("{file}:{number}"))?;
                started |= matches!(command, Command::Start);
                Some(command)
            }
        };
        lines.push(Line { text: text.to_owned(), command });
    }
    let Some(setup) = setup else { bail!("{file}: there is no `{}`", usage("cluster")) };
    Ok(Script { setup, lines })
}

/// One line; what it declares goes into the setup.
fn command(setup: &mut Option<Setup>, started: bool, words: &[&str]) -> Result<Command> {
    let name = words.first().copied().unwrap_or_default();
    if !USAGE.iter().any(|(known, _)| *known == name) {
        let known: Vec<_> = USAGE.iter().map(|(known, _)| *known).collect();
        bail!("`{name}` is no command; there are {}", known.join(", "));
    }
    let usage = || format!("allowed is `{}`", usage(name));
    let Some(setup) = setup else {
        if let ["cluster", options @ ..] = words {
            *setup = Some(cluster(options).with_context(usage)?);
            return Ok(Command::Declared);
        }
        bail!("the first command is `{}`", USAGE[0].1);
    };
    match (words, started) {
        (["cluster", ..], _) => bail!("there is a `cluster` already"),
        (["start"], true) => bail!("it has been started already"),
        (["container" | "sensor", ..], true) => bail!("`{name}` comes before `start`"),
        (["container" | "sensor"], false) => bail!("{}", usage()),
        (["container", name, options @ ..], false) => container(setup, name, options).with_context(usage)?,
        (["sensor", name, options @ ..], false) => sensor(setup, name, options).with_context(usage)?,
        (["start"], false) => return Ok(Command::Start),
        (_, false) => bail!("`start` comes before this"),
        (_, true) => return action(setup, words).with_context(usage),
    }
    Ok(Command::Declared)
}

fn usage(command: &str) -> &'static str {
    USAGE.iter().find(|(known, _)| *known == command).map_or("", |(_, usage)| usage)
}

/// A command to a cluster that runs.
fn action(setup: &mut Setup, words: &[&str]) -> Result<Command> {
    let (words, back) = match words {
        [words @ .., "back", after] => (words, Some(time(after)?)),
        words => (words, None),
    };
    if back.is_some() && !matches!(words, ["kill" | "power-off" | "leave", ..]) {
        bail!("nothing comes back here");
    }
    let inflict = |fault| Command::Inflict(vec![fault]);
    Ok(match words {
        ["run", span] => Command::Run(time(span)?),
        ["join", name] => {
            if find_container(setup, name).is_err() {
                let late = MachineSetup { starts: false, ..machine(name) };
                setup.machines.push(late);
            }
            inflict(Fault::Start(find_container(setup, name)?))
        }
        ["leave", name] => inflict(Fault::Leave(find_container(setup, name)?, back)),
        ["kill", "arbitrator", which] => Command::KillArbitrator(find_arbitrator(setup, which)?, back),
        ["kill", name] => inflict(Fault::Crash(Who::Container(find_container(setup, name)?), back)),
        ["power-off", name] => inflict(Fault::Crash(Who::Machine(find_container(setup, name)?), back)),
        ["pause", "arbitrator", which, span] => Command::PauseArbitrator(find_arbitrator(setup, which)?, time(span)?),
        ["pause", name, span] => inflict(Fault::Pause(Who::Container(find_container(setup, name)?), time(span)?)),
        ["cut", name, span] => Command::Inflict(cut(setup, End::Machine(find_container(setup, name)?), time(span)?)),
        ["store-away", span] => inflict(Fault::Outage(time(span)?)),
        ["fail", sensor, how, span] => inflict(fail(setup, sensor, None, how, span)?),
        ["fail", sensor, "on", name, how, span] => inflict(fail(setup, sensor, Some(name), how, span)?),
        ["new-code", name, sensor, digest] => {
            let (node, sensor) = (find_container(setup, name)?, find_sensor(setup, sensor)?);
            inflict(Fault::Code(node, sensor, count(digest)?))
        }
        // What operators name goes to the leader as it is: its answer is part of the story.
        ["drain", name] => Command::Ask(Verb::Drain(ContainerName::new(name))),
        ["undrain", name] => Command::Ask(Verb::Undrain(ContainerName::new(name))),
        ["move", sensor, name] => {
            Command::Ask(Verb::Move { sensor: SensorRef::new(sensor), to: ContainerName::new(name) })
        }
        ["pause-sensor", sensor] => Command::Ask(Verb::Pause(SensorRef::new(sensor))),
        ["resume-sensor", sensor] => Command::Ask(Verb::Resume(SensorRef::new(sensor))),
        ["resign"] => Command::Ask(Verb::Resign),
        ["plan"] => Command::Ask(Verb::Plan(Suppose::AsIs)),
        ["plan", "drained", name] => Command::Ask(Verb::Plan(Suppose::Drained(ContainerName::new(name)))),
        ["plan", "lost", name] => Command::Ask(Verb::Plan(Suppose::Lost(ContainerName::new(name)))),
        ["plan", "joined", name] => Command::Ask(Verb::Plan(Suppose::Joined(ContainerName::new(name)))),
        ["failover", sensor] => Command::Ask(Verb::Failover(SensorRef::new(sensor))),
        ["poll", sensor] => Command::Ask(Verb::Poll(SensorRef::new(sensor))),
        ["retry", sensor] => Command::Ask(Verb::Retry(SensorRef::new(sensor))),
        ["why", sensor] => Command::Ask(Verb::Why(SensorRef::new(sensor))),
        ["sensors"] => Command::Show(Show::Sensors),
        ["containers"] => Command::Show(Show::Containers),
        ["history"] => Command::Show(Show::History),
        ["forget-history"] => Command::Show(Show::Nothing),
        ["leader"] => Command::Show(Show::Leader),
        [name, ..] => bail!("`{name}` does not take these words"),
        [] => bail!("there is no command"),
    })
}

/// A cluster in which nothing is left to chance that can be helped: clocks agree, and messages take 1 ms.
fn cluster(options: &[&str]) -> Result<Setup> {
    let (mut arbitrators, mut containers, mut sensors, mut zones) = (1, 1, 0, 1);
    let mut fail_safe = false;
    for option in options {
        match option.split_once('=') {
            Some(("arbitrators", value)) => arbitrators = small(value)?,
            Some(("containers", value)) => containers = small(value)?,
            Some(("sensors", value)) => sensors = small(value)?,
            Some(("zones", value)) => zones = small(value)?.max(1),
            None if *option == "fail-safe" => fail_safe = true,
            _ => bail!("`{option}` is no option of a cluster"),
        }
    }
    let mut setup = Setup {
        seed: 1,
        timing: Timing::default(),
        forgetful: false,
        fail_safe,
        arbitrators: vec![RATE; usize::from(arbitrators)],
        engine_rate: RATE,
        machines: Vec::new(),
        sensors: Vec::new(),
        latency: (MILLI, MILLI),
        engine_delay: 0,
        heal_at: NEVER,
    };
    for number in 0..containers {
        let machine = machine(&format!("container-{}", number + 1));
        setup.machines.push(MachineSetup { zone: number % zones + 1, ..machine });
    }
    setup.sensors = (1..=sensors).map(|number| watcher(&format!("files.Watcher{number}"))).collect();
    Ok(setup)
}

/// True time, in millionths.
const RATE: u64 = 1_000_000;
/// Nothing heals by itself.
const NEVER: Nanos = Nanos::MAX / 4;

fn machine(name: &str) -> MachineSetup {
    MachineSetup { name: name.to_owned(), rate: RATE, zone: 1, capacity: None, starts: true }
}

/// A journaled sensor that polls every second and finds something new each time.
fn watcher(name: &str) -> SensorSetup {
    SensorSetup {
        name: name.to_owned(),
        interval: Some(SECOND),
        effects: Effects::Journal,
        poll: (50 * MILLI, 50 * MILLI),
        item_every: SECOND,
        listed_for: None,
        zone: None,
        remembers: true,
        weight: 1,
    }
}

fn container(setup: &mut Setup, name: &str, options: &[&str]) -> Result<()> {
    if find_container(setup, name).is_err() {
        setup.machines.push(machine(name));
    }
    let index = find_container(setup, name)?;
    let container = &mut setup.machines[index];
    for option in options {
        match option.split_once('=') {
            Some(("zone", value)) => container.zone = small(value)?,
            Some(("capacity", value)) => container.capacity = Some(small(value)?.into()),
            None if *option == "late" => container.starts = false,
            _ => bail!("`{option}` is no option of a container"),
        }
    }
    Ok(())
}

fn sensor(setup: &mut Setup, name: &str, options: &[&str]) -> Result<()> {
    if find_sensor(setup, name).is_err() {
        setup.sensors.push(watcher(name));
    }
    let index = find_sensor(setup, name)?;
    let sensor = &mut setup.sensors[index];
    for option in options {
        match (option.split_once('='), *option) {
            (Some(("weight", value)), _) => sensor.weight = small(value)?.into(),
            (Some(("zone", value)), _) => sensor.zone = Some(small(value)?),
            (Some(("interval", value)), _) => sensor.interval = Some(time(value)?),
            (Some(("poll", value)), _) => sensor.poll = (time(value)?, time(value)?),
            (None, "passive") => (sensor.interval, sensor.effects) = (None, Effects::Direct),
            (None, "direct") => sensor.effects = Effects::Direct,
            _ => bail!("`{option}` is no option of a sensor"),
        }
    }
    Ok(())
}

/// Nothing passes between this end and any arbitrator.
fn cut(setup: &Setup, end: End, span: Nanos) -> Vec<Fault> {
    let arbitrators = (0..setup.arbitrators.len()).map(End::Arbitrator);
    arbitrators.flat_map(|other| [Fault::Cut(end, other, span), Fault::Cut(other, end, span)]).collect()
}

fn fail(setup: &Setup, sensor: &str, on: Option<&str>, how: &str, span: &str) -> Result<Fault> {
    let mood = match how {
        "raises" => Mood::Raises,
        "hangs" => Mood::Hangs,
        "dies" => Mood::Dies,
        _ => bail!("`{how}` is not how a sensor fails"),
    };
    let on = on.map(|name| find_container(setup, name)).transpose()?;
    Ok(Fault::Mood(find_sensor(setup, sensor)?, on, mood, time(span)?))
}

fn find_container(setup: &Setup, name: &str) -> Result<usize> {
    let names: Vec<_> = setup.machines.iter().map(|machine| machine.name.as_str()).collect();
    find("container", name, &names)
}

fn find_sensor(setup: &Setup, name: &str) -> Result<usize> {
    let names: Vec<_> = setup.sensors.iter().map(|sensor| sensor.name.as_str()).collect();
    find("sensor", name, &names)
}

fn find_arbitrator(setup: &Setup, name: &str) -> Result<Arbitrator> {
    if name == "leader" {
        return Ok(Arbitrator::Leader);
    }
    let names: Vec<_> = (1..=setup.arbitrators.len()).map(|number| format!("arbitrator-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    find("arbitrator", name, &names).map(Arbitrator::Number)
}

fn find(kind: &str, name: &str, names: &[&str]) -> Result<usize> {
    let found = names.iter().position(|known| *known == name);
    found.with_context(|| format!("there is no {kind} `{name}`; there are {}", names.join(", ")))
}

fn time(text: &str) -> Result<Nanos> {
    let units = [("ms", MILLI), ("min", 60 * SECOND), ("s", SECOND)];
    let split = units.iter().find_map(|(unit, worth)| Some((text.strip_suffix(unit)?, worth)));
    let value = split.and_then(|(number, worth)| number.parse::<u64>().ok()?.checked_mul(*worth));
    value
        .filter(|value| *value < NEVER)
        .with_context(|| format!("`{text}` is no time; times are like 400ms, 5s, 10min"))
}

fn count(text: &str) -> Result<u64> {
    text.parse().ok().with_context(|| format!("`{text}` is no number"))
}

fn small(text: &str) -> Result<u8> {
    text.parse().ok().with_context(|| format!("`{text}` is no number from 0 to 255"))
}
