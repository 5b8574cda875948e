//! Packs' configurations: the results are those of StackStorm's own loader, but for Jinja.

use serde_json::{Value, json};
use st2sa_stackstorm::config::{Config, Error, read};

use crate::Installation;

struct Outcome {
    config: Result<Config, Error>,
    hints: Vec<String>,
}

fn outcome(config: Option<&str>, schema: Option<&str>) -> Outcome {
    let installation = Installation::new();
    for (name, text) in [("demo.yaml", config), ("config.schema.yaml", schema)] {
        if let Some(text) = text {
            installation.write(name, text);
        }
    }
    let mut hints = Vec::new();
    let config = read(Some(&installation.path("demo.yaml")), &installation.path("config.schema.yaml"), &mut hints);
    Outcome { config, hints: hints.iter().map(|hint| installation.shortened(&hint.to_string())).collect() }
}

fn values(config: Option<&str>, schema: Option<&str>) -> Value {
    outcome(config, schema).config.unwrap().values().clone()
}

#[test]
fn nothing_makes_an_empty_mapping() {
    assert_eq!(values(None, None), json!({}));
    assert_eq!(values(Some(""), None), json!({}));
    assert_eq!(Config::default().values(), &json!({}));
}

#[test]
fn defaults_fill_what_is_missing_and_only_that() {
    let schema = "host: {type: string, default: localhost, required: true}\nport: {type: integer, default: 80}\nnone: {default: null}\nplain: {type: string}\n";
    assert_eq!(values(None, Some(schema)), json!({"host": "localhost", "port": 80, "none": null}));
    assert_eq!(
        values(Some("port: null\nother: 1\n"), Some(schema)),
        json!({"port": null, "other": 1, "host": "localhost", "none": null})
    );
}

#[test]
fn nested_objects_and_lists_are_created_and_filled() {
    let schema = "
server:
  type: object
  properties:
    tls:
      type: object
      properties:
        verify: {type: boolean, default: true}
    port: {type: integer, default: 443}
bare: {type: object}
repositories:
  type: array
  items:
    type: object
    properties:
      branch: {type: string, default: main}
";
    assert_eq!(
        values(None, Some(schema)),
        json!({"server": {"tls": {"verify": true}, "port": 443}, "repositories": []})
    );
    assert_eq!(
        values(Some("server: {port: 1}\nrepositories: [{url: a}, {branch: b}]\n"), Some(schema)),
        json!({
            "server": {"port": 1, "tls": {"verify": true}},
            "repositories": [{"url": "a", "branch": "main"}, {"branch": "b"}],
        })
    );
}

#[test]
fn patterns_then_other_properties_give_defaults() {
    let schema = "
devices:
  type: object
  properties:
    fixed: {type: string, default: f}
  patternProperties:
    '^dev': {type: object, properties: {user: {default: admin}}}
  additionalProperties: {type: object, properties: {user: {default: guest}}}
reference: {type: object, $ref: '#/properties/devices'}
";
    assert_eq!(
        values(Some("devices: {dev1: {}, other: {}, dev2: {user: x}}\n"), Some(schema)),
        json!({"devices": {"dev1": {"user": "admin"}, "other": {"user": "guest"}, "dev2": {"user": "x"}, "fixed": "f"}})
    );
}

#[test]
fn values_that_are_not_what_the_schema_says_stay() {
    let schema = "a: {type: object, properties: {b: {default: 1}}}\nc: {type: array, items: {default: 1}}\n";
    assert_eq!(values(Some("a: text\nc: 5\n"), Some(schema)), json!({"a": "text", "c": 5}));
}

#[test]
fn jinja_stays_and_is_pointed_at() {
    let outcome = outcome(
        Some("token: \"{{ st2kv.system.token }}\"\nnested:\n  list:\n    - plain\n    - '{% if x %}1{% endif %}'\n"),
        Some("late: {type: string, default: '{{ st2kv.system.late }}'}\n"),
    );
    let config = outcome.config.unwrap();
    assert_eq!(config.values()["token"], "{{ st2kv.system.token }}");
    assert_eq!(config.values()["late"], "{{ st2kv.system.late }}");
    assert_eq!(config.unrendered(), ["nested.list.1", "token"]);
    assert_eq!(
        outcome.hints,
        [
            "demo.yaml:1: `token` holds Jinja, which only StackStorm can render: sensors get the text as it is written",
            "demo.yaml:5: `nested.list.1` holds Jinja, which only StackStorm can render: sensors get the text as it is \
             written",
        ]
    );
}

#[test]
fn a_configuration_that_stackstorm_refuses_is_pointed_at() {
    let schema = "port: {type: integer, secret: true}\n";
    let hints = outcome(Some("port: hunter2\n"), Some(schema)).hints;
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert!(hints[0].starts_with("demo.yaml: StackStorm would not register this configuration: /port: "), "{hints:?}");
    assert!(!hints[0].contains("hunter2"));
}

#[test]
fn a_broken_schema_gives_no_defaults() {
    for schema in ["", "- a\n", "a: [\n"] {
        let outcome = outcome(Some("a: 1\n"), Some(schema));
        assert_eq!(outcome.config.unwrap().values(), &json!({"a": 1}));
        assert!(outcome.hints[0].contains("gets no defaults"), "{:?}", outcome.hints);
    }
    let outcome = outcome(None, Some("a: {type: object, patternProperties: {'(?=x)': {default: 1}}}\n"));
    assert!(outcome.hints[0].contains("the pattern `(?=x)` cannot be used"), "{:?}", outcome.hints);
}

#[test]
fn what_is_no_configuration_is_refused() {
    for text in ["- a\n", "text\n", "a: [\n", "a: !hunter2\n"] {
        let error = outcome(Some(text), None).config.unwrap_err();
        assert!(error.to_string().contains("demo.yaml"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn defaults_that_multiply_are_refused() {
    let schema = format!(
        "a: {{type: array, items: {{type: object, properties: {{b: {{default: {}}}}}}}}}\n",
        "x".repeat(100_000)
    );
    let error = outcome(Some(&format!("a: [{}]\n", "{}, ".repeat(1000))), Some(&schema)).config.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[test]
fn secrets_reach_no_debug() {
    let config = outcome(Some("token: hunter2\n"), None).config.unwrap();
    assert_eq!(format!("{config:?}"), "Config(1 keys)");
}
