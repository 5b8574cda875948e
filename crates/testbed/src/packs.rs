//! The test packs: written into a testbed's folder, together with their configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::{OrFail, fail};
use crate::source::Source;

/// Where the packs are kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packs");
/// What every test sensor imports.
const SHARED: &str = "at_source.py";
/// Nothing is wrong with [`Pack::Ill`] before this file is in the testbed's folder.
const ONCE: &str = "fall-ill";
/// As many classes as `ticker.py` has, and `teller.py`.
const CLASSES_AT_MOST: u32 = 99;

/// One of the test packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// So many sensors `ticker.Ticker01`, `ticker.Ticker02`, …: each polls every 200 ms, calls the source and
    /// dispatches one trigger.
    Ticker(u32),
    /// `verbose.Verbose`: dispatches a kilobyte every 200 ms.
    Verbose,
    /// `slow.Slow`: its poll lasts three times as long as a session, in an open request at the source.
    Slow,
    /// `forker.Forker`: a ticker that has started, in `setup()`, a process in a session of its own, which ignores
    /// SIGTERM and appends its number to [`Pack::grown`] for ever.
    Forker,
    /// So many sensors `teller.Teller01`, …: each polls every 200 ms, dispatches the next fifty numbers, and notes each one
    /// that its dispatch has returned for, see [`Pack::told`].
    Teller(u32),
    /// `cursor.Cursor`: dispatches the next three numbers, then stores the last of them in the datastore.
    Cursor,
    /// `saver.Saver`: the same the other way round: it stores the last number, then dispatches the three.
    Saver,
    /// `ill.Ill`: a ticker that from [`Pack::fall_ill`] on does in its polls what `how` names (a method of it: `hangs`,
    /// `raises`, `dies`, `exits`, `hogs`, `floods`, `overflows`, `goes_on`, `swells`) on the container `on`; on every one, if that is empty.
    Ill {
        /// What goes wrong.
        how: &'static str,
        /// Where.
        on: &'static str,
    },
}

impl Pack {
    /// The references of its sensors.
    pub fn sensors(self) -> Vec<String> {
        match self {
            Self::Ticker(count) => (1..=count).map(|number| format!("ticker.Ticker{number:02}")).collect(),
            Self::Teller(count) => (1..=count).map(|number| format!("teller.Teller{number:02}")).collect(),
            Self::Verbose => vec!["verbose.Verbose".to_owned()],
            Self::Slow => vec!["slow.Slow".to_owned()],
            Self::Forker => vec!["forker.Forker".to_owned()],
            Self::Cursor => vec!["cursor.Cursor".to_owned()],
            Self::Saver => vec!["saver.Saver".to_owned()],
            Self::Ill { .. } => vec!["ill.Ill".to_owned()],
        }
    }

    /// The file that grows for as long as something lives that the forker has started.
    pub fn grown(folder: &Path) -> PathBuf {
        folder.join("grown")
    }

    /// The numbers that a teller was told are dispatched, in their order; one that is being noted is left out.
    #[track_caller]
    pub fn told(folder: &Path, number: u32) -> Vec<u64> {
        let path = folder.join(format!("told-{number:02}"));
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            read => read.or_fail(format!("read `{}`", path.display())),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().or_fail(format!("understand the line `{line}`"))).collect()
    }

    /// [`Pack::Cursor`] or [`Pack::Saver`] dies in its next poll, between its two steps.
    #[track_caller]
    pub fn dies(self, folder: &Path) {
        write(&self.death(folder), "");
    }

    fn death(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-dies", self.name()))
    }

    /// From now on [`Pack::Ill`] of this testbed's folder is ill.
    #[track_caller]
    pub fn fall_ill(folder: &Path) {
        write(&folder.join(ONCE), "");
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ticker(_) => "ticker",
            Self::Teller(_) => "teller",
            Self::Verbose => "verbose",
            Self::Slow => "slow",
            Self::Forker => "forker",
            Self::Cursor => "cursor",
            Self::Saver => "saver",
            Self::Ill { .. } => "ill",
        }
    }

    /// Writes the pack into `folder/packs`, and its configuration into `folder/configs`.
    #[track_caller]
    pub(crate) fn write(self, folder: &Path, source: &Source) {
        let (name, pack) = (self.name(), folder.join("packs").join(self.name()));
        let sensors = pack.join("sensors");
        create(&sensors);
        copy_files(&Path::new(KEPT).join(name), &pack);
        copy_files(&Path::new(KEPT).join(name).join("sensors"), &sensors);
        copy(&Path::new(KEPT).join(SHARED), &sensors.join(SHARED));
        if let Self::Ticker(count) | Self::Teller(count) = self {
            if count > CLASSES_AT_MOST {
                fail(format!("there are {CLASSES_AT_MOST} of them at the most, not {count}"));
            }
            for number in 1..=count {
                let metadata = if name == "ticker" { ticker(number) } else { teller(number) };
                write(&sensors.join(format!("{name}_{number:02}.yaml")), &metadata);
            }
        }
        let configs = folder.join("configs");
        create(&configs);
        let mut config = format!("---\nsource: {}\n", source.url());
        if let Self::Teller(_) = self {
            config = format!("---\nfolder: {}\n", folder.display());
        }
        match self {
            Self::Slow => {
                // Writing into a string cannot fail.
                let _ = writeln!(config, "hold_ms: {}", crate::SESSION_TTL.as_millis() * 3);
            }
            Self::Forker => {
                let _ = writeln!(config, "file: {}", Self::grown(folder).display());
            }
            Self::Ill { how, on } => {
                let once = folder.join(ONCE);
                let _ = writeln!(config, "how: {how}\nwhere: '{on}'\nonce: {}", once.display());
            }
            Self::Cursor | Self::Saver => {
                let _ = writeln!(config, "dies: {}", self.death(folder).display());
            }
            Self::Ticker(_) | Self::Teller(_) | Self::Verbose => {}
        }
        write(&configs.join(format!("{name}.yaml")), &config);
    }
}

/// A ticker's metadata.
fn ticker(number: u32) -> String {
    metadata("Ticker", number, "ticker.py", &format!("tick_{number:02}"))
}

/// A teller's.
fn teller(number: u32) -> String {
    metadata("Teller", number, "teller.py", &format!("told_{number:02}"))
}

fn metadata(class: &str, number: u32, module: &str, trigger: &str) -> String {
    format!(
        "---\nclass_name: {class}{number:02}\nentry_point: {module}\ndescription: For tests.\nenabled: true\n\
         poll_interval: 0.2\ntrigger_types:\n  - name: {trigger}\n    description: A poll.\n    payload_schema:\n      \
         type: object\n"
    )
}

#[track_caller]
fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).or_fail(format!("read the folder `{}`", from.display())).flatten() {
        if entry.path().is_file() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).or_fail(format!("copy `{}` to `{}`", from.display(), to.display()));
}

#[track_caller]
fn create(folder: &Path) {
    std::fs::create_dir_all(folder).or_fail(format!("create `{}`", folder.display()));
}

#[track_caller]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).or_fail(format!("write `{}`", path.display()));
}
