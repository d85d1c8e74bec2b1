//! Presets: policies for common jobs, part of the program, for others to extend.

/// A preset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preset {
    /// Its name under `extends`.
    pub name: &'static str,
    /// Its text, comments and all.
    pub text: &'static str,
}

/// Every preset, by name.
pub const ALL: [Preset; 6] = [
    preset(
        "log-shipper",
        include_str!("../../presets/log-shipper.yaml"),
    ),
    preset(
        "network-agent",
        include_str!("../../presets/network-agent.yaml"),
    ),
    preset(
        "node-exporter",
        include_str!("../../presets/node-exporter.yaml"),
    ),
    preset(
        "read-only-host",
        include_str!("../../presets/read-only-host.yaml"),
    ),
    preset("time-sync", include_str!("../../presets/time-sync.yaml")),
    preset(
        "vm-backup-agent",
        include_str!("../../presets/vm-backup-agent.yaml"),
    ),
];

const fn preset(name: &'static str, text: &'static str) -> Preset {
    Preset { name, text }
}

/// The preset of a name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

impl Preset {
    /// What it is for, in a few words.
    pub fn description(&self) -> &'static str {
        let mut lines = self.text.lines();
        let found = lines.find_map(|line| line.strip_prefix("description: "));
        found.unwrap_or("")
    }
}
