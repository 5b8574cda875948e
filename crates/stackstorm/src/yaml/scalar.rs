//! What a scalar is by YAML 1.1 as `PyYAML` has it, and its value.

use serde_json::{Number, Value};

use super::timestamp;

/// What a node is: by its explicit tag, or by how it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    Null,
    Boolean,
    Integer,
    Float,
    Timestamp,
    Text,
    List,
    Mapping,
    /// `<<`.
    Merge,
    /// `=`, which `PyYAML` takes for a key only.
    Default,
    /// Sets, ordered mappings, pairs, binary values.
    NotJson,
    Unknown,
}

impl Tag {
    /// The meaning of an explicit tag.
    pub(super) fn named(handle: &str, suffix: &str) -> Self {
        const CORE: &str = "tag:yaml.org,2002:";
        let name = if handle == CORE { Some(suffix) } else { suffix.strip_prefix(CORE).filter(|_| handle.is_empty()) };
        match name {
            Some("null") => Self::Null,
            Some("bool") => Self::Boolean,
            Some("int") => Self::Integer,
            Some("float") => Self::Float,
            Some("timestamp") => Self::Timestamp,
            Some("str") => Self::Text,
            Some("seq") => Self::List,
            Some("map") => Self::Mapping,
            Some("merge") => Self::Merge,
            Some("value") => Self::Default,
            Some("set" | "omap" | "pairs" | "binary") => Self::NotJson,
            _ => Self::Unknown,
        }
    }

    /// The meaning of a scalar without quotes or tag.
    pub(super) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "<<" => Self::Merge,
            "=" => Self::Default,
            _ if truth(text).is_some() => Self::Boolean,
            _ if is_float(text) => Self::Float,
            _ if is_integer(text) => Self::Integer,
            _ if timestamp::is_timestamp(text) => Self::Timestamp,
            _ => Self::Text,
        }
    }
}

/// The value of a scalar that is `tag`, or why there is none.
pub(super) fn value(tag: Tag, text: &str) -> Result<Value, &'static str> {
    match tag {
        Tag::Null => Ok(Value::Null),
        Tag::Boolean => tagged_truth(text).map(Value::Bool).ok_or("not a boolean"),
        Tag::Integer => integer(text),
        Tag::Float => float(text),
        Tag::Timestamp => timestamp::iso(text).map(Value::String).ok_or("not a date or time of the calendar"),
        Tag::Text => Ok(Value::String(text.to_owned())),
        Tag::List => Err("a list is said to stand here, and it is a scalar"),
        Tag::Mapping => Err("a mapping is said to stand here, and it is a scalar"),
        Tag::Merge => Err("`<<` merges mappings and can only be a key: put it in quotes to mean the text"),
        Tag::Default => Err("`=` can only be a key: put it in quotes to mean the text"),
        Tag::NotJson => Err("sets, ordered mappings, pairs and binary values are not supported"),
        Tag::Unknown => Err("an unknown tag: a value that begins with `!` needs quotes"),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A boolean by tag may be written in any mixture of cases.
fn tagged_truth(text: &str) -> Option<bool> {
    truth(&text.to_lowercase())
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// A digit, then digits and underscores.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit()) && is_digits(text)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

/// `0` to `59`, with or without a leading zero.
fn is_sixtieth(text: &str) -> bool {
    match text.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    }
}

fn is_integer(text: &str) -> bool {
    let text = unsigned(text);
    let all =
        |digits: &str, of: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(|byte| byte == b'_' || of(byte));
    if let Some(digits) = text.strip_prefix("0b") {
        return all(digits, |byte| matches!(byte, b'0' | b'1'));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, |byte| byte.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix('0') {
        return digits.is_empty() || all(digits, |byte| matches!(byte, b'0'..=b'7'));
    }
    let mut parts = text.split(':');
    parts.next().is_some_and(is_number) && parts.all(is_sixtieth)
}

fn is_float(text: &str) -> bool {
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if let Some(fraction) = text.strip_prefix('.')
        && is_number(without_exponent(fraction))
    {
        return true;
    }
    let text = unsigned(text);
    if matches!(text, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let Some((whole, fraction)) = text.split_once('.') else { return false };
    if let Some((first, sixtieths)) = whole.split_once(':') {
        return is_number(first) && sixtieths.split(':').all(is_sixtieth) && is_digits(fraction);
    }
    is_number(whole) && is_digits(without_exponent(fraction))
}

/// Takes an exponent off; YAML 1.1 wants a sign in it.
fn without_exponent(text: &str) -> &str {
    let Some((digits, exponent)) = text.split_once(['e', 'E']) else { return text };
    match exponent.strip_prefix(['-', '+']) {
        Some(exponent) if !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit()) => digits,
        _ => text,
    }
}

fn integer(text: &str) -> Result<Value, &'static str> {
    const NONE: &str = "not an integer";
    let bare = text.replace('_', "");
    let bare = bare.trim();
    let digits = unsigned(bare);
    let magnitude = if let Some(digits) = digits.strip_prefix("0b") {
        radix(digits, 2)?
    } else if let Some(digits) = digits.strip_prefix("0x") {
        radix(digits, 16)?
    } else if digits == "0" {
        Some(0)
    } else if let Some(digits) = digits.strip_prefix('0') {
        radix(digits.strip_prefix('o').unwrap_or(digits), 8)?
    } else if digits.contains(':') {
        let mut sum = Some(0_u128);
        for part in digits.split(':') {
            let part = radix(part, 10)?;
            sum = sum.and_then(|sum| sum.checked_mul(60)).zip(part).and_then(|(sum, part)| sum.checked_add(part));
        }
        sum
    } else {
        radix(digits, 10)?
    };
    let negative = bare.starts_with('-');
    let number = magnitude.and_then(|magnitude| {
        if negative {
            let value = i128::try_from(magnitude).ok()?.checked_neg()?;
            i64::try_from(value).ok().map(Number::from)
        } else {
            u64::try_from(magnitude).ok().map(Number::from)
        }
    });
    return Ok(number.map_or_else(|| Value::String(text.to_owned()), Value::Number));

    /// The number, nothing when it is too large, an error when it is none.
    fn radix(digits: &str, radix: u32) -> Result<Option<u128>, &'static str> {
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(NONE);
        }
        Ok(u128::from_str_radix(digits, radix).ok())
    }
}

fn float(text: &str) -> Result<Value, &'static str> {
    const NONE: &str = "not a number";
    let bare = text.replace('_', "").to_lowercase();
    let bare = bare.trim();
    let digits = unsigned(bare);
    let magnitude = if digits == ".inf" {
        f64::INFINITY
    } else if digits == ".nan" {
        f64::NAN
    } else if digits.contains(':') {
        let mut sum = 0.0;
        for part in digits.split(':') {
            sum = sum * 60.0 + part.parse::<f64>().map_err(|_| NONE)?;
        }
        sum
    } else {
        digits.parse().map_err(|_| NONE)?
    };
    let value = if bare.starts_with('-') { -magnitude } else { magnitude };
    Ok(Number::from_f64(value).map_or_else(|| Value::String(text.to_owned()), Value::Number))
}
