//! Who and where this process is: its machine, its host's name, and numbers that nobody else draws.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Resource;
use st2sa_core::names::Machine;

/// The machine's identity, for as long as it runs: the kernel's boot id, and which processes it can see, folded.
/// Two that cannot be told to be the same are never equal.
pub fn machine() -> Machine {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let seen = std::fs::read_link("/proc/self/ns/pid");
    let (Ok(boot), Ok(seen)) = (boot, seen) else { return Machine(random()) };
    let text = format!("{} {}", boot.trim(), seen.display());
    // FNV-1a: any fixed hash does.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    Machine(text.bytes().fold(0xCBF2_9CE4_8422_2325, fold))
}

/// The host's name, for people.
pub fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Where others reach what listens here: by the host's name, should it listen at all addresses.
pub fn reached_at(listens: SocketAddr) -> String {
    if listens.ip().is_unspecified() { format!("{}:{}", host(), listens.port()) } else { listens.to_string() }
}

/// 64 random bits. Waits in the first moments of a boot, until the kernel has any.
pub fn random() -> u64 {
    loop {
        if let Ok(drawn) = getrandom::u64() {
            return drawn;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// 128 random bits.
pub fn random_wide() -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

/// Allows this process as many open files as it may have: each sensor takes three.
pub fn allow_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        // Where that is too little, what cannot be opened says so.
        let _ = error;
    }
}
