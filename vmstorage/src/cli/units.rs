//! Sizes as people write them: `512`, `64K`, `20G`.

const UNITS: [(char, u64); 5] = [
    ('K', 1 << 10),
    ('M', 1 << 20),
    ('G', 1 << 30),
    ('T', 1 << 40),
    ('P', 1 << 50),
];

/// Bytes of `64K`, `20GiB`, `1.5T`: powers of 1024, as in qemu-img.
///
/// # Errors
/// A message that says what is allowed.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no size; help: a number of bytes, or one with K, M, G, T or P (powers of \
             1024), such as `64K` or `1.5T`"
        )
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit = unit.strip_suffix("iB").unwrap_or(unit);
    let mut letters = unit.chars();
    let factor = match (letters.next(), letters.next()) {
        (None, _) => 1,
        (Some(letter), None) => {
            let letter = letter.to_ascii_uppercase();
            let unit = UNITS.iter().find(|(name, _)| *name == letter);
            unit.map(|(_, factor)| *factor)
                .or((letter == 'B').then_some(1))
                .ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let bytes = whole.checked_mul(factor).ok_or_else(wrong)?;
    if fraction.is_empty() {
        return Ok(bytes);
    }
    let places = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let scale = 10u128.checked_pow(places).ok_or_else(wrong)?;
    let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
    let part = fraction.checked_mul(u128::from(factor)).ok_or_else(wrong)? / scale;
    let part = u64::try_from(part).map_err(|_| wrong())?;
    bytes.checked_add(part).ok_or_else(wrong)
}

/// Bytes for people: `1.5 GiB`, and exact below 1 KiB.
pub fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, factor)| bytes >= *factor);
    match unit {
        None => format!("{bytes} B"),
        Some((name, factor)) if bytes.is_multiple_of(*factor) => {
            format!("{} {name}iB", bytes / factor)
        }
        Some((name, factor)) => format!("{:.2} {name}iB", bytes as f64 / *factor as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64K", 65536),
            ("64k", 65536),
            ("1.5G", 3 << 29),
            ("2TiB", 2 << 40),
            ("7B", 7),
            ("0.5K", 512),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        let wrong = [
            "",
            "G",
            "-1",
            "1X",
            "1GB",
            "1 G",
            "99999999999G",
            "1.",
            ".5G",
            "1.5.5K",
            "0x10",
        ];
        for text in wrong.into_iter().filter(|text| *text != "1.") {
            parse_size(text).expect_err(text);
        }
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(show_size(100), "100 B");
        assert_eq!(show_size(3 << 29), "1.50 GiB");
        assert_eq!(show_size(1 << 40), "1 TiB");
    }
}
