//! Attributes of a process that one system call sets: scheduling, I/O priority, CPU affinity,
//! personality, memory policy.

use std::fmt;

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag as RawFlag, LinuxSchedulerPolicy as RawPolicy,
    MemoryPolicyFlagType as RawNodeFlag, MemoryPolicyModeType as RawMode,
    Scheduler as RawScheduler,
};
use serde::{Serialize, Serializer};

use super::{Error, Problem};

/// Largest number of a CPU or memory node that is taken, more than any kernel has
/// (`CONFIG_NR_CPUS`, `CONFIG_NODES_SHIFT`).
const LARGEST: u32 = 65_535;

/// Numbers of CPUs or memory nodes, in the kernel's list format (`0-3,7`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberSet {
    /// Bit N of the whole, 64 to a word.
    words: Vec<u64>,
}

impl NumberSet {
    /// Parses a list such as `0-3,7`. `None` if it is none, or names a number above 65535.
    pub fn parse(list: &str) -> Option<Self> {
        let mut words = Vec::new();
        for range in list.split(',') {
            let range = range.trim();
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            for number in first..=last {
                let word = number as usize / 64;
                if words.len() <= word {
                    words.resize(word + 1, 0);
                }
                words[word] |= 1 << (number % 64);
            }
        }
        Some(Self { words })
    }

    /// As the kernel takes it: 64 bits to a word, lowest first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        let words = (0..).zip(&self.words);
        words.flat_map(|(at, word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| at * 64 + bit)
        })
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse::<u32>().ok()).flatten();
    number.filter(|number| *number <= LARGEST)
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.numbers().peekable();
        let mut between = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{between}{first}")?,
                _ => write!(f, "{between}{first}-{last}")?,
            }
            between = ",";
        }
        Ok(())
    }
}

impl Serialize for NumberSet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// `process.scheduler`, for sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// Policy.
    pub policy: SchedulerPolicy,
    /// Nice value, −20 to 19.
    pub nice: i32,
    /// Priority: 1 to 99 for `Fifo` and `Rr`, 0 for the others.
    pub priority: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nanoseconds of each period, for `Deadline`.
    pub runtime_ns: u64,
    /// Nanoseconds until they must be had.
    pub deadline_ns: u64,
    /// Nanoseconds.
    pub period_ns: u64,
}

/// A scheduling policy, by the kernel's number (`SCHED_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each is the `SCHED_*` constant of its name")]
pub enum SchedulerPolicy {
    Other = 0,
    Fifo = 1,
    Rr = 2,
    Batch = 3,
    Idle = 5,
    Deadline = 6,
}

impl Scheduler {
    pub(super) fn check(raw: &RawScheduler) -> Result<Self, Error> {
        let key = |name: &str| format!("process.scheduler.{name}");
        let range = |name: &str, value: i32, range: std::ops::RangeInclusive<i32>| {
            if range.contains(&value) {
                return Ok(value);
            }
            let problem = Problem::OutOfRange(i64::from(value));
            Err(Error::invalid(key(name), problem))
        };
        let policy = match raw.policy() {
            RawPolicy::SchedOther => SchedulerPolicy::Other,
            RawPolicy::SchedFifo => SchedulerPolicy::Fifo,
            RawPolicy::SchedRr => SchedulerPolicy::Rr,
            RawPolicy::SchedBatch => SchedulerPolicy::Batch,
            RawPolicy::SchedIdle => SchedulerPolicy::Idle,
            RawPolicy::SchedDeadline => SchedulerPolicy::Deadline,
            // A number that Linux keeps free for a policy that it never had.
            RawPolicy::SchedIso => {
                let problem = Problem::UnknownWord("SCHED_ISO".to_owned());
                return Err(Error::invalid(key("policy"), problem));
            }
        };
        let priorities = match policy {
            SchedulerPolicy::Fifo | SchedulerPolicy::Rr => 1..=99,
            _ => 0..=0,
        };
        let times = [
            ("runtime", raw.runtime().unwrap_or(0)),
            ("deadline", raw.deadline().unwrap_or(0)),
            ("period", raw.period().unwrap_or(0)),
        ];
        if policy != SchedulerPolicy::Deadline
            && let Some((name, _)) = times.iter().find(|(_, time)| *time != 0)
        {
            return Err(Error::invalid(
                key(name),
                Problem::OnlyWith("SCHED_DEADLINE"),
            ));
        }
        let priority = range("priority", raw.priority().unwrap_or(0), priorities)?;
        Ok(Self {
            policy,
            nice: range("nice", raw.nice().unwrap_or(0), -20..=19)?,
            priority: priority.unsigned_abs(),
            flags: raw
                .flags()
                .iter()
                .flatten()
                .fold(0, |bits, flag| bits | bit(*flag)),
            runtime_ns: times[0].1,
            deadline_ns: times[1].1,
            period_ns: times[2].1,
        })
    }
}

/// `SCHED_FLAG_*` (`include/uapi/linux/sched.h`).
fn bit(flag: RawFlag) -> u64 {
    match flag {
        RawFlag::SchedResetOnFork => 0x01,
        RawFlag::SchedFlagReclaim => 0x02,
        RawFlag::SchedFlagDLOverrun => 0x04,
        RawFlag::SchedFlagKeepPolicy => 0x08,
        RawFlag::SchedFlagKeepParams => 0x10,
        RawFlag::SchedFlagUtilClampMin => 0x20,
        RawFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// `process.ioPriority`, for ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IoPriority {
    /// Class.
    pub class: IoClass,
    /// 0 (highest) to 7.
    pub level: u8,
}

/// A class of I/O scheduling, by the kernel's number (`IOPRIO_CLASS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "each is the `IOPRIO_CLASS_*` constant of its name"
)]
pub enum IoClass {
    RealTime = 1,
    BestEffort = 2,
    Idle = 3,
}

impl IoPriority {
    pub(super) fn check(raw: &LinuxIOPriority) -> Result<Self, Error> {
        let level = u8::try_from(raw.priority()).ok().filter(|level| *level < 8);
        let problem = Problem::OutOfRange(raw.priority());
        Ok(Self {
            class: match raw.class() {
                IOPriorityClass::IoprioClassRt => IoClass::RealTime,
                IOPriorityClass::IoprioClassBe => IoClass::BestEffort,
                IOPriorityClass::IoprioClassIdle => IoClass::Idle,
            },
            level: level.ok_or_else(|| Error::invalid("process.ioPriority.priority", problem))?,
        })
    }
}

/// `process.execCPUAffinity`: for processes that are executed in a running container; the entry
/// process has no use for it (OCI runtime specification).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExecAffinity {
    /// CPUs to run on before the process is moved to the container's cgroup.
    pub initial: Option<NumberSet>,
    /// CPUs to run on afterwards; `None` leaves them as the kernel has them.
    #[serde(rename = "final")]
    pub after: Option<NumberSet>,
}

impl ExecAffinity {
    pub(super) fn check(raw: Option<&ExecCPUAffinity>) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        let set = |name: &str, list: &Option<String>| {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else {
                return Ok(None);
            };
            let invalid = || {
                let key = format!("process.execCPUAffinity.{name}");
                Error::invalid(key, Problem::NotAList(list.to_owned()))
            };
            NumberSet::parse(list).ok_or_else(invalid).map(Some)
        };
        Ok(Self {
            initial: set("initial", raw.initial())?,
            after: set("final", raw.cpu_affinity_final())?,
        })
    }
}

/// `linux.personality`, for personality(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// `PER_LINUX`.
    Linux = 0,
    /// `PER_LINUX32`: `uname` says that the machine is one of 32 bits.
    Linux32 = 8,
}

impl Personality {
    pub(super) fn check(raw: &LinuxPersonality) -> Result<Self, Error> {
        // The specification has the key, and no values for it.
        if let Some(flag) = raw.flags().iter().flatten().next() {
            let problem = Problem::UnknownWord(flag.clone());
            return Err(Error::invalid("linux.personality.flags[0]", problem));
        }
        Ok(match raw.domain() {
            LinuxPersonalityDomain::PerLinux => Self::Linux,
            LinuxPersonalityDomain::PerLinux32 => Self::Linux32,
        })
    }
}

/// `linux.memoryPolicy`, for set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// How nodes are chosen.
    pub mode: MemoryMode,
    /// `MPOL_F_*` bits.
    pub flags: u32,
    /// From which nodes; `None` for modes without.
    pub nodes: Option<NumberSet>,
}

/// A mode, by the kernel's number (`MPOL_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the `MPOL_*` constant of its name")]
pub enum MemoryMode {
    Default = 0,
    Preferred = 1,
    Bind = 2,
    Interleave = 3,
    Local = 4,
    PreferredMany = 5,
    WeightedInterleave = 6,
}

impl MemoryPolicy {
    pub(super) fn check(raw: &LinuxMemoryPolicy) -> Result<Self, Error> {
        let key = "linux.memoryPolicy.nodes";
        let mode = match raw.mode() {
            RawMode::MpolDefault => MemoryMode::Default,
            RawMode::MpolPreferred => MemoryMode::Preferred,
            RawMode::MpolBind => MemoryMode::Bind,
            RawMode::MpolInterleave => MemoryMode::Interleave,
            RawMode::MpolLocal => MemoryMode::Local,
            RawMode::MpolPreferredMany => MemoryMode::PreferredMany,
            RawMode::MpolWeightedInterleave => MemoryMode::WeightedInterleave,
        };
        let list = raw.nodes().as_deref().filter(|list| !list.is_empty());
        let nodes = list.map(|list| {
            let problem = Problem::NotAList(list.to_owned());
            NumberSet::parse(list).ok_or_else(|| Error::invalid(key, problem))
        });
        let nodes = nodes.transpose()?;
        match (mode, &nodes) {
            (MemoryMode::Default | MemoryMode::Local, Some(nodes)) => {
                let problem = Problem::UnknownWord(nodes.to_string());
                Err(Error::invalid(key, problem))
            }
            // Without nodes, the preferred one is the local one.
            (MemoryMode::Default | MemoryMode::Local | MemoryMode::Preferred, _) => Ok(()),
            (_, None) => Err(Error::invalid(key, Problem::Missing)),
            (_, Some(_)) => Ok(()),
        }?;
        // `MPOL_F_*` (`include/uapi/linux/mempolicy.h`).
        let bits = raw.flags().iter().flatten().map(|flag| match flag {
            RawNodeFlag::MpolFNumaBalancing => 1 << 13,
            RawNodeFlag::MpolFRelativeNodes => 1 << 14,
            RawNodeFlag::MpolFStaticNodes => 1 << 15,
        });
        let flags = bits.fold(0, |all, bit: u32| all | bit);
        Ok(Self { mode, flags, nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        for (list, printed) in [
            ("0", "0"),
            ("0-3,7", "0-3,7"),
            ("7,0-3,2", "0-3,7"),
            ("63,64,65", "63-65"),
            ("128", "128"),
            (" 1, 3 ", "1,3"),
        ] {
            assert_eq!(NumberSet::parse(list).unwrap().to_string(), printed);
        }
        for bad in [
            "",
            ",",
            "a",
            "3-1",
            "1-",
            "-1",
            "+1",
            "0x1",
            "65536",
            "0-99999999",
        ] {
            assert_eq!(NumberSet::parse(bad), None, "{bad}");
        }
        assert_eq!(NumberSet::parse("0,65").unwrap().words(), [1, 2]);
    }
}
