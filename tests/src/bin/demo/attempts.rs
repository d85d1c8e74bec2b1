//! The ten things that a privileged container can do today.

use std::path::Path;
use std::process::Command;

use reeve_tests::fixture::in_container;
use reeve_tests::host::{self, Bystander};
use reeve_tests::{Outcome, Running, tools};

use crate::failure::Failure;
use crate::stage::{MODULE, Stage};

/// A thing to try: what it is called, and the probe's actions that do it, one after another.
pub(crate) struct Attempt {
    /// As the table shows it.
    pub(crate) title: &'static str,
    /// The actions; all must succeed, or all be refused.
    pub(crate) actions: Vec<String>,
}

/// The ten. `pin` is a pinned object of the host's, `pid` one of its processes.
pub(crate) fn ten(stage: &Stage, pin: &Path, pid: u32) -> Result<Vec<Attempt>, Failure> {
    let attempt = |title, actions: &[String]| Attempt {
        title,
        actions: actions.to_vec(),
    };
    let policy = in_container(stage.fixture().at("policy.yaml"));
    let module = stage.module_in_container(&host::module_file(MODULE)?);
    let written = stage.fixture().at("written-after-chroot");
    Ok(vec![
        attempt(
            "write /host/etc/shadow",
            &["open append /host/etc/shadow".to_owned()],
        ),
        attempt(
            "bind-mount over the policy",
            &[format!("mount-bind /own/empty {policy}")],
        ),
        attempt("mount a tmpfs", &["mount-tmpfs /mnt".to_owned()]),
        attempt("load a kernel module", &[format!("finit-module {module}")]),
        attempt(
            "ptrace and kill a host process",
            &[format!("ptrace-attach {pid}"), format!("kill {pid} 9")],
        ),
        attempt("set the clock", &["settime".to_owned()]),
        attempt(
            "unpin an eBPF object",
            &[format!("unlink {}", in_container(pin))],
        ),
        attempt(
            "write core_pattern",
            &["rewrite /host/proc/sys/kernel/core_pattern".to_owned()],
        ),
        attempt(
            "chroot /host and write",
            &[format!("in-chroot /host create {}", written.display())],
        ),
        attempt(
            "write the disk",
            &[format!("write {} text", in_container(stage.disk()))],
        ),
    ])
}

/// What an attempt came to.
pub(crate) struct Tried {
    /// As the table shows it.
    pub(crate) title: &'static str,
    /// Of each action.
    pub(crate) outcomes: Vec<Outcome>,
}

/// The ten, tried, and the process that they were tried on: the audit names what it executes while
/// it lives.
pub(crate) struct Ten {
    pub(crate) tried: Vec<Tried>,
    _bystander: Bystander,
}

/// Tries the ten in a running container, and undoes on the host what succeeded.
pub(crate) fn try_ten(stage: &Stage, running: &mut Running, pin: &Path) -> Result<Ten, Failure> {
    let bystander = Bystander::start(stage.fixture().at("bystander"))?;
    let mut tried = Vec::new();
    for Attempt { title, actions } in ten(stage, pin, bystander.pid())? {
        let mut outcomes = Vec::new();
        for action in actions {
            outcomes.push(running.attempt(action)?);
        }
        tried.push(Tried { title, outcomes });
    }
    undo(stage)?;
    Ok(Ten {
        tried,
        _bystander: bystander,
    })
}

/// Unloads the module and removes the file.
fn undo(stage: &Stage) -> Result<(), Failure> {
    if host::module_loaded(MODULE) {
        let mut unload = Command::new(tools::find("probe")?);
        tools::output(unload.args(["delete-module", MODULE]))?;
    }
    let _ = std::fs::remove_file(stage.fixture().at("written-after-chroot"));
    Ok(())
}
