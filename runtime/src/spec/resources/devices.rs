//! `linux.resources.devices`: which devices may be used.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::Serialize;

use super::{Error, Problem, key, out_of_range, unknown};

/// Ways to use a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Access(u8);

impl Access {
    /// None.
    pub const NONE: Self = Self(0);
    /// `m`: make a node. The bits are those of `BPF_DEVCG_ACC_*`.
    pub const MAKE: Self = Self(1);
    /// `r`: open for reading.
    pub const READ: Self = Self(2);
    /// `w`: open for writing.
    pub const WRITE: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// `BPF_DEVCG_ACC_*`.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// What is in either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this and not in the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is left.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (way, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MAKE, "m")] {
            if self.0 & way.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceClass {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// One rule; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Which kind.
    pub class: Option<DeviceClass>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// Which ways; at least one.
    pub access: Access,
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            None => 'a',
            Some(DeviceClass::Block) => 'b',
            Some(DeviceClass::Char) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |all| all.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{class} {major}:{minor} {}", self.access)
    }
}

impl DeviceRule {
    pub(super) fn check_all(raw: &[LinuxDeviceCgroup]) -> Result<Vec<Self>, Error> {
        let raw = raw.iter().enumerate();
        raw.map(|(at, raw)| Self::check(&format!("devices[{at}]"), raw))
            .collect()
    }

    fn check(name: &str, raw: &LinuxDeviceCgroup) -> Result<Self, Error> {
        let class = match raw.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::A => None,
            LinuxDeviceType::B => Some(DeviceClass::Block),
            LinuxDeviceType::C | LinuxDeviceType::U => Some(DeviceClass::Char),
            LinuxDeviceType::P => {
                let key = key(&format!("{name}.type"));
                return Err(Error::invalid(key, Problem::DeviceType));
            }
        };
        let number = |part: &str, raw: Option<i64>, bits: u32| match raw.filter(|raw| *raw >= 0) {
            None => Ok(None),
            Some(raw) => match u32::try_from(raw).ok().filter(|raw| raw >> bits == 0) {
                None => Err(out_of_range(&format!("{name}.{part}"), raw)),
                number => Ok(number),
            },
        };
        let mut access = Access::NONE;
        let word = raw.access().as_deref().unwrap_or_default();
        for letter in word.chars() {
            access = access.union(match letter {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MAKE,
                _ => return Err(unknown(&format!("{name}.access"), word)),
            });
        }
        // The key is optional, and a rule about no access at all would be none.
        if access.is_empty() {
            access = Access::ALL;
        }
        Ok(Self {
            allow: raw.allow(),
            class,
            major: number("major", raw.major(), 12)?,
            minor: number("minor", raw.minor(), 20)?,
            access,
        })
    }

    /// Whether it speaks about every access to every device.
    pub fn is_about_all(&self) -> bool {
        self.class.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }
}
