//! A disk that is as small as a test wants it: a tmpfs, filled up and made read-only at will.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{OrFail, fail};

/// How much is written at once to fill it.
const CHUNK: [u8; 4096] = [0; 4096];

/// A disk of its own below a folder, for as long as this lives.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it at `folder`, which is made; `None` where only root may (the test has nothing to show then).
    #[track_caller]
    pub fn mount(folder: &Path, kibibytes: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("only root can mount a disk: this is not tested here");
            return None;
        }
        std::fs::create_dir_all(folder).or_fail(format!("create `{}`", folder.display()));
        mount(&["-t", "tmpfs", "-o", &format!("size={kibibytes}k,mode=0700"), "tmpfs"], folder);
        Some(Self { folder: folder.to_owned() })
    }

    /// Leaves no room on it.
    #[track_caller]
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).or_fail("fill the disk");
        while file.write_all(&CHUNK).is_ok() {}
    }

    /// Gives the room back.
    #[track_caller]
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).or_fail("empty the disk");
    }

    /// Nothing on it can be changed any more; or again.
    #[track_caller]
    pub fn set_read_only(&self, read_only: bool) {
        mount(&["-o", if read_only { "remount,ro" } else { "remount,rw" }], &self.folder);
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has it open keeps it until he ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

#[track_caller]
fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status().or_fail("start `mount`");
    if !status.success() {
        fail(format!("`mount {} {}`: {status}", arguments.join(" "), folder.display()));
    }
}
