//! Keys that are parsed and not carried out: each is an error that names it.

use oci_spec::runtime::{Process, Spec as RawSpec};

use super::Error;

/// Refuses a configuration that uses what Reeve does not do yet.
pub(super) fn refuse(raw: &RawSpec) -> Result<(), Error> {
    let mut used: Vec<(&'static str, bool)> = vec![
        ("solaris", raw.solaris().is_some()),
        ("windows", raw.windows().is_some()),
        ("vm", raw.vm().is_some()),
        ("zos", raw.zos().is_some()),
        ("uidMappings", raw.uid_mappings().is_some()),
        ("gidMappings", raw.gid_mappings().is_some()),
    ];
    used.extend(raw.process().iter().flat_map(process_keys));
    refuse_used(&used)
}

/// Refuses a process that uses what Reeve does not do yet.
pub(super) fn refuse_process(raw: &Process) -> Result<(), Error> {
    refuse_used(&process_keys(raw))
}

fn refuse_used(used: &[(&'static str, bool)]) -> Result<(), Error> {
    match used.iter().find(|(_, used)| *used) {
        Some((key, _)) => Err(Error::unsupported(*key)),
        None => Ok(()),
    }
}

fn process_keys(process: &Process) -> [(&'static str, bool); 1] {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    [("process.user.username", given(process.user().username()))]
}
