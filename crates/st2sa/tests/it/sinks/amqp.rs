//! Triggers to RabbitMQ, as StackStorm's own messages.

use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use st2sa_testbed::{Certificates, Message, Pack, RabbitMqServer, Signal, Source, Testbed};

use super::{Arrived, Number, TELLERS, assert_all_arrived, assert_same_processes, processes};
use crate::scene::{SETTLES, TICKER, sensors_of, testbed};

/// How often the server is killed under load.
const KILLS: u32 = 5;
/// What every teller has dispatched before the next thing happens to it.
const LOAD: usize = 40;
/// How long RabbitMQ is away, in seconds; `ST2SA_TEST_AWAY_SECONDS` has it be another time.
const AWAY_SECONDS: u64 = 5;
/// A message is waited for ten seconds long, a greeting five.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(40);
/// Erlang needs its time to start.
const BACK_WITHIN: Duration = Duration::from_secs(90);

fn arrived(messages: &[Message]) -> Arrived {
    let mut arrived = Arrived::new();
    for message in messages {
        let (teller, number) = Number::of(&message.trigger["payload"], message.id());
        arrived.entry(teller).or_default().push(number);
    }
    arrived
}

/// Waits until every teller was told of so many more.
fn until_told(bed: &Testbed, more: usize) {
    let told = || (1..=TELLERS).map(|number| Pack::told(bed.folder(), number).len()).collect::<Vec<_>>();
    let before = told();
    bed.eventually(BACK_WITHIN, "every teller goes on", || {
        told().iter().zip(&before).all(|(now, before)| *now >= before + more).then_some(())
    });
}

#[test]
fn a_message_is_what_stackstorms_own_containers_send() {
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_queue();
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let configuration = bed.folder().join("messaging.conf");
    std::fs::write(&configuration, format!("[messaging]\nurl = {}\n", server.url())).unwrap();
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", "stackstorm", &[&format!("--config-file={}", configuration.display())]);
    let messages = bed.eventually(SETTLES, "a trigger is in the queue", || {
        Some(server.take_all()).filter(|messages| !messages.is_empty())
    });
    let message = &messages[0];
    let properties = &message.properties;
    let text = |property: &Option<_>| property.as_ref().map(ToString::to_string);
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/x-python-serialize"));
    assert_eq!(text(properties.content_encoding()).as_deref(), Some("binary"));
    assert_eq!((*properties.delivery_mode(), *properties.priority()), (Some(2), Some(0)));
    assert!(properties.headers().as_ref().is_some_and(|headers| headers.inner().is_empty()));
    assert!(properties.timestamp().is_none() && properties.expiration().is_none() && properties.app_id().is_none());
    assert_eq!(message.routing_key, "trigger_instance");
    assert_eq!(message.id().len(), 32, "{}", message.id());
    assert_eq!(message.trigger, json!({"trigger": "ticker.tick_01", "payload": {"tick": 1}, "trace_context": null}));
    let keys: Vec<&String> = message.trigger.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["trigger", "payload", "trace_context"]);
    assert!(!a.log().contains("guest:guest"), "{}", a.log());
}

#[test]
fn messaging_is_read_as_stackstorm_reads_it_its_certificates_included() {
    let (bed, source) = (testbed(), Source::start());
    let certificates = certificates(bed.folder());
    let (server, port) = RabbitMqServer::start_with_tls(&certificates);
    server.make_queue();
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let configuration = bed.folder().join("messaging.conf");
    // The first of the cluster is not there.
    let text = format!(
        "[messaging]\nurl = amqp://nobody/\ncluster_urls = amqp://guest:guest@127.0.0.1:1//,amqp://guest:guest@127.0.0.1:{port}//\n\
         ssl = True\nssl_ca_certs = {}\nssl_certfile = {}\nssl_keyfile = {}\nssl_cert_reqs = required\n",
        certificates.ca.display(),
        certificates.certificate.display(),
        certificates.key.display(),
    );
    std::fs::write(&configuration, text).unwrap();
    let _arbitrator = bed.arbitrator(&[]);
    let _a = bed.container_to("a", "stackstorm", &[&format!("--config-file={}", configuration.display())]);
    bed.eventually(SETTLES, "a trigger is in the queue", || (!server.take_all().is_empty()).then_some(()));
}

#[test]
fn a_server_that_nobody_vouches_for_is_sent_nothing() {
    let (bed, source) = (testbed(), Source::start());
    let (server, port) = RabbitMqServer::start_with_tls(&certificates(bed.folder()));
    server.make_queue();
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", &format!("amqps://guest:guest@127.0.0.1:{port}//"), &[]);
    bed.eventually(SETTLES, "it says why", || a.log().contains("invalid peer certificate").then_some(()));
    assert!(server.take_all().is_empty());
}

/// An authority, and a certificate of this machine that serves either side.
fn certificates(folder: &Path) -> Certificates {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Certificates {
        ca: write("ca.pem", authority.pem()),
        certificate: write("certificate.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_that_was_dispatched() {
    let (bed, source, mut server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_queue();
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let mut a = bed.container_to("a", &server.url(), &["--drain-timeout=1s"]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    until_told(&bed, LOAD);
    let before = processes(&bed, &sensors);
    for _ in 0..KILLS {
        server.kill();
        server.start_again();
        until_told(&bed, LOAD);
    }
    assert_same_processes(&bed, &a, &sensors, &before);
    a.kill(Signal::TERM);
    assert!(a.wait(SETTLES).success(), "{}", a.log());
    let (first, again) = assert_all_arrived(&bed, &arrived(&server.take_all()));
    println!("{KILLS} kills: {first} triggers arrived, {again} of them again, under the same id");
}

#[test]
fn while_rabbitmq_is_away_effects_wait_and_no_process_ends() {
    let (bed, source, mut server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_queue();
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let mut a = bed.container_to("a", &server.url(), &["--drain-timeout=1s"]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    until_told(&bed, LOAD);
    let before = processes(&bed, &sensors);
    server.kill();
    let away = std::env::var("ST2SA_TEST_AWAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(AWAY_SECONDS);
    let until = Instant::now() + Duration::from_secs(away);
    bed.eventually(SETTLES, "people are told what every sensor waits for", || {
        let waits = |error: &String| error.starts_with("triggers wait: amqp://127.0.0.1");
        let sensors = bed.sensors()?;
        sensors.iter().all(|sensor| sensor.instances[0].last_error.as_ref().is_some_and(waits)).then_some(())
    });
    bed.eventually(Duration::from_secs(away + 1), "it has been away long enough", || {
        (Instant::now() >= until).then_some(())
    });
    server.start_again();
    let since = Instant::now();
    until_told(&bed, LOAD);
    println!("away for {away} s; {:?} after it was back all had gone on", since.elapsed());
    assert_same_processes(&bed, &a, &sensors, &before);
    a.kill(Signal::TERM);
    assert!(a.wait(SETTLES).success(), "{}", a.log());
    let (first, again) = assert_all_arrived(&bed, &arrived(&server.take_all()));
    println!("{first} triggers arrived, {again} of them again, under the same id");
}

#[test]
fn a_server_that_stands_still_is_given_up_and_gets_everything_when_it_goes_on() {
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_queue();
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let mut a = bed.container_to("a", &server.url(), &["--drain-timeout=1s"]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    until_told(&bed, LOAD);
    let before = processes(&bed, &sensors);
    server.signal(Signal::STOP);
    // Some wait for their confirmation, others for an answer to a greeting.
    for why in ["not confirmed within", "no answer within"] {
        bed.eventually(GIVEN_UP_WITHIN, why, || a.log().contains(why).then_some(()));
    }
    server.signal(Signal::CONT);
    until_told(&bed, LOAD);
    assert_same_processes(&bed, &a, &sensors, &before);
    a.kill(Signal::TERM);
    assert!(a.wait(SETTLES).success(), "{}", a.log());
    let (first, again) = assert_all_arrived(&bed, &arrived(&server.take_all()));
    println!("{first} triggers arrived, {again} of them again, under the same id");
}

#[test]
fn a_lease_that_ends_and_is_back_loses_nothing_and_turns_no_order_round() {
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_queue();
    bed.add_packs(&[Pack::Teller(TELLERS)], &source);
    let arbitrator = bed.arbitrator(&[]);
    let mut a = bed.container_to("a", &server.url(), &["--drain-timeout=1s"]);
    let sensors = sensors_of(&[Pack::Teller(TELLERS)]);
    until_told(&bed, LOAD);
    let before = processes(&bed, &sensors);
    let mut messages = Vec::new();
    for lapse in 1..=3 {
        arbitrator.kill(Signal::STOP);
        bed.eventually(SETTLES, "the lease ends", || {
            (a.log().matches("every sensor is frozen").count() == lapse).then_some(())
        });
        messages.extend(server.take_all());
        arbitrator.kill(Signal::CONT);
        until_told(&bed, LOAD);
    }
    assert_same_processes(&bed, &a, &sensors, &before);
    a.kill(Signal::TERM);
    assert!(a.wait(SETTLES).success(), "{}", a.log());
    messages.extend(server.take_all());
    assert_all_arrived(&bed, &arrived(&messages));
}

#[test]
fn what_no_queue_takes_or_is_too_long_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start_with("max_message_size = 200"));
    bed.add_packs(&[Pack::Ticker(1), Pack::Verbose], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", &server.url(), &[]);
    let letters = || -> Vec<Value> {
        let text = std::fs::read_to_string(bed.folder().join("a/dead-letters.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // The exchange is made by whoever comes first, and no queue is bound to it yet.
    let of = |sensor: &str, word: &str| {
        letters()
            .iter()
            .filter(|letter| letter["sensor"] == sensor && letter["refused"].as_str().unwrap().contains(word))
            .count()
    };
    bed.eventually(SETTLES, "nobody takes it", || (of(TICKER, "no queue") > 0).then_some(()));
    bed.eventually(SETTLES, "it is too long", || (of("verbose.Verbose", "size") > 2).then_some(()));
    server.make_queue();
    let mut messages = Vec::new();
    bed.eventually(SETTLES, "the queue takes it", || {
        messages.extend(server.take_all());
        (messages.len() > 3).then_some(())
    });
    assert!(messages.iter().all(|message| message.trigger["trigger"] == "ticker.tick_01"));
    let before = of("verbose.Verbose", "size");
    bed.eventually(SETTLES, "what is too long holds up nobody", || {
        (of("verbose.Verbose", "size") > before && !server.take_all().is_empty()).then_some(())
    });
    let log = a.log();
    assert!(log.contains("refuses a trigger for good") && !log.contains("xxxx") && !log.contains("data: ["), "{log}");
    source.assert_no_overlap();
}

#[test]
fn an_exchange_that_was_made_otherwise_is_used_as_it_is() {
    let (bed, source, server) = (testbed(), Source::start(), RabbitMqServer::start());
    server.make_exchange_otherwise();
    bed.add_packs(&[Pack::Ticker(1)], &source);
    let _arbitrator = bed.arbitrator(&[]);
    let a = bed.container_to("a", &server.url(), &[]);
    bed.eventually(SETTLES, "the exchange is found", || {
        let letters = std::fs::read_to_string(bed.folder().join("a/dead-letters.jsonl")).unwrap_or_default();
        letters.contains("no queue").then_some(())
    });
    assert!(!a.log().contains("PRECONDITION"), "{}", a.log());
}
