//! What StackStorm's files mean here, compared with vectors that StackStorm's own code gave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets what it does not expect has failed")]

mod config;
mod ini;
mod packs;
mod payload;
mod triggers;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use st2sa_stackstorm::packs::{Folders, Packs, read};
use tempfile::TempDir;

/// A folder of packs, configurations and the rest, as an installation has it.
struct Installation(TempDir);

impl Installation {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With one pack, `demo`, and one sensor in it whose metadata is `metadata`.
    fn with_sensor(metadata: &str) -> Self {
        let installation = Self::new();
        installation.pack("demo");
        installation.write("packs/demo/sensors/sensor.py", "class Sensor:\n    pass\n");
        installation.write("packs/demo/sensors/sensor.yaml", metadata);
        installation
    }

    fn pack(&self, name: &str) {
        self.write(&format!("packs/{name}/pack.yaml"), &format!("ref: {name}\nname: {name}\nversion: 1.0.0\n"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self) -> Packs {
        read(&Folders {
            packs: vec![self.path("packs")],
            configs: Some(self.path("configs")),
            virtualenvs: Some(self.path("virtualenvs")),
            overrides: Some(self.path("overrides")),
        })
    }

    /// The messages without the folder that the test runs in.
    fn hints(&self, packs: &Packs) -> Vec<String> {
        packs.hints.iter().map(|hint| self.shortened(&hint.to_string())).collect()
    }

    fn disabled(&self, packs: &Packs) -> Vec<String> {
        packs.disabled.iter().map(|disabled| self.shortened(&disabled.to_string())).collect()
    }

    fn shortened(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}
