//! The machine itself: its processes, mounts, devices, kernel, and what Reeve may leave on it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::Context as _;
use crate::{Error, rootfs, tools};

/// Where Reeve keeps the state of containers.
pub const STATE_DIR: &str = "/run/reeve";
/// Where Reeve pins its programs, maps and links.
pub const PIN_DIR: &str = "/sys/fs/bpf/reeve";

/// Calls `ready` until it returns something.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if start.elapsed() > limit {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds: limit.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ids of all processes.
pub fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The strings of a NUL-separated file of a process, such as `cmdline` and `environ`.
pub fn process_strings(pid: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let parts = bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// Processes with `NAME=VALUE` in the environment that they were started with.
pub fn processes_with_variable(variable: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        process_strings(*pid, "environ")
            .iter()
            .any(|known| known == variable)
    };
    processes().into_iter().filter(has).collect()
}

/// Processes with `word` among the arguments that they were started with.
pub fn processes_with_argument(word: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        process_strings(*pid, "cmdline")
            .iter()
            .any(|known| known == word)
    };
    processes().into_iter().filter(has).collect()
}

/// Kills a process at once; one that is gone is no error.
pub fn kill(pid: u32) {
    let _ = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Major and minor number of the device that holds `path`.
pub fn device_of(path: impl AsRef<Path>) -> Result<(u32, u32), Error> {
    let found = fs::metadata(&path).call("stat", &path)?;
    Ok((libc::major(found.dev()), libc::minor(found.dev())))
}

/// Major and minor number of a device node.
pub fn device_number(path: impl AsRef<Path>) -> Result<(u32, u32), Error> {
    let found = fs::metadata(&path).call("stat", &path)?;
    Ok((libc::major(found.rdev()), libc::minor(found.rdev())))
}

/// Release of the running kernel.
pub fn kernel_release() -> Result<String, Error> {
    let path = "/proc/sys/kernel/osrelease";
    Ok(fs::read_to_string(path)
        .call("read", path)?
        .trim()
        .to_owned())
}

/// Major and minor version of a kernel release; (0, 0) if it cannot be read.
pub fn version(release: &str) -> (u32, u32) {
    let mut parts = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The file of a module of the running kernel, whatever it is compressed with; symbolic links in
/// its path resolved.
pub fn module_file(name: &str) -> Result<PathBuf, Error> {
    let command = &mut Command::new("modinfo");
    let shown = tools::output(command.args(["-F", "filename", name]))?;
    let path = PathBuf::from(shown.trim());
    path.canonicalize().call("realpath", &path)
}

/// Whether a module is loaded.
pub fn module_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).exists()
}

/// A process of the host that only waits, executing a file of its own.
#[derive(Debug)]
pub struct Bystander {
    exe: PathBuf,
    child: Child,
}

impl Bystander {
    /// Starts it as a copy of the probe at `exe`.
    pub fn start(exe: PathBuf) -> Result<Self, Error> {
        rootfs::copy_program(&tools::find("probe")?, &exe)?;
        let mut command = Command::new(&exe);
        command
            .args(["hold", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let child = command.spawn().call("execve", &exe)?;
        Ok(Self { exe, child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it executes.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends.
    pub fn wait_end(&mut self) -> Result<(), Error> {
        let child = &mut self.child;
        wait_until("the bystander's end", Duration::from_secs(10), || {
            child.try_wait().ok().flatten()
        })
        .map(|_| ())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything pinned below [`PIN_DIR`].
pub fn pins() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new(PIN_DIR), &mut |path| {
        if !path.is_dir() {
            found.push(path.to_owned());
        }
    });
    found
}

/// What a container may leave behind, a line each: cgroups, mounts, state, processes.
pub fn leftovers(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, path: &Path| found.push(format!("{what} {}", path.display()));
    let named = |path: &Path| {
        path.file_name()
            .map(OsStr::to_string_lossy)
            .is_some_and(|name| name.contains(id))
    };
    walk(Path::new(STATE_DIR), &mut |path| {
        if named(path) {
            note("state", path);
        }
    });
    walk(Path::new("/sys/fs/cgroup"), &mut |path| {
        if path.is_dir() && named(path) {
            note("cgroup", path);
        }
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter(|line| line.contains(id))
        .for_each(|line| note("mount", Path::new(line)));
    for pid in processes_with_variable(&crate::container::marker(id)) {
        note("process", Path::new(&pid.to_string()));
    }
    found
}

/// Calls `seen` for everything below `directory`.
fn walk(directory: &Path, seen: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        seen(&entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_versions() {
        assert_eq!(version("6.1.0-40-cloud-amd64"), (6, 1));
        assert_eq!(version("6.12.95+deb13-cloud-amd64"), (6, 12));
        assert_eq!(version("unknown"), (0, 0));
    }

    #[test]
    fn this_process_is_among_the_processes() {
        assert!(processes().contains(&std::process::id()));
        assert!(!process_strings(std::process::id(), "cmdline").is_empty());
        assert!(leftovers("no-such-container-anywhere").is_empty());
    }
}
