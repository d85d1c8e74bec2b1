//! Shares of caches and memory bandwidth: a container's groups in resctrl
//! (`Documentation/filesystems/resctrl.rst`, `linux.intelRdt` of the runtime specification).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::failure::{Called, Failure};
use crate::mountinfo;
use crate::spec::{ContainerId, Rdt};

/// Where resctrl is mounted by convention.
const MOUNT_POINT: &str = "/sys/fs/resctrl";

/// `RDTGROUP_SUPER_MAGIC`.
const MAGIC: i64 = 0x0765_5821;

/// The groups of a container: what `delete` has to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// The class, if it was made for this container.
    class: Option<PathBuf>,
    /// The monitoring group, if there is one.
    monitor: Option<PathBuf>,
}

/// The groups of a container that is being started; removed when dropped unless kept.
#[derive(Debug)]
pub struct Entered {
    groups: Groups,
    keep: bool,
}

impl Entered {
    /// Puts a process into the groups that its container asks for.
    ///
    /// # Errors
    /// Those of [`mount_point`] and [`Groups::enter`].
    pub fn new(rdt: &Rdt, id: &ContainerId, pid: i32) -> Result<Self, Failure> {
        let groups = Groups::enter(&mount_point()?, rdt, id, pid)?;
        let keep = false;
        Ok(Self { groups, keep })
    }

    /// For the container's state.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Leaves the groups for a container that goes on without this process.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.groups.remove() {
            tracing::warn!(%error, "groups of resctrl are left over");
        }
    }
}

/// Where resctrl is mounted.
///
/// # Errors
/// Nowhere.
pub fn mount_point() -> Result<PathBuf, Failure> {
    let is_resctrl = |path: &Path| statfs(path).is_ok_and(|found| found.f_type == MAGIC);
    let usual = Path::new(MOUNT_POINT);
    if is_resctrl(usual) {
        return Ok(usual.to_owned());
    }
    let mut mounts = mountinfo::mounts()?.into_iter();
    let found = mounts.find(|mount| is_resctrl(&mount.point));
    found.map(|mount| mount.point).ok_or_else(|| {
        let call = format!("statfs(\"{MOUNT_POINT}\"), resctrl is not mounted");
        Failure::new(call, Errno::NODEV)
    })
}

impl Groups {
    /// Puts a process, and with it its later children, into the groups that a container asks for.
    /// `root` is where resctrl is mounted. What was made is removed again on failure.
    ///
    /// # Errors
    /// A class that is neither there nor described, one that is there with another description, and
    /// whatever the kernel refuses, with its own words.
    pub fn enter(root: &Path, rdt: &Rdt, id: &ContainerId, pid: i32) -> Result<Self, Failure> {
        let name: &Path = rdt.class.as_deref().map_or(id.as_ref(), Path::new);
        let class = root.join(name);
        let mut groups = Self {
            class: None,
            monitor: None,
        };
        let entered = groups.fill(root, &class, rdt, id, pid);
        if entered.is_err() {
            // The first failure is the one to be told.
            let _ = groups.remove();
        }
        entered.map(|()| groups)
    }

    fn fill(
        &mut self,
        root: &Path,
        class: &Path,
        rdt: &Rdt,
        id: &ContainerId,
        pid: i32,
    ) -> Result<(), Failure> {
        let explain = |failure: Failure| with_status(root, failure);
        let exists = class.is_dir();
        match (&rdt.class, exists) {
            (Some(_), true) => compare(class, &rdt.schemata)?,
            (Some(_), false) if rdt.schemata.is_empty() => {
                let call = format!("stat(\"{}\"), no such class", class.display());
                return Err(Failure::new(call, Errno::NOENT));
            }
            _ => {
                make_group(class).map_err(explain)?;
                self.class = Some(class.to_owned());
                if !rdt.schemata.is_empty() {
                    let lines = rdt.schemata.join("\n") + "\n";
                    write(&class.join("schemata"), &lines).map_err(explain)?;
                }
            }
        }
        write(&class.join("tasks"), &pid.to_string()).map_err(explain)?;
        if rdt.monitor {
            let monitor = class.join("mon_groups").join(id);
            make_group(&monitor).map_err(explain)?;
            let tasks = monitor.join("tasks");
            self.monitor = Some(monitor);
            write(&tasks, &pid.to_string()).map_err(explain)?;
        }
        Ok(())
    }

    /// Removes the groups that were made for the container; processes that are left in them go to
    /// the groups above. Groups that are gone already are no failure.
    pub fn remove(&self) -> Result<(), Failure> {
        let groups = [&self.monitor, &self.class];
        for group in groups.into_iter().flatten() {
            match fs::remove_dir(group) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.called(|| format!("rmdir(\"{}\")", group.display()))?,
            }
        }
        Ok(())
    }
}

fn make_group(path: &Path) -> Result<(), Failure> {
    fs::create_dir(path).called(|| format!("mkdir(\"{}\")", path.display()))
}

/// In one call: the kernel takes a write as a whole.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).open(path);
    let file = file.called(|| format!("open(\"{}\")", path.display()))?;
    rustix::io::write(&file, text.as_bytes())
        .called(|| format!("write(\"{}\", {text:?})", path.display()))
        .map(|_| ())
}

/// What the kernel says about the last thing that it refused.
fn with_status(root: &Path, failure: Failure) -> Failure {
    let status = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    match status.trim() {
        "" | "ok" => failure,
        said => Failure {
            call: format!("{} [{said}]", failure.call),
            ..failure
        },
    }
}

/// Refuses a class whose schemata say something else than the configuration.
fn compare(class: &Path, wanted: &[String]) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let path = class.join("schemata");
    let text = fs::read_to_string(&path).called(|| format!("open(\"{}\")", path.display()))?;
    for line in wanted {
        if !text.lines().any(|found| agrees(found, line)) {
            let call = format!("read(\"{}\"), which has no {line:?}", path.display());
            return Err(Failure::new(call, Errno::EXIST));
        }
    }
    Ok(())
}

/// Whether a line of the file has every value that a line of the configuration has. The kernel pads
/// with spaces and zeros.
fn agrees(found: &str, wanted: &str) -> bool {
    let (Some((found_name, found)), Some((name, wanted))) =
        (found.split_once(':'), wanted.split_once(':'))
    else {
        return false;
    };
    let pair = |domain: &str| {
        let (domain, value) = domain.split_once('=')?;
        let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
        Some((domain.trim().to_owned(), value))
    };
    let found: Vec<_> = found.split(';').map(pair).collect();
    found_name.trim() == name.trim() && wanted.split(';').map(pair).all(|one| found.contains(&one))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like resctrl; the kernel would make the files with the groups.
    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new() -> Self {
            let fake = Self(tempfile::tempdir().unwrap());
            fs::create_dir(fake.0.path().join("info")).unwrap();
            fake
        }

        fn class(&self, name: &str, schemata: &str) -> PathBuf {
            let class = self.0.path().join(name);
            fs::create_dir_all(class.join("mon_groups")).unwrap();
            fs::write(class.join("schemata"), schemata).unwrap();
            fs::write(class.join("tasks"), "").unwrap();
            class
        }

        fn enter(&self, rdt: &Rdt) -> Result<Groups, Failure> {
            Groups::enter(self.0.path(), rdt, &"one".parse().unwrap(), 7)
        }
    }

    fn rdt(class: Option<&str>, schemata: &[&str]) -> Rdt {
        Rdt {
            class: class.map(str::to_owned),
            schemata: schemata.iter().map(|line| (*line).to_owned()).collect(),
            monitor: false,
        }
    }

    #[test]
    fn a_class_that_is_there_is_entered_and_left_alone() {
        let fake = Fake::new();
        let class = fake.class("gold", "    L3:0=007f0;1=1f\n    MB:0= 20;1=100\n");
        for schemata in [&[][..], &["L3:0=7f0"], &["L3:1=1F;0=7f0", "MB:0=20"]] {
            let groups = fake.enter(&rdt(Some("gold"), schemata)).unwrap();
            assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "7");
            groups.remove().unwrap();
            assert!(class.is_dir());
        }
        for other in ["L3:0=7f", "L3:2=1f", "MB:0=2", "L2:0=7f0"] {
            let failure = fake.enter(&rdt(Some("gold"), &[other])).unwrap_err();
            assert!(failure.is(Errno::EXIST), "{other}: {failure}");
        }
    }

    #[test]
    fn a_class_that_is_not_there_must_be_described() {
        let fake = Fake::new();
        let failure = fake.enter(&rdt(Some("gold"), &[])).unwrap_err();
        assert!(failure.is(Errno::NOENT), "{failure}");
        assert!(!fake.0.path().join("gold").exists());
    }

    #[test]
    fn what_was_made_goes_again_when_the_kernel_refuses_the_rest() {
        let fake = Fake::new();
        let status = fake.0.path().join("info/last_cmd_status");
        fs::write(status, "Mask 7f0 out of range\n").unwrap();
        // In a plain directory no file `schemata` appears, so that opening it fails.
        let failure = fake.enter(&rdt(None, &["L3:0=7f0"])).unwrap_err();
        assert!(
            failure.call.ends_with("[Mask 7f0 out of range]"),
            "{failure}"
        );
        assert!(!fake.0.path().join("one").exists());
    }

    #[test]
    fn monitoring_has_a_group_of_its_own() {
        let fake = Fake::new();
        let class = fake.class("gold", "");
        let wanted = Rdt {
            monitor: true,
            ..rdt(Some("gold"), &[])
        };
        // As above: its file `tasks` is missing.
        let failure = fake.enter(&wanted).unwrap_err();
        assert!(failure.call.contains("mon_groups/one/tasks"), "{failure}");
        assert!(!class.join("mon_groups/one").exists());
    }

    #[test]
    fn removing_twice_is_no_failure() {
        let fake = Fake::new();
        let class = fake.0.path().join("one");
        fs::create_dir(&class).unwrap();
        let groups = Groups {
            class: Some(class),
            monitor: None,
        };
        groups.remove().unwrap();
        groups.remove().unwrap();
    }
}
