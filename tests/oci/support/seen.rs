//! What a process in a container found itself to be.

use std::collections::BTreeMap;

use reeve_tests::oci::mountinfo::{self, Mount};
use serde_json::Value;

use super::Ended;

/// The answer of the probe's `see`.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Value);

impl Seen {
    /// The first one that a command printed.
    #[track_caller]
    pub(crate) fn of(ended: &Ended) -> Self {
        Self::in_text(&ended.stdout)
            .unwrap_or_else(|| panic!("nothing was seen: {}", ended.story()))
    }

    /// The first one in a text.
    pub(crate) fn in_text(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("see ok "))?;
        serde_json::from_str(line).ok().map(Self)
    }

    /// A line of `/proc/self/status`.
    pub(crate) fn status(&self, name: &str) -> &str {
        self.0["status"][name].as_str().unwrap_or_default()
    }

    /// Real, effective, saved and file system id.
    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        let words = self.status(name).split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// A file of `/proc/self`.
    pub(crate) fn file(&self, name: &str) -> &str {
        self.0["files"][name].as_str().unwrap_or_default()
    }

    /// A set of capabilities: `CapBnd`, `CapEff`, …
    pub(crate) fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(self.status(set), 16).expect("a set of capabilities")
    }

    /// All mounts.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        mountinfo::parse(self.file("mountinfo"))
    }

    /// The topmost mount at a path.
    #[track_caller]
    pub(crate) fn mount(&self, point: &str) -> Mount {
        let found = self
            .mounts()
            .into_iter()
            .rfind(|mount| mount.point == point);
        found.unwrap_or_else(|| panic!("no mount at {point}: {}", self.file("mountinfo")))
    }

    /// Soft and hard limit, by the name that `/proc/self/limits` has for it.
    #[track_caller]
    pub(crate) fn limit(&self, name: &str) -> (String, String) {
        let line = self
            .file("limits")
            .lines()
            .find_map(|line| line.strip_prefix(name));
        let mut words = line
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned);
        (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    }

    /// What `/proc/self/ns/NAME` leads to.
    pub(crate) fn namespace(&self, name: &str) -> &str {
        self.0["namespaces"][name].as_str().unwrap_or_default()
    }

    /// Numbers of the open descriptors and what they are.
    pub(crate) fn descriptors(&self) -> BTreeMap<u32, String> {
        let entries = self.0["descriptors"].as_object().into_iter().flatten();
        let entry =
            |(name, to): (&String, &Value)| Some((name.parse().ok()?, to.as_str()?.to_owned()));
        entries.filter_map(entry).collect()
    }

    /// Environment, `NAME=VALUE` each.
    pub(crate) fn env(&self) -> Vec<&str> {
        let list = self.0["env"].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    }

    /// A field of `/proc/self/stat`, by the number that proc(5) gives it; from 4 on.
    pub(crate) fn stat(&self, number: usize) -> i64 {
        let (_, rest) = self.file("stat").rsplit_once(") ").expect("a stat line");
        let word = rest.split(' ').nth(number - 3).expect("a field");
        word.trim().parse().expect("a number")
    }
}

/// What `/proc/self/ns/NAME` of this process leads to.
pub(crate) fn own_namespace(name: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}
