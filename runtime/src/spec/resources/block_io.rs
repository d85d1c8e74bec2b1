//! `linux.resources.blockIO`.

use std::fmt;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};
use serde::Serialize;

use super::{Error, given, out_of_range};

/// Weights and limits of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Relative weight against the groups below, 10 to 1000 (version 1).
    pub leaf_weight: Option<u16>,
    /// Weights for single devices.
    pub weight_devices: Vec<DeviceWeight>,
    /// Bytes read a second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes written a second.
    pub write_bps: Vec<DeviceRate>,
    /// Reads a second.
    pub read_iops: Vec<DeviceRate>,
    /// Writes a second.
    pub write_iops: Vec<DeviceRate>,
}

/// A block device, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BlockDevice {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Weights for one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceWeight {
    /// Which.
    pub device: BlockDevice,
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Relative weight against the groups below, 10 to 1000 (version 1).
    pub leaf_weight: Option<u16>,
}

/// A limit for one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceRate {
    /// Which.
    pub device: BlockDevice,
    /// Bytes or operations a second; 0 is unlimited.
    pub rate: u64,
}

impl fmt::Display for BlockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl BlockIo {
    pub(super) fn check(raw: &LinuxBlockIo) -> Result<Self, Error> {
        let mut weight_devices = Vec::new();
        for (at, raw) in raw.weight_device().iter().flatten().enumerate() {
            let name = format!("blockIO.weightDevice[{at}]");
            weight_devices.push(DeviceWeight {
                device: BlockDevice::check(&name, raw.major(), raw.minor())?,
                weight: weight(&format!("{name}.weight"), raw.weight())?,
                leaf_weight: weight(&format!("{name}.leafWeight"), raw.leaf_weight())?,
            });
        }
        Ok(Self {
            weight: weight("blockIO.weight", raw.weight())?,
            leaf_weight: weight("blockIO.leafWeight", raw.leaf_weight())?,
            weight_devices,
            read_bps: rates("throttleReadBpsDevice", raw.throttle_read_bps_device())?,
            write_bps: rates("throttleWriteBpsDevice", raw.throttle_write_bps_device())?,
            read_iops: rates("throttleReadIOPSDevice", raw.throttle_read_iops_device())?,
            write_iops: rates("throttleWriteIOPSDevice", raw.throttle_write_iops_device())?,
        })
    }
}

impl BlockDevice {
    fn check(name: &str, major: i64, minor: i64) -> Result<Self, Error> {
        let number = |part: &str, value: i64, bits: u32| {
            let number = u32::try_from(value).ok().filter(|value| value >> bits == 0);
            number.ok_or_else(|| out_of_range(&format!("{name}.{part}"), value))
        };
        Ok(Self {
            major: number("major", major, 12)?,
            minor: number("minor", minor, 20)?,
        })
    }
}

fn weight(name: &str, raw: Option<u16>) -> Result<Option<u16>, Error> {
    match given(raw) {
        Some(value) if !(10..=1000).contains(&value) => Err(out_of_range(name, value)),
        value => Ok(value),
    }
}

fn rates(name: &str, raw: &Option<Vec<LinuxThrottleDevice>>) -> Result<Vec<DeviceRate>, Error> {
    let raw = raw.iter().flatten().enumerate();
    raw.map(|(at, raw)| {
        let name = format!("blockIO.{name}[{at}]");
        Ok(DeviceRate {
            device: BlockDevice::check(&name, raw.major(), raw.minor())?,
            rate: raw.rate(),
        })
    })
    .collect()
}
