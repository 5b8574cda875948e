//! placeholder
use rand_chacha::ChaCha8Rng;
use crate::clock::Nanos;
use crate::plan::{Fault, Setup};
pub(crate) fn jittered(_setup: &mut Setup, _rng: &mut ChaCha8Rng) -> Vec<(Nanos, Fault)> {
    Vec::new()
}
