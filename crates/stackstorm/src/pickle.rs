//! JSON values as Python's pickle writes them, protocol 4: what StackStorm's services send each other.
//!
//! Written only, never read: nothing of ours has to trust a pickle. Strings, lists and dictionaries are memoized as
//! `CPython` memoizes them, and everything is one frame, so that what is as short as a trigger is the same bytes.

use serde_json::{Number, Value};

/// Items that one `APPENDS` or `SETITEMS` takes, as in `CPython`.
const BATCH: usize = 1_000;
/// Less than this is not framed, as in `CPython`.
const FRAME_BYTES_AT_LEAST: usize = 4;

const PROTOCOL: &[u8] = b"\x80\x04";
const FRAME: u8 = 0x95;
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const MEMOIZE: u8 = 0x94;
const NONE: u8 = b'N';
const TRUE: u8 = 0x88;
const FALSE: u8 = 0x89;
const INT_1: u8 = b'K';
const INT_2: u8 = b'M';
const INT_4: u8 = b'J';
const LONG: u8 = 0x8A;
const FLOAT: u8 = b'G';
const TEXT_1: u8 = 0x8C;
const TEXT_4: u8 = b'X';
const TEXT_8: u8 = 0x8D;
const LIST: u8 = b']';
const APPEND: u8 = b'a';
const APPENDS: u8 = b'e';
const DICTIONARY: u8 = b'}';
const SET_ITEM: u8 = b's';
const SET_ITEMS: u8 = b'u';

/// A value as a pickle.
pub fn pickle(value: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    write(value, &mut body);
    framed(body)
}

/// A dictionary with these keys, in this order, as a pickle.
pub fn pickle_dictionary(items: &[(&str, &Value)]) -> Vec<u8> {
    let mut body = Vec::new();
    dictionary(items.iter().copied(), &mut body);
    framed(body)
}

fn framed(mut body: Vec<u8>) -> Vec<u8> {
    body.push(STOP);
    let mut whole = PROTOCOL.to_vec();
    if body.len() >= FRAME_BYTES_AT_LEAST {
        whole.push(FRAME);
        whole.extend((body.len() as u64).to_le_bytes());
    }
    whole.append(&mut body);
    whole
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NONE),
        Value::Bool(true) => out.push(TRUE),
        Value::Bool(false) => out.push(FALSE),
        Value::Number(value) => number(value, out),
        Value::String(value) => text(value, out),
        Value::Array(values) => list(values, out),
        Value::Object(items) => dictionary(items.iter().map(|(key, value)| (key.as_str(), value)), out),
    }
}

fn number(value: &Number, out: &mut Vec<u8>) {
    let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let Some(whole) = whole else {
        out.push(FLOAT);
        out.extend(value.as_f64().unwrap_or_default().to_be_bytes());
        return;
    };
    if let Ok(byte) = u8::try_from(whole) {
        out.extend([INT_1, byte]);
    } else if let Ok(word) = u16::try_from(whole) {
        out.push(INT_2);
        out.extend(word.to_le_bytes());
    } else if let Ok(word) = i32::try_from(whole) {
        out.push(INT_4);
        out.extend(word.to_le_bytes());
    } else {
        let bytes = shortest(whole);
        // Nine bytes at the most: 64 bits and a sign.
        out.extend([LONG, u8::try_from(bytes.len()).unwrap_or_default()]);
        out.extend(bytes);
    }
}

/// Two's complement, the least significant byte first, without bytes that only repeat the sign.
fn shortest(value: i128) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    while let [.., before, last] = bytes[..]
        && (last == 0 && before < 0x80 || last == 0xFF && before >= 0x80)
    {
        bytes.pop();
    }
    bytes
}

fn text(value: &str, out: &mut Vec<u8>) {
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend([TEXT_1, length]);
    } else if let Ok(length) = u32::try_from(value.len()) {
        out.push(TEXT_4);
        out.extend(length.to_le_bytes());
    } else {
        out.push(TEXT_8);
        out.extend((value.len() as u64).to_le_bytes());
    }
    out.extend(value.as_bytes());
    out.push(MEMOIZE);
}

fn list(values: &[Value], out: &mut Vec<u8>) {
    out.extend([LIST, MEMOIZE]);
    for batch in values.chunks(BATCH) {
        if let [value] = batch {
            write(value, out);
            out.push(APPEND);
            continue;
        }
        out.push(MARK);
        for value in batch {
            write(value, out);
        }
        out.push(APPENDS);
    }
}

fn dictionary<'a>(items: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut Vec<u8>) {
    out.extend([DICTIONARY, MEMOIZE]);
    let items: Vec<(&str, &Value)> = items.collect();
    for batch in items.chunks(BATCH) {
        let several = batch.len() > 1;
        if several {
            out.push(MARK);
        }
        for (key, value) in batch {
            text(key, out);
            write(value, out);
        }
        out.push(if several { SET_ITEMS } else { SET_ITEM });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What `pickle.dumps(value, protocol=4)` of `CPython` 3.11 gives, in hexadecimal.
    #[test]
    fn small_values_are_the_bytes_of_cpython() {
        let cases = [
            (json!(null), "80044e2e"),
            (json!(true), "8004882e"),
            (json!(7), "80044b072e"),
            (json!(256), "80049504000000000000004d00012e"),
            (json!(-1), "80049506000000000000004affffffff2e"),
            (json!(2_147_483_648_i64), "80049508000000000000008a0500000080002e"),
            (json!(-2_147_483_649_i64), "80049508000000000000008a05ffffff7fff2e"),
            (json!(u64::MAX), "8004950c000000000000008a09ffffffffffffffff002e"),
            (json!(1.5), "8004950a00000000000000473ff80000000000002e"),
            (json!("ä"), "80049506000000000000008c02c3a4942e"),
            (json!([]), "80045d942e"),
            (json!([1]), "80049506000000000000005d944b01612e"),
            (json!([1, 2]), "80049509000000000000005d94284b014b02652e"),
            (json!({}), "80047d942e"),
            (json!({"a": [{}]}), "8004950d000000000000007d948c0161945d947d9461732e"),
        ];
        for (value, expected) in cases {
            let bytes = pickle(&value);
            let expected: Vec<u8> = (0..expected.len())
                .step_by(2)
                .map(|place| u8::from_str_radix(&expected[place..place + 2], 16).unwrap())
                .collect();
            assert_eq!(bytes, expected, "{value}");
        }
    }
}
