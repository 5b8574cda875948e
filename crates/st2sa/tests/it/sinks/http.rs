//! Triggers over HTTP.

use serde_json::{Value, json};
use st2sa_testbed::{Pack, Signal, Source};

use super::endpoint::Endpoint;
use super::{TELLERS, assert_all_arrived, assert_same_processes, processes};
use crate::scene::{SETTLES, TICKER, sensors_of, testbed};

#[test]
fn a_trigger_is_one_cloud_event_that_keeps_its_id_until_it_is_taken() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let endpoint = Endpoint::start(|_, before| [503, 429, 500, 202][before.min(3)]);
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", &endpoint.url_for("user:geheim"), &[]);
    let posted = bed.eventually(SETTLES, "the second trigger is taken", || {
        Some(endpoint.posted()).filter(|posted| posted.len() >= 5)
    });
    let ids: Vec<&Value> = posted.iter().map(|posted| &posted.event["id"]).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    let (headers, event) = (&posted[3].headers, &posted[3].event);
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    assert_eq!(headers["authorization"], "Basic dXNlcjpnZWhlaW0=");
    assert_eq!(event["specversion"], "1.0");
    assert!(event["id"].as_str().is_some_and(|id| id.len() == 32), "{event}");
    assert_eq!((&event["source"], &event["container"]), (&json!("/sensors/ticker.Ticker01"), &json!("a")));
    assert_eq!((&event["type"], &event["data"]), (&json!("ticker.tick_01"), &json!({"tick": 1})));
    assert!(event["fence"].as_str().is_some_and(|fence| fence.contains('.')), "{event}");
    let log = a.log();
    assert!(log.contains("503") && !log.contains("geheim"), "{log}");
}

#[test]
fn what_is_refused_for_good_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(2)], &source);
    let endpoint = Endpoint::start(|event, _| if event["data"]["tick"] == 2 { 400 } else { 204 });
    let _arbitrator = bed.arbitrator(&[]);
    let _a = bed.container_to("a", &endpoint.url(), &[]);
    let sensors = sensors_of(&[Pack::Ticker(2)]);
    bed.eventually(SETTLES, "both sensors go on", || {
        let posted = endpoint.posted();
        let taken = |sensor: &String| {
            posted.iter().any(|posted| {
                posted.event["data"]["tick"] == 3 && posted.event["source"] == format!("/sensors/{sensor}")
            })
        };
        sensors.iter().all(taken).then_some(())
    });
    let text = std::fs::read_to_string(bed.folder().join("a/dead-letters.jsonl")).unwrap();
    let letters: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2, "{text}");
    let refused: Vec<Value> = endpoint
        .posted()
        .into_iter()
        .filter(|posted| posted.status == 400)
        .map(|posted| posted.event["id"].clone())
        .collect();
    for letter in &letters {
        assert_eq!(letter["payload"], json!({"tick": 2}));
        assert!(refused.contains(&letter["id"]), "{letter} is none of {refused:?}");
        assert_eq!(letter["refused"], "it answers 400 Bad Request: as you wish");
    }
    bed.eventually(SETTLES, "people are told", || {
        let sensor = bed.sensors()?.into_iter().find(|sensor| sensor.reference == TICKER)?;
        let instance = sensor.instances.into_iter().next()?;
        (instance.dropped == 1 && instance.last_error?.contains("dead-letters.jsonl")).then_some(())
    });
    source.assert_no_overlap();
}

#[test]
fn an_endpoint_that_was_away_gets_everything_in_order_and_no_process_ends() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let mut endpoint = Endpoint::start(|_, _| 204);
    let _arbitrator = bed.arbitrator(&[]);
    let mut a = bed.container_to("a", &endpoint.url(), &["--drain-timeout=1s"]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    bed.eventually(SETTLES, "all dispatch", || (endpoint.arrived().len() == sensors.len()).then_some(()));
    let before = processes(&bed, &sensors);
    for _ in 0..3 {
        endpoint.stop();
        bed.eventually(SETTLES, "people are told what every sensor waits for", || {
            let waits = |error: &String| error.starts_with("triggers wait: no connection to");
            let sensors = bed.sensors()?;
            sensors.iter().all(|sensor| sensor.instances[0].last_error.as_ref().is_some_and(waits)).then_some(())
        });
        let posted = endpoint.posted().len();
        endpoint.start_again();
        bed.eventually(SETTLES, "all dispatch again", || {
            (endpoint.posted().len() > posted + 100 * sensors.len()).then_some(())
        });
    }
    assert_same_processes(&bed, &a, &sensors, &before);
    a.kill(Signal::TERM);
    assert!(a.wait(SETTLES).success(), "{}", a.log());
    assert_all_arrived(&bed, &endpoint.arrived());
}

#[test]
fn what_was_dispatched_on_a_container_that_is_killed_has_arrived() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let endpoint = Endpoint::start(|_, _| 204);
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", &endpoint.url(), &[]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    bed.eventually(SETTLES, "all dispatch", || (endpoint.arrived().len() == sensors.len()).then_some(()));
    let mut b = bed.container_to("b", &endpoint.url(), &["--drain-timeout=1s"]);
    bed.eventually(SETTLES, "b stands by", || {
        let ready =
            |sensor: &st2sa_proto::rest::Sensor| sensor.instances.iter().any(|instance| instance.state == "ready");
        bed.sensors().filter(|sensors| sensors.iter().all(ready))
    });
    a.kill_with_everything();
    bed.eventually(SETTLES, "all dispatch on b", || {
        let posted = endpoint.posted();
        let on_b = |sensor: &String| {
            let source = format!("/sensors/{sensor}");
            posted.iter().any(|posted| posted.event["container"] == "b" && posted.event["source"] == source.as_str())
        };
        sensors.iter().all(on_b).then_some(())
    });
    b.kill(Signal::TERM);
    assert!(b.wait(SETTLES).success(), "{}", b.log());
    assert_all_arrived(&bed, &endpoint.arrived());
}
