//! The Python part: lints and formatting of all tracked Python files by ruff; the host's grammar and tests under every
//! Python that it supports and that is there, and its tests with eventlet and Flask.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::needs;
use crate::program::Program;
use crate::workspace;

const RUFF_VERSION: &str = "0.17.6";

/// What the tests in `python/tests_green` import, with the versions that they were last seen to pass with.
const GREEN_PACKAGES: &[&str] = &["eventlet==0.41.3", "flask==3.1.3"];

/// The oldest Python whose virtualenvs StackStorm still has.
const OLDEST: (u32, u32) = (3, 8);

/// Parses files as the oldest Python would.
const PARSE: &str = "import ast, sys
for path in sys.argv[1:]:
    with open(path, encoding='utf-8') as source:
        ast.parse(source.read(), path, feature_version=(3, 8))";

/// Says which Python it is, the same for all its names.
const WHO: &str = "import os, sys; print(*sys.version_info[:3], os.path.realpath(sys.executable))";

/// The tracked Python files.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    workspace::tracked("*.py")
}

/// Checks lints, formatting and the host's grammar, and runs its tests.
pub(crate) fn check() -> Result<()> {
    needs::PYTHON_VENV.ensure()?;
    let faults: Vec<String> = [lints, format, grammar, tests, green_tests]
        .into_iter()
        .filter_map(|check| check().err())
        .map(|fault| format!("{fault:#}"))
        .collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// Formats the files.
pub(crate) fn fix() -> Result<()> {
    ruff(&["format"])?.run()
}

fn lints() -> Result<()> {
    ruff(&["check"])?.run()
}

fn format() -> Result<()> {
    ruff(&["format", "--check"])?.run()
}

fn grammar() -> Result<()> {
    let host: Vec<PathBuf> = files()?.into_iter().filter(|file| file.starts_with("python/st2sa_host")).collect();
    Program::new("python3").args(["-c", PARSE]).args(host).run()
}

fn tests() -> Result<()> {
    let pythons = pythons();
    if pythons.is_empty() {
        bail!("no Python {}.{} or later was found: put one into PATH", OLDEST.0, OLDEST.1);
    }
    let mut failed = Vec::new();
    for Python { version, executable } in pythons {
        let (major, minor, patch) = version;
        eprintln!("Python {major}.{minor}.{patch}:");
        if suite(&executable, "python/tests").run().is_err() {
            failed.push(format!("{major}.{minor}.{patch}"));
        }
    }
    if !failed.is_empty() {
        bail!("the host's tests failed under Python {}", failed.join(", "));
    }
    Ok(())
}

fn green_tests() -> Result<()> {
    let venv = workspace::tools_dir().join("eventlet");
    let python = venv.join("bin/python");
    let versions = "import importlib.metadata as m, sys; print(*(f'{n}=={m.version(n)}' for n in sys.argv[1:]))";
    let names = GREEN_PACKAGES.iter().filter_map(|package| package.split("==").next());
    let installed = Program::new(&python).args(["-c", versions]).args(names).answer();
    if installed != Some(GREEN_PACKAGES.join(" ")) {
        install(&venv, GREEN_PACKAGES)?;
    }
    suite(&python, "python/tests_green").run()
}

fn suite(python: &Path, folder: &str) -> Program {
    Program::new(python)
        .args(["-m", "unittest", "discover", "--start-directory", folder, "--top-level-directory", "python"])
        // The gate writes nothing beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
}

/// A Python, the oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Python {
    version: (u32, u32, u32),
    executable: PathBuf,
}

/// Every Python that is new enough, each once whatever names it has.
fn pythons() -> BTreeSet<Python> {
    candidates().into_iter().filter_map(|name| described(&Program::new(name).args(["-c", WHO]).answer()?)).collect()
}

fn candidates() -> Vec<PathBuf> {
    let pyenv = env::home_dir().unwrap_or_default().join(".pyenv/versions");
    let mut names = vec![PathBuf::from("python3")];
    names.extend(entries(&pyenv).into_iter().map(|version| version.join("bin/python3")));
    names.extend(entries(Path::new("/usr/bin")).into_iter().filter(|path| is_python(path)));
    names
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Whether that is named `python3` or `python3.N`, not `python3-config` and such.
fn is_python(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("python3")
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(|minor| minor.parse::<u32>().is_ok()))
}

/// What a Python said of itself, if it is new enough.
fn described(answer: &str) -> Option<Python> {
    let mut words = answer.splitn(4, ' ');
    let mut number = || words.next()?.parse().ok();
    let version = (number()?, number()?, number()?);
    let executable = PathBuf::from(words.next()?);
    ((version.0, version.1) >= OLDEST).then_some(Python { version, executable })
}

fn ruff(args: &[&str]) -> Result<Program> {
    let venv = workspace::tools_dir().join("ruff");
    let program = venv.join("bin/ruff");
    let installed = Program::new(&program).args(["--version"]).answer();
    if installed != Some(format!("ruff {RUFF_VERSION}")) {
        install(&venv, &[&format!("ruff=={RUFF_VERSION}")])?;
    }
    Ok(Program::new(&program).args(args).args(["--no-cache", "--"]).args(files()?))
}

fn install(venv: &Path, packages: &[&str]) -> Result<()> {
    Program::new("python3").args(["-m", "venv", "--clear"]).args([venv]).run()?;
    Program::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(packages)
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_is_known_by_its_own_word_if_it_is_new_enough() {
        let expected = Python { version: (3, 11, 7), executable: "/opt/my python/bin/python3.11".into() };
        assert_eq!(described("3 11 7 /opt/my python/bin/python3.11"), Some(expected));
        assert_eq!(described("3 7 16 /usr/bin/python3.7"), None);
        assert_eq!(described("Traceback"), None);
        assert_eq!(described(""), None);
    }

    #[test]
    fn only_interpreters_are_taken_for_pythons() {
        for (name, expected) in
            [("python3", true), ("python3.8", true), ("python3.13", true), ("python3-config", false), ("python", false)]
        {
            assert_eq!(is_python(&Path::new("/usr/bin").join(name)), expected, "{name}");
        }
    }
}
