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
/// As many classes as `ticker.py` has.
const TICKERS_AT_MOST: u32 = 99;

/// One of the test packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// So many sensors `ticker.Ticker01`, `ticker.Ticker02`, …: each polls every 200 ms, calls the source and
    /// dispatches one trigger.
    Ticker(u32),
    /// `slow.Slow`: its poll lasts three times as long as a session, in an open request at the source.
    Slow,
    /// `forker.Forker`: a ticker that has started, in `setup()`, a process in a session of its own, which ignores
    /// SIGTERM and appends its number to [`Pack::grown`] for ever.
    Forker,
    /// `cursor.Cursor`: dispatches the next three numbers, then stores the last of them in the datastore.
    Cursor,
    /// `ill.Ill`: a ticker that from [`Pack::fall_ill`] on does in its polls what `how` names (a method of it: `hangs`,
    /// `raises`, `dies`, `exits`, `hogs`, `floods`) on the container `on`; on every one, if that is empty.
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
            Self::Slow => vec!["slow.Slow".to_owned()],
            Self::Forker => vec!["forker.Forker".to_owned()],
            Self::Cursor => vec!["cursor.Cursor".to_owned()],
            Self::Ill { .. } => vec!["ill.Ill".to_owned()],
        }
    }

    /// The file that grows for as long as something lives that the forker has started.
    pub fn grown(folder: &Path) -> PathBuf {
        folder.join("grown")
    }

    /// From now on [`Pack::Ill`] of this testbed's folder is ill.
    #[track_caller]
    pub fn fall_ill(folder: &Path) {
        write(&folder.join(ONCE), "");
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ticker(_) => "ticker",
            Self::Slow => "slow",
            Self::Forker => "forker",
            Self::Cursor => "cursor",
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
        if let Self::Ticker(count) = self {
            if count > TICKERS_AT_MOST {
                fail(format!("there are {TICKERS_AT_MOST} tickers at the most, not {count}"));
            }
            for number in 1..=count {
                write(&sensors.join(format!("ticker_{number:02}.yaml")), &ticker(number));
            }
        }
        let configs = folder.join("configs");
        create(&configs);
        let mut config = format!("---\nsource: {}\n", source.url());
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
            Self::Ticker(_) | Self::Cursor => {}
        }
        write(&configs.join(format!("{name}.yaml")), &config);
    }
}

/// A ticker's metadata.
fn ticker(number: u32) -> String {
    format!(
        "---\nclass_name: Ticker{number:02}\nentry_point: ticker.py\ndescription: Ticks.\nenabled: true\n\
         poll_interval: 0.2\ntrigger_types:\n  - name: tick_{number:02}\n    description: A poll.\n    payload_schema:\n      \
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
