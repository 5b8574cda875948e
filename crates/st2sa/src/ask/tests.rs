//! Whole questions, over a real connection.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::paper::Paper;
use super::stand_in::{Answer, StandIn, nobody};
use super::{Question, answer};

mod orders;

/// Longer than anything here takes, on any machine.
const AT_MOST: Duration = Duration::from_mins(1);

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[tokio::test]
async fn a_status_is_shown_in_words() {
    let stand_in = StandIn::new([("/v1/status", vec![Answer::json(200, &status())])]).await;
    let said = ask(&["status", "--arbitrator", stand_in.address()]).await;
    assert_eq!(said.code, 0);
    assert!(said.answer.starts_with("arbitrator  a1 (leader, leading), release 0.1.0, up for 1.0 s\n"), "{said:?}");
    assert_eq!(said.notes, "");
}

#[tokio::test]
async fn json_is_the_document_with_all_that_is_newer() {
    let mut newer = status();
    newer["invented"] = json!({"later": [1]});
    let stand_in = StandIn::new([("/v1/status", vec![Answer::json(200, &newer)])]).await;
    let said = ask(&["status", "-o", "json", "--arbitrator", stand_in.address()]).await;
    assert_eq!(serde_json::from_str::<Value>(&said.answer).unwrap(), newer);
    assert!(said.answer.starts_with("{\n  \"arbitrator\": \"a1\",\n  \"role\": \"leader\",\n"), "{said:?}");
}

#[tokio::test]
async fn an_unknown_sensor_is_a_no() {
    let problem = json!({"error": "there is no sensor `p.Nobody`", "hint": "see 'st2sa sensors'"});
    let stand_in = StandIn::new([
        ("/v1/sensors/p.Nobody", vec![Answer::json(404, &problem)]),
        ("/v1/sensors/p.Nobody/logs", vec![Answer::json(404, &problem)]),
    ])
    .await;
    for line in [vec!["sensors", "p.Nobody"], vec!["logs", "p.Nobody"], vec!["logs", "p.Nobody", "--follow"]] {
        let said = ask(&[line, vec!["--arbitrator", stand_in.address()]].concat()).await;
        assert_eq!((said.code, said.answer.as_str()), (1, ""));
        assert_eq!(said.notes, "error: there is no sensor `p.Nobody`\nhint: see 'st2sa sensors'\n");
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let address = nobody().await;
    for line in [vec!["status"], vec!["sensors"], vec!["containers"], vec!["history", "--follow"], vec!["logs", "p.A"]]
    {
        let said = ask(&[line, vec!["--arbitrator", &address]].concat()).await;
        assert_eq!((said.code, said.answer.as_str()), (3, ""));
        assert_eq!(
            said.notes,
            format!(
                "error: failed to reach an arbitrator at {address}: Connection refused\n\
                 hint: is the arbitrator's service running there? --arbitrator, or ST2SA_ARBITRATOR, says where to ask\n"
            )
        );
    }
}

#[tokio::test]
async fn the_first_arbitrator_that_can_say_answers() {
    let unsure = json!({"error": "no leader is known", "hint": null});
    let standby = StandIn::new([("/v1/status", vec![Answer::json(503, &unsure)])]).await;
    let leader = StandIn::new([("/v1/status", vec![Answer::json(200, &status())])]).await;
    let (dead, standby) = (nobody().await, standby.address());
    let said = ask(&["status", "--arbitrator", &format!("{dead},{standby},http://{}", leader.address())]).await;
    assert_eq!((said.code, said.notes.as_str()), (0, ""));
    let said = ask(&["status", "--arbitrator", &format!("{dead},{standby}")]).await;
    assert_eq!((said.code, said.notes), (4, format!("error: {standby} refused: no leader is known\n")));
    let other = nobody().await;
    let said = ask(&["status", "--arbitrator", &format!("{dead},{other}")]).await;
    assert_eq!(said.code, 3);
    assert!(said.notes.contains(&dead) && said.notes.contains(&other), "{said:?}");
}

#[tokio::test]
async fn what_is_no_arbitrator_is_recognised() {
    let stand_in = StandIn::new([
        ("/v1/status", vec![Answer::text(200, "<html>")]),
        ("/v1/sensors", vec![Answer::json(200, &json!([{"ref": 7}]))]),
    ])
    .await;
    for (question, expected) in [
        ("status", "error: the answer of ADDRESS is not understood: "),
        ("sensors", "error: the answer of ADDRESS is not understood: "),
        ("containers", "error: ADDRESS answered 404 Not Found, which is no arbitrator's answer\n"),
    ] {
        let said = ask(&[question, "--arbitrator", stand_in.address()]).await;
        assert_eq!((said.code, said.answer.as_str()), (4, ""));
        assert!(said.notes.replace(stand_in.address(), "ADDRESS").starts_with(expected), "{said:?}");
        assert!(said.notes.ends_with("\nhint: is that an st2sa arbitrator, and of this release?\n"), "{said:?}");
    }
}

#[tokio::test]
async fn an_empty_list_is_an_answer() {
    let stand_in = StandIn::new(
        ["/v1/sensors", "/v1/containers", "/v1/history"].map(|path| (path, vec![Answer::json(200, &json!([]))])),
    )
    .await;
    for question in ["sensors", "containers", "history"] {
        let said = ask(&[question, "--arbitrator", stand_in.address()]).await;
        assert_eq!((said.code, said.answer.as_str()), (0, ""));
        assert!(said.notes.starts_with("no "), "{said:?}");
        let said = ask(&[question, "-o", "json", "--arbitrator", stand_in.address()]).await;
        assert_eq!((said.code, said.answer.as_str(), said.notes.as_str()), (0, "[]\n", ""));
    }
}

#[tokio::test]
async fn a_reader_that_has_read_enough_ends_it_quietly() {
    let stand_in = StandIn::new([("/v1/status", vec![Answer::json(200, &status())])]).await;
    let question = || Line::parse_from(["st2sa", "status", "--arbitrator", stand_in.address()]).question;
    let mut paper = Paper::of(80, Box::new(Refuses(io::ErrorKind::BrokenPipe)), Box::new(io::sink()));
    assert_eq!(code(answer(question(), &mut paper).await.unwrap()), 0);
    let mut paper = Paper::of(80, Box::new(Refuses(io::ErrorKind::StorageFull)), Box::new(io::sink()));
    let error = answer(question(), &mut paper).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to write the answer");
}

#[tokio::test]
async fn a_followed_history_survives_a_restart_and_repeats_nothing() {
    const FOLLOWED: &str = "/v1/history?limit=10000&follow=true";
    let unsure = json!({"error": "no leader is known", "hint": null});
    let records: Vec<Value> = (1..=5).map(record).collect();
    let stand_in = StandIn::new([
        ("/v1/history", vec![Answer::json(200, &json!(records[..2]))]),
        (
            FOLLOWED,
            vec![
                Answer::lines(&records[..3]).breaks(),
                Answer::json(503, &unsure),
                Answer::lines(&records[..4]),
                Answer::lines(&records).stays(),
            ],
        ),
    ])
    .await;
    let line = ["history", "--follow", "--limit", "1", "-o", "json", "--arbitrator", stand_in.address()];
    let said = ask_until(&line, |answer| answer.contains("5.5")).await;
    let shown: Vec<Value> = said.answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, records[1..], "{said:?}");
    assert_eq!(stand_in.left(FOLLOWED), 1);
    let notes: Vec<&str> = said.notes.lines().collect();
    assert_eq!(notes.len(), 2, "one for each outage: {notes:?}");
    assert!(notes[0].contains("is lost"), "{notes:?}");
    assert!(notes[1].contains("ended the connection"), "{notes:?}");
}

#[tokio::test]
async fn a_followed_log_survives_a_restart_and_repeats_nothing() {
    let lines: Vec<Value> = (1..=4).map(log_line).collect();
    let not_yet = json!({"error": "there is no sensor `p.A`", "hint": null});
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A/logs?lines=3&follow=true", vec![Answer::lines(&lines[1..3]).breaks()]),
        (
            "/v1/sensors/p.A/logs?lines=10000&follow=true",
            vec![Answer::json(404, &not_yet), Answer::lines(&lines).stays()],
        ),
    ])
    .await;
    let line = ["logs", "p.A", "--follow", "--lines", "3", "--arbitrator", stand_in.address()];
    let said = ask_until(&line, |answer| answer.contains("line 4")).await;
    let shown: Vec<&str> =
        said.answer.lines().filter_map(|line| line.split_once("stdout ")).map(|(_, text)| text).collect();
    assert_eq!(shown, ["line 2", "line 3", "line 4"]);
    assert_eq!(said.notes.lines().count(), 1, "{said:?}");
}

#[tokio::test]
async fn a_log_that_is_cut_short_is_not_taken_for_a_whole_one() {
    let stand_in = StandIn::new([("/v1/sensors/p.A/logs", vec![Answer::lines(&[log_line(1)]).breaks()])]).await;
    let said = ask(&["logs", "p.A", "--arbitrator", stand_in.address()]).await;
    assert_eq!(said.code, 3);
    assert_eq!(said.answer.lines().count(), 1);
    assert!(said.notes.starts_with("error: failed to read on from "), "{said:?}");
}

#[tokio::test]
async fn the_log_of_one_that_cannot_be_loaded_is_why_not() {
    let sensor = json!({
        "ref": "p.A", "kind": "unknown", "status": "STANDBY", "active": null, "fence": null, "failing": true, "instances": [{
            "container": "node-1", "status": "STANDBY", "state": "failed", "pid": null, "polls": 0, "errors": 0,
            "last_poll_ms_ago": null, "last_poll_duration_ms": null, "triggers": 0, "last_error": "/p/a.py:3: no",
            "failing": true
        }]
    });
    let stand_in = StandIn::new([
        ("/v1/sensors/p.A/logs", vec![Answer::lines(&[])]),
        ("/v1/sensors/p.A", vec![Answer::json(200, &sensor)]),
    ])
    .await;
    let said = ask(&["logs", "p.A", "--arbitrator", stand_in.address()]).await;
    assert_eq!((said.code, said.answer.as_str()), (1, ""));
    let expected = "error: p.A has written nothing that is kept, and fails:\n  node-1: /p/a.py:3: no\nhint: ";
    assert!(said.notes.starts_with(expected), "{said:?}");
}

#[tokio::test]
async fn as_many_changes_are_shown_as_are_asked_for_however_many_records_that_takes() {
    let record = |n: u32, from: Option<&str>, to: Option<&str>| {
        json!({
            "at": format!("2026-03-01T10:00:{n:05}Z"), "sensor": "p.A", "from": from, "to": to, "fence": "5.1",
            "cause": "failed", "who": "arbiter"
        })
    };
    let mut records = vec![record(0, None, Some("node-1"))];
    records[0]["cause"] = json!("placed");
    for n in 1..300 {
        records.extend([record(n, Some("node-1"), None), record(n, None, Some("node-1"))]);
    }
    let newest = |n: usize| vec![Answer::json(200, &json!(records[records.len() - n..]))];
    let stand_in = StandIn::new([
        ("/v1/history?limit=100", newest(100)),
        ("/v1/history?limit=400", newest(400)),
        ("/v1/history?limit=1600", newest(599)),
    ])
    .await;
    let said = ask(&["history", "-n", "2", "--arbitrator", stand_in.address()]).await;
    let lines: Vec<&str> = said.answer.lines().collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert!(lines[1].contains("-       node-1") && lines[1].contains("placed"), "{said:?}");
    assert!(lines[2].contains("node-1  node-1") && lines[2].contains("failed, 299 times since "), "{said:?}");
}

/// As the binary's own command line has it.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug)]
struct Said {
    code: u8,
    answer: String,
    notes: String,
}

async fn ask(words: &[&str]) -> Said {
    asked(words, None).await
}

/// The same, with a person who replies so.
async fn ask_replying(reply: &'static str, words: &[&str]) -> Said {
    asked(words, Some(reply)).await
}

async fn asked(words: &[&str], reply: Option<&'static str>) -> Said {
    let (answers, notes) = (Shared::default(), Shared::default());
    let mut paper = Paper::of(100, Box::new(answers.clone()), Box::new(notes.clone()));
    if let Some(reply) = reply {
        paper = paper.replied(reply);
    }
    let question = Line::parse_from(["st2sa"].iter().chain(words)).question;
    let asked = tokio::time::timeout(AT_MOST, answer(question, &mut paper)).await.unwrap().unwrap();
    Said { code: code(asked), answer: answers.text(), notes: notes.text() }
}

async fn ask_until(words: &[&str], enough: impl Fn(&str) -> bool) -> Said {
    let (answers, notes) = (Shared::default(), Shared::default());
    let mut paper = Paper::of(100, Box::new(answers.clone()), Box::new(notes.clone()));
    let question = Line::parse_from(["st2sa"].iter().chain(words)).question;
    let shown = async {
        while !enough(&answers.text()) {
            answers.changed.notified().await;
        }
    };
    tokio::select! {
        asked = answer(question, &mut paper) => panic!("it ended: {asked:?}, {}, {}", answers.text(), notes.text()),
        shown = tokio::time::timeout(AT_MOST, shown) => {
            assert!(shown.is_ok(), "not shown: {}, {}", answers.text(), notes.text());
        }
    }
    Said { code: 0, answer: answers.text(), notes: notes.text() }
}

fn code(code: ExitCode) -> u8 {
    (0..=u8::MAX).find(|number| code == ExitCode::from(*number)).unwrap()
}

fn status() -> Value {
    json!({
        "arbitrator": "a1", "role": "leader", "phase": "leading", "term": 5, "leader": "a1", "version": "0.1.0",
        "uptime_ms": 1000, "sensors": {"total": 0, "active": 0, "paused": 0, "waiting": 0, "failing": 0},
        "containers": {"up": 0, "draining": 0, "lost": 0}, "alarms": []
    })
}

fn record(n: u32) -> Value {
    json!({
        "at": format!("2026-03-01T10:00:00.{n:03}Z"), "sensor": "p.A", "from": null, "to": "node-1",
        "fence": format!("5.{n}"), "cause": "placed", "who": "arbiter"
    })
}

fn log_line(n: u32) -> Value {
    json!({
        "at": format!("2026-03-01T10:00:00.{n:03}Z"), "container": "node-1", "sensor": "p.A", "stream": "stdout",
        "level": null, "text": format!("line {n}")
    })
}

/// Keeps what is written, and says that it was.
#[derive(Clone, Default)]
struct Shared {
    bytes: Arc<Mutex<Vec<u8>>>,
    changed: Arc<Notify>,
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        self.changed.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes nothing.
struct Refuses(io::ErrorKind);

impl Write for Refuses {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
