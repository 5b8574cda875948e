//! Bytes from anybody: they are decoded or refused, and that is all.

use prost::Message as _;
use st2sa_proto::{FromArbitrator, FromContainer, v1};

use crate::draw::{ARBITRATOR_KINDS, CONTAINER_KINDS, Draw};

const TRIES: u64 = 20_000;

#[test]
fn random_bytes_never_panic() {
    for seed in 0..TRIES {
        let bytes = Draw::new(seed).bytes(300);
        decode(&bytes);
    }
}

#[test]
fn damaged_messages_never_panic() {
    let mut refused = 0;
    for seed in 0..TRIES {
        let mut draw = Draw::new(seed);
        let kind = draw.below(CONTAINER_KINDS + ARBITRATOR_KINDS);
        let mut bytes = match kind.checked_sub(CONTAINER_KINDS) {
            None => draw.container_message(kind).encode().encode_to_vec(),
            Some(kind) => draw.arbitrator_message(kind).encode().encode_to_vec(),
        };
        for _ in 0..=draw.below(4) {
            if bytes.is_empty() {
                break;
            }
            let place = draw.below(bytes.len());
            match draw.below(3) {
                0 => bytes.truncate(place),
                1 => bytes[place] = u8::try_from(draw.below(256)).unwrap(),
                _ => bytes[place] ^= 1 << draw.below(8),
            }
        }
        refused += decode(&bytes);
    }
    assert!(refused > TRIES / 10, "damage was noticed {refused} times only");
}

/// How many of the two decoders refuse the bytes as a message of theirs.
fn decode(bytes: &[u8]) -> u64 {
    let container = v1::FromContainer::decode(bytes).map(FromContainer::decode);
    let arbitrator = v1::FromArbitrator::decode(bytes).map(FromArbitrator::decode);
    u64::from(!matches!(container, Ok(Ok(_)))) + u64::from(!matches!(arbitrator, Ok(Ok(_))))
}
