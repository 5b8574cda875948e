//! Fails if core comes to depend on a clock, a runtime, a random number or an order that differs from run to run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What no decision may look at, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time", "core is handed `now`"),
    ("Instant", "core is handed `now`"),
    ("SystemTime", "no decision uses wall-clock time"),
    ("std::thread", "the shell owns every thread"),
    ("std::sync::Mutex", "core shares nothing"),
    ("std::sync::RwLock", "core shares nothing"),
    ("std::net", "core does no I/O"),
    ("std::fs", "core does no I/O"),
    ("std::io", "core does no I/O"),
    ("std::env", "core is configured by its arguments"),
    ("std::process", "core starts nothing"),
    ("HashMap", "its order differs from run to run"),
    ("HashSet", "its order differs from run to run"),
    ("RandomState", "it is random"),
    ("tokio", "core has no runtime"),
    ("async fn", "core has no runtime"),
    ("rand", "core is handed what is random"),
    ("getrandom", "core is handed what is random"),
    ("thread_local!", "a decision depends on nothing but state, time and event"),
    ("static", "a decision depends on nothing but state, time and event"),
    ("println!", "core returns commands"),
    ("eprintln!", "core returns commands"),
    ("print!", "core returns commands"),
    ("dbg!", "core returns commands"),
    ("extern crate", "core depends on nothing"),
    ("unsafe", "core needs none"),
];

/// The one item that may be static: which guard a broken build has disabled.
const ALLOWED: (&str, &str, &str) =
    ("guard.rs", "#[cfg(st2sa_broken)]", "static BROKEN: std::sync::atomic::AtomicUsize");

#[test]
fn core_depends_on_nothing() -> io::Result<()> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let dependencies = dependencies_of(&manifest);
    assert!(dependencies.is_empty(), "crates/core/Cargo.toml: core depends on {dependencies:?}");
    assert!(!root().join("build.rs").exists(), "crates/core/build.rs: core is built from its sources alone");
    Ok(())
}

#[test]
fn core_looks_at_nothing_but_state_time_and_event() -> io::Result<()> {
    let mut found = Vec::new();
    for path in sources(&root().join("src"))? {
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        for (line, word, why) in impurities(&name, &fs::read_to_string(&path)?) {
            found.push(format!("crates/core/{name}:{line}: `{word}`: {why}"));
        }
    }
    assert!(found.is_empty(), "core is not pure:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn what_is_forbidden_is_found_and_what_only_tests_use_is_not() {
    let text = "/// Not rand, in prose.\nfn a() { rand::random() }\n#[cfg(test)]\nmod tests {\n    fn b() { println!() }\n}\n\
                fn c() { let brand = \"std::fs\"; std::fs::read(brand) }\n";
    let found: Vec<_> = impurities("src/a.rs", text).into_iter().map(|(line, word, _)| (line, word)).collect();
    assert_eq!(found, [(2, "rand"), (7, "std::fs")]);
}

#[test]
fn a_dependency_of_any_kind_is_found() {
    let text = "[package]\nname = \"a\"\n[dependencies]\n# none\n[build-dependencies]\ncc = \"1\"\n[dev-dependencies]\nb = \"1\"\n\
                [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n[dependencies.rand]\nversion = \"1\"\n";
    assert_eq!(dependencies_of(text), ["cc = \"1\"", "libc = \"1\"", "[dependencies.rand]"]);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source that is built into core: not the files of its tests.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The lines of a manifest that make core depend on something when it is built.
fn dependencies_of(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            let table = line.trim_matches(['[', ']']);
            let parts: Vec<_> = table.split('.').collect();
            let at = parts.iter().position(|part| matches!(*part, "dependencies" | "build-dependencies"));
            inside = at.is_some_and(|at| at + 1 == parts.len());
            if at.is_some_and(|at| at + 1 < parts.len()) {
                found.push(line);
            }
        } else if inside {
            found.push(line);
        }
    }
    found
}

/// Forbidden words in code that is built, with the line they stand in.
fn impurities(name: &str, text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    let mut skipped_until: Option<String> = None;
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        if let Some(end) = &skipped_until {
            if line == end {
                skipped_until = None;
            }
            continue;
        }
        let code = without_prose(line);
        if before.trim() == "#[cfg(test)]" && line.trim_end().ends_with('{') {
            // The module ends with the brace that stands as far in as its first line.
            let indent = &line[..line.len() - line.trim_start().len()];
            skipped_until = Some(format!("{indent}}}"));
        } else {
            let (file, condition, item) = ALLOWED;
            let allowed = name.ends_with(file) && before.trim() == condition && code.starts_with(item);
            let words = FORBIDDEN.iter().filter(|(word, _)| !allowed && has_word(&code, word));
            found.extend(words.map(|(word, why)| (number + 1, *word, *why)));
        }
        before = line;
    }
    found
}

/// The line without its comment and without what stands in its strings.
fn without_prose(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if in_string => drop(letters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && letters.peek() == Some(&'/') => break,
            letter if !in_string => code.push(letter),
            _ => {}
        }
    }
    code
}

/// Whether `word` stands in `code`, not as a part of a longer name or a lifetime.
fn has_word(code: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(|letter| part(letter) || letter == '\'') && !after.is_some_and(part)
    })
}
