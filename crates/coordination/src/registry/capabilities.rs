//! What members say of themselves, as bytes: msgpack, as tooz writes and reads it. What strangers wrote is never trusted.

use rmpv::Value as Packed;
use serde_json::{Map, Number, Value};

use super::Capabilities;

/// More than this is no description of a service.
const BYTES_AT_MOST: usize = 64 << 10;
/// Maps within maps, and lists: each counts twice.
const DEPTH_AT_MOST: usize = 32;
/// What tooz before 9 writes where nothing is said: no bytes at all, packed.
const NOTHING: [u8; 2] = [0xC4, 0];

/// A map with keys of text, in their order.
pub(super) fn encoded(capabilities: &Capabilities) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = rmpv::encode::write_value(&mut bytes, &map(capabilities));
    bytes
}

/// What was said, or why it cannot be read. Bytes are taken for text; what JSON has no word for is described.
pub(super) fn decoded(mut bytes: &[u8]) -> Result<Value, String> {
    if bytes == NOTHING {
        return Ok(Value::Null);
    }
    if bytes.is_empty() {
        return Err("there are no bytes".to_owned());
    }
    if bytes.len() > BYTES_AT_MOST {
        return Err(format!("{} bytes are more than a description takes", bytes.len()));
    }
    let read = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_AT_MOST);
    let value = read.map_err(|error| format!("it is no msgpack: {error}"))?;
    if bytes.is_empty() { Ok(unpacked(value)) } else { Err("there is more behind its msgpack".to_owned()) }
}

fn map(capabilities: &Capabilities) -> Packed {
    Packed::Map(capabilities.iter().map(|(key, value)| (key.as_str().into(), packed(value))).collect())
}

fn packed(value: &Value) -> Packed {
    match value {
        Value::Null => Packed::Nil,
        Value::Bool(is) => Packed::Boolean(*is),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().map_or(Packed::Nil, Packed::F64),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Packed::Array(items.iter().map(packed).collect()),
        Value::Object(object) => map(object),
    }
}

fn unpacked(value: Packed) -> Value {
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(is) => Value::Bool(is),
        Packed::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, number) => number.into(),
        },
        Packed::F32(number) => float(number.into()),
        Packed::F64(number) => float(number),
        Packed::String(text) => String::from_utf8_lossy(text.as_bytes()).into_owned().into(),
        Packed::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Packed::Array(items) => items.into_iter().map(unpacked).collect(),
        Packed::Map(pairs) => {
            let pair = |(key, value)| match unpacked(key) {
                Value::String(key) => (key, unpacked(value)),
                key => (key.to_string(), unpacked(value)),
            };
            Value::Object(pairs.into_iter().map(pair).collect::<Map<_, _>>())
        }
        Packed::Ext(kind, bytes) => format!("extension {kind} of {} bytes", bytes.len()).into(),
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Capabilities {
        let Value::Object(object) = value else { panic!("no object: {value}") };
        object
    }

    #[test]
    fn the_bytes_are_those_of_tooz() {
        let member = json!({"name": "sensorcontainer", "type": "passive", "hostname": "host", "pid": 123});
        let bytes = b"\x84\xa4name\xafsensorcontainer\xa4type\xa7passive\xa8hostname\xa4host\xa3pid\x7b";
        assert_eq!(encoded(&object(member.clone())), bytes);
        assert_eq!(decoded(bytes), Ok(member));
    }

    #[test]
    fn numbers_and_long_texts_are_as_short_as_msgpack_has_them() {
        let bytes = |value: Value| encoded(&object(json!({ "a": value })));
        assert_eq!(bytes(json!(4_194_304)), b"\x81\xa1a\xce\0\x40\0\0");
        assert_eq!(bytes(json!(9110)), b"\x81\xa1a\xcd\x23\x96");
        assert_eq!(bytes(json!("x".repeat(40)))[..5], *b"\x81\xa1a\xd9\x28");
        assert_eq!(bytes(json!([true, null, -1, 0.5])), b"\x81\xa1a\x94\xc3\xc0\xff\xcb\x3f\xe0\0\0\0\0\0\0");
        let many: Capabilities = (0..16).map(|number| (format!("{number:02}"), Value::Null)).collect();
        assert_eq!(encoded(&many)[..3], *b"\xde\0\x10");
    }

    #[test]
    fn nothing_said_is_read_as_either_release_of_tooz_writes_it() {
        assert_eq!(decoded(b"\xc0"), Ok(Value::Null));
        assert_eq!(decoded(b"\xc4\0"), Ok(Value::Null));
    }

    #[test]
    fn what_strangers_wrote_is_read_as_far_as_it_can_be() {
        assert_eq!(
            decoded(b"\x82\x01\xc4\x01b\xa1k\xc7\x02\x01xy"),
            Ok(json!({"1": "b", "k": "extension 1 of 2 bytes"}))
        );
        assert_eq!(decoded(b"\xcb\x7f\xf8\0\0\0\0\0\0"), Ok(json!("NaN")));
        assert_eq!(decoded(b"\xa1\xff"), Ok(json!("\u{fffd}")));
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_so_and_costs_nothing() {
        let deep = vec![0x91; 60_000];
        // Lists, texts and maps of four thousand millions that are not there.
        let lies: [&[u8]; 6] =
            [b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"", b"{}", &deep];
        for bytes in lies {
            assert!(decoded(bytes).is_err(), "{:x?}", &bytes[..bytes.len().min(8)]);
        }
        assert!(decoded(&vec![0xC0; BYTES_AT_MOST + 1]).unwrap_err().contains("more than"));
    }
}
