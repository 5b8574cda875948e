//! `st2sa config`: what counts of each option, and where it came from.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::arbitrator::ArbitratorSettings;
use crate::ask::one_line;
use crate::container::ContainerSettings;
use crate::settings::{Folder, Settings, table};

/// Options of `config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigOptions {
    #[command(subcommand)]
    of: Of,
}

/// Whose.
#[derive(Subcommand, Debug)]
enum Of {
    /// What `st2sa arbitrator` with the same flags would run with
    Arbitrator(ArbitratorConfig),
    /// What `st2sa container` with the same flags would run with
    Container(ContainerConfig),
}

#[derive(Args, Debug)]
struct ArbitratorConfig {
    #[command(flatten)]
    settings: ArbitratorSettings,
    /// Print a JSON document
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

#[derive(Args, Debug)]
struct ContainerConfig {
    #[command(flatten)]
    settings: ContainerSettings,
    /// Print a JSON document
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

/// Prints what counts; all that is wrong is an error, as it is for the program itself.
pub(crate) fn run(options: &ConfigOptions) -> anyhow::Result<ExitCode> {
    match &options.of {
        Of::Arbitrator(config) => {
            let settings = config.settings.files()?;
            let read = config.settings.read(&settings).map(drop);
            print!("{}", shown(&settings, &config.output));
            read?;
        }
        Of::Container(config) => {
            let settings = config.settings.files()?;
            let read = config.settings.read(&settings).map(drop);
            print!("{}", shown(&settings, &config.output));
            read?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(settings: &Settings, output: &str) -> String {
    let effective = settings.effective();
    let files: Vec<String> = settings.files().iter().map(|path| path.display().to_string()).collect();
    if output == "json" {
        let option = |option: &crate::settings::Effective| {
            let spec = table::find(option.section, option.name);
            json!({
                "section": option.section,
                "option": option.name,
                "value": option.value,
                "source": option.source,
                "allowed": spec.map(|spec| spec.allowed),
                "about": spec.map(|spec| spec.about),
            })
        };
        let options: Vec<_> = effective.iter().map(option).collect();
        let folder = |folder: &Folder| json!({ "of": folder.of, "paths": paths(folder), "source": folder.source });
        let folders: Vec<_> = settings.folders().iter().map(folder).collect();
        return format!("{}\n", json!({ "files": files, "options": options, "folders": folders }));
    }
    let mut rows: Vec<[String; 3]> = effective
        .iter()
        .map(|option| {
            let value = option.value.as_deref().filter(|value| !value.is_empty()).map_or("-".to_owned(), one_line);
            let about = table::find(option.section, option.name).map_or("", |spec| spec.about);
            let unused = about.strip_prefix("not used").map_or(String::new(), |why| format!(" (not used{why})"));
            [format!("[{}] {}", option.section, option.name), value, format!("{}{unused}", option.source)]
        })
        .collect();
    rows.extend(settings.folders().iter().map(|folder| {
        let paths = paths(folder);
        let value = if paths.is_empty() { "-".to_owned() } else { one_line(&paths.join(", ")) };
        [format!("folders: {}", folder.of), value, folder.source.clone()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [option, value, source] in &rows {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{option:<first$}  {value:<second$}  {source}");
    }
    let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
    let _ = writeln!(text, "\nconfiguration files: {files}");
    text
}

fn paths(folder: &Folder) -> Vec<String> {
    folder.paths.iter().map(|path| path.display().to_string()).collect()
}
