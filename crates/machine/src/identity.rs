//! Who and where this process is: its machine, its host's name, and numbers that nobody else draws.

use std::time::Duration;

use st2sa_core::names::Machine;

/// The machine's identity: the kernel's boot id, folded. It changes at each boot.
pub fn machine() -> Machine {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // FNV-1a: any fixed hash does.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    Machine(boot.trim().bytes().fold(0xCBF2_9CE4_8422_2325, fold))
}

/// The host's name, for people.
pub fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
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
