//! `docs/commands.md`: a terminal session with every command, as it really went. Where the commands say anything else today
//! than the document says, the test fails; `cargo xtask fix` writes it anew.

use std::fmt::Write as _;
use std::time::Duration;

use st2sa_machine::identity;
use st2sa_proto::rest::{Container, word};
use st2sa_testbed::{Pack, Program, Signal, Source, Testbed};

use crate::scene::{SETTLES, sensors_of, testbed};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// What the document shows instead of a test's folder.
const FOLDER: &str = "/opt/stackstorm";

const INTRODUCTION: &str = "\
# The commands, one by one

A terminal session as it went, written by a test: one arbitrator, the containers `node-1` and `node-2`, and three sensors.
Every command has `--help`; questions take `-o json` (see [rest.md](rest.md)); orders ask first unless told `--yes`, and wait
until they are done unless told `--no-wait`. `--arbitrator` or `ST2SA_ARBITRATOR` says where the arbitrator is.
";

struct Session {
    bed: Testbed,
    text: String,
    // Programs end before the testbed looks at what they leave.
    running: Vec<Program>,
}

impl Session {
    fn title(&mut self, title: &str, words: &str) {
        // Writing into a string does not fail.
        let _ = write!(self.text, "\n## {title}\n\n{words}\n");
    }

    /// Runs a command, and writes down what it says and how it ends.
    fn run(&mut self, command: &str) {
        let arguments: Vec<String> =
            command.split_whitespace().map(|word| word.replace(FOLDER, &self.folder())).collect();
        let listen = format!("--arbitrator={}", self.bed.listen());
        let offline = command.starts_with("check") || command.starts_with("config");
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if !offline {
            arguments.push(&listen);
        }
        let mut program = self.bed.program("command", &arguments);
        let status = program.wait(ANSWERED_WITHIN);
        let said = self.anywhere(&format!("{}{}", program.output(), program.log()));
        let _ = writeln!(self.text, "\n    $ st2sa {command}");
        // Whether the end of a process that failed is seen before `check` has ended is chance.
        for line in said.lines().filter(|line| !line.contains("ERROR sensor: its process ended by itself")) {
            let _ = writeln!(self.text, "{}", format!("    {line}").trim_end());
        }
        if !status.success() {
            let _ = writeln!(self.text, "    $ echo $?\n    {}", status.code().unwrap_or(-1));
        }
    }

    /// As it is said on some machine, not on this one.
    fn anywhere(&self, said: &str) -> String {
        let host = identity::host();
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let user = user.unwrap_or_else(|_| format!("uid-{}", rustix::process::getuid().as_raw()));
        let id = std::fs::read_to_string(self.bed.folder().join("arbitrator/id")).unwrap();
        let said = said.replace(&self.folder(), FOLDER).replace(id.trim(), "ops-1-5f3a21c0");
        let said = said.replace(&format!("{user}@{host}"), "anne@ops-1");
        let words = said.split_inclusive([' ', '\n', '`']);
        let python = |word: &str| word.starts_with('/') && word.trim_end().ends_with("/bin/python3");
        words
            .map(|word| if python(word) { word.replace(word.trim_end(), "/usr/bin/python3") } else { word.to_owned() })
            .collect()
    }

    fn folder(&self) -> String {
        self.bed.folder().display().to_string()
    }

    fn until(&self, what: &str, look: impl FnMut() -> Option<()>) {
        self.bed.eventually(SETTLES, what, look);
    }
}

/// One sensor that cannot be loaded, for `check`.
fn write_broken(bed: &Testbed) {
    let sensors = bed.folder().join("new-packs/billing/sensors");
    std::fs::create_dir_all(&sensors).unwrap();
    std::fs::write(bed.folder().join("new-packs/billing/pack.yaml"), "ref: billing\nname: billing\nversion: 1.0.0\n")
        .unwrap();
    std::fs::write(
        sensors.join("invoices.yaml"),
        "class_name: Invoices\nentry_point: invoices.py\npoll_interval: 5s\n",
    )
    .unwrap();
    std::fs::write(sensors.join("invoices.py"), "").unwrap();
    std::fs::write(
        sensors.join("payments.yaml"),
        "class_name: Payments\nentry_point: payments.py\npoll_interval: 30\n",
    )
    .unwrap();
    std::fs::write(sensors.join("payments.py"), "import ledger\n").unwrap();
}

fn begin() -> Session {
    let (bed, source) = (testbed(), Source::start());
    let packs = [Pack::Ticker(2), Pack::Cursor];
    bed.add_packs(&packs, &source);
    write_broken(&bed);
    // Journaled, it would be moved for balance as soon as node-2 is there.
    let policy = bed.folder().join("policy.yaml");
    std::fs::write(&policy, "sensors:\n  cursor.Cursor: {effects: direct}\n").unwrap();
    let arbitrator = bed.arbitrator(&[&format!("--policy={}", policy.display())]);
    let first = bed.container("node-1");
    let sensors = sensors_of(&packs);
    bed.eventually(SETTLES, "every sensor is ACTIVE on node-1", || bed.placement(&sensors));
    let second = bed.container("node-2");
    bed.eventually(SETTLES, "node-2 stands by, and polls are told", || {
        let sensors = bed.sensors()?;
        let ready = |sensor: &st2sa_proto::rest::Sensor| {
            sensor.instances.len() == 2 && sensor.instances[1].state == "ready" && sensor.instances[0].polls > 0
        };
        sensors.iter().all(ready).then_some(())
    });
    // The source ends with the test.
    std::mem::forget(source);
    Session { text: INTRODUCTION.to_owned(), running: vec![arbitrator, first, second], bed }
}

#[test]
fn the_documented_session_is_what_the_commands_say() {
    let mut session = begin();
    session.title("How is it?", "`status` is for whoever was paged; a script may look at its exit code and `-o json`.");
    session.run("status");
    session.run("sensors");
    session.run("sensors --failing");
    session.run("sensors cursor.Cursor");
    session.run("containers");
    session.run("containers node-1");
    session.run("logs cursor.Cursor");

    session
        .title("Why?", "`why` says what stands against each container, `plan` what would be moved: nothing is done.");
    session.run("why cursor.Cursor");
    session.run("plan");
    session.run("plan --drain node-1");
    session.run("plan --lose node-1");

    session.title("Move, fail over, poll", "A move waits for the poll that goes on; no tick is missed for it.");
    session.run("move cursor.Cursor node-2 --yes");
    session.run("failover cursor.Cursor --yes");
    session.run("poll cursor.Cursor");
    session.run("move cursor.Cursor node-3 --yes");
    session.run("move cursor.Cursor node-2");

    session.title("Pause and resume", "A pause is stored: it outlasts every restart, and shows whose it is.");
    session.run("pause cursor.Cursor --yes --who anne");
    session.run("why cursor.Cursor");
    session.run("resume cursor.Cursor --who anne");
    session.run("history cursor.Cursor");

    session.title("Drain and undrain", "Before a node is worked on. What can run nowhere else stays, and is named.");
    session.run("drain node-1 --yes --who anne");
    session.run("containers");
    session.run("undrain node-1 --who anne");

    session.title("What sensors keep", "Where there is no StackStorm to keep it, the arbitrator does.");
    session.run("datastore list");
    session.run("datastore set shared-limit 10 --yes");
    session.run("datastore get shared-limit");
    session.run("datastore delete shared-limit --yes");
    session.run("datastore get shared-limit");
    session.run("datastore export");

    session.title("A node that will not come back", "It is shown as lost until it is forgotten.");
    session.running[2].kill(Signal::KILL);
    session.until("node-2 is lost, and holds nothing", || {
        let containers = session.bed.containers()?;
        let lost = |container: &Container| container.state == word::LOST && container.sensors_active == 0;
        containers.iter().any(lost).then_some(())
    });
    session.run("containers");
    session.run("forget node-2 --yes");

    session.title(
        "Before anything starts",
        "`check` loads every sensor as a container would; `config` shows what counts, and why.",
    );
    session.run(&format!("check --packs {FOLDER}/new-packs"));
    session.run("config arbitrator --heartbeat 300ms");
    session.run("config arbitrator --heartbeat 900ms");

    let Session { text, running, bed } = session;
    drop(running);
    drop(bed);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCUMENT, text).unwrap();
        return;
    }
    let written = std::fs::read_to_string(DOCUMENT).unwrap();
    let (says, is_said): (Vec<String>, Vec<String>) =
        (text.lines().map(shape).collect(), written.lines().map(shape).collect());
    let differs = says.iter().zip(&is_said).position(|(says, is_said)| says != is_said);
    let differs = differs.or_else(|| (says.len() != is_said.len()).then(|| says.len().min(is_said.len())));
    if let Some(line) = differs {
        panic!(
            "docs/commands.md says in line {}: `{}`; the commands say: `{}` (`cargo xtask fix` writes it anew)",
            line + 1,
            is_said.get(line).map_or("nothing", String::as_str),
            says.get(line).map_or("nothing", String::as_str)
        );
    }
}

/// A line without what differs from run to run: numbers, and the width of columns.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut last = ' ';
    for character in line.chars() {
        let character = if character.is_ascii_digit() { '#' } else { character };
        // Ages are whole, or have a fraction; and a number that is as wide as its column has no space before it.
        let repeats = matches!(character, ' ' | '#' | '.') && (character == last || last == '#' && character == '.');
        if !repeats {
            shape.push(character);
            last = character;
        }
    }
    shape.trim_end().replace("# ms", "# s")
}
