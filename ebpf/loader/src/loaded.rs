//! What is loaded, and what it costs: for `reeve doctor --loaded` and the tests.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use serde::Serialize;

use crate::enforcer::Enforcer;
use crate::{Error, sys};

/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_LPM_TRIE` (`include/uapi/linux/bpf.h`): maps whose entries
/// come and go.
const COUNTED: [u64; 2] = [1, 11];

/// The pinned programs and maps.
#[derive(Clone, Debug, Serialize)]
pub struct Loaded {
    /// By the name of the hook.
    pub programs: Vec<Program>,
    /// In the order in which they are pinned.
    pub maps: Vec<Map>,
}

/// One program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// The hook that it is on.
    pub hook: String,
    /// Instructions that the verifier went through: what loading it costs. 0 where the kernel does
    /// not say.
    pub verified_instructions: u64,
    /// Memory of its instructions, in bytes.
    pub memory_bytes: u64,
    /// How often it ran while `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    /// How long that took together, in nanoseconds.
    pub run_time_ns: u64,
}

/// One map.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// Its name.
    pub name: &'static str,
    /// Entries that it has; nothing for a map whose entries do not come and go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Entries that it can have.
    pub most: u64,
    /// Memory that the kernel counts for it, in bytes.
    pub memory_bytes: u64,
}

impl Enforcer {
    /// What is loaded now, as far as this process may see it.
    ///
    /// # Errors
    /// A failed call.
    pub fn loaded(&self) -> Result<Loaded, Error> {
        let directory = self.pins().ready().join("programs");
        let list = |error| Error::system(format!("open({:?})", directory.display()), error);
        let mut programs = Vec::new();
        for entry in fs::read_dir(&directory).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let program = sys::object_get(&path)
                .map_err(|error| Error::system(format!("bpf(BPF_OBJ_GET, {path:?})"), error))?;
            let info = Info::of(&program)?;
            programs.push(Program {
                hook: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                verified_instructions: info.number("verified_insns"),
                memory_bytes: info.number("memlock"),
                runs: info.number("run_cnt"),
                run_time_ns: info.number("run_time_ns"),
            });
        }
        programs.sort_by(|one, other| one.hook.cmp(&other.hook));
        let maps = self.maps.all().map(|(name, map)| {
            let info = Info::of(map)?;
            let most = info.number("max_entries");
            let entries = match COUNTED.contains(&info.number("map_type")) {
                // While others add and remove, a count may begin anew: not for ever.
                true => Some(
                    sys::count(map, info.number("key_size") as usize, 2 * most).map_err(
                        |error| Error::system(format!("bpf(BPF_MAP_GET_NEXT_KEY, {name})"), error),
                    )?,
                ),
                false => None,
            };
            Ok(Map {
                name,
                entries,
                most,
                memory_bytes: info.number("memlock"),
            })
        });
        Ok(Loaded {
            maps: maps.collect::<Result<_, Error>>()?,
            programs,
        })
    }
}

/// What the kernel says of an open object in `/proc/self/fdinfo` (`bpf_prog_show_fdinfo`).
struct Info(String);

impl Info {
    fn of(object: &impl AsFd) -> Result<Self, Error> {
        let path = format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path);
        Ok(Self(text.map_err(|error| {
            Error::system(format!("read({path:?})"), error)
        })?))
    }

    /// The number behind `key`; 0 where this kernel does not say.
    fn number(&self, key: &str) -> u64 {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| *name == key);
        let text = found.map_or("", |(_, value)| value.trim());
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(0),
            None => text.parse().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_name() {
        let info = Info("pos:\t0\nverified_insns:\t1157\nmap_flags:\t0x1\n".to_owned());
        assert_eq!(info.number("verified_insns"), 1157);
        assert_eq!(info.number("map_flags"), 1);
        assert_eq!(info.number("run_cnt"), 0);
    }
}
