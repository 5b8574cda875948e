//! The INI dialect, as oslo.config reads it.

use std::path::Path;

use st2sa_stackstorm::ini::Ini;

use crate::Installation;

fn parsed(text: &str) -> Ini {
    let mut ini = Ini::default();
    ini.add(Path::new("st2.conf"), text).unwrap();
    ini
}

fn value(text: &str, key: &str) -> Option<String> {
    parsed(&format!("[a]\n{text}")).get("a", key).map(|entry| entry.value.clone())
}

fn refused(text: &str) -> String {
    Ini::default().add(Path::new("st2.conf"), text).unwrap_err().to_string()
}

#[test]
fn the_first_equals_sign_or_colon_ends_the_key() {
    assert_eq!(value("key = value\n", "key").as_deref(), Some("value"));
    assert_eq!(value("key: value\n", "key").as_deref(), Some("value"));
    assert_eq!(value("url = redis://:p@host:6379/0?x=1\n", "url").as_deref(), Some("redis://:p@host:6379/0?x=1"));
    assert_eq!(value("key: a = b\n", "key").as_deref(), Some("a = b"));
    assert_eq!(value("key =\n", "key").as_deref(), Some(""));
}

#[test]
fn one_pair_of_quotes_is_taken_off() {
    assert_eq!(value("key = \"a # b\"\n", "key").as_deref(), Some("a # b"));
    assert_eq!(value("key = 'a'\n", "key").as_deref(), Some("a"));
    assert_eq!(value("key = \"a'\n", "key").as_deref(), Some("\"a'"));
    assert_eq!(value("key = \"\n", "key").as_deref(), Some(""));
}

#[test]
fn only_a_line_that_starts_with_a_mark_is_a_comment() {
    let ini = parsed("# one\n; two\n[a]\n#key = 1\nkey = 2 # not a comment\n");
    assert_eq!(ini.get("a", "key").unwrap().value, "2 # not a comment");
    assert_eq!(ini.keys("a").collect::<Vec<_>>(), ["key"]);
}

#[test]
fn indented_lines_continue_the_value() {
    assert_eq!(value("key = one\n  two\n\tthree\n\nother = 1\n", "key").as_deref(), Some("one\ntwo\nthree"));
}

#[test]
fn of_repeated_keys_and_sections_the_last_counts() {
    let ini = parsed("[a]\nkey = 1\n[b]\nkey = 2\n[A]\nkey = 3\nother = 4\n");
    assert_eq!(ini.get("a", "key").unwrap().value, "3");
    assert_eq!(ini.get("a", "key").unwrap().line, 6);
    assert_eq!(ini.sections().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn default_is_written_in_capitals() {
    let ini = parsed("[DEFAULT]\nkey = 1\n[default]\nkey = 2\n");
    assert_eq!(ini.get("DEFAULT", "key").unwrap().value, "1");
    assert_eq!(ini.get("default", "key").unwrap().value, "2");
}

#[test]
fn later_files_override_earlier_ones_key_by_key() {
    let installation = Installation::new();
    let first = installation.write("st2.conf", "[coordination]\nurl = redis://a\nprefix = st2\n");
    let second = installation.write("local.conf", "[coordination]\nurl = redis://b\n");
    let ini = Ini::read(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(ini.get("coordination", "url").unwrap().value, "redis://b");
    assert_eq!(ini.get("coordination", "url").unwrap().file, second);
    assert_eq!(ini.get("coordination", "prefix").unwrap().file, first);
}

#[test]
fn what_is_wrong_is_named_by_file_and_line() {
    assert!(refused("[a]\nno value here\n").starts_with("st2.conf:2: neither"));
    assert!(refused("key = 1\n").starts_with("st2.conf:1: a key before the first section"));
    assert!(refused("[a]\n= 1\n").starts_with("st2.conf:2: there is no key"));
    assert!(refused("[a\n").starts_with("st2.conf:1: a section ends"));
    assert!(refused("[]\n").starts_with("st2.conf:1: a section needs a name"));
    assert!(refused("[a]\n  stray\n").starts_with("st2.conf:2: a continuation of nothing"));
    assert!(refused("[a]\nkey = 1\n# comment\n  stray\n").starts_with("st2.conf:4: a continuation of nothing"));
    assert!(Ini::read(&["/nowhere/st2.conf".into()]).unwrap_err().to_string().contains("/nowhere/st2.conf"));
}

#[test]
fn passwords_reach_neither_messages_nor_debug() {
    let ini = parsed("[messaging]\nurl = amqp://guest:hunter2@host\n");
    assert!(!format!("{ini:?}").contains("hunter2"));
    assert!(!refused("[a]\nhunter2\n").contains("hunter2"));
}
