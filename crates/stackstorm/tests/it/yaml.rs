//! YAML, as `PyYAML`'s `safe_load` reads it: every vector here was checked against it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use st2sa_stackstorm::yaml::{self, MAXIMUM_DEPTH, parse};

use crate::Installation;

fn value(text: &str) -> Value {
    parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).value
}

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(document) => panic!("{text:?} was read as {}", document.value),
        Err(error) => error.to_string(),
    }
}

#[test]
fn scalars_are_what_yaml_1_1_makes_of_them() {
    let vectors = [
        ("yes", json!(true)),
        ("on", json!(true)),
        ("OFF", json!(false)),
        ("y", json!("y")),
        ("oN", json!("oN")),
        ("~", json!(null)),
        ("", json!(null)),
        ("NULL", json!(null)),
        ("nULL", json!("nULL")),
        ("010", json!(8)),
        ("-010", json!(-8)),
        ("08", json!("08")),
        ("0o10", json!("0o10")),
        ("0x1F", json!(31)),
        ("0b11", json!(3)),
        ("1_000", json!(1000)),
        ("_1", json!("_1")),
        ("+1", json!(1)),
        ("-0", json!(0)),
        ("1:30", json!(90)),
        ("190:20:30", json!(685_230)),
        ("1:60", json!("1:60")),
        ("01:30", json!("01:30")),
        ("10:00:00", json!(36_000)),
        ("1:30.5", json!(90.5)),
        ("1e3", json!("1e3")),
        ("1.0e3", json!("1.0e3")),
        ("1.0e+3", json!(1000.0)),
        (".5", json!(0.5)),
        ("-.5", json!("-.5")),
        ("1.", json!(1.0)),
        ("1_0.0_1", json!(10.01)),
        ("0.2.0", json!("0.2.0")),
        ("3.10", json!(3.1)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551616", json!("18446744073709551616")),
        (".inf", json!(".inf")),
        ("-.INF", json!("-.INF")),
        (".nan", json!(".nan")),
        ("inf", json!("inf")),
        ("2020-01-01", json!("2020-01-01")),
        ("2020-1-1", json!("2020-1-1")),
        ("2001-12-14t21:59:43.10-05:00", json!("2001-12-14T21:59:43.100000-05:00")),
        ("2001-12-14 21:59:43 Z", json!("2001-12-14T21:59:43+00:00")),
        ("2020-01-01T10:00:00.1234567", json!("2020-01-01T10:00:00.123456")),
        ("2020-01-01T10:00", json!("2020-01-01T10:00")),
        ("5s", json!("5s")),
        ("'5'", json!("5")),
        ("\"yes\"", json!("yes")),
        ("!!str 5", json!("5")),
        ("!!int \"5\"", json!(5)),
        ("!!float 1e3", json!(1000.0)),
        ("!!bool Yes", json!(true)),
        ("!!timestamp \"2001-01-01\"", json!("2001-01-01")),
        ("! \"5\"", json!(5)),
        ("!", json!("")),
    ];
    for (text, expected) in vectors {
        assert_eq!(value(text), expected, "{text:?} alone");
        assert_eq!(value(&format!("a: {text}\n")), json!({ "a": expected }), "{text:?} in a mapping");
    }
}

#[test]
fn scalars_that_the_loader_fails_on_are_refused() {
    for text in ["2020-13-01", "2020-02-30", "0000-01-01", "2020-01-01T25:00:00", "0b_", "0x_", "!!int x", "!!bool x"] {
        refused(text);
    }
    assert!(refused("a: =\n").contains("quotes"));
    assert!(refused("- <<\n").contains("quotes"));
}

#[test]
fn keys_become_what_json_dumps_makes_of_them() {
    assert_eq!(
        value("off: 1\n~: 2\n010: 3\n1.5: 4\n1.0e+20: 5\n2020-01-01: 6\n=: 7\n1:30: 8\n"),
        json!({"false": 1, "null": 2, "8": 3, "1.5": 4, "1e+20": 5, "2020-01-01": 6, "=": 7, "90": 8})
    );
    assert!(refused("? [a]\n: b\n").contains("cannot be a key"));
    assert!(refused("{{ x }}: b\n").contains("cannot be a key"));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(value("a: 1\nb: 2\na: 3\n").to_string(), r#"{"a":3,"b":2}"#);
}

#[test]
fn merges_give_way_to_what_the_mapping_says_itself() {
    assert_eq!(
        value("base: &base {k: 1, l: 2}\nd:\n  k: 0\n  <<: *base\n"),
        json!({"base": {"k": 1, "l": 2}, "d": {"k": 0, "l": 2}})
    );
    assert_eq!(value("<<: [{a: 1}, {a: 2, b: 3}]\n"), json!({"a": 1, "b": 3}));
    assert_eq!(value("<<: {<<: {a: 1}, b: 2}\nc: 3\n"), json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(value("<<: {a: 1}\n<<: {a: 2}\n"), json!({"a": 2}));
    assert_eq!(value("'<<': {a: 1}\n"), json!({"<<": {"a": 1}}));
    refused("<<: 1\n");
    refused("<<:\n");
    refused("<<: [[{a: 1}]]\n");
}

#[test]
fn anchors_repeat_values_and_nothing_is_its_own_part() {
    assert_eq!(value("a: &x {p: [1]}\nb: *x\n"), json!({"a": {"p": [1]}, "b": {"p": [1]}}));
    assert!(refused("a: *nope\n").contains("unknown anchor"));
    assert!(refused("a: &x [*x]\n").contains("stands in"));
    assert!(refused("a: &x 1\nb: &x 2\n").contains("anchor of this name"));
}

#[test]
fn tags_that_json_cannot_hold_are_refused_without_being_repeated() {
    for text in
        ["!!set {a}", "!!omap [a: 1]", "!!binary aGk=", "!!python/object:os.system {}", "!!seq {a: 1}", "!!map [a]"]
    {
        refused(text);
    }
    assert!(!refused("password: !hunter2\n").contains("hunter2"));
}

#[test]
fn block_scalars_keep_their_line_feeds() {
    assert_eq!(value("a: |\n  x\n  y\n"), json!({"a": "x\ny\n"}));
    assert_eq!(value("a: >-\n  x\n  y\n\n  z\n"), json!({"a": "x y\nz"}));
    assert_eq!(value("a: |\n  x"), json!({"a": "x"}));
    assert_eq!(value("a: |\r\n  x\r\n"), json!({"a": "x\n"}));
}

#[test]
fn odd_layouts_of_real_packs_are_read() {
    assert_eq!(value("---\n  a: 1\n  b:\n    - x\n"), json!({"a": 1, "b": ["x"]}));
    assert_eq!(value("a:\n-\n    b: 1\n    c: 2"), json!({"a": [{"b": 1, "c": 2}]}));
    assert_eq!(value("\u{feff}a: 1\n...\n"), json!({"a": 1}));
    assert_eq!(value("# nothing\n"), json!(null));
    assert_eq!(value("{a:1, 'b':2}"), json!({"a:1": null, "b": 2}));
    assert!(refused("a: 1\n---\nb: 2\n").contains("second document"));
}

#[test]
fn mistakes_are_named_by_line_and_column() {
    assert!(refused("a: 1\n b: 2\n").starts_with("line 2, column 3:"));
    let installation = Installation::new();
    let file = installation.write("broken.yaml", "a: [1\n");
    let error = yaml::read(&file).unwrap_err();
    assert!(error.to_string().contains("broken.yaml:1:4:"), "{error}");
    assert_eq!(error.line(), Some(1));
}

#[test]
fn parts_of_a_document_are_found_by_line() {
    let document = parse("a: 1\nb:\n  - c: 2\n\n  - d: 3\n").unwrap();
    assert_eq!(document.line_of(&["b"]), 2);
    assert_eq!(document.line_of(&["b", "1"]), 5);
    assert_eq!(document.line_of(&["b", "1", "d"]), 5);
    assert_eq!(document.line_of(&["b", "7", "x"]), 2);
    assert_eq!(document.line_of(&["nowhere"]), 1);
}

#[test]
fn documents_that_grow_without_end_are_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "m0: &m0 {k: 1}\n".to_owned();
    let mut chain = "c0: &c0 x\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        writeln!(laughs, "a{level}: &a{level} [{}]", vec![format!("*a{below}"); 8].join(", ")).unwrap();
        writeln!(merges, "m{level}: &m{level}\n  <<: [*m{below}, *m{below}, *m{below}]").unwrap();
    }
    for level in 1..=MAXIMUM_DEPTH * 2 {
        writeln!(chain, "c{level}: &c{level} [*c{}]", level - 1).unwrap();
    }
    assert!(refused(&laughs).contains("more than is read"));
    assert!(refused(&merges).contains("more than is read"));
    assert!(refused(&chain).contains("nested too deep"));
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 100].join(","));
    assert!(refused(&text).contains("more than is read"));
    for opening in ["[", "{a: ", "- ", "? "] {
        refused(&opening.repeat(200_000));
    }
    assert!(refused(&"- a\n".repeat(250_000)).contains("more than 200000 values"));
}

#[test]
fn files_that_are_no_text_are_refused() {
    let installation = Installation::new();
    let large = installation.write("large.yaml", &"# long\n".repeat(200_000));
    assert!(yaml::read(&large).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    std::fs::write(installation.path("latin.yaml"), b"a: \xe9\n").unwrap();
    assert!(yaml::read(&installation.path("latin.yaml")).unwrap_err().to_string().contains("byte 3"));
    assert!(yaml::read(&installation.path("")).unwrap_err().to_string().contains("not a regular file"));
}
