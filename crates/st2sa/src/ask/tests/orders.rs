//! Orders: what is sent, what is asked first, what is said, and how it ends.

use serde_json::{Value, json};

use super::super::stand_in::{Answer, StandIn};
use super::{Said, ask, ask_replying};

fn outcome(done: &str, moves: &[Value], stays: &[Value]) -> Answer {
    Answer::json(200, &json!({"done": done, "moves": moves, "stays": stays}))
}

fn placement(reference: &str, to: &str) -> Value {
    json!({"ref": reference, "from": "node-1", "to": to, "why": "for a reason"})
}

/// A sensor that is ACTIVE there, after so many polls.
fn sensor(active: Option<&str>, polls: u64, errors: u64) -> Value {
    let instance = |container: &str| {
        let is_active = active == Some(container);
        json!({
            "container": container, "status": if is_active { "ACTIVE" } else { "STANDBY" },
            "state": if is_active { "running" } else { "ready" }, "pid": 7, "polls": polls, "errors": errors,
            "last_poll_ms_ago": 5, "last_poll_duration_ms": 3, "triggers": polls, "last_error": "Traceback:\nValueError: no"
        })
    };
    json!({
        "ref": "p.A", "kind": "polling", "status": if active.is_some() { "ACTIVE" } else { "PAUSED" }, "active": active,
        "fence": "1.1", "instances": [instance("node-1"), instance("node-2")]
    })
}

async fn order(stand_in: &StandIn, line: &[&str]) -> Said {
    ask(&[line, &["--who", "anne@desk", "--arbitrator", stand_in.address()]].concat()).await
}

#[tokio::test]
async fn a_move_waits_until_the_sensor_runs_there() {
    let here = |active| Answer::json(200, &sensor(Some(active), 0, 0));
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A", vec![here("node-1"), here("node-1"), here("node-2")]),
        ("/v1/sensors/p.A/move", vec![outcome("p.A moves from node-1 to node-2", &[placement("p.A", "node-2")], &[])]),
    ])
    .await;
    let said = order(&stand_in, &["move", "p.A", "node-2", "--yes"]).await;
    assert_eq!((said.code, said.answer.as_str()), (0, "p.A moves from node-1 to node-2\np.A is ACTIVE on node-2\n"));
    assert_eq!(stand_in.orders(), [r#"POST /v1/sensors/p.A/move {"who":"anne@desk","to":"node-2"}"#]);
}

#[tokio::test]
async fn what_stops_something_asks_first() {
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A", vec![Answer::json(200, &sensor(Some("node-1"), 0, 0))]),
        ("/v1/sensors/p.A/pause", vec![outcome("p.A is paused until it is resumed", &[], &[])]),
        ("/v1/sensors", vec![Answer::json(200, &json!([sensor(None, 0, 0)]))]),
    ])
    .await;
    let line = ["pause", "p.A", "--who", "anne@desk", "--arbitrator", stand_in.address()];
    let no_terminal = ask(&line).await;
    assert_eq!(no_terminal.code, 2);
    assert!(no_terminal.notes.contains("there is no terminal to ask on") && no_terminal.notes.contains("add --yes"));
    let no = ask_replying("n\n", &line).await;
    assert_eq!((no.code, no.answer.as_str()), (6, ""));
    assert!(no.notes.ends_with("Pause? [y/N] error: not confirmed: nothing was done\n"), "{no:?}");
    assert_eq!(stand_in.orders(), Vec::<String>::new());
    let yes = ask_replying("y\n", &line).await;
    assert_eq!((yes.code, yes.answer.as_str()), (0, "p.A is paused until it is resumed\ndone\n"));
    assert_eq!(stand_in.orders(), [r#"POST /v1/sensors/p.A/pause {"who":"anne@desk"}"#]);
}

#[tokio::test]
async fn a_drain_says_what_will_move_and_what_stays() {
    let plan =
        json!({"supposed": "node-1 is drained", "sensors": [placement("p.A", "node-2"), placement("p.B", "node-1")]});
    let container = json!([{
        "name": "node-1", "pid": 1, "state": "draining", "sensors_active": 1, "last_heartbeat_ms_ago": 1, "labels": {}
    }]);
    let done = outcome("node-1 is drained", &[placement("p.A", "node-2")], &[placement("p.B", "node-1")]);
    let stand_in = StandIn::new([
        ("/v1/plan", vec![Answer::json(200, &plan)]),
        ("/v1/containers/node-1/drain", vec![done]),
        ("/v1/containers", vec![Answer::json(200, &container)]),
    ])
    .await;
    let said = ask_replying("yes\n", &["drain", "node-1", "--arbitrator", stand_in.address()]).await;
    assert_eq!(said.notes, "node-1: 1 sensors move, 1 can run nowhere else and stay: p.B. Drain it? [y/N] ");
    assert!(
        said.answer.contains("node-1 has handed over: 1 moved, 1 stay\nSENSOR  FROM    TO      WHY\np.B     node-1"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_poll_says_how_it_went() {
    for (errors, words) in [(0, "p.A has polled on node-1 (3 ms)\n"), (1, "and raised: ValueError: no\n")] {
        let looks = [sensor(Some("node-1"), 4, 0), sensor(Some("node-1"), 4, 0), sensor(Some("node-1"), 5, errors)];
        let stand_in = StandIn::new([
            ("/v1/sensors/p.A", looks.iter().map(|look| Answer::json(200, look)).collect()),
            ("/v1/sensors/p.A/poll", vec![outcome("p.A polls now", &[], &[])]),
        ])
        .await;
        let said = order(&stand_in, &["poll", "p.A"]).await;
        assert!(said.code == 0 && said.answer.ends_with(words), "{said:?}");
    }
}

#[tokio::test]
async fn a_retry_says_whether_it_runs_or_has_failed_again() {
    let waits = || sensor(None, 4, 1);
    for (last, code, answer, note) in [
        (sensor(Some("node-1"), 4, 1), 0, "p.A is ACTIVE on node-1\n", ""),
        (sensor(None, 4, 3), 1, "", "error: p.A was tried on node-1, and failed again: ValueError: no\nhint: "),
    ] {
        let stand_in = StandIn::new([
            (
                "/v1/sensors/p.A",
                vec![Answer::json(200, &waits()), Answer::json(200, &waits()), Answer::json(200, &last)],
            ),
            ("/v1/sensors/p.A/retry", vec![outcome("it is tried again", &[], &[])]),
        ])
        .await;
        let said = order(&stand_in, &["retry", "p.A"]).await;
        assert_eq!((said.code, said.answer), (code, format!("it is tried again\n{answer}")));
        assert!(said.notes.starts_with(note), "{}", said.notes);
        assert_eq!(stand_in.orders(), [r#"POST /v1/sensors/p.A/retry {"who":"anne@desk"}"#]);
    }
}

#[tokio::test]
async fn values_are_listed_by_the_names_by_which_they_are_got() {
    let values = json!([{"name": "p.A:cursor", "value": "7"}]);
    let stand_in = StandIn::new([
        ("/v1/datastore?prefix=p.A%3Acur&limit=1000", vec![Answer::json(200, &values)]),
        ("/v1/datastore?prefix=p.A%3Acur&limit=1000&after=p.A%3Acursor", vec![Answer::json(200, &json!([]))]),
    ])
    .await;
    for line in [vec!["datastore", "list", "p.A:cur"], vec!["datastore", "list", "cur", "--sensor", "p.A"]] {
        let said = order(&stand_in, &line).await;
        assert_eq!((said.code, said.answer.lines().count()), (0, 2), "{said:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_has_an_exit_code_of_its_own() {
    let problem = |status| Answer::json(status, &json!({"error": "p.A is passive", "hint": "see docs"}));
    for (status, code) in [(404, 1), (409, 1), (504, 5), (503, 4), (400, 4)] {
        let stand_in = StandIn::new([
            ("/v1/sensors/p.A", vec![Answer::json(200, &sensor(Some("node-1"), 4, 0))]),
            ("/v1/sensors/p.A/poll", vec![problem(status)]),
        ])
        .await;
        let said = order(&stand_in, &["poll", "p.A"]).await;
        assert_eq!(said.code, code, "{status}: {said:?}");
        assert!(said.notes.contains("p.A is passive") && said.notes.contains("hint: see docs"), "{said:?}");
    }
}

#[tokio::test]
async fn what_is_not_done_in_time_is_said() {
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A", vec![Answer::json(200, &sensor(Some("node-1"), 4, 0))]),
        ("/v1/sensors/p.A/poll", vec![outcome("p.A polls now", &[], &[])]),
    ])
    .await;
    let said = order(&stand_in, &["poll", "p.A", "--within", "300ms"]).await;
    assert_eq!(said.code, 7);
    assert!(said.notes.contains("ordered, and not done within 0.300s: waited for p.A to poll"), "{said:?}");
}

#[tokio::test]
async fn values_are_printed_as_they_are_and_exported_in_pages() {
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let stand_in = StandIn::new([
        ("/v1/datastore/p.A:cursor", vec![Answer::json(200, &value("p.A:cursor", "a\nb"))]),
        (
            "/v1/datastore?prefix=&limit=1000",
            vec![Answer::json(200, &json!([value("a", "1"), value("b", "\u{0}ä\n")]))],
        ),
        ("/v1/datastore?prefix=&limit=1000&after=b", vec![Answer::json(200, &json!([]))]),
    ])
    .await;
    let got = order(&stand_in, &["datastore", "get", "cursor", "--sensor", "p.A"]).await;
    assert_eq!((got.code, got.answer.as_str()), (0, "a\nb\n"));
    let exported = order(&stand_in, &["datastore", "export"]).await;
    let lines: Vec<Value> = exported.answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [value("a", "1"), value("b", "\u{0}ä\n")]);
}

#[tokio::test]
async fn an_import_is_understood_whole_before_anything_is_stored() {
    let stand_in = StandIn::new([("/v1/datastore/a", vec![outcome("a is set", &[], &[])])]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.jsonl");
    let import = ["datastore", "import", path.to_str().unwrap(), "--yes"];
    std::fs::write(&path, "{\"name\":\"a\",\"value\":\"1\",\"ttl_ms\":5000}\n\n{\"name\":\"b\"}\n").unwrap();
    let wrong = order(&stand_in, &import).await;
    assert_eq!((wrong.code, stand_in.orders().len()), (2, 0));
    assert!(wrong.notes.contains("values.jsonl:3: missing field `value`"), "{wrong:?}");
    std::fs::write(&path, "{\"name\":\"a\",\"value\":\"1\",\"ttl_ms\":5000}\n").unwrap();
    let said = order(&stand_in, &import).await;
    assert_eq!((said.code, said.answer.as_str()), (0, "1 values are stored\n"));
    assert!(stand_in.orders()[0].starts_with("PUT /v1/datastore/a ") && stand_in.orders()[0].contains("5000"));
}

#[tokio::test]
async fn the_value_of_a_running_sensor_is_changed_only_when_confirmed() {
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A", vec![Answer::json(200, &sensor(Some("node-1"), 4, 0))]),
        ("/v1/datastore/p.A:c", vec![outcome("p.A:c is set", &[], &[])]),
        ("/v1/datastore/shared", vec![outcome("shared is set", &[], &[])]),
    ])
    .await;
    let said = order(&stand_in, &["datastore", "set", "p.A:c", "5"]).await;
    assert_eq!(said.code, 2);
    assert!(said.notes.contains("p.A is ACTIVE on node-1: it may remember the old value"), "{said:?}");
    assert_eq!(order(&stand_in, &["datastore", "set", "shared", "-5"]).await.code, 0);
    assert_eq!(stand_in.orders().len(), 1);
}
