//! Dates and times as YAML 1.1 writes them, to ISO 8601 as Python's `isoformat` writes it.

/// Whether a plain scalar is written as a date or a time; it may still be none of the calendar.
pub(super) fn is_timestamp(text: &str) -> bool {
    Parts::of(text).is_some()
}

/// The date or time in ISO 8601; nothing when there is no such day, hour or offset.
pub(super) fn iso(text: &str) -> Option<String> {
    let parts = Parts::of(text)?;
    let (year, month, day) = (number(parts.year)?, number(parts.month)?, number(parts.day)?);
    if year == 0 || day == 0 || day > days_of(year, month)? {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(time) = parts.time else { return Some(date) };

    let (hour, minute, second) = (number(time.hour)?, number(time.minute)?, number(time.second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let digits: String = time.fraction.chars().chain("000000".chars()).take(6).collect();
    let fraction = if digits == "000000" { String::new() } else { format!(".{digits}") };
    let zone = match time.zone {
        Zone::None => String::new(),
        Zone::Utc => "+00:00".to_owned(),
        Zone::Offset { sign, hours, minutes } => {
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let (hours, minutes) = (hours + minutes / 60, minutes % 60);
            if hours > 23 {
                return None;
            }
            let sign = if hours == 0 && minutes == 0 { '+' } else { sign };
            format!("{sign}{hours:02}:{minutes:02}")
        }
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

struct Parts<'a> {
    year: &'a str,
    month: &'a str,
    day: &'a str,
    time: Option<Time<'a>>,
}

struct Time<'a> {
    hour: &'a str,
    minute: &'a str,
    second: &'a str,
    fraction: &'a str,
    zone: Zone<'a>,
}

enum Zone<'a> {
    None,
    Utc,
    Offset { sign: char, hours: &'a str, minutes: &'a str },
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut rest = text;
        let year = digits(&mut rest, 4, 4)?;
        skip(&mut rest, '-')?;
        let month = digits(&mut rest, 1, 2)?;
        skip(&mut rest, '-')?;
        let day = digits(&mut rest, 1, 2)?;
        if rest.is_empty() {
            return (month.len() == 2 && day.len() == 2).then_some(Self { year, month, day, time: None });
        }
        rest = match rest.strip_prefix(['T', 't']) {
            Some(rest) => rest,
            None => Some(rest.trim_start_matches([' ', '\t'])).filter(|after| after.len() < rest.len())?,
        };
        Some(Self { year, month, day, time: Some(Time::of(rest)?) })
    }
}

impl<'a> Time<'a> {
    fn of(mut rest: &'a str) -> Option<Self> {
        let hour = digits(&mut rest, 1, 2)?;
        skip(&mut rest, ':')?;
        let minute = digits(&mut rest, 2, 2)?;
        skip(&mut rest, ':')?;
        let second = digits(&mut rest, 2, 2)?;
        let fraction = match skip(&mut rest, '.') {
            Some(()) => digits(&mut rest, 0, usize::MAX)?,
            None => "",
        };
        if rest.is_empty() {
            return Some(Self { hour, minute, second, fraction, zone: Zone::None });
        }
        rest = rest.trim_start_matches([' ', '\t']);
        if rest == "Z" {
            return Some(Self { hour, minute, second, fraction, zone: Zone::Utc });
        }
        let sign = rest.chars().next().filter(|sign| matches!(sign, '-' | '+'))?;
        skip(&mut rest, sign)?;
        let hours = digits(&mut rest, 1, 2)?;
        let minutes = match skip(&mut rest, ':') {
            Some(()) => digits(&mut rest, 2, 2)?,
            None => "0",
        };
        rest.is_empty().then_some(Self { hour, minute, second, fraction, zone: Zone::Offset { sign, hours, minutes } })
    }
}

/// Takes at least `least` and at most `most` digits off the front.
fn digits<'a>(rest: &mut &'a str, least: usize, most: usize) -> Option<&'a str> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (digits, after) = rest.split_at(count);
    *rest = after;
    Some(digits)
}

fn skip(rest: &mut &str, character: char) -> Option<()> {
    *rest = rest.strip_prefix(character)?;
    Some(())
}

fn number(digits: &str) -> Option<u32> {
    digits.parse().ok()
}

fn days_of(year: u32, month: u32) -> Option<u32> {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}
