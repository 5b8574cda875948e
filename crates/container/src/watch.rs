//! Watches the packs' files, and reads them again when they have changed and stand still.
//!
//! A thread of its own: reading takes as long as the disks do. Looking costs a `stat` a file; what a change means is for
//! the nursery to say.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use st2sa_stackstorm::packs::{self, Folders, Packs};
use st2sa_stackstorm::partition::Partition;

use crate::input::Input;

/// How often the files are looked at. A change is read once two looks in a row see the same: packs are copied file by
/// file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How deep a pack's `lib` is looked into.
const FOLDERS_DEEP_AT_MOST: usize = 8;
/// Files looked at in one pack; what is beyond is not noticed without SIGHUP.
const FILES_OF_A_PACK_AT_MOST: usize = 5_000;

/// Where packs come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The folders.
    pub folders: Folders,
    /// Which of their sensors are this node's.
    pub partition: Partition,
    /// This node.
    pub node: String,
}

impl Source {
    /// Reads them.
    ///
    /// # Errors
    /// When the partition file does not say what this node is to offer.
    pub fn read(&self) -> Result<Packs, String> {
        packs::read_partition(&self.folders, &self.partition, &self.node)
    }
}

/// Begins to watch; whatever is sent to the answer has the packs read at once.
pub(crate) fn start(shelf: Source, first: &Packs, inputs: Sender<Input>) -> io::Result<Sender<()>> {
    let (asks, asked) = channel();
    let mut read = print(&shelf.folders, first);
    thread::Builder::new().name("packs".to_owned()).spawn(move || {
        let (mut seen, mut entry_points) = (read, Vec::new());
        loop {
            let now = match asked.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let print = print_of(&shelf.folders, &entry_points);
            let stands_still = std::mem::replace(&mut seen, print) == print;
            if !(now || print != read && stands_still) {
                continue;
            }
            // Of the files as they were before they were read: what changed meanwhile is seen by the next look.
            read = if now { print } else { seen };
            let packs = match shelf.read() {
                Ok(packs) => packs,
                Err(error) => {
                    tracing::error!("the packs stay as they were: {error}");
                    continue;
                }
            };
            entry_points = entry_points_of(&packs);
            if inputs.send(Input::Packs(Arc::new(packs))).is_err() {
                return;
            }
        }
    })?;
    Ok(asks)
}

fn print(folders: &Folders, packs: &Packs) -> u64 {
    print_of(folders, &entry_points_of(packs))
}

/// Entry points outside the folders that are looked through.
fn entry_points_of(packs: &Packs) -> Vec<PathBuf> {
    let looked_through = |path: &Path| path.parent().and_then(Path::file_name).is_some_and(|name| name == "sensors");
    let all = packs.sensors.values().map(|sensor| sensor.entry_point.clone());
    all.filter(|path| !looked_through(path)).collect()
}

/// Differs when a file that says something of a sensor has come, gone or changed.
fn print_of(folders: &Folders, entry_points: &[PathBuf]) -> u64 {
    let mut print = DefaultHasher::new();
    for base in &folders.packs {
        if base.join("pack.yaml").is_file() {
            look_at_pack(base, &mut print);
        } else {
            for pack in sorted(base) {
                look_at_pack(&pack, &mut print);
            }
        }
    }
    for folder in [&folders.configs, &folders.overrides].into_iter().flatten() {
        look_into(folder, 0, &mut FILES_OF_A_PACK_AT_MOST.clone(), &mut print);
    }
    if let Some(virtualenvs) = &folders.virtualenvs {
        for virtualenv in sorted(virtualenvs) {
            look_at(&virtualenv.join("bin/python"), &mut print);
        }
    }
    for path in entry_points {
        look_at(path, &mut print);
    }
    print.finish()
}

fn look_at_pack(pack: &Path, print: &mut DefaultHasher) {
    let mut files = FILES_OF_A_PACK_AT_MOST;
    look_into(pack, 0, &mut files, print);
    for folder in ["sensors", "triggers", "rules"] {
        look_into(&pack.join(folder), 0, &mut files, print);
    }
    look_into(&pack.join("lib"), FOLDERS_DEEP_AT_MOST, &mut files, print);
}

/// The files of a folder, and of those below it down to `deep`. What running writes is passed over.
fn look_into(folder: &Path, deep: usize, files: &mut usize, print: &mut DefaultHasher) {
    for path in sorted(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if *files == 0 || name.starts_with('.') || name == "__pycache__" || name.ends_with(".pyc") {
            continue;
        }
        *files -= 1;
        if path.is_dir() {
            if deep > 0 {
                look_into(&path, deep - 1, files, print);
            }
        } else {
            look_at(&path, print);
        }
    }
}

fn look_at(path: &Path, print: &mut DefaultHasher) {
    path.hash(print);
    match fs::metadata(path) {
        Ok(file) => (file.ino(), file.size(), file.mtime(), file.mtime_nsec()).hash(print),
        Err(_) => false.hash(print),
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn folders(base: &Path) -> Folders {
        Folders { packs: vec![base.to_owned()], ..Folders::default() }
    }

    fn write(base: &Path, path: &str, text: &str) {
        let path = base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_says_something_of_a_sensor_is_noticed_and_what_running_writes_is_not() {
        let base = tempfile::tempdir().unwrap();
        let print = || print_of(&folders(base.path()), &[]);
        write(base.path(), "p/pack.yaml", "name: p\nversion: 1.0.0\n");
        write(base.path(), "p/sensors/x.py", "class X: pass\n");
        let before = print();
        write(base.path(), "p/sensors/__pycache__/x.pyc", "x");
        write(base.path(), "p/sensors/clones/a.py", "x");
        assert_eq!(print(), before);
        write(base.path(), "p/lib/deep/er.py", "x");
        let with_library = print();
        assert_ne!(with_library, before);
        write(base.path(), "p/sensors/x.py", "class X: changed = True\n");
        assert_ne!(print(), with_library);
    }

    #[test]
    fn packs_are_read_again_when_asked() {
        let base = tempfile::tempdir().unwrap();
        let (inputs, received) = channel();
        let source = Source { folders: folders(base.path()), partition: Partition::All, node: "a".to_owned() };
        let asks = start(source, &Packs::default(), inputs).unwrap();
        write(base.path(), "p/pack.yaml", "name: p\nversion: 1.0.0\n");
        asks.send(()).unwrap();
        let Ok(Input::Packs(packs)) = received.recv() else { panic!("nothing was read") };
        assert!(packs.packs.contains_key("p"));
    }
}
