//! The message with which StackStorm's sensor containers dispatch a trigger, as its rules engine takes it.

use serde_json::Value;

use crate::pickle::pickle_dictionary;

/// The exchange's name, below [`DEFAULT_PREFIX`] or what `[messaging] prefix` says.
pub const EXCHANGE: &str = "trigger_instances_dispatch";
/// What names of exchanges begin with where `[messaging] prefix` says nothing else.
pub const DEFAULT_PREFIX: &str = "st2";
/// StackStorm's own; its queue takes every key.
pub const ROUTING_KEY: &str = "trigger_instance";
/// The only type that its consumers take.
pub const CONTENT_TYPE: &str = "application/x-python-serialize";
/// As kombu marks a pickle.
pub const CONTENT_ENCODING: &str = "binary";
/// Kept on disk.
pub const DELIVERY_MODE: u8 = 2;
/// kombu's default.
pub const PRIORITY: u8 = 0;

/// The message's body. A trace context is a plain dictionary: the rules engine takes it like the object that StackStorm's own
/// containers send, and so does a consumer without StackStorm's code.
pub fn body(trigger: &Value, payload: &Value, trace_context: &Value) -> Vec<u8> {
    pickle_dictionary(&[("trigger", trigger), ("payload", payload), ("trace_context", trace_context)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Seen on the wire between StackStorm's own services.
    #[test]
    fn the_body_is_stackstorms_own_byte_for_byte() {
        let mut expected = b"\x80\x04\x95\x44\0\0\0\0\0\0\0\x7d\x94\x28".to_vec();
        expected.extend(b"\x8c\x07trigger\x94\x8c\x16examples.polling_event\x94");
        expected.extend(b"\x8c\x07payload\x94\x4e\x8c\x0dtrace_context\x94\x4e\x75\x2e");
        let body = body(&json!("examples.polling_event"), &Value::Null, &Value::Null);
        assert_eq!(body.len(), 79);
        assert_eq!(body, expected);
    }
}
