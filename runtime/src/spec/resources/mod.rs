//! `linux.resources`: limits, in the units of the configuration.
//!
//! Checked here is what no kernel would take, or what could mean something else than it says. What
//! depends on the host (a controller that is missing, a file of a later kernel) is found out when
//! the values are written, by `crate::cgroup`.

mod block_io;
mod cpu;
mod devices;
mod memory;
mod other;
mod print;

pub use block_io::{BlockDevice, BlockIo, DeviceRate, DeviceWeight};
pub use cpu::Cpu;
pub use devices::{Access, DeviceClass, DeviceRule};
pub use memory::Memory;
pub use other::{HugepageLimit, NetworkClass, RdmaLimit};

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxResources;
use serde::Serialize;

use super::{Error, Problem};

/// Limits of the container's cgroups; `None` or an empty list leaves what the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory and swap.
    pub memory: Memory,
    /// Processor time, and which processors.
    pub cpu: Cpu,
    /// Number of tasks; negative is unlimited, never 0.
    pub pids_limit: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages, by size.
    pub hugepages: Vec<HugepageLimit>,
    /// Class and priorities of network traffic (version 1).
    pub network: NetworkClass,
    /// RDMA devices.
    pub rdma: Vec<RdmaLimit>,
    /// Files of the version 2 group and what is written to them, as it is.
    pub unified: BTreeMap<String, String>,
    /// Which devices may be used; the last rule that matches holds. Empty: any.
    pub devices: Vec<DeviceRule>,
}

impl Resources {
    /// Checks `linux.resources`, or the same object as given to `reeve update`. Pure.
    ///
    /// # Errors
    /// A value that cannot be carried out, by the name of its key.
    pub fn check(raw: Option<&LinuxResources>) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        let memory = raw.memory().as_ref().map(Memory::check).transpose()?;
        let cpu = raw.cpu().as_ref().map(Cpu::check).transpose()?;
        let block_io = raw.block_io().as_ref().map(BlockIo::check).transpose()?;
        let network = raw
            .network()
            .as_ref()
            .map(NetworkClass::check)
            .transpose()?;
        Ok(Self {
            memory: memory.unwrap_or_default(),
            cpu: cpu.unwrap_or_default(),
            pids_limit: given(raw.pids().map(|pids| pids.limit())),
            block_io: block_io.unwrap_or_default(),
            hugepages: HugepageLimit::check_all(raw.hugepage_limits().iter().flatten())?,
            network: network.unwrap_or_default(),
            rdma: RdmaLimit::check_all(raw.rdma().iter().flatten())?,
            unified: other::check_unified(raw.unified().iter().flatten())?,
            devices: DeviceRule::check_all(raw.devices().as_deref().unwrap_or_default())?,
        })
    }
}

/// Zero is "not given" for engines that fill every key in.
fn given<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

fn key(name: &str) -> String {
    format!("linux.resources.{name}")
}

fn out_of_range(name: &str, value: impl TryInto<i64>) -> Error {
    let value = value.try_into().unwrap_or(i64::MAX);
    Error::invalid(key(name), Problem::OutOfRange(value))
}

fn unknown(name: &str, word: impl Into<String>) -> Error {
    Error::invalid(key(name), Problem::UnknownWord(word.into()))
}

#[cfg(test)]
mod tests;
