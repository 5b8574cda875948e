//! The fixed hash that breaks ties: a rendezvous of sensor and container, the same in every version.
//!
//! Two arbitrators of different releases must plan alike, so this is written out here and pinned by test vectors:
//! FNV-1a with 64 bits over the sensor's name, one separator and the container's name, then `MurmurHash3`'s finaliser,
//! because FNV alone hardly mixes its last bytes into the high bits that decide a comparison.

/// FNV-1a's offset basis for 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// FNV's prime for 64 bits.
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// Stands between the two names; no UTF-8 text contains it, so no two pairs run together.
const SEPARATOR: u8 = 0xff;

/// How strongly `container` attracts `sensor`: among equals the highest wins.
///
/// When a container leaves, only the ties that it had won are decided anew.
pub(super) fn rendezvous(sensor: &str, container: &str) -> u64 {
    let sensor = fnv1a(OFFSET, sensor.as_bytes());
    finalise(fnv1a(fnv1a(sensor, &[SEPARATOR]), container.as_bytes()))
}

/// Continues FNV-1a from `hash` over `bytes`.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// `MurmurHash3`'s 64-bit finaliser: every input bit reaches every output bit.
fn finalise(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_1a_gives_its_published_vectors() {
        assert_eq!(fnv1a(OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_finaliser_gives_its_published_vectors() {
        assert_eq!(finalise(0), 0);
        assert_eq!(finalise(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn names_do_not_run_together() {
        assert_ne!(rendezvous("pack.A", "node"), rendezvous("pack.An", "ode"));
    }

    #[test]
    fn pairs_give_the_same_values_in_every_version() {
        assert_eq!(rendezvous("", ""), 0x1bbd_5c81_3c69_a8d7);
        assert_eq!(rendezvous("pack.Sensor", "node-a"), 0x9064_6fe6_5834_1de7);
        assert_eq!(rendezvous("pack.Sensor", "node-b"), 0x9a83_5c79_fada_9f7e);
    }
}
