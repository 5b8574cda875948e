//! The REST documents, as text: field names and their order are a promise.

use serde::Serialize;
use serde::de::DeserializeOwned;
use st2sa_proto::rest::{
    Candidate, Container, ContainerCounts, HistoryRecord, Instance, Intent, LogLine, Problem, Sensor, SensorCounts,
    Status, Why,
};

#[test]
fn a_sensor_reads_as_promised() {
    let instance = Instance {
        container: "node-1".to_owned(),
        status: "ACTIVE".to_owned(),
        state: "running".to_owned(),
        pid: Some(4_211),
        polls: 812,
        errors: 1,
        last_poll_ms_ago: Some(200),
        last_poll_duration_ms: None,
        triggers: 40,
        dropped: 2,
        last_error: None,
        last_error_ms_ago: None,
        failing: false,
    };
    check(
        &Sensor {
            reference: "pack.Sensor".to_owned(),
            kind: "polling".to_owned(),
            status: "ACTIVE".to_owned(),
            active: Some("node-1".to_owned()),
            fence: Some("5.12".to_owned()),
            paused: None,
            failing: false,
            effects: "journal".to_owned(),
            effects_why: "the policy says so".to_owned(),
            instances: vec![instance],
        },
        r#"{"ref":"pack.Sensor","kind":"polling","status":"ACTIVE","active":"node-1","fence":"5.12","paused":null,"failing":false,"effects":"journal","effects_why":"the policy says so","instances":[{"container":"node-1","status":"ACTIVE","state":"running","pid":4211,"polls":812,"errors":1,"last_poll_ms_ago":200,"last_poll_duration_ms":null,"triggers":40,"dropped":2,"last_error":null,"last_error_ms_ago":null,"failing":false}]}"#,
    );
}

#[test]
fn a_reason_reads_as_promised() {
    check(
        &Why {
            reference: "pack.Sensor".to_owned(),
            why: "pack.Sensor stays on node-1".to_owned(),
            containers: vec![Candidate {
                container: "node-1".to_owned(),
                against: Some("it failed there".to_owned()),
                last_error: Some("ValueError".to_owned()),
            }],
            history: Vec::new(),
        },
        r#"{"ref":"pack.Sensor","why":"pack.Sensor stays on node-1","containers":[{"container":"node-1","against":"it failed there","last_error":"ValueError"}],"history":[]}"#,
    );
}

#[test]
fn a_container_reads_as_promised() {
    check(
        &Container {
            name: "node-1".to_owned(),
            pid: 811,
            state: "up".to_owned(),
            sensors_active: 3,
            last_heartbeat_ms_ago: Some(120),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            drained: Some(Intent { who: "anne@desk".to_owned(), at: "2026-03-01T10:00:00.123Z".to_owned() }),
        },
        r#"{"name":"node-1","pid":811,"state":"up","sensors_active":3,"last_heartbeat_ms_ago":120,"labels":{"zone":"a"},"drained":{"who":"anne@desk","at":"2026-03-01T10:00:00.123Z"}}"#,
    );
}

#[test]
fn a_history_record_reads_as_promised() {
    check(
        &HistoryRecord {
            at: "2026-03-01T10:00:00.123Z".to_owned(),
            sensor: "pack.Sensor".to_owned(),
            from: None,
            to: Some("node-1".to_owned()),
            fence: "5.12".to_owned(),
            cause: "placed".to_owned(),
            who: "arbiter".to_owned(),
        },
        r#"{"at":"2026-03-01T10:00:00.123Z","sensor":"pack.Sensor","from":null,"to":"node-1","fence":"5.12","cause":"placed","who":"arbiter"}"#,
    );
}

#[test]
fn a_status_reads_as_promised() {
    check(
        &Status {
            arbitrator: "a1".to_owned(),
            role: "leader".to_owned(),
            phase: "leading".to_owned(),
            term: 5,
            leader: Some("a1".to_owned()),
            version: "0.1.0".to_owned(),
            uptime_ms: 1_000,
            sensors: SensorCounts { total: 5, active: 4, paused: 1, waiting: 0, failing: 0 },
            containers: ContainerCounts { up: 2, draining: 1, lost: 0 },
            alarms: vec!["disk".to_owned()],
            engine: "etcd at e:2379".to_owned(),
            store: "there".to_owned(),
            electors: vec!["a1".to_owned()],
            fail_safe: true,
        },
        r#"{"arbitrator":"a1","role":"leader","phase":"leading","term":5,"leader":"a1","version":"0.1.0","uptime_ms":1000,"sensors":{"total":5,"active":4,"paused":1,"waiting":0,"failing":0},"containers":{"up":2,"draining":1,"lost":0},"alarms":["disk"],"engine":"etcd at e:2379","store":"there","electors":["a1"],"fail_safe":true}"#,
    );
}

#[test]
fn a_log_line_and_a_problem_read_as_promised() {
    check(
        &LogLine {
            at: "2026-03-01T10:00:00.123Z".to_owned(),
            container: "node-1".to_owned(),
            sensor: "pack.Sensor".to_owned(),
            stream: "log".to_owned(),
            level: Some("INFO".to_owned()),
            text: "polled".to_owned(),
        },
        r#"{"at":"2026-03-01T10:00:00.123Z","container":"node-1","sensor":"pack.Sensor","stream":"log","level":"INFO","text":"polled"}"#,
    );
    check(&Problem { error: "no such sensor".to_owned(), hint: None }, r#"{"error":"no such sensor","hint":null}"#);
}

#[test]
fn a_reader_ignores_what_is_newer_and_does_without_what_is_not_there() {
    let problem: Problem = serde_json::from_str(r#"{"error":"no","code":7}"#).unwrap();
    assert_eq!(problem, Problem { error: "no".to_owned(), hint: None });
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(document: &T, text: &str) {
    assert_eq!(serde_json::to_string(document).unwrap(), text);
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), document);
}
