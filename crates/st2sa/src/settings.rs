//! Settings: from a flag or its environment variable, else from the configuration files, else the default.
//!
//! A wrong value names the file and line (or the flag), and what is allowed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use st2sa_stackstorm::ini::Ini;

/// A value that cannot be used: the exit code is 2.
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

/// The configuration files, and the section that one daemon reads.
#[derive(Debug)]
pub(crate) struct Files {
    ini: Ini,
}

impl Files {
    /// Reads the files, later ones over earlier ones.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let ini = Ini::read(paths).map_err(|error| BadSetting::new(with_causes(&error)))?;
        Ok(Self { ini })
    }

    /// Refuses what is no option in a section: a misspelt one would be lost in silence.
    pub(crate) fn only(&self, section: &str, options: &[&str]) -> anyhow::Result<()> {
        for key in self.ini.keys(section) {
            if options.contains(&key) {
                continue;
            }
            let place = self.ini.get(section, key).map(|entry| format!("{}:{}: ", entry.file.display(), entry.line));
            let known = options.join(", ");
            let problem =
                format!("{}`{key}` is no option of [{section}]; there are {known}", place.unwrap_or_default());
            return Err(BadSetting::new(problem).into());
        }
        Ok(())
    }

    /// The flag's value, else the files', if any.
    pub(crate) fn find<T: FromStr>(&self, flag: Option<T>, section: &str, key: &str) -> anyhow::Result<Option<T>>
    where
        T::Err: fmt::Display,
    {
        if flag.is_some() {
            return Ok(flag);
        }
        let Some(entry) = self.ini.get(section, key) else { return Ok(None) };
        let parsed = entry.value.parse().map(Some);
        parsed.map_err(|error| {
            let place = format!("{}:{}", entry.file.display(), entry.line);
            BadSetting::new(format!("{place}: `{key}` of [{section}] is `{}`: {error}", entry.value)).into()
        })
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

fn with_causes(error: &dyn std::error::Error) -> String {
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

    fn files(text: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("st2.conf");
        std::fs::write(&path, text).unwrap();
        Files::read(&[path]).unwrap()
    }

    #[test]
    fn a_flag_counts_more_than_a_file() {
        let files = files("[sensorarbitrator]\nheartbeat = 400ms\n");
        let found = |flag| files.find::<Span>(flag, "sensorarbitrator", "heartbeat").unwrap().unwrap();
        assert_eq!(found(None), Span::from_millis(400));
        assert_eq!(found(Some(Span::from_secs(1))), Span::from_secs(1));
        assert_eq!(files.find::<Span>(None, "sensorarbitrator", "margin").unwrap(), None);
    }

    #[test]
    fn a_wrong_value_names_file_line_option_and_what_is_allowed() {
        let files = files("[sensorarbitrator]\n\nheartbeat = soon\n");
        let error = files.find::<Span>(None, "sensorarbitrator", "heartbeat").unwrap_err().to_string();
        assert!(error.contains("st2.conf:3: `heartbeat` of [sensorarbitrator] is `soon`: a length of time"), "{error}");
    }

    #[test]
    fn an_unknown_option_is_refused_with_those_that_there_are() {
        let files = files("[sensorarbitrator]\nheart_beat = 1\n");
        let error = files.only("sensorarbitrator", &["heartbeat"]).unwrap_err().to_string();
        assert!(
            error.ends_with("st2.conf:2: `heart_beat` is no option of [sensorarbitrator]; there are heartbeat"),
            "{error}"
        );
    }
}
