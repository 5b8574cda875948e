//! The daemons' logs: text or JSON lines on the standard error.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogOptions {
    /// Text for people, or one JSON object a line
    #[arg(long, value_enum, env = "ST2SA_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What to log: a level (error, warn, info, debug), or directives such as `info,sensor=warn`
    #[arg(long, env = "ST2SA_LOG", default_value = DEFAULT, value_name = "FILTER", value_parser = filter)]
    log: String,
}

/// What is logged where nothing else is asked for.
const DEFAULT: &str = "info";

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    Text,
    Json,
}

impl LogOptions {
    /// The same options as a command line has them, for a process of ours that is started.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![format!("--log-format={format}"), format!("--log={}", self.log)]
    }

    /// The same for a program whose answer is what counts: without more being asked for, it logs nothing but errors, and
    /// of those none that are its answer.
    pub(crate) fn quiet(&self) -> Self {
        let answers = "st2sa_container::nursery::heard=off";
        let log = if self.log == DEFAULT { format!("error,{answers}") } else { self.log.clone() };
        Self { log_format: self.log_format, log }
    }
}

/// Begins to log. A filter that is not understood counts as `info`, and is said to.
pub(crate) fn start(options: &LogOptions) {
    let (filter, problem) = match EnvFilter::try_new(&options.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    // The client of RabbitMQ logs whole messages, payloads included; what matters of them the sink says.
    let own = (!options.log.contains("lapin")).then(|| "lapin=off".parse().ok()).flatten();
    let filter = own.into_iter().fold(filter, EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever read the log may have gone: that is no reason to stop.
    let builder = builder.log_internal_errors(false);
    // No escape codes in files: logs go to a service manager's journal or to a file.
    let started = match options.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        eprintln!("warning: the log could not be started: {error}");
    }
    if let Some(problem) = problem {
        tracing::warn!(filter = options.log, %problem, "the log's filter is not understood: `info` counts");
    }
}

/// A filter whose every part is a level, or gives one to something.
fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let understood = |part: &str| is_level(part.rsplit('=').next().unwrap_or(part).trim());
    if text.split(',').all(understood) {
        return Ok(text.to_owned());
    }
    Err(format!("give a level ({}), or levels of parts: `info,sensor=warn`", LEVELS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_would_silence_everything_is_refused() {
        assert!(filter("info,sensor=warn").is_ok() && filter("DEBUG").is_ok());
        assert!(filter("chatty").is_err() && filter("").is_err() && filter("info,sensor=loud").is_err());
    }
}
