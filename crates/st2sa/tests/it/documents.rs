//! The documents: exactly the keys that are documented, in order.

use std::time::Duration;

use serde_json::Value;
use st2sa_testbed::{Pack, Program};

use crate::scene::{SETTLES, Scene};

const SENSOR: &[&str] =
    &["ref", "kind", "status", "active", "fence", "paused", "failing", "effects", "effects_why", "instances"];
const INSTANCE: &[&str] = &[
    "container",
    "status",
    "state",
    "pid",
    "polls",
    "errors",
    "last_poll_ms_ago",
    "last_poll_duration_ms",
    "triggers",
    "dropped",
    "last_error",
    "last_error_ms_ago",
    "failing",
];
const CONTAINER: &[&str] = &["name", "pid", "state", "sensors_active", "last_heartbeat_ms_ago", "labels", "drained"];
const HISTORY: &[&str] = &["at", "sensor", "from", "to", "fence", "cause", "who"];
const STATUS: &[&str] = &[
    "arbitrator",
    "role",
    "phase",
    "term",
    "leader",
    "version",
    "uptime_ms",
    "sensors",
    "containers",
    "alarms",
    "engine",
    "store",
    "electors",
    "fail_safe",
];
const WHY: &[&str] = &["ref", "why", "containers", "history"];
const CANDIDATE: &[&str] = &["container", "against", "last_error"];
const LOG: &[&str] = &["at", "container", "sensor", "stream", "level", "text"];
const TRIGGER: &[&str] = &["at", "sensor", "container", "fence", "id", "trigger", "payload", "trace_context"];

fn keys(document: &Value) -> Vec<&str> {
    document.as_object().unwrap_or_else(|| panic!("no object: {document}")).keys().map(String::as_str).collect()
}

fn all_have(documents: &Value, expected: &[&str]) {
    let documents = documents.as_array().unwrap_or_else(|| panic!("no list: {documents}"));
    assert!(!documents.is_empty());
    for document in documents {
        assert_eq!(keys(document), expected);
    }
}

fn get(scene: &Scene, path: &str) -> Value {
    let (status, document) = scene.bed.document(path).unwrap_or_else(|| panic!("nobody answers at {path}"));
    assert_eq!(status, 200, "{path}: {document}");
    document
}

/// What the command line answers, as JSON.
fn asked(scene: &Scene, question: &[&str]) -> Value {
    let output = output_of(scene, question);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// What it answers a line at a time.
fn asked_for_lines(scene: &Scene, question: &[&str]) -> Vec<Value> {
    output_of(scene, question).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn output_of(scene: &Scene, question: &[&str]) -> String {
    let arbitrator = format!("--arbitrator={}", scene.bed.listen());
    let arguments: Vec<&str> = question.iter().copied().chain(["-o", "json", &arbitrator]).collect();
    let mut program: Program = scene.bed.program("question", &arguments);
    let status = program.wait(Duration::from_secs(10));
    assert!(status.success(), "{question:?}: {status}: {}", program.log());
    program.output()
}

/// The values of keys that do not change from one answer to the next.
fn stable(documents: &Value, keys: &[&str]) -> Vec<Vec<Value>> {
    let documents = documents.as_array().unwrap().iter();
    documents.map(|document| keys.iter().map(|key| document[*key].clone()).collect()).collect()
}

#[test]
fn answers_have_exactly_the_documented_keys() {
    let scene = Scene::of(&[Pack::Ticker(2), Pack::Cursor]);
    scene.bed.eventually(SETTLES, "polls are reported", || {
        let sensors = scene.bed.sensors()?;
        sensors.iter().all(|sensor| sensor.instances.iter().any(|instance| instance.polls > 1)).then_some(())
    });
    let sensors = get(&scene, "/v1/sensors");
    all_have(&sensors, SENSOR);
    for sensor in sensors.as_array().unwrap() {
        all_have(&sensor["instances"], INSTANCE);
        assert_eq!(
            (&sensor["kind"], &sensor["status"], &sensor["active"]),
            (&"polling".into(), &"ACTIVE".into(), &"a".into())
        );
    }
    assert_eq!(keys(&get(&scene, "/v1/sensors/cursor.Cursor")), SENSOR);
    let why = get(&scene, "/v1/sensors/cursor.Cursor/why");
    assert_eq!(keys(&why), WHY);
    all_have(&why["containers"], CANDIDATE);
    all_have(&get(&scene, "/v1/containers"), CONTAINER);
    all_have(&get(&scene, "/v1/history"), HISTORY);
    let status = get(&scene, "/v1/status");
    assert_eq!(keys(&status), STATUS);
    assert_eq!(keys(&status["sensors"]), ["total", "active", "paused", "waiting", "failing"]);
    assert_eq!(keys(&status["containers"]), ["up", "draining", "lost"]);
    for (path, code) in [("/v1/sensors/no.Such", 404), ("/v1/nothing", 404)] {
        let (status, problem) = scene.bed.document(path).unwrap();
        assert_eq!((status, keys(&problem)), (code, vec!["error", "hint"]), "{path}");
    }
    let triggers = std::fs::read_to_string(scene.bed.folder().join("triggers.jsonl")).unwrap();
    for line in triggers.lines().take(20) {
        assert_eq!(keys(&serde_json::from_str(line).unwrap()), TRIGGER);
    }
}

#[test]
fn the_command_line_answers_with_the_same_documents() {
    let scene = Scene::of(&[Pack::Ticker(2)]);
    let told = asked(&scene, &["sensors"]);
    all_have(&told, SENSOR);
    all_have(&told[0]["instances"], INSTANCE);
    let fixed = ["ref", "kind", "status", "active", "fence"];
    assert_eq!(stable(&told, &fixed), stable(&get(&scene, "/v1/sensors"), &fixed));
    let containers = asked(&scene, &["containers"]);
    all_have(&containers, CONTAINER);
    let pids = [scene.a.pid(), scene.b.pid()].map(|pid| vec![Value::from(pid)]);
    assert_eq!(stable(&containers, &["pid"]), pids);
    let history = asked(&scene, &["history"]);
    all_have(&history, HISTORY);
    assert_eq!(history, get(&scene, "/v1/history"));
    assert_eq!(keys(&asked(&scene, &["status"])), STATUS);
    let logs = asked_for_lines(&scene, &["logs", "ticker.Ticker01"]);
    let of = |stream: &str| logs.iter().find(|line| line["stream"] == stream).unwrap_or_else(|| panic!("{logs:?}"));
    assert_eq!((&of("stdout")["text"], &of("stdout")["level"]), (&"a line of output".into(), &Value::Null));
    assert_eq!(of("log")["level"], "INFO");
    assert!(of("log")["text"].as_str().unwrap().ends_with("ticker.Ticker01.ticker: it is set up"), "{logs:?}");
    all_have(&Value::from(logs), LOG);
}
