//! Annotations `org.systemd.property.NAME`, whose values have the text form of GVariant.

use super::bus::Value;

/// Where the name of a property begins.
const PREFIX: &str = "org.systemd.property.";

/// An annotation that is no property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation `{key}`: `{value}` cannot be understood as a property of a unit")]
pub struct BadProperty {
    key: String,
    value: String,
}

/// The property of an annotation; `None` if it is about something else.
pub(super) fn parse(key: &str, text: &str) -> Result<Option<(String, Value)>, BadProperty> {
    let Some(name) = key.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let bad = || BadProperty {
        key: key.to_owned(),
        value: text.to_owned(),
    };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(bad());
    }
    // What decides whose processes these are, and where, is not for an annotation.
    if ["PIDs", "Slice", "Delegate"].contains(&name) {
        return Err(bad());
    }
    let value = value(text.trim()).ok_or_else(bad)?;
    // On the bus, times are in microseconds and called so.
    match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        Some(stem) => {
            let value = microseconds(&value).ok_or_else(bad)?;
            Ok(Some((format!("{stem}USec"), value)))
        }
        None => Ok(Some((name.to_owned(), value))),
    }
}

fn microseconds(seconds: &Value) -> Option<Value> {
    let seconds: f64 = match *seconds {
        Value::I32(value) => value.into(),
        Value::U32(value) => value.into(),
        Value::I64(value) => value as f64,
        Value::U64(value) => value as f64,
        Value::Float(value) => value,
        _ => return None,
    };
    let all = seconds * 1e6;
    // Exact up to 2⁵³, which is 285 years.
    (0.0..9e15).contains(&all).then_some(Value::U64(all as u64))
}

fn value(text: &str) -> Option<Value> {
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        "@as []" => return Some(Value::Texts(Vec::new())),
        _ => {}
    }
    if let Some(inner) = text.strip_prefix('[') {
        return texts(inner.strip_suffix(']')?).map(Value::Texts);
    }
    if text.starts_with(['\'', '"']) {
        let (text, rest) = quoted(text)?;
        return rest.is_empty().then_some(Value::Text(text));
    }
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        return match kind {
            "byte" => number.parse().ok().map(Value::Byte),
            "int16" => number.parse().ok().map(Value::I16),
            "uint16" => number.parse().ok().map(Value::U16),
            "int32" => number.parse().ok().map(Value::I32),
            "uint32" => number.parse().ok().map(Value::U32),
            "int64" => number.parse().ok().map(Value::I64),
            "uint64" => number.parse().ok().map(Value::U64),
            "double" => number.parse().ok().map(Value::Float),
            _ => None,
        };
    }
    let integer = text.parse().ok().map(Value::I32);
    // Rust also reads `inf` and `nan`.
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    integer.or_else(|| text.parse().ok().filter(|_| is_number).map(Value::Float))
}

/// `'a', "b"`, of which there is at least one: an empty list has no type.
fn texts(mut rest: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let (text, after) = quoted(rest.trim_start())?;
        all.push(text);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(all),
        }
    }
}

/// A string in quotes and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|first| ['\'', '"'].contains(first))?;
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '\0' => return None,
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                escaped @ ('\\' | '\'' | '"') => value.push(escaped),
                _ => return None,
            },
            char if char == quote => return Some((value, &text[at + 1..])),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (name, given, property, value) in [
            (
                "TimeoutStopUSec",
                "uint64 5",
                "TimeoutStopUSec",
                Value::U64(5),
            ),
            (
                "TimeoutStopSec",
                "1.5",
                "TimeoutStopUSec",
                Value::U64(1_500_000),
            ),
            ("CollectMode", "'inactive'", "CollectMode", text("inactive")),
            ("Description", r#""it\"s""#, "Description", text("it\"s")),
            ("SendSIGHUP", "true", "SendSIGHUP", Value::Bool(true)),
            ("OOMScoreAdjust", "-5", "OOMScoreAdjust", Value::I32(-5)),
            (
                "After",
                "['a.service', 'b.service']",
                "After",
                Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()]),
            ),
            ("Wants", "@as []", "Wants", Value::Texts(Vec::new())),
        ] {
            let found = parse(&format!("{PREFIX}{name}"), given).unwrap();
            assert_eq!(found, Some((property.to_owned(), value)), "{name}");
        }
        assert_eq!(parse("org.example", "x").unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (name, given) in [
            ("", "true"),
            ("Ab", "true"),
            ("A b", "true"),
            ("After", "a.service"),
            ("After", "['a'"),
            ("After", "['a',]"),
            ("After", "[]"),
            ("Description", "'a' 'b'"),
            ("Description", "'a"),
            ("Description", r"'\x'"),
            ("TimeoutStopSec", "'5'"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopUSec", "uint64 -1"),
            ("TimeoutStopUSec", "nan"),
            ("PIDs", "uint32 1"),
        ] {
            assert!(
                parse(&format!("{PREFIX}{name}"), given).is_err(),
                "{name} {given}"
            );
        }
    }
}
