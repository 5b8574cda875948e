//! Settings: from a flag, else the environment, else the configuration files, else the default; and where each came from.
//!
//! A wrong value names its place, and what is allowed. All that is wrong is said at once.

pub(crate) mod table;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use st2sa_stackstorm::ini::Ini;

pub(crate) use table::{ARBITRATOR, CONTAINER};

/// Values that cannot be used: the exit code is 2.
#[derive(Debug)]
pub(crate) struct BadSetting(String);

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

impl BadSetting {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

/// The settings of one program, as they are read.
pub(crate) struct Settings {
    paths: Vec<PathBuf>,
    ini: Ini,
    environment: fn(&str) -> Option<OsString>,
    effective: RefCell<Vec<Effective>>,
    folders: RefCell<Vec<Folder>>,
    problems: RefCell<Vec<String>>,
}

/// Folders that follow from flags and options, and from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    /// What is in them: `packs`.
    pub(crate) of: &'static str,
    /// In the order in which they count; none where there is none.
    pub(crate) paths: Vec<PathBuf>,
    /// What said so.
    pub(crate) source: String,
}

/// One option's effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// As it was written; none where there is none.
    pub(crate) value: Option<String>,
    /// Where it came from.
    pub(crate) source: String,
}

impl Settings {
    /// Reads the files, later ones over earlier ones.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        Self::with_environment(paths, |name| std::env::var_os(name))
    }

    fn with_environment(paths: &[PathBuf], environment: fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        let ini = Ini::read(paths).map_err(|error| BadSetting::new(with_causes(&error)))?;
        Ok(Self {
            paths: paths.to_owned(),
            ini,
            environment,
            effective: RefCell::default(),
            folders: RefCell::default(),
            problems: RefCell::default(),
        })
    }

    /// Notes what is no option in a section of ours: a misspelt one would be lost in silence.
    pub(crate) fn only_known(&self, section: &str) {
        let known: Vec<&str> =
            table::OPTIONS.iter().filter(|spec| spec.section == section).map(|spec| spec.name).collect();
        for key in self.ini.keys(section) {
            if table::find(section, key).is_some() {
                continue;
            }
            let place = self.ini.get(section, key).map(|entry| format!("{}:{}: ", entry.file.display(), entry.line));
            let place = place.unwrap_or_default();
            self.wrong(format!("{place}`{key}` is no option of [{section}]; there are {}", known.join(", ")));
        }
    }

    /// An option's value: the flag's, the environment's, the files', or the default; none where there is none, or where it
    /// is wrong, which [`Settings::finish`] says.
    pub(crate) fn get<T: FromStr>(&self, flag: Option<&str>, section: &'static str, name: &'static str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let spec = table::find(section, name);
        let (value, source) = self.look_up(flag, section, name, spec);
        let effective = Effective { section, name, value: value.as_deref().map(masked), source: source.clone() };
        self.effective.borrow_mut().push(effective);
        let value = value?;
        match value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let shown = masked(&value);
                self.wrong(format!("{source}: `{name}` of [{section}] is `{shown}`: {error}"));
                None
            }
        }
    }

    fn look_up(
        &self,
        flag: Option<&str>,
        section: &str,
        name: &str,
        spec: Option<&'static table::Spec>,
    ) -> (Option<String>, String) {
        if let Some(flag) = flag {
            let shown = if name == "sensor_node_name" { "name".to_owned() } else { name.replace('_', "-") };
            return (Some(flag.to_owned()), format!("--{shown}"));
        }
        if let Some(variable) = spec.and_then(table::Spec::environment)
            && let Some(value) = (self.environment)(&variable)
        {
            return (Some(value.to_string_lossy().into_owned()), variable);
        }
        if let Some(entry) = self.ini.get(section, name) {
            return (Some(entry.value.clone()), format!("{}:{}", entry.file.display(), entry.line));
        }
        (spec.and_then(|spec| spec.default).map(str::to_owned), "default".to_owned())
    }

    /// Notes an option that is not set, and what is taken instead.
    pub(crate) fn found_out(&self, section: &str, name: &str, value: &str) {
        for effective in self.effective.borrow_mut().iter_mut() {
            if effective.section == section && effective.name == name && effective.value.is_none() {
                effective.value = Some(value.to_owned());
            }
        }
    }

    /// Notes something that is wrong.
    pub(crate) fn wrong(&self, problem: String) {
        self.problems.borrow_mut().push(problem);
    }

    /// Where an option's value came from.
    pub(crate) fn source(&self, section: &str, name: &str) -> String {
        let effective = self.effective.borrow();
        let found = effective.iter().rev().find(|option| option.section == section && option.name == name);
        found.map_or_else(|| "default".to_owned(), |option| option.source.clone())
    }

    /// Notes which folders count, and what said so.
    pub(crate) fn found_folders(&self, of: &'static str, paths: Vec<PathBuf>, source: String) {
        self.folders.borrow_mut().push(Folder { of, paths, source });
    }

    /// All folders that were found.
    pub(crate) fn folders(&self) -> Vec<Folder> {
        self.folders.borrow().clone()
    }

    /// All options that were read, in the order of the reading.
    pub(crate) fn effective(&self) -> Vec<Effective> {
        self.effective.borrow().clone()
    }

    /// The files that were read.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Refuses, if anything was wrong.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let problems = self.problems.borrow();
        if problems.is_empty() { Ok(()) } else { Err(BadSetting::new(problems.join("\nerror: ")).into()) }
    }
}

/// `True` and `False` as StackStorm's files have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Self(true)),
            "false" | "0" | "no" | "off" => Ok(Self(false)),
            _ => Err("`True` and `False` are allowed".to_owned()),
        }
    }
}

/// Without the users and the passwords of URLs, also where they stand among their options.
pub(crate) fn masked(value: &str) -> String {
    let urls = value.split(',').all(|part| part.contains("://"));
    if urls { value.split(',').map(masked_url).collect::<Vec<_>>().join(",") } else { masked_url(value) }
}

fn masked_url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let mut end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What is no port is the beginning of a password that has one of these in it.
    let is_port = |text: &str| text.chars().all(|character| character.is_ascii_digit());
    if !rest[..end].contains('@')
        && rest[..end].rsplit_once(':').is_some_and(|(host, port)| !host.starts_with('[') && !is_port(port))
    {
        end = rest.rfind('@').map_or(end, |at| at + 1);
    }
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("…@{}", &rest[at + 1..]),
        None => rest.to_owned(),
    };
    let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}://{rest}") };
    let masked = query.split('&').map(|option| match option.split_once('=') {
        Some((name, _)) if name.contains("password") || name.contains("token") => format!("{name}=…"),
        _ => option.to_owned(),
    });
    format!("{scheme}://{place}?{}", masked.collect::<Vec<_>>().join("&"))
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use st2sa_core::time::Span;

    use super::*;

    fn settings(text: &str) -> Settings {
        fn environment(name: &str) -> Option<OsString> {
            (name == "ST2SA_SENSORARBITRATOR_MARGIN").then(|| "150ms".into())
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("st2.conf");
        std::fs::write(&path, text).unwrap();
        Settings::with_environment(&[path], environment).unwrap()
    }

    #[test]
    fn a_flag_counts_more_than_the_environment_that_more_than_a_file_and_that_more_than_the_default() {
        let settings = settings("[sensorarbitrator]\nheartbeat = 300ms\nmargin = 100ms\n");
        let get = |flag, name| {
            let value = settings.get::<Span>(flag, ARBITRATOR, name).unwrap().as_millis();
            let source = settings.source(ARBITRATOR, name);
            (value, source.rsplit('/').next().unwrap_or_default().to_owned())
        };
        assert_eq!(get(None, "session_ttl"), (2_000, "default".to_owned()));
        assert_eq!(get(None, "heartbeat"), (300, "st2.conf:2".to_owned()));
        assert_eq!(get(None, "margin"), (150, "ST2SA_SENSORARBITRATOR_MARGIN".to_owned()));
        assert_eq!(get(Some("1s"), "margin"), (1_000, "--margin".to_owned()));
        settings.finish().unwrap();
    }

    #[test]
    fn every_default_can_be_read() {
        let settings = settings("");
        for spec in table::OPTIONS.iter().chain(table::STACKSTORMS) {
            let value = settings.get::<String>(None, spec.section, spec.name);
            assert_eq!(value.as_deref(), spec.default.filter(|_| spec.name != "margin").or(value.as_deref()));
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place_and_what_is_allowed() {
        let settings = settings("[sensorarbitrator]\n\nheartbeat = soon\nheart_beat = 1\n");
        settings.only_known(ARBITRATOR);
        assert!(settings.get::<Span>(None, ARBITRATOR, "heartbeat").is_none());
        assert!(settings.get::<Span>(Some("now"), ARBITRATOR, "margin").is_none());
        let error = settings.finish().unwrap_err().to_string();
        assert!(error.contains("st2.conf:3: `heartbeat` of [sensorarbitrator] is `soon`: a length of time"), "{error}");
        assert!(
            error.contains("st2.conf:4: `heart_beat` is no option of [sensorarbitrator]; there are listen, "),
            "{error}"
        );
        assert!(error.contains("\nerror: --margin: `margin` of [sensorarbitrator] is `now`: a length"), "{error}");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(masked("redis://user:secret@host:6379/0?x=y"), "redis://…@host:6379/0?x=y");
        assert_eq!(masked("redis://host:6379?sentinel=a@b"), "redis://host:6379?sentinel=a@b");
        assert_eq!(masked("file:/a@b"), "file:/a@b");
        assert_eq!(masked("amqp://u:secret@a//, amqp://u:secret@b/"), "amqp://…@a//, amqp://…@b/");
        assert_eq!(masked("amqp://u:sec/ret@host/x"), "amqp://…@host/x");
        assert_eq!(masked("http://[::1]:80/a@b?token=secret"), "http://[::1]:80/a@b?token=…");
        assert_eq!(masked("redis://host?sentinel=a&password=secret"), "redis://host?sentinel=a&password=…");
    }
}
