//! `partition_provider` of StackStorm's `[sensorcontainer]`: which of its packs' sensors one node offers.
//!
//! As StackStorm's `st2reactor.container.partitioner_lookup` and `hash_partitioner` read and decide it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use md5::{Digest as _, Md5};
use serde_json::Value;
use st2sa_core::names::SensorRef;

use crate::yaml;

/// Which sensors a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// All of them.
    #[default]
    All,
    /// Those that a YAML file names for this node: a mapping of nodes to lists of references.
    File(PathBuf),
    /// Those whose reference has a hash in one of these ranges, the first number in, the last out.
    Hash(Vec<(u64, u64)>),
}

impl Partition {
    /// The references that `node` is to offer; `None` is all of them.
    ///
    /// # Errors
    /// When the partition file cannot be read, or has nothing for this node.
    pub fn members(&self, node: &str) -> Result<Option<BTreeSet<SensorRef>>, String> {
        let Self::File(path) = self else { return Ok(None) };
        let document = yaml::read(path).map_err(|error| format!("{}: {}", path.display(), error.problem()))?;
        let list = match document.value.get(node) {
            Some(Value::Array(list)) => list,
            Some(_) => {
                let line = document.line_of(&[node]);
                return Err(format!("{}:{line}: `{node}` must have a list of sensors", path.display()));
            }
            None => return Err(format!("{}: there is nothing for the node `{node}`", path.display())),
        };
        Ok(Some(list.iter().filter_map(Value::as_str).map(SensorRef::new).collect()))
    }

    /// Whether a hash partition has this sensor; others have all.
    pub fn has(&self, sensor: &SensorRef) -> bool {
        let Self::Hash(ranges) = self else { return true };
        let hash = u64::from(hash(sensor.as_str()));
        ranges.iter().any(|(first, last)| (*first..*last).contains(&hash))
    }
}

impl FromStr for Partition {
    type Err = String;

    /// Reads the option's value: `name:hash, hash_ranges:0..1024|2048..max`.
    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "`name:default`, `name:file, partition_file:PATH` and `name:hash, hash_ranges:FROM..TO|FROM..TO` are allowed";
        let (mut name, mut file, mut ranges) = (None, None, None);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("name", value)) => name = Some(value.to_lowercase()),
                Some(("partition_file", value)) => file = Some(PathBuf::from(value)),
                Some(("hash_ranges", value)) => ranges = Some(value),
                _ => return Err(format!("`{part}` is not understood: {ALLOWED}")),
            }
        }
        match (name.as_deref(), file, ranges) {
            (Some("default"), None, None) => Ok(Self::All),
            (Some("file"), Some(file), None) => Ok(Self::File(file)),
            (Some("hash"), None, Some(text)) => text.split('|').map(range).collect::<Result<_, _>>().map(Self::Hash),
            (Some("kvstore"), ..) => Err(format!("`name:kvstore` is not in this release: {ALLOWED}")),
            _ => Err(ALLOWED.to_owned()),
        }
    }
}

/// `FROM..TO`, where `min` is 0 and `max` is 2^32; what lies beyond is brought within.
fn range(text: &str) -> Result<(u64, u64), String> {
    const MAX: u64 = 1 << 32;
    let bound = |text: &str| match text.trim().to_lowercase().as_str() {
        "min" => Some(0),
        "max" => Some(MAX),
        number => number.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or(0).min(MAX)),
    };
    let bounds = text.split_once("..").and_then(|(first, last)| Some((bound(first)?, bound(last)?)));
    bounds
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| format!("`{}` is no range: write FROM..TO, numbers from `min` (0) to `max` (2^32)", text.trim()))
}

/// StackStorm's hash of a reference: the decimal digits of its MD5, the last first, shifted and folded into 32 bits.
fn hash(reference: &str) -> u32 {
    let digest: [u8; 16] = Md5::digest(reference.as_bytes()).into();
    let digits = u128::from_be_bytes(digest).to_string();
    digits.bytes().rev().fold(0, |hash: u32, digit| (hash << 5) ^ (hash >> 27) ^ u32::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stackstorms() {
        assert_eq!(hash("examples.SampleSensor"), 4_026_535_470);
        assert_eq!(hash("linux.FileWatchSensor"), 1_562_168_054);
        assert_eq!(hash("github.GitHubRepositorySensor"), 3_668_876_233);
        assert_eq!(hash("p.X"), 391_850_446);
        assert_eq!(hash("ä.Ö"), 1_675_630_486);
    }

    #[test]
    fn ranges_are_read_as_stackstorm_reads_them() {
        let read = |text: &str| text.parse::<Partition>();
        assert_eq!(read("name:default"), Ok(Partition::All));
        assert_eq!(
            read("name:hash, hash_ranges:MIN..1024 | 2048..99999999999"),
            Ok(Partition::Hash(vec![(0, 1_024), (2_048, 1 << 32)]))
        );
        assert_eq!(read("name:file,partition_file:/etc/p.yaml"), Ok(Partition::File("/etc/p.yaml".into())));
        for wrong in
            ["", "name:other", "name:hash", "name:hash, hash_ranges:5..1", "name:file", "default", "name:kvstore"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_partition_file_says_what_a_node_offers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "node-1: [a.B, c.D]\nnode-2: a.B\n").unwrap();
        let partition = Partition::File(path);
        let members = partition.members("node-1").unwrap().unwrap();
        assert!(members.contains(&SensorRef::new("a.B")) && members.len() == 2);
        assert!(partition.members("node-2").unwrap_err().ends_with("p.yaml:2: `node-2` must have a list of sensors"));
        assert!(partition.members("node-3").unwrap_err().ends_with("there is nothing for the node `node-3`"));
    }
}
