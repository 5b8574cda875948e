//! `st2sa logs`: what a sensor wrote, wherever it ran.

use clap::Args;
use st2sa_proto::rest::{self, LogLine, Sensor, word};

use super::client::{Client, Document, Request};
use super::failure::{Failure, Stop};
use super::follow::{self, Asked};
use super::lines::{End, Lines};
use super::paper::Paper;
use super::seen::{SAID_AGAIN, SeenLines};
use super::table::{self, Tone};
use super::{Common, Output, reference, wait, words};

/// What did a sensor write?
#[derive(Args)]
pub(crate) struct LogsQuestion {
    /// The sensor, pack.ClassName
    #[arg(value_name = "REF", value_parser = reference)]
    sensor: String,
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest lines to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    #[command(flatten)]
    common: Common,
}

impl LogsQuestion {
    pub(crate) async fn ask(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.common.client()?;
        if self.follow { self.follow(&client, paper).await } else { self.show(&client, paper).await }
    }

    async fn show(&self, client: &Client, paper: &mut Paper) -> Result<(), Stop> {
        let request = self.request(self.lines.to_string(), false);
        let mut lines = wait::for_it(paper, "the arbitrator", client.lines(&request)).await?;
        let mut any = false;
        loop {
            match wait::for_it(paper, "lines", lines.next()).await {
                Ok(line) => self.write(paper, &line)?,
                Err(End::Said) if !any => return Err(self.nothing(client).await.into()),
                Err(End::Said) => return Ok(()),
                Err(End::Lost(how)) => return Err(Failure::unreachable(lost(&lines, &how)).into()),
                Err(End::Silent) => return Err(Failure::unreachable(lost(&lines, "nothing came for 60 s")).into()),
                Err(End::Unexpected(failure)) => return Err(failure.into()),
            }
            any = true;
        }
    }

    /// One that has written nothing may not have got so far: then what stopped it is the answer.
    async fn nothing(&self, client: &Client) -> Failure {
        let request = Request { path: rest::SENSOR, reference: Some(self.sensor.clone()), ..Request::default() };
        let instances = client.document::<Sensor>(&request).await.map(|sensor| sensor.known.instances);
        let errors: Vec<String> = instances
            .unwrap_or_default()
            .iter()
            .filter(|instance| instance.failing)
            .filter_map(|instance| {
                Some(format!("\n  {}: {}", instance.container, instance.last_error.as_deref()?.trim()))
            })
            .collect();
        let mut text = format!("{} has written nothing that is kept", self.sensor);
        if !errors.is_empty() {
            text.push_str(", and fails:");
            text.extend(errors);
        }
        let hint = "a container keeps what its sensors wrote since it started; before that is in its own log";
        Failure::no(text, Some(hint.to_owned()))
    }

    async fn follow(&self, client: &Client, paper: &mut Paper) -> Result<(), Stop> {
        let asked = Asked {
            first: self.request(self.lines.to_string(), true),
            again: self.request(SAID_AGAIN.to_string(), true),
        };
        let mut seen = SeenLines::default();
        follow::follow(client, &asked, &mut seen, paper, |paper, line| self.write(paper, line)).await
    }

    fn request(&self, lines: String, follow: bool) -> Request {
        let mut query = vec![("lines", lines)];
        if follow {
            query.push(("follow", "true".to_owned()));
        }
        Request { path: rest::LOGS, reference: Some(self.sensor.clone()), query, ..Request::default() }
    }

    fn write(&self, paper: &mut Paper, line: &Document<LogLine>) -> std::io::Result<()> {
        match self.common.output {
            Output::Json => paper.write_json_line(&line.raw),
            Output::Table => paper.write(&table::finished(&rendered(&line.known), paper.colour)),
        }
    }
}

fn lost(lines: &Lines, how: &str) -> String {
    format!("failed to read on from {}: {how}", lines.address())
}

fn rendered(line: &LogLine) -> String {
    let kind = match &line.level {
        Some(level) => words::one_line(level),
        None => words::one_line(&line.stream),
    };
    let kind = match kind.as_str() {
        "ERROR" | "CRITICAL" => table::toned(Tone::Bad, &kind),
        "WARNING" | word::STDERR => table::toned(Tone::Odd, &kind),
        _ => kind,
    };
    let (at, container) = (words::one_line(&line.at), words::one_line(&line.container));
    // A line's own indentation says something.
    let text = words::plain(line.text.trim_end()).replace('\n', "\n    ");
    format!("{at} {container} {kind} {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: &str, level: Option<&str>, text: &str) -> LogLine {
        LogLine {
            at: "2026-03-01T10:00:00.123Z".to_owned(),
            container: "node-1".to_owned(),
            sensor: "rss.FeedSensor".to_owned(),
            stream: stream.to_owned(),
            level: level.map(str::to_owned),
            text: text.to_owned(),
        }
    }

    fn plain(line: &LogLine) -> String {
        table::finished(&rendered(line), false)
    }

    #[test]
    fn a_line_says_when_where_and_how_it_was_written() {
        assert_eq!(plain(&line("stdout", None, "  hello\n")), "2026-03-01T10:00:00.123Z node-1 stdout   hello\n");
        assert_eq!(plain(&line("log", Some("INFO"), "hi")), "2026-03-01T10:00:00.123Z node-1 INFO hi\n");
    }

    #[test]
    fn what_a_sensor_wrote_cannot_pass_for_another_line() {
        assert_eq!(
            plain(&line("stderr", None, "a\n2026 b\u{1b}[1A")),
            "2026-03-01T10:00:00.123Z node-1 stderr a\n    2026 b\u{fffd}[1A\n"
        );
    }

    #[test]
    fn errors_are_red() {
        let text = table::finished(&rendered(&line("log", Some("ERROR"), "no")), true);
        assert!(text.ends_with("\u{1b}[31mERROR\u{1b}[0m no\n"), "{text:?}");
    }
}
