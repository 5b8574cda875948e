//! Tests that the documentation names: each has to exist, or what it is said to show is shown by nobody.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A name in the documentation: `shared/cases.rs::a_killed_leader_is_followed`, in backquotes.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    file: &'a str,
    test: &'a str,
}

/// Looks each of them up.
pub(crate) fn check() -> Result<()> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(workspace::root().join(&path));
        text.with_context(|| format!("failed to read `{}`", path.display())).map(|text| (path, text))
    };
    let sources = workspace::tracked("*.rs")?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut faults = Vec::new();
    for page in workspace::tracked("*.md")? {
        let (page, text) = read(page)?;
        for Named { file, test } in named(&text) {
            let mut places = sources.iter().filter(|(path, _)| path.ends_with(file));
            let made = || sources.iter().any(|(_, source)| is_given(source, test));
            let is_test = |source: &str| match standing(source, test) {
                Standing::Marked => true,
                Standing::Public => made(),
                Standing::Elsewhere => is_given(source, test),
            };
            if !places.any(|(_, source)| is_test(source)) {
                faults.push(format!("{} names `{file}::{test}`, which is no test", page.display()));
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

fn named(page: &str) -> Vec<Named<'_>> {
    let spans = page.split('`').skip(1).step_by(2);
    let named = |span| {
        let (file, test) = str::split_once(span, ".rs::")?;
        Some(Named { file: &span[..file.len() + ".rs".len()], test })
    };
    spans.filter_map(named).collect()
}

/// What a source makes of a name.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// A function that is marked as a test.
    Marked,
    /// A function of which other modules may make tests, with a macro.
    Public,
    /// Nothing, or a function that is a test only if a macro beside it makes one of it.
    Elsewhere,
}

fn standing(source: &str, test: &str) -> Standing {
    let is_definition = |line: &str| {
        let rest = line.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(test));
        rest.is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    let lines: Vec<&str> = source.lines().collect();
    let Some(at) = lines.iter().position(|line| is_definition(line)) else { return Standing::Elsewhere };
    let mut attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
    if attributes.any(|line| line.contains("test]") || line.contains("test(")) {
        Standing::Marked
    } else if lines[at].trim_start().starts_with("pub") {
        Standing::Public
    } else {
        Standing::Elsewhere
    }
}

/// Whether a macro is given this name, alone or in a list.
fn is_given(source: &str, test: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    source.match_indices(test).any(|(at, _)| {
        let before = source[..at].trim_end();
        let after = source[at + test.len()..].trim_start();
        let whole = !source[..at].ends_with(is_name) && !source[at + test.len()..].starts_with(is_name);
        whole && before.ends_with(['(', ',', ';']) && after.starts_with([')', ','])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_backquotes_only() {
        let page = "see `it/a.rs::one_is_two`, `a.rs` and b.rs::no (`cargo test`); `c.rs::three`";
        let found = [Named { file: "it/a.rs", test: "one_is_two" }, Named { file: "c.rs", test: "three" }];
        assert_eq!(named(page), found);
    }

    #[test]
    fn a_function_is_marked_or_public_or_given_to_a_macro() {
        let stands = |source| standing(source, "one_is_one");
        assert_eq!(stands("#[test]\nfn one_is_one() {}\n"), Standing::Marked);
        assert_eq!(stands("#[tokio::test(flavor = \"x\")]\nasync fn one_is_one() {}\n"), Standing::Marked);
        assert_eq!(stands("pub(super) fn one_is_one<S: Store>() {}\n"), Standing::Public);
        assert_eq!(stands("#[test]\nfn one_is_one_and_more() {}\n"), Standing::Elsewhere);
        assert!(is_given("on_every_engine!(\n    zero,\n    one_is_one,\n);\n", "one_is_one"));
        assert!(is_given("on_every_engine!(one_is_one)", "one_is_one"));
        assert!(!is_given("on_every_engine!(zero, one_is_one_and_more)", "one_is_one"));
        assert!(!is_given("// one_is_one\nfn one_is_one() {}\n", "one_is_one"));
    }
}
