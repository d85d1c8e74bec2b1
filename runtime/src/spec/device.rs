//! Device nodes.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use serde::Serialize;

use super::process::an_id;
use super::{Error, Problem, rooted};

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Named pipe.
    Fifo,
}

/// A device node to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Device {
    /// Whether the two are the same node, whoever owns them.
    fn is_same(&self, other: &Self) -> bool {
        let number = |device: &Self| (device.kind, device.major, device.minor);
        number(self) == number(other)
    }
}

/// The devices, each path once: what is listed again has the mode and owner of the later entry.
pub(super) fn check(raw: &[LinuxDevice]) -> Result<Vec<Device>, Error> {
    let mut devices: Vec<(usize, Device)> = Vec::with_capacity(raw.len());
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    for (at, raw) in raw.iter().enumerate() {
        let device = check_one(&format!("linux.devices[{at}]"), raw)?;
        let place = *places.entry(device.path.clone()).or_insert(devices.len());
        match devices.get_mut(place) {
            None => devices.push((at, device)),
            Some((_, earlier)) if earlier.is_same(&device) => *earlier = device,
            Some((first, _)) => {
                let other = format!("linux.devices[{first}]");
                let problem = Problem::OtherDevice(device.path, other);
                return Err(Error::invalid(format!("linux.devices[{at}].path"), problem));
            }
        }
    }
    Ok(devices.into_iter().map(|(_, device)| device).collect())
}

fn check_one(key: &str, raw: &LinuxDevice) -> Result<Device, Error> {
    let kind = match raw.typ() {
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            return Err(Error::invalid(format!("{key}.type"), Problem::DeviceType));
        }
    };
    // A pipe has no number, whatever the configuration says.
    let number = |name: &str, value: i64, bits: u32| match u32::try_from(value) {
        _ if kind == DeviceKind::Fifo => Ok(0),
        Ok(number) if number >> bits == 0 => Ok(number),
        _ => {
            let problem = Problem::OutOfRange(value);
            Err(Error::invalid(format!("{key}.{name}"), problem))
        }
    };
    Ok(Device {
        path: rooted(&format!("{key}.path"), raw.path())?,
        kind,
        major: number("major", raw.major(), 12)?,
        minor: number("minor", raw.minor(), 20)?,
        // Engines pass `st_mode` with the bits of the file's type.
        mode: raw.file_mode().unwrap_or(0o666) & 0o7777,
        uid: an_id(&format!("{key}.uid"), raw.uid().unwrap_or(0))?,
        gid: an_id(&format!("{key}.gid"), raw.gid().unwrap_or(0))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(devices: Value) -> Result<Vec<Device>, Error> {
        let raw: Vec<LinuxDevice> = serde_json::from_value(devices).unwrap();
        check(&raw)
    }

    #[test]
    fn every_kind_and_the_bits_of_the_type() {
        let found = checked(json!([
            { "type": "c", "path": "/dev/a", "major": 1, "minor": 3, "fileMode": 0o020_640 },
            { "type": "u", "path": "/dev/b", "major": 1, "minor": 5 },
            { "type": "b", "path": "/x//y/./sda", "major": 8, "minor": 0, "uid": 3, "gid": 4 },
            { "type": "p", "path": "/dev/pipe", "major": -1, "minor": -1 },
        ]))
        .unwrap();
        let kinds: Vec<_> = found.iter().map(|device| device.kind).collect();
        use DeviceKind::{Block, Char, Fifo};
        assert_eq!(kinds, [Char, Char, Block, Fifo]);
        assert_eq!((found[0].mode, found[1].mode), (0o640, 0o666));
        assert_eq!(found[2].path, PathBuf::from("/x/y/sda"));
        assert_eq!((found[2].uid, found[2].gid), (3, 4));
    }

    #[test]
    fn a_path_is_one_device() {
        let found = checked(json!([
            { "type": "c", "path": "/dev/a", "major": 1, "minor": 3, "fileMode": 0o600 },
            { "type": "u", "path": "/dev/a", "major": 1, "minor": 3, "fileMode": 0o644 },
        ]))
        .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mode, 0o644);
        let error = checked(json!([
            { "type": "c", "path": "/dev/z", "major": 1, "minor": 3 },
            { "type": "c", "path": "/dev/a", "major": 1, "minor": 3 },
            { "type": "b", "path": "/dev/a", "major": 1, "minor": 3 },
        ]))
        .unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(error.to_string(), "config.json: `linux.devices[2].path`");
        assert_eq!(source, "`/dev/a` is another device in `linux.devices[1]`");
    }

    #[test]
    fn numbers_that_no_device_has() {
        for (major, minor) in [(4096, 0), (0, 1 << 20), (-1, 0), (0, i64::MAX)] {
            let device = json!([{ "type": "c", "path": "/d", "major": major, "minor": minor }]);
            checked(device).unwrap_err();
        }
        checked(json!([{ "type": "a", "path": "/d", "major": 1, "minor": 1 }])).unwrap_err();
    }
}
