//! `st2sa datastore`: what sensors keep, for people.

use std::io::{BufRead, Read as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use st2sa_core::time::Span;
use st2sa_proto::rest::{self, Outcome, Sensor, Value};

use super::client::{Client, Document, Request};
use super::failure::{Failure, Kind, Stop};
use super::orders::Ordering;
use super::paper::Paper;
use super::table::{self, Column};
use super::{Output, reference, words};

/// Values asked for at once.
const PAGE: usize = 1_000;
/// A value as it is read from a file or from the standard input, in bytes.
const VALUE_BYTES_AT_MOST: u64 = 16 << 20;
/// A progress line each so many values.
const PROGRESS_EVERY: usize = 1_000;

/// Read and write what sensors keep.
#[derive(Args)]
pub(crate) struct DatastoreOrder {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print a value, as it is
    Get(GetOrder),
    /// Store a value
    Set(SetOrder),
    /// List names and values
    List(ListOrder),
    /// Remove a value
    Delete(DeleteOrder),
    /// Print values as lines of JSON, for import
    Export(ListOrder),
    /// Store what an export has printed
    Import(ImportOrder),
}

/// Which value.
#[derive(Args)]
struct Named {
    /// The name: `pack.ClassName:name` is a sensor's own value, `name` a shared one
    #[arg(value_name = "NAME")]
    name: String,
    /// NAME is this sensor's own value
    #[arg(long, value_name = "REF", value_parser = reference)]
    sensor: Option<String>,
}

#[derive(Args)]
struct GetOrder {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    ordering: Ordering,
}

#[derive(Args)]
struct SetOrder {
    #[command(flatten)]
    named: Named,
    /// The value; `-` reads it from the standard input
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    /// How long it lasts [default: for ever]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Span>,
    #[command(flatten)]
    ordering: Ordering,
}

#[derive(Args)]
struct ListOrder {
    /// Names that begin so: `pack.ClassName:` for one sensor's own
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// This sensor's own values; PREFIX is of their names
    #[arg(long, value_name = "REF", value_parser = reference)]
    sensor: Option<String>,
    #[command(flatten)]
    ordering: Ordering,
}

#[derive(Args)]
struct DeleteOrder {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    ordering: Ordering,
}

#[derive(Args)]
struct ImportOrder {
    /// A file of lines of JSON; `-` is the standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    ordering: Ordering,
}

impl DatastoreOrder {
    pub(crate) async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        match self.verb {
            Verb::Get(order) => order.give(paper).await,
            Verb::Set(order) => order.give(paper).await,
            Verb::List(order) => order.list(paper).await,
            Verb::Delete(order) => order.give(paper).await,
            Verb::Export(order) => order.export(paper).await,
            Verb::Import(order) => order.give(paper).await,
        }
    }
}

impl Named {
    fn whole(&self) -> String {
        whole(self.sensor.as_deref(), &self.name)
    }
}

/// As the datastore has it.
fn whole(sensor: Option<&str>, name: &str) -> String {
    sensor.map_or_else(|| name.to_owned(), |sensor| format!("{sensor}:{name}"))
}

impl GetOrder {
    async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.client()?;
        let request = Request { path: rest::VALUE, reference: Some(self.named.whole()), ..Request::default() };
        let value = client.document::<Value>(&request).await?;
        match self.ordering.output() {
            Output::Json => paper.write_json(&value.raw)?,
            // As it is: it may be piped elsewhere.
            Output::Table => paper.write(&format!("{}\n", value.known.value))?,
        }
        Ok(())
    }
}

impl SetOrder {
    async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let (name, client) = (self.named.whole(), self.ordering.client()?);
        let value = if self.value == "-" { read_all()? } else { self.value };
        own_is_confirmed(&client, paper, &self.ordering, &name).await?;
        let outcome = store(&client, &self.ordering, &name, &value, self.ttl.map(Span::as_millis)).await?;
        self.ordering.says(paper, &outcome)?;
        Ok(())
    }
}

impl DeleteOrder {
    async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let (name, client) = (self.named.whole(), self.ordering.client()?);
        if !own_is_confirmed(&client, paper, &self.ordering, &name).await? {
            self.ordering.confirm(paper, &format!("Delete {name}?"))?;
        }
        let body = Some(json!({ "who": self.ordering.who() }));
        let reference = Some(name);
        let request = Request { path: rest::VALUE, reference, method: Method::DELETE, body, ..Request::default() };
        let outcome = client.document::<Outcome>(&request).await?;
        self.ordering.says(paper, &outcome)?;
        Ok(())
    }
}

impl ListOrder {
    fn whole(&self) -> String {
        whole(self.sensor.as_deref(), &self.prefix)
    }

    async fn list(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.client()?;
        let values = all(&client, &self.whole()).await?;
        if self.ordering.output() == Output::Json {
            paper.write_json(&json!(values))?;
            return Ok(());
        }
        if values.is_empty() {
            paper.note("no values");
            return Ok(());
        }
        let each = || values.iter();
        let lasts = |value: &Value| value.ttl_ms.map_or_else(|| "for ever".to_owned(), words::length);
        let columns = vec![
            Column::new("NAME").cells(each().map(|value| words::one_line(&value.name))),
            Column::new("LASTS").rank(1).cells(each().map(lasts)),
            Column::new("VALUE").cut_to(12).cells(each().map(|value| words::one_line(&value.value))),
        ];
        let width = paper.width;
        paper.write(&table::finished(&table::rendered(columns, width), paper.colour))?;
        Ok(())
    }

    async fn export(self, paper: &mut Paper) -> Result<(), Stop> {
        let client = self.ordering.client()?;
        let mut after = None;
        let prefix = self.whole();
        loop {
            let page = page(&client, &prefix, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for value in &page {
                paper.write_json_line(&json!(value))?;
            }
        }
    }
}

impl ImportOrder {
    async fn give(self, paper: &mut Paper) -> Result<(), Stop> {
        let wrong = |text: String| {
            Failure::of(Kind::Usage, text, "an import is what 'st2sa datastore export' prints".to_owned())
        };
        let name = self.file.display().to_string();
        let values = if name == "-" {
            understood(std::io::stdin().lock(), "the standard input")
        } else {
            let file =
                std::fs::File::open(&self.file).map_err(|error| wrong(format!("cannot open `{name}`: {error}")))?;
            understood(std::io::BufReader::new(file), &name)
        };
        // All of it is read before the first is written.
        let values = values.map_err(wrong)?;
        self.ordering
            .confirm(paper, &format!("{} values are stored over what is there. Import them?", values.len()))?;
        let client = self.ordering.client()?;
        for (index, value) in values.iter().enumerate() {
            store(&client, &self.ordering, &value.name, &value.value, value.ttl_ms).await?;
            if (index + 1) % PROGRESS_EVERY == 0 {
                paper.note(&format!("{} of {}", index + 1, values.len()));
            }
        }
        paper.write(&format!("{} values are stored\n", values.len()))?;
        Ok(())
    }
}

fn understood(lines: impl BufRead, name: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.map_err(|error| format!("cannot read {name}: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&line).map_err(|error| format!("{name}:{number}: {error}"))?;
        if value.name.is_empty() {
            return Err(format!("{name}:{number}: the name is empty"));
        }
        values.push(value);
    }
    Ok(values)
}

fn read_all() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(VALUE_BYTES_AT_MOST + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() as u64 <= VALUE_BYTES_AT_MOST => Ok(text),
        Ok(_) => Err(Failure::of(Kind::Usage, "the value is longer than 16 MiB", None)),
        Err(error) => Err(Failure::of(Kind::Usage, format!("the value cannot be read: {error}"), None)),
    }
}

async fn all(client: &Client, prefix: &str) -> Result<Vec<Value>, Stop> {
    let mut values: Vec<Value> = Vec::new();
    loop {
        let page = page(client, prefix, values.last().map(|value| value.name.as_str())).await?;
        if page.is_empty() {
            return Ok(values);
        }
        values.extend(page);
    }
}

async fn page(client: &Client, prefix: &str, after: Option<&str>) -> Result<Vec<Value>, Stop> {
    let mut query = vec![("prefix", prefix.to_owned()), ("limit", PAGE.to_string())];
    query.extend(after.map(|after| ("after", after.to_owned())));
    let request = Request { path: rest::DATASTORE, query, ..Request::default() };
    Ok(client.document::<Vec<Value>>(&request).await?.known)
}

async fn store(
    client: &Client,
    ordering: &Ordering,
    name: &str,
    value: &str,
    ttl_ms: Option<u64>,
) -> Result<Document<Outcome>, Stop> {
    let mut body = json!({ "who": ordering.who(), "value": value });
    if let Some(ttl_ms) = ttl_ms {
        body["ttl_ms"] = json!(ttl_ms);
    }
    let (reference, body) = (Some(name.to_owned()), Some(body));
    let request = Request { path: rest::VALUE, reference, method: Method::PUT, body, ..Request::default() };
    Ok(client.document(&request).await?)
}

/// A sensor that runs may write its own value again at any moment, and remembers the old one: a person is asked first.
/// Whether one was.
async fn own_is_confirmed(client: &Client, paper: &mut Paper, ordering: &Ordering, name: &str) -> Result<bool, Stop> {
    let Some((sensor, _)) = name.split_once(':').filter(|(sensor, _)| sensor.contains('.')) else { return Ok(false) };
    let request = Request { path: rest::SENSOR, reference: Some(sensor.to_owned()), ..Request::default() };
    let Ok(Document { known: Sensor { active: Some(container), .. }, .. }) = client.document::<Sensor>(&request).await
    else {
        return Ok(false);
    };
    let question = format!(
        "{sensor} is ACTIVE on {container}: it may remember the old value, and store it again (pause it first). Change {name}?"
    );
    ordering.confirm(paper, &question)?;
    Ok(true)
}
