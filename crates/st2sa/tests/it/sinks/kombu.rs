//! The real kombu, which StackStorm receives with, reads our messages as it reads StackStorm's own, where it takes pickles
//! alone.
//!
//! Its virtualenv is below `target/tools`, made at its first use. Where that cannot be, the test says so, and nothing is
//! tested.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use st2sa_testbed::{Pack, RabbitMqServer, Source};

use crate::scene::{SETTLES, testbed};

/// What StackStorm's newest release has.
const PACKAGES: [&str; 2] = ["kombu==5.5.4", "amqp==5.3.1"];
/// Binds a queue as the rules engine does, publishes a message as `TriggerDispatcher` does, and prints that one and the next as
/// they are read: what they are, and what comes with them.
const RECEIVE: &str = "
import json, sys, kombu
exchange = kombu.Exchange('st2.trigger_instances_dispatch', type='topic')
queue = kombu.Queue('st2.trigger_instances_dispatch.rules_engine', exchange, routing_key='#')
left = 2
def received(body, message):
    global left
    left -= 1
    given = {k: v for k, v in message.properties.items() if k != 'message_id'}
    print(json.dumps([body, list(body), message.content_type, message.content_encoding, message.headers, given]), flush=True)
    message.ack()
with kombu.Connection(sys.argv[1]) as connection:
    queue(connection.channel()).declare()
    body = {'trigger': 'ticker.tick_01', 'payload': {'tick': 1}, 'trace_context': None}
    producer = connection.Producer(serializer='pickle')
    producer.publish(body, exchange=exchange, routing_key='trigger_instance', serializer='pickle', content_encoding='utf-8')
    with connection.Consumer(queue, callbacks=[received], accept=['pickle']):
        while left:
            connection.drain_events(timeout=60)
";

#[test]
fn kombu_reads_our_messages_as_it_reads_stackstorms() {
    let python = match python() {
        Ok(python) => python,
        Err(problem) => {
            eprintln!("not tested with kombu: {problem}");
            return;
        }
    };
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start());
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let log = bed.folder().join("kombu.jsonl");
    let mut child =
        Command::new(python).args(["-c", RECEIVE, &server.url()]).stdout(File::create(&log).unwrap()).spawn().unwrap();
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    bed.eventually(SETTLES, "kombu reads its own message", || (lines().len() == 1).then_some(()));
    let _arbitrator = bed.arbitrator(&[]);
    let _a = bed.container_to("a", &server.url(), &[]);
    bed.eventually(SETTLES, "kombu reads ours", || (lines().len() == 2).then_some(()));
    assert!(child.wait().unwrap().success());
    let lines = lines();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0][0], json!({"trigger": "ticker.tick_01", "payload": {"tick": 1}, "trace_context": null}));
}

/// The Python that has kombu.
fn python() -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target folder")?.join("tools");
    let folder = tools.join("kombu");
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    let failed = |error: std::io::Error| format!("`{}`: {error}", folder.display());
    fs::create_dir_all(&tools).map_err(failed)?;
    // Others may be at it elsewhere.
    let lock = File::create(tools.join("kombu.lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=10"];
    run(Command::new(&python).args(pip).args(PACKAGES))?;
    fs::write(&done, wanted).map_err(failed)?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim()))
}
