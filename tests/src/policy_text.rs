//! Policies as text: what a test grants, line by line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A policy under construction; [`fmt::Display`] gives the file's text.
#[derive(Clone, Debug)]
pub struct PolicyText {
    name: String,
    mode: Option<&'static str>,
    lists: BTreeMap<&'static str, Vec<String>>,
    capabilities: Vec<String>,
    processes: BTreeMap<&'static str, Vec<String>>,
    kernel: Vec<String>,
    ipc: Vec<String>,
}

impl PolicyText {
    /// A policy that grants nothing.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: None,
            lists: BTreeMap::new(),
            capabilities: Vec::new(),
            processes: BTreeMap::new(),
            kernel: Vec::new(),
            ipc: Vec::new(),
        }
    }

    /// Audit mode for all sections.
    pub fn audit(mut self) -> Self {
        self.mode = Some("audit");
        self
    }

    /// Grants `rights` (comma-separated) on a file or subtree.
    pub fn file(self, path: impl AsRef<Path>, rights: &str) -> Self {
        let line = format!("{{ path: {}, allow: [{rights}] }}", path.as_ref().display());
        self.list("files", line)
    }

    /// A line of a section, as it stands.
    pub fn line(self, section: &'static str, line: &str) -> Self {
        self.list(section, line.to_owned())
    }

    /// Grants `rights` on a device; `device` is `block: "8:0"` or `char: "1:3"`.
    pub fn device(self, device: &str, rights: &str) -> Self {
        self.list("devices", format!("{{ {device}, allow: [{rights}] }}"))
    }

    /// Grants mounts of a type that have all of `flags` (comma-separated, may be empty).
    pub fn mount(self, kind: &str, flags: &str) -> Self {
        let flags = if flags.is_empty() {
            String::new()
        } else {
            format!(", flags: [{flags}]")
        };
        self.list("mounts", format!("{{ type: {kind}{flags} }}"))
    }

    /// A line of the `sockets` section, as it stands, without its braces.
    pub fn socket(self, line: &str) -> Self {
        self.list("sockets", format!("{{ {line} }}"))
    }

    /// A line of `mounts`, as it stands.
    pub fn mounts(self, line: impl Into<String>) -> Self {
        self.list("mounts", line.into())
    }

    /// A line of a list of `processes`, as it stands.
    pub fn process_line(self, list: &'static str, line: impl Into<String>) -> Self {
        self.process(list, line.into())
    }

    /// Grants a capability in `calls` (comma-separated).
    pub fn capability(mut self, name: &str, calls: &str) -> Self {
        self.capabilities.push(format!("{name}: [{calls}]"));
        self
    }

    /// Grants a capability in every system call.
    pub fn capability_all(mut self, name: &str) -> Self {
        self.capabilities.push(format!("{name}: all"));
        self
    }

    /// Grants `signals` (comma-separated) to host processes that execute `exe`.
    pub fn signal(self, exe: impl AsRef<Path>, signals: &str) -> Self {
        let line = format!(
            "{{ exe: {}, signals: [{signals}] }}",
            exe.as_ref().display()
        );
        self.process("signal", line)
    }

    /// Grants `read` or `attach` on host processes that execute `exe`.
    pub fn ptrace(self, exe: impl AsRef<Path>, access: &str) -> Self {
        let line = format!("{{ exe: {}, allow: [{access}] }}", exe.as_ref().display());
        self.process("ptrace", line)
    }

    /// A line of the `kernel` section, as it stands.
    pub fn kernel(mut self, line: &str) -> Self {
        self.kernel.push(line.to_owned());
        self
    }

    /// A line of the `ipc` section, as it stands.
    pub fn ipc(mut self, line: &str) -> Self {
        self.ipc.push(line.to_owned());
        self
    }

    fn list(mut self, section: &'static str, line: String) -> Self {
        self.lists.entry(section).or_default().push(line);
        self
    }

    fn process(mut self, kind: &'static str, line: String) -> Self {
        self.processes.entry(kind).or_default().push(line);
        self
    }
}

impl fmt::Display for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "reeve: v1\nname: {}", self.name)?;
        if let Some(mode) = self.mode {
            writeln!(f, "mode: {mode}")?;
        }
        for (section, lines) in &self.lists {
            writeln!(f, "{section}:")?;
            lines
                .iter()
                .try_for_each(|line| writeln!(f, "  - {line}"))?;
        }
        if !self.capabilities.is_empty() {
            writeln!(f, "capabilities:")?;
            self.capabilities
                .iter()
                .try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        if !self.processes.is_empty() {
            writeln!(f, "processes:")?;
        }
        for (kind, lines) in &self.processes {
            writeln!(f, "  {kind}:")?;
            lines
                .iter()
                .try_for_each(|line| writeln!(f, "    - {line}"))?;
        }
        for (section, lines) in [("kernel", &self.kernel), ("ipc", &self.ipc)] {
            if !lines.is_empty() {
                writeln!(f, "{section}:")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_as_a_person_would_write_it() {
        let policy = PolicyText::new("agent")
            .file("/srv/in", "read")
            .file("/srv/out", "read, write")
            .mount("tmpfs", "nosuid")
            .capability("SYS_ADMIN", "sethostname")
            .signal("/usr/bin/vm", "TERM")
            .kernel("clock: true");
        let text = "reeve: v1\nname: agent\n\
            files:\n  - { path: /srv/in, allow: [read] }\n\
            \x20 - { path: /srv/out, allow: [read, write] }\n\
            mounts:\n  - { type: tmpfs, flags: [nosuid] }\n\
            capabilities:\n  SYS_ADMIN: [sethostname]\n\
            processes:\n  signal:\n    - { exe: /usr/bin/vm, signals: [TERM] }\n\
            kernel:\n  clock: true\n";
        assert_eq!(policy.to_string(), text);
    }

    #[test]
    fn nothing_granted_is_two_lines() {
        assert_eq!(
            PolicyText::new("x").audit().to_string(),
            "reeve: v1\nname: x\nmode: audit\n"
        );
    }
}
