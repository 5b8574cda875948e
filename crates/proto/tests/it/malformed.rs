//! What is incomplete, too long or of a wrong shape does not come in; what is newer does no harm.

use prost::Message as _;
use st2sa_core::message::ToArbitrator;
use st2sa_proto::v1::{from_arbitrator, from_container};
use st2sa_proto::{FromArbitrator, FromContainer, v1};

#[test]
fn what_a_container_may_not_send_is_refused_by_the_name_of_its_field() {
    let long = "a".repeat(513);
    let table: Vec<(from_container::Message, &str)> = vec![
        (hello(|hello| hello.name.clear()), "field `hello.name` is empty"),
        (hello(|hello| hello.name.clone_from(&long)), "field `hello.name` has a length of 513, over 512"),
        (hello(|hello| hello.name = "a\u{7}".to_owned()), "field `hello.name` has control characters in it"),
        (hello(|hello| hello.about = None), "field `hello.about` is absent"),
        (hello(|hello| about(hello).host.clone_from(&long)), "field `hello.about.host` has a length of 513, over 512"),
        (
            hello(|hello| about(hello).address = "a\n".to_owned()),
            "field `hello.about.address` has control characters in it",
        ),
        (hello(|hello| hello.highest = Some(v1::Seen::default())), "field `hello.highest.leadership` is absent"),
        (
            hello(|hello| {
                hello.highest = Some(v1::Seen { term: 1, leadership: Some(v1::Token::default()) });
            }),
            "field `hello.highest.leadership.arbitrator` is empty",
        ),
        (
            hello(|hello| hello.labels = (0..65).map(|n| (n.to_string(), String::new())).collect()),
            "field `hello.labels` has a length of 65, over 64",
        ),
        (hello(|hello| hello.labels = [(String::new(), "x".to_owned())].into()), "field `hello.labels.key` is empty"),
        (
            hello(|hello| hello.labels = [("x".to_owned(), long.clone())].into()),
            "field `hello.labels.value` has a length of 513, over 512",
        ),
        (offer(v1::Offer { kind: None, ..sound_offer() }), "field `offers.kind` is absent"),
        (offer(v1::Offer { sensor: String::new(), ..sound_offer() }), "field `offers.sensor` is empty"),
        (offer(v1::Offer { effects: 0, ..sound_offer() }), "field `offers.effects` has the unknown value 0"),
        (offer(v1::Offer { effects: 77, ..sound_offer() }), "field `offers.effects` has the unknown value 77"),
        (
            from_container::Message::Offers(v1::Offers { offers: vec![v1::Offer::default(); 100_001] }),
            "field `offers` has a length of 100001, over 100000",
        ),
        (
            heartbeat(|heartbeat| heartbeat.polled = vec![v1::SensorAge::default()]),
            "field `heartbeat.polled.sensor` is empty",
        ),
        (
            heartbeat(|heartbeat| {
                let claim = v1::Claim { sensor: "pack.Sensor".to_owned(), ..v1::Claim::default() };
                heartbeat.binds = Some(v1::Binding { holds: vec![claim], failed: vec![] });
            }),
            "field `heartbeat.binds.holds.fence` is absent",
        ),
        (
            heartbeat(|heartbeat| heartbeat.reports = vec![v1::Report::default(); 100_001]),
            "field `heartbeat.reports` has a length of 100001, over 100000",
        ),
        (
            from_container::Message::Applied(v1::Applied { sensor: sensor(), fence: None, state: 1 }),
            "field `applied.fence` is absent",
        ),
        (
            from_container::Message::Applied(v1::Applied { sensor: sensor(), fence: fence(), state: 9 }),
            "field `applied.state` has the unknown value 9",
        ),
        (
            from_container::Message::Stopped(v1::Stopped { sensor: sensor(), fence: fence(), ..Default::default() }),
            "field `stopped.cause` has the unknown value 0",
        ),
        (
            from_container::Message::Commit(v1::Commit { sensor: sensor(), entry: None }),
            "field `commit.entry` is absent",
        ),
        (
            from_container::Message::Commit(v1::Commit { sensor: sensor(), entry: Some(v1::Entry::default()) }),
            "field `commit.entry.id` has a length of 0, not 16",
        ),
        (
            from_container::Message::Mark(v1::Mark { sensor: sensor(), entry: vec![0; 17] }),
            "field `mark.entry` has a length of 17, not 16",
        ),
        (
            from_container::Message::Instances(v1::InstanceReports { instances: vec![v1::InstanceReport::default()] }),
            "field `instances.sensor` is empty",
        ),
    ];
    for (message, expected) in table {
        let refused = FromContainer::decode(v1::FromContainer { message: Some(message) }).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn what_an_arbitrator_may_not_send_is_refused_by_the_name_of_its_field() {
    let activation = |journal| v1::Activation { journal: Some(journal), ..v1::Activation::default() };
    let active = |journal| set_status(Some(v1::Active { activation: Some(activation(journal)) }));
    let record = Some(v1::Record { sealed: fence(), ..v1::Record::default() });
    let table: Vec<(from_arbitrator::Message, &str)> = vec![
        (
            from_arbitrator::Message::NameTaken(v1::NameTaken { host: "a".repeat(600), ..Default::default() }),
            "field `name_taken.host` has a length of 600, over 512",
        ),
        (
            from_arbitrator::Message::NotLeader(v1::NotLeader { leader: Some(String::new()) }),
            "field `not_leader.leader` is empty",
        ),
        (from_arbitrator::Message::Welcome(v1::Welcome::default()), "field `welcome.leadership` is absent"),
        (
            from_arbitrator::Message::Welcome(v1::Welcome {
                leadership: Some(v1::Token { arbitrator: "a".to_owned(), ..v1::Token::default() }),
                ..v1::Welcome::default()
            }),
            "field `welcome.registration` is absent",
        ),
        (set_status(None), "field `set_status.status` is absent"),
        (active(v1::Journal::default()), "field `set_status.activation.journal.record` is absent"),
        (
            active(v1::Journal { record: Some(v1::Record::default()), ..v1::Journal::default() }),
            "field `set_status.activation.journal.record.sealed` is absent",
        ),
        (
            active(v1::Journal { record, unapplied: vec![v1::Entry::default()], version: 1 }),
            "field `set_status.activation.journal.unapplied.id` has a length of 0, not 16",
        ),
        (
            from_arbitrator::Message::Committed(v1::Committed { sensor: sensor(), entry: vec![] }),
            "field `committed.entry` has a length of 0, not 16",
        ),
        (from_arbitrator::Message::Marked(v1::Marked::default()), "field `marked.sensor` is empty"),
    ];
    for (message, expected) in table {
        let refused = FromArbitrator::decode(v1::FromArbitrator { message: Some(message) }).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn a_message_of_a_newer_kind_is_ignored() {
    // Field 900, of two bytes.
    let bytes = [0xa2, 0x38, 0x02, 0x08, 0x01];
    let from_container = v1::FromContainer::decode(bytes.as_slice()).unwrap();
    assert_eq!(FromContainer::decode(from_container), Ok(None));
    let from_arbitrator = v1::FromArbitrator::decode(bytes.as_slice()).unwrap();
    assert_eq!(FromArbitrator::decode(from_arbitrator), Ok(None));
}

#[test]
fn a_report_of_a_newer_kind_does_not_cost_the_heartbeat() {
    let message = heartbeat(|heartbeat| heartbeat.reports = vec![v1::Report { report: None }]);
    let decoded = FromContainer::decode(v1::FromContainer { message: Some(message) });
    let Ok(Some(FromContainer::Message(ToArbitrator::Heartbeat(heartbeat)))) = decoded else {
        panic!("not a heartbeat: {decoded:?}");
    };
    assert_eq!(heartbeat.reports, vec![]);
}

fn hello(change: impl FnOnce(&mut v1::Hello)) -> from_container::Message {
    let mut hello = v1::Hello { name: "node-1".to_owned(), about: Some(v1::About::default()), ..v1::Hello::default() };
    change(&mut hello);
    from_container::Message::Hello(hello)
}

fn about(hello: &mut v1::Hello) -> &mut v1::About {
    hello.about.get_or_insert_default()
}

fn offer(offer: v1::Offer) -> from_container::Message {
    from_container::Message::Offers(v1::Offers { offers: vec![offer] })
}

fn sound_offer() -> v1::Offer {
    v1::Offer {
        sensor: sensor(),
        digest: 1,
        previous: None,
        kind: Some(v1::Kind::default()),
        effects: v1::Effects::Direct.into(),
    }
}

fn heartbeat(change: impl FnOnce(&mut v1::Heartbeat)) -> from_container::Message {
    let mut heartbeat = v1::Heartbeat::default();
    change(&mut heartbeat);
    from_container::Message::Heartbeat(heartbeat)
}

fn set_status(active: Option<v1::Active>) -> from_arbitrator::Message {
    let status = active.map(v1::set_status::Status::Active);
    from_arbitrator::Message::SetStatus(v1::SetStatus { sensor: sensor(), fence: fence(), status })
}

fn sensor() -> String {
    "pack.Sensor".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages' fields have it")]
fn fence() -> Option<v1::Fence> {
    Some(v1::Fence { term: 5, n: 12 })
}
