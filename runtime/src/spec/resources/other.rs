//! `linux.resources.hugepageLimits`, `.network`, `.rdma` and `.unified`.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma};
use serde::Serialize;

use super::{Error, Problem, given, key, out_of_range, unknown};

/// A limit of huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HugepageLimit {
    /// As the kernel names its files, such as `2MB`.
    pub page_size: String,
    /// In bytes; −1 is unlimited.
    pub limit: i64,
}

/// What the host's traffic control and drivers see of the container's packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkClass {
    /// Class for traffic control.
    pub class_id: Option<u32>,
    /// Priority for each network interface, by name.
    pub priorities: Vec<(String, u32)>,
}

/// Limits of one RDMA device; `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdmaLimit {
    /// Name of the device.
    pub device: String,
    /// Handles that can be open.
    pub handles: Option<u32>,
    /// Objects that can be made.
    pub objects: Option<u32>,
}

impl HugepageLimit {
    pub(super) fn check_all<'a>(
        raw: impl Iterator<Item = &'a LinuxHugepageLimit>,
    ) -> Result<Vec<Self>, Error> {
        let mut limits = Vec::new();
        for (at, raw) in raw.enumerate() {
            let name = |part: &str| format!("hugepageLimits[{at}].{part}");
            let page_size = raw.page_size().clone();
            let number = ["KB", "MB", "GB"]
                .iter()
                .find_map(|unit| page_size.strip_suffix(unit));
            if number.is_none_or(|number| number.parse::<u32>().is_err() || number.starts_with('+'))
            {
                return Err(unknown(&name("pageSize"), page_size));
            }
            // The JSON type is unsigned; numbers that only fit it are "unlimited" in other words.
            if raw.limit() < -1 {
                return Err(out_of_range(&name("limit"), raw.limit()));
            }
            limits.push(Self {
                page_size,
                limit: raw.limit(),
            });
        }
        Ok(limits)
    }
}

impl NetworkClass {
    pub(super) fn check(raw: &LinuxNetwork) -> Result<Self, Error> {
        let mut priorities = Vec::new();
        for (at, raw) in raw.priorities().iter().flatten().enumerate() {
            // `dev_valid_name` of the kernel.
            let name = raw.name();
            let bad = |byte: u8| byte == b'/' || byte == b':' || byte <= b' ';
            if name.is_empty() || name.len() > 15 || name.bytes().any(bad) {
                return Err(unknown(&format!("network.priorities[{at}].name"), name));
            }
            priorities.push((name.clone(), raw.priority()));
        }
        Ok(Self {
            class_id: given(raw.class_id()),
            priorities,
        })
    }
}

impl RdmaLimit {
    pub(super) fn check_all<'a>(
        raw: impl Iterator<Item = (&'a String, &'a LinuxRdma)>,
    ) -> Result<Vec<Self>, Error> {
        let mut limits = Vec::new();
        for (device, raw) in raw {
            // The device is the first word of a line.
            if device.is_empty() || device.bytes().any(|byte| byte <= b' ') {
                return Err(unknown("rdma", device));
            }
            limits.push(Self {
                device: device.clone(),
                handles: raw.hca_handles(),
                objects: raw.hca_objects(),
            });
        }
        limits.sort_by(|one, other| one.device.cmp(&other.device));
        Ok(limits)
    }
}

/// Each key is a file of a controller. Those of the group itself move, freeze or kill processes,
/// this one among them, so of those only limits are taken.
pub(super) fn check_unified<'a>(
    raw: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, String>, Error> {
    const OF_THE_GROUP: [&str; 3] = [
        "cgroup.max.depth",
        "cgroup.max.descendants",
        "cgroup.pressure",
    ];
    let mut checked = BTreeMap::new();
    for (file, value) in raw {
        let name = format!("unified[{file}]");
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let controller = file
            .split_once('.')
            .map_or("", |(controller, _)| controller);
        let of_the_group = controller == "cgroup" && !OF_THE_GROUP.contains(&file.as_str());
        if controller.is_empty() || of_the_group || !file.bytes().all(good) {
            return Err(unknown("unified", file));
        }
        if value.contains('\0') {
            return Err(Error::invalid(key(&name), Problem::Nul));
        }
        checked.insert(file.clone(), value.clone());
    }
    Ok(checked)
}
