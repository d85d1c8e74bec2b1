//! Attributes and labels of the entry process.
//!
//! A label is written just before the privileges go. It takes effect with the next `execve`, and a
//! process inherits it, so that after it only programs of the container may be executed. The
//! procfs that it goes through is opened before the pivot: in a user namespace of its own, a
//! process may mount one only where one can be seen already, and a container need not have any.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags, fsetxattr};
use rustix::io::Errno;

use super::procfs::Procfs;
use super::rooted::Root;
use crate::failure::{Called, Failure};
use crate::spec::{IoPriority, MemoryPolicy, NumberSet, Personality, Scheduler};
use crate::sys::{self, SchedAttr};

/// Asks AppArmor for `profile` at the next `execve`.
pub(super) fn apparmor(proc: &Procfs, profile: &CStr) -> Result<(), Failure> {
    let command = [b"exec ", profile.to_bytes()].concat();
    // The second is shared by all modules, and belongs to the first of them.
    match proc.write_own("attr/apparmor/exec", &command) {
        Err(failure) if failure.is(Errno::NOENT) => proc.write_own("attr/exec", &command),
        result => result,
    }
}

/// Asks SELinux for the context `label` at the next `execve`.
pub(super) fn selinux(proc: &Procfs, label: &CStr) -> Result<(), Failure> {
    proc.write_own("attr/exec", label.to_bytes())
}

/// Labels the root of a file system that was mounted at `target` and takes no label as it is
/// mounted.
pub(super) fn label_root(root: &Root, target: &Path, label: &str) -> Result<(), Failure> {
    let dir = root.open(target, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let name = "security.selinux";
    fsetxattr(dir.as_fd(), name, label.as_bytes(), XattrFlags::empty())
        .called(|| format!("fsetxattr(\"{}\", {name}, {label:?})", target.display()))
}

pub(super) fn scheduler(wanted: &Scheduler) -> Result<(), Failure> {
    let attr = SchedAttr {
        policy: wanted.policy as u32,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime_ns,
        deadline: wanted.deadline_ns,
        period: wanted.period_ns,
        ..SchedAttr::default()
    };
    sys::sched_setattr(attr).called(|| {
        let name = format!("{:?}", wanted.policy).to_uppercase();
        let (priority, nice) = (wanted.priority, wanted.nice);
        format!("sched_setattr(SCHED_{name}, priority {priority}, nice {nice})")
    })
}

pub(super) fn io_priority(wanted: IoPriority) -> Result<(), Failure> {
    sys::ioprio_set(wanted.class as u8, wanted.level)
        .called(|| format!("ioprio_set({:?}, {})", wanted.class, wanted.level))
}

pub(super) fn personality(wanted: Personality) -> Result<(), Failure> {
    sys::personality(wanted as u32).called(|| format!("personality({wanted:?})"))
}

pub(super) fn memory_policy(wanted: &MemoryPolicy) -> Result<(), Failure> {
    let nodes = wanted.nodes.as_ref();
    let words = nodes.map_or(&[][..], NumberSet::words);
    sys::set_mempolicy(wanted.mode as u32 | wanted.flags, words).called(|| {
        let nodes = nodes.map(NumberSet::to_string).unwrap_or_default();
        let (mode, flags) = (wanted.mode, wanted.flags);
        format!("set_mempolicy({mode:?}, {flags:#x}, nodes {nodes:?})")
    })
}

/// Binds the calling thread to `cpus`, for `process.execCPUAffinity`.
pub(crate) fn set_affinity(cpus: &NumberSet) -> Result<(), Failure> {
    sys::sched_setaffinity(cpus.words()).called(|| format!("sched_setaffinity({cpus})"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;
    use crate::spec::{IoClass, MemoryMode, SchedulerPolicy};

    /// Runs `test` in a thread of its own: every attribute here is one of a thread.
    fn alone(test: fn()) {
        thread::spawn(test).join().unwrap();
    }

    /// Field of `/proc/thread-self/stat` by its number in proc_pid_stat(5).
    fn stat(field: usize) -> String {
        let text = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, after) = text.rsplit_once(") ").unwrap();
        after.split(' ').nth(field - 3).unwrap().to_owned()
    }

    #[test]
    fn a_scheduler_is_set() {
        alone(|| {
            let mut wanted = Scheduler {
                policy: SchedulerPolicy::Batch,
                nice: 7,
                priority: 0,
                flags: 0x1,
                runtime_ns: 0,
                deadline_ns: 0,
                period_ns: 0,
            };
            scheduler(&wanted).unwrap();
            assert_eq!((stat(41).as_str(), stat(19).as_str()), ("3", "7"));
            wanted.policy = SchedulerPolicy::Rr;
            let failure = scheduler(&wanted).unwrap_err().to_string();
            let call = "sched_setattr(SCHED_RR, priority 0, nice 7) = ";
            assert!(failure.starts_with(call), "{failure}");
        });
    }

    #[test]
    fn an_io_priority_is_set() {
        alone(|| {
            let wanted = IoPriority {
                class: IoClass::BestEffort,
                level: 6,
            };
            io_priority(wanted).unwrap();
        });
    }

    #[test]
    fn cpus_are_set() {
        alone(|| {
            let allowed = |wanted: Option<&str>| {
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
                let list = NumberSet::parse(line.unwrap()).unwrap();
                assert!(wanted.is_none_or(|wanted| list.to_string() == wanted));
                list.to_string()
            };
            let before = allowed(None);
            let first = before.split([',', '-']).next().unwrap();
            set_affinity(&NumberSet::parse(first).unwrap()).unwrap();
            allowed(Some(first));
            let none = NumberSet::parse("60000").unwrap();
            assert!(set_affinity(&none).unwrap_err().is(Errno::INVAL));
        });
    }

    #[test]
    fn a_personality_is_set() {
        alone(|| {
            let wide = rustix::system::uname().machine().to_owned();
            personality(Personality::Linux32).unwrap();
            if cfg!(target_arch = "x86_64") {
                assert_eq!(rustix::system::uname().machine(), c"i686");
            }
            personality(Personality::Linux).unwrap();
            assert_eq!(rustix::system::uname().machine(), wide.as_c_str());
        });
    }

    #[test]
    fn a_memory_policy_is_set() {
        alone(|| {
            let mut wanted = MemoryPolicy {
                mode: MemoryMode::Bind,
                flags: 1 << 15,
                nodes: NumberSet::parse("0"),
            };
            match memory_policy(&wanted) {
                // A kernel without NUMA.
                Err(failure) if failure.is(Errno::NOSYS) => return,
                result => result.unwrap(),
            }
            let maps = fs::read_to_string("/proc/thread-self/numa_maps").unwrap();
            assert!(maps.contains(" bind=static:0 "), "{maps}");
            wanted.nodes = None;
            let failure = memory_policy(&wanted).unwrap_err().to_string();
            let call = "set_mempolicy(Bind, 0x8000, nodes \"\") = EINVAL";
            assert!(failure.starts_with(call), "{failure}");
            wanted.mode = MemoryMode::Default;
            wanted.flags = 0;
            memory_policy(&wanted).unwrap();
        });
    }

    #[test]
    fn a_private_procfs_is_written_through() {
        alone(|| {
            let Ok(proc) = Procfs::open() else {
                eprintln!("skipped: needs CAP_SYS_ADMIN");
                return;
            };
            assert_eq!(proc.write_own("comm", b"labelled"), Ok(()));
            let name = fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(name, "labelled\n");
            let missing = proc.write_own("attr/of_no_module", b"x").unwrap_err();
            assert!(missing.is(Errno::NOENT));
            // `exe` is a magic link: never followed.
            assert!(proc.write_own("exe", b"x").unwrap_err().is(Errno::LOOP));
        });
    }
}
