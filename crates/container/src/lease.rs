//! The memory that container and guardian share: the lease's end, how often the container froze, and the
//! guardian's own sign of life. Reading it takes no call into the kernel, so a container that is stopped
//! cannot keep its guardian from knowing.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use st2sa_core::time::Time;

/// Three numbers in shared memory.
#[derive(Debug)]
pub(crate) struct Lease {
    words: &'static Words,
    /// Keeps the memory's descriptor open for the guardian to find.
    file: Option<OwnedFd>,
}

#[repr(C)]
#[derive(Debug)]
struct Words {
    end: AtomicU64,
    freezes: AtomicU64,
    guardian_seen: AtomicU64,
}

impl Lease {
    /// Makes it, in the container.
    pub(crate) fn create() -> io::Result<Self> {
        // Closed on exec: no sensor process is to inherit it.
        let file = rustix::fs::memfd_create("st2sa-lease", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, size_of::<Words>() as u64)?;
        let words = map(&file)?;
        Ok(Self { words, file: Some(file) })
    }

    /// Opens it, in the guardian, by the path that [`Self::path`] gave.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.len() < size_of::<Words>() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too short to be a lease"));
        }
        let words = map(&OwnedFd::from(file))?;
        Ok(Self { words, file: None })
    }

    /// Where a process of the same user finds it while this one lives.
    pub(crate) fn path(&self) -> String {
        let number = self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{number}", std::process::id())
    }

    /// Writes the end and the count of freezes. The guardian that sees a new end sees its count, too.
    pub(crate) fn publish(&self, end: Time, freezes: u64) {
        self.words.freezes.store(freezes, Ordering::SeqCst);
        self.words.end.store(end.0, Ordering::SeqCst);
    }

    /// The lease's end.
    pub(crate) fn end(&self) -> Time {
        Time(self.words.end.load(Ordering::SeqCst))
    }

    /// How often the container froze its processes by itself.
    pub(crate) fn freezes(&self) -> u64 {
        self.words.freezes.load(Ordering::SeqCst)
    }

    /// The guardian was at its loop at this moment.
    pub(crate) fn guardian_passes(&self, now: Time) {
        self.words.guardian_seen.store(now.0, Ordering::SeqCst);
    }

    /// When the guardian was last at its loop.
    pub(crate) fn guardian_seen(&self) -> Time {
        Time(self.words.guardian_seen.load(Ordering::SeqCst))
    }
}

#[expect(unsafe_code, reason = "memory that two processes share can be had in no other way")]
fn map(file: &OwnedFd) -> io::Result<&'static Words> {
    let (length, flags) = (size_of::<Words>(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: the file holds at least `length` bytes, is never made shorter (both ends of it are ours), and
    // the mapping is never removed. A page is aligned for `Words`, every bit pattern of which is valid, and
    // which is atomic throughout, so that the other process may write it at any time.
    unsafe {
        let memory = rustix::mm::mmap(std::ptr::null_mut(), length, flags, MapFlags::SHARED, file, 0)?;
        Ok(&*memory.cast::<Words>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_writes_the_other_reads() {
        let container = Lease::create().unwrap();
        let guardian = Lease::open(Path::new(&container.path())).unwrap();
        container.publish(Time(7), 3);
        assert_eq!((guardian.end(), guardian.freezes()), (Time(7), 3));
        guardian.guardian_passes(Time(9));
        assert_eq!(container.guardian_seen(), Time(9));
    }
}
