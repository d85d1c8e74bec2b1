//! Keys that are parsed and not carried out: each is an error that names it.

use oci_spec::runtime::{Hooks, Linux, Process, Spec as RawSpec};

use super::Error;

/// Refuses a configuration that uses what Reeve does not do yet.
pub(super) fn refuse(raw: &RawSpec) -> Result<(), Error> {
    let mut used: Vec<(&str, bool)> = vec![
        ("hooks", raw.hooks().as_ref().is_some_and(has_hooks)),
        ("solaris", raw.solaris().is_some()),
        ("windows", raw.windows().is_some()),
        ("vm", raw.vm().is_some()),
        ("zos", raw.zos().is_some()),
        ("uidMappings", raw.uid_mappings().is_some()),
        ("gidMappings", raw.gid_mappings().is_some()),
    ];
    used.extend(raw.linux().iter().flat_map(linux_keys));
    used.extend(raw.process().iter().flat_map(process_keys));
    match used.iter().find(|(_, used)| *used) {
        Some((key, _)) => Err(Error::unsupported(*key)),
        None => Ok(()),
    }
}

fn linux_keys(linux: &Linux) -> [(&'static str, bool); 5] {
    [
        ("linux.seccomp", linux.seccomp().is_some()),
        (
            "linux.mountLabel",
            linux
                .mount_label()
                .as_ref()
                .is_some_and(|label| !label.is_empty()),
        ),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.personality", linux.personality().is_some()),
        (
            "linux.timeOffsets",
            linux
                .time_offsets()
                .as_ref()
                .is_some_and(|offsets| !offsets.is_empty()),
        ),
    ]
}

fn process_keys(process: &Process) -> [(&'static str, bool); 6] {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    [
        ("process.apparmorProfile", given(process.apparmor_profile())),
        ("process.selinuxLabel", given(process.selinux_label())),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
        (
            "process.execCPUAffinity",
            process.exec_cpu_affinity().is_some(),
        ),
        ("process.user.username", given(process.user().username())),
    ]
}

fn has_hooks(hooks: &Hooks) -> bool {
    // `prestart` is deprecated and still refused: it would run like the others.
    #[allow(
        deprecated,
        reason = "a deprecated hook must be refused, not overlooked"
    )]
    let prestart = hooks.prestart();
    [
        prestart,
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ]
    .into_iter()
    .any(|hooks| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()))
}
