//! Payloads and schemas: the verdicts are those of StackStorm's own validation (jsonschema 4.26).

use serde_json::{Value, json};
use st2sa_stackstorm::payload::Validator;

fn object(properties: &Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn takes(schema: &Value, payload: &Value) -> bool {
    Validator::new(Some(schema)).validate(payload).is_ok()
}

fn problem(schema: &Value) -> String {
    let validator = Validator::new(Some(schema));
    assert!(validator.validate(&json!({})).is_err(), "{schema} takes a payload");
    validator.problem().unwrap_or_else(|| panic!("{schema} is a schema")).to_owned()
}

#[test]
fn no_schema_takes_anything() {
    for schema in [None, Some(json!({})), Some(json!(null))] {
        assert_eq!(Validator::new(schema.as_ref()).validate(&json!([1, "a"])), Ok(()));
    }
}

#[test]
fn required_stands_with_the_property() {
    let schema = object(&json!({"a": {"type": "string", "required": true}}));
    assert!(takes(&schema, &json!({"a": "x"})));
    assert!(!takes(&schema, &json!({})));
    assert!(!takes(&schema, &json!({"a": null})));
    let nested = object(&json!({"a": object(&json!({"b": {"type": "string", "required": true}}))}));
    assert!(takes(&nested, &json!({})));
    assert!(!takes(&nested, &json!({"a": {}})));
}

#[test]
fn optional_properties_may_be_null() {
    let schema = object(&json!({
        "text": {"type": "string"},
        "union": {"type": ["string", "object"]},
        "choice": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "list": {"type": "array", "items": object(&json!({"x": {"type": "string"}}))},
    }));
    assert!(takes(&schema, &json!({"text": null, "union": null, "choice": null, "list": [{"x": null}]})));
    assert!(!takes(&schema, &json!({"text": 1})));
    assert!(!takes(&schema, &json!({"list": [{"x": 1}]})));
    assert!(!takes(&object(&json!({"a": {"enum": ["x"]}})), &json!({"a": null})));
}

#[test]
fn a_property_without_a_type_is_text() {
    assert!(takes(&object(&json!({"a": {}})), &json!({"a": "x"})));
    assert!(!takes(&object(&json!({"a": {"description": "anything?"}})), &json!({"a": 1})));
}

#[test]
fn defaults_count_before_the_check() {
    let schema = object(&json!({"a": {"type": "string", "required": true, "default": "x"}}));
    assert!(takes(&schema, &json!({})));
    assert!(takes(&schema, &json!({"a": null})));
    let nested = object(&json!({"a": object(&json!({"b": {"type": "string", "required": true, "default": "x"}}))}));
    assert!(takes(&nested, &json!({"a": {}})));
}

#[test]
fn numbers_are_those_of_draft_4() {
    let schema = object(&json!({"a": {"type": "integer"}}));
    assert!(takes(&schema, &json!({"a": 1})));
    assert!(!takes(&schema, &json!({"a": 1.0})));
    assert!(!takes(&schema, &json!({"a": true})));
    assert!(takes(&object(&json!({"a": {"type": "string", "format": "date-time"}})), &json!({"a": "no date"})));
}

#[test]
fn a_missing_payload_is_null_and_no_object() {
    assert!(!takes(&object(&json!({"a": {"type": "string"}})), &json!(null)));
    assert!(!takes(&object(&json!({"a": {"type": "string"}})), &json!([])));
}

#[test]
fn references_hold_beside_what_stands_with_them() {
    let schema = json!({
        "type": "object",
        "definitions": {"number": {"type": "integer"}},
        "properties": {
            "a": {"type": "integer", "required": true, "$ref": "#/definitions/number"},
            "b": {"type": "integer", "$ref": "#/definitions/nowhere"},
            "c": {"type": "integer", "$ref": "http://elsewhere/schema"},
            "next": {"type": "object", "$ref": "#"},
        },
    });
    assert!(takes(&schema, &json!({"a": 1})));
    assert!(!takes(&schema, &json!({"a": "x"})));
    assert!(!takes(&schema, &json!({"a": 1, "b": 1})));
    assert!(!takes(&schema, &json!({"a": 1, "c": 1})));
    assert!(takes(&schema, &json!({"a": 1, "next": {"a": 2}})));
    assert!(!takes(&schema, &json!({"a": 1, "next": {"a": "x"}})));
}

#[test]
fn what_is_no_schema_of_the_dialect_takes_nothing() {
    for property in [
        json!({"type": "array", "items": "object"}),
        json!({"type": "date"}),
        json!({"type": "null"}),
        json!({"type": "string", "required": "yes"}),
        json!({"type": "string", "enum": []}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "integer", "exclusiveMinimum": true}),
        json!("string"),
        json!(null),
    ] {
        problem(&object(&json!({ "a": property })));
    }
    problem(&json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}));
    problem(&json!({"type": "object", "properties": ["a"]}));
    problem(&json!(["a"]));
}

#[test]
fn schemas_that_never_end_take_nothing() {
    let selfish =
        json!({"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"allOf": [{"$ref": "#/definitions/a"}]}}});
    assert!(problem(&selfish).contains("back to itself"));

    let mut definitions = serde_json::Map::new();
    for level in 0..40 {
        let below = json!({"$ref": format!("#/definitions/d{}", level + 1)});
        definitions.insert(format!("d{level}"), json!({"allOf": [below, below]}));
    }
    definitions.insert("d40".to_owned(), json!({"type": "object"}));
    let doubling = json!({"definitions": definitions, "allOf": [{"$ref": "#/definitions/d0"}]});
    assert!(problem(&doubling).contains("too long"));
}

#[test]
fn messages_name_the_place_and_not_the_value() {
    let schema = object(&json!({"token": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}}}));
    let message = Validator::new(Some(&schema)).validate(&json!({"token": "hunter2", "list": ["a", 1]})).unwrap_err();
    assert!(!message.contains("hunter2"), "{message}");
    assert!(message.contains("/token: ") && message.contains("/list/1: "), "{message}");
}
