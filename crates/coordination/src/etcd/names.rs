//! The keys' names in etcd, and the parts that transactions are made of.

use std::ops::RangeInclusive;

use super::api::compare::{CompareResult, CompareTarget, TargetUnion};
use super::api::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnResponse, request_op,
    response_op,
};
use crate::codec;
use st2sa_core::engine::Key;

/// Where our keys are.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    /// Below `st2sa/<namespace>/`.
    pub(super) fn new(namespace: Option<&str>) -> Self {
        Self { prefix: format!("st2sa/{}/", namespace.unwrap_or("default")) }
    }

    /// A key by its name below the prefix.
    pub(super) fn own(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    /// The key of the leadership in force: it holds its token, and hangs on its lease.
    pub(super) fn leader(&self) -> Vec<u8> {
        self.own("leader")
    }

    /// The key of the term's record.
    pub(super) fn term(&self) -> Vec<u8> {
        self.own("term")
    }

    /// The key of the format.
    pub(super) fn format(&self) -> Vec<u8> {
        self.own("format")
    }

    /// The key that tells late writes of values from current ones (see `values`).
    pub(super) fn barrier(&self) -> Vec<u8> {
        self.own("barrier")
    }

    /// One of the durable keys.
    pub(super) fn of(&self, key: &Key) -> Vec<u8> {
        self.own(&codec::key(key))
    }

    /// A sensor's value.
    pub(super) fn value(&self, name: &str) -> Vec<u8> {
        self.own(&format!("{VALUES}{name}"))
    }

    /// A key's name below the prefix.
    pub(super) fn short<'a>(&self, key: &'a [u8]) -> &'a str {
        // Names of ours are text.
        let name = std::str::from_utf8(key).unwrap_or_default();
        name.strip_prefix(&self.prefix).unwrap_or(name)
    }
}

/// Sensors' values.
pub(super) const VALUES: &str = "values/";

/// Where the keys that begin so end.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    const MORE: RangeInclusive<u8> = 0..=u8::MAX - 1;
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if MORE.contains(&last) {
            end.push(last + 1);
            return end;
        }
    }
    // To the end of all keys.
    vec![0]
}

/// The key is at this revision; 0: it is absent.
pub(super) fn is_at(key: Vec<u8>, revision: i64) -> Compare {
    compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
}

/// The key holds this.
pub(super) fn holds(key: Vec<u8>, value: &str) -> Compare {
    compare(key, CompareTarget::Value, TargetUnion::Value(value.as_bytes().to_vec()))
}

fn compare(key: Vec<u8>, target: CompareTarget, with: TargetUnion) -> Compare {
    Compare { result: CompareResult::Equal.into(), target: target.into(), key, target_union: Some(with) }
}

/// Reads a key.
pub(super) fn get(key: Vec<u8>) -> RequestOp {
    range(RangeRequest { key, ..RangeRequest::default() })
}

/// Reads a range.
pub(super) fn range(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestRange(range)) }
}

/// Sets a key, on a lease or (0) on none.
pub(super) fn put(key: Vec<u8>, value: String, lease: i64) -> RequestOp {
    let put = PutRequest { key, value: value.into_bytes(), lease };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

/// Deletes a key.
pub(super) fn delete(key: Vec<u8>) -> RequestOp {
    let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) }
}

/// What a transaction has read, in the order in which it was asked to.
pub(super) fn read(answer: TxnResponse) -> impl Iterator<Item = RangeResponse> {
    answer.responses.into_iter().filter_map(|answer| match answer.response {
        Some(response_op::Response::ResponseRange(range)) => Some(range),
        _ => None,
    })
}

/// The value of the one key that a transaction has read.
pub(super) fn read_value(answer: &TxnResponse) -> Option<&[u8]> {
    match &answer.responses.first()?.response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.first().map(|found| found.value.as_slice()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(end_of(b"values/"), b"values0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), [0]);
    }

    #[test]
    fn our_keys_are_below_the_namespace() {
        let names = Names::new(None);
        assert_eq!(names.leader(), b"st2sa/default/leader");
        assert_eq!(Names::new(Some("a")).value("p.X:n"), b"st2sa/a/values/p.X:n");
        assert_eq!(names.short(b"st2sa/default/containers/n"), "containers/n");
    }
}
