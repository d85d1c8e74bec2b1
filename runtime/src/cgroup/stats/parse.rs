//! The forms in which the kernel writes numbers.

use std::collections::BTreeMap;
use std::path::Path;

use super::{BlkioEntry, Pressure, PressureLine};
use crate::cgroup::files::read;
use crate::failure::Failure;

/// The text of a file; nothing if there is none.
pub(super) fn text(dir: &Path, file: &str) -> Result<String, Failure> {
    Ok(read(&dir.join(file))?.unwrap_or_default())
}

/// Lines `name value`.
pub(super) fn flat_keyed(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    });
    pairs.collect()
}

/// Lines `device name=value name=value …`.
pub(super) fn nested_keyed(text: &str) -> impl Iterator<Item = (&str, BTreeMap<&str, u64>)> {
    text.lines().filter_map(|line| {
        let (device, pairs) = line.split_once(' ')?;
        let pairs = pairs.split(' ').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = if value == "max" {
                u64::MAX
            } else {
                value.parse().ok()?
            };
            Some((name, value))
        });
        Some((device, pairs.collect()))
    })
}

/// Numbers of a device, `major:minor`.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines `major:minor [operation] value`; a last line with a total over all devices is left out.
pub(super) fn blkio(text: &str) -> Vec<BlkioEntry> {
    let entries = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (first, second) = (words.next()?, words.next());
        let (op, value) = match second {
            Some(value) => (first, value),
            None => ("", first),
        };
        Some(BlkioEntry {
            major,
            minor,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    });
    entries.collect()
}

/// A list of numbers and ranges, `0-3,7`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    parts.flatten().collect()
}

/// A pressure file; `None` if there is nothing in it.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = None;
    for line in text.lines() {
        let (name, pairs) = line.split_once(' ')?;
        let number = |wanted: &str| {
            let mut pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
        };
        let average = |wanted| number(wanted)?.parse().ok();
        let parsed = PressureLine {
            avg10: average("avg10")?,
            avg60: average("avg60")?,
            avg300: average("avg300")?,
            total: number("total")?.parse().ok()?,
        };
        let pressure = pressure.get_or_insert_with(Pressure::default);
        match name {
            "some" => pressure.some = parsed,
            "full" => pressure.full = parsed,
            _ => {}
        }
    }
    pressure
}
