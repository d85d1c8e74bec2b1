//! `linux.resources.cpu`.

use oci_spec::runtime::LinuxCpu;
use serde::Serialize;

use super::{Error, given, out_of_range, unknown};

/// Limits of processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Relative weight, 2 to 262144, as version 1 counts.
    pub shares: Option<u64>,
    /// Time per period in microseconds; −1 is unlimited.
    pub quota_us: Option<i64>,
    /// Unused time that may be saved up, in microseconds.
    pub burst_us: Option<u64>,
    /// Period in microseconds.
    pub period_us: Option<u64>,
    /// Time per period for real-time tasks in microseconds; −1 is unlimited (version 1).
    pub realtime_runtime_us: Option<i64>,
    /// Period for real-time tasks in microseconds (version 1).
    pub realtime_period_us: Option<u64>,
    /// Processors, such as `0-3,7`.
    pub cpus: Option<String>,
    /// Memory nodes, in the same form.
    pub mems: Option<String>,
    /// Whether the tasks run only when nothing else wants to.
    pub idle: Option<bool>,
}

impl Cpu {
    pub(super) fn check(raw: &LinuxCpu) -> Result<Self, Error> {
        for (name, value) in [
            ("cpu.quota", raw.quota()),
            ("cpu.realtimeRuntime", raw.realtime_runtime()),
        ] {
            if let Some(value) = value.filter(|value| *value < -1) {
                return Err(out_of_range(name, value));
            }
        }
        let idle = match raw.idle() {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => return Err(out_of_range("cpu.idle", other)),
        };
        Ok(Self {
            shares: given(raw.shares()),
            quota_us: given(raw.quota()),
            burst_us: raw.burst(),
            period_us: given(raw.period()),
            realtime_runtime_us: given(raw.realtime_runtime()),
            realtime_period_us: given(raw.realtime_period()),
            cpus: check_list("cpu.cpus", raw.cpus().as_deref())?,
            mems: check_list("cpu.mems", raw.mems().as_deref())?,
            idle,
        })
    }
}

/// A list of numbers and ranges (`cpuset(7)`, "List format"): the kernel says whether they exist.
fn check_list(name: &str, text: Option<&str>) -> Result<Option<String>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let part_is_good = |part: &str| {
        // `0-31:1/2` is every second one.
        let range = part.split_once(':').map_or(part, |(range, _)| range);
        let mut ends = range.split('-');
        let number = |text: &str| text.trim().parse::<u32>().is_ok();
        let good = ends.next().is_some_and(number) && ends.next().is_none_or(number);
        let known = |byte: u8| byte.is_ascii_digit() || b"-:/ ".contains(&byte);
        good && ends.next().is_none() && part.bytes().all(known)
    };
    if !text.split(',').all(part_is_good) {
        return Err(unknown(name, text));
    }
    Ok(Some(text.to_owned()))
}
