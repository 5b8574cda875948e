//! Triggers: what sensors get with `add_trigger`, and what they dispatch.

use serde_json::{Value, json};
use st2sa_core::names::SensorRef;
use st2sa_stackstorm::packs::Packs;

use crate::Installation;

const METADATA: &str = "
class_name: FileWatchSensor
entry_point: sensor.py
trigger_types:
  - name: file.changed
    parameters_schema:
      type: object
      properties:
        file_path: {type: string, required: true}
  - name: ready
    payload_schema: {type: object, properties: {n: {type: integer}}}
";

fn rule(parameters: &str) -> String {
    format!(
        "name: r\nenabled: false\ntrigger:\n  type: demo.file.changed\n  parameters: {parameters}\naction: {{ref: core.noop}}\n"
    )
}

fn triggers(packs: &Packs) -> Vec<Value> {
    packs.triggers_of(&packs.sensors[&SensorRef::new("demo.FileWatchSensor")])
}

#[test]
fn a_type_without_parameters_has_one_trigger_of_its_name() {
    let installation = Installation::with_sensor(METADATA);
    let triggers = triggers(&installation.read());
    assert_eq!(triggers.len(), 1);
    let id = triggers[0]["id"].as_str().unwrap();
    assert_eq!(id.len(), 24);
    assert_eq!(
        triggers[0],
        json!({
            "uid": "trigger:demo:ready:99914b932bd37a50b983c5e7c90ae93b",
            "ref": "demo.ready",
            "name": "ready",
            "pack": "demo",
            "type": "demo.ready",
            "parameters": {},
            "id": id,
        })
    );
}

#[test]
fn rules_of_any_pack_make_triggers_with_parameters() {
    let installation = Installation::with_sensor(METADATA);
    installation.pack("other");
    installation.write("packs/demo/rules/one.yaml", &rule("{file_path: /a, options: {é: [1.5, null]}}"));
    installation.write("packs/demo/rules/same.yml", &rule("{options: {é: [1.5, null]}, file_path: /a}"));
    installation.write("packs/other/rules/two.yaml", &rule("{file_path: /b}"));
    let packs = installation.read();
    let triggers = triggers(&packs);
    assert_eq!(installation.hints(&packs), [] as [&str; 0]);
    assert_eq!(triggers.len(), 3);

    let first = triggers.iter().find(|trigger| trigger["parameters"]["file_path"] == "/a").unwrap();
    let name = first["name"].as_str().unwrap();
    // hashlib.md5(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    assert_eq!(first["uid"], format!("trigger:demo:{name}:00c02fba04d3947edd3644767ff9499f"));
    assert_eq!(first["ref"], format!("demo.{name}"));
    assert_eq!(first["type"], "demo.file.changed");
    assert_eq!((name.len(), name.as_bytes()[14]), (36, b'4'));
    assert_eq!(triggers, self::triggers(&installation.read()));
}

#[test]
fn rules_that_stackstorm_refuses_make_none() {
    let installation = Installation::with_sensor(METADATA);
    installation.write("packs/demo/rules/1.yaml", &rule("{file_path: 5}"));
    installation.write("packs/demo/rules/2.yaml", &rule("{}"));
    installation.write("packs/demo/rules/3.yaml", &rule("[a]"));
    installation.write("packs/demo/rules/4.yaml", "trigger: [\n");
    installation.write("packs/demo/rules/5.yaml", &format!("pack: other\n{}", rule("{file_path: /a}")));
    installation.write("packs/demo/rules/6.yaml", "trigger: {type: core.st2.webhook, parameters: {url: x}}\n");
    let packs = installation.read();
    assert_eq!(triggers(&packs).len(), 1);
    let hints = installation.hints(&packs);
    assert_eq!(hints.len(), 5, "{hints:#?}");
    assert!(hints[0].starts_with("packs/demo/rules/1.yaml:5: no sensor hears of this rule's parameters: `demo.file"));
    assert!(
        hints[1].contains("2.yaml") && hints[2].contains("3.yaml") && hints[3].contains("4.yaml:1: "),
        "{hints:#?}"
    );
    assert!(hints[4].contains("its `pack` is \"other\""), "{hints:#?}");
}

#[test]
fn a_dispatched_trigger_leads_to_its_type() {
    let installation = Installation::with_sensor(METADATA);
    installation.write("packs/demo/rules/one.yaml", &rule("{file_path: /a}"));
    let packs = installation.read();
    let type_of = |trigger: &Value| packs.trigger_type_of(trigger).map(|kind| kind.reference.as_str());
    let watch = triggers(&packs).into_iter().find(|trigger| trigger["type"] == "demo.file.changed").unwrap();

    assert_eq!(type_of(&json!("demo.ready")), Some("demo.ready"));
    assert_eq!(type_of(&watch["ref"]), Some("demo.file.changed"));
    assert_eq!(type_of(&watch), Some("demo.file.changed"));
    assert_eq!(type_of(&json!({"id": watch["id"]})), Some("demo.file.changed"));
    assert_eq!(type_of(&json!({"uid": watch["uid"]})), Some("demo.file.changed"));
    assert_eq!(type_of(&json!({"type": "demo.ready", "id": "000000000000000000000000"})), Some("demo.ready"));
    for nothing in [json!("demo.nothing"), json!({"name": "ready", "pack": "demo"}), json!(null), json!(5), json!("")] {
        assert_eq!(type_of(&nothing), None, "{nothing}");
    }

    let ready = packs.trigger_type_of(&json!("demo.ready")).unwrap();
    assert_eq!(ready.validate(&json!({"n": 1})), Ok(()));
    assert!(ready.validate(&json!({"n": "x"})).is_err());
}
