//! The conformance suite on this machine, natively: with `reeve`, and with the runtimes of Debian,
//! by which a wrong test is found.
//!
//! Where this machine cannot make containers, the runs in machines stand in for these; the steps
//! say so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::step::{Done, Failed, Steps, results};
use crate::build::{self, Guest};
use crate::cmd::{self, Cmd};
use crate::scratch;
use crate::setup::{self, Need, peers};

/// The test target.
pub(crate) const NAME: &str = "oci";

/// The control group that the tests make theirs in (`tests/oci/support/bundle.rs`).
const CGROUP: &str = "reeve-oci";

/// Tests that are left out where something is missing, with what. What is missing everywhere has
/// no other test; `docs/reference/conformance.md` says so.
const MAY_SKIP: &[(&str, &str)] = &[
    (
        "namespaces::network_devices_move_in",
        "`ip` and a kernel with `veth`",
    ),
    (
        "namespaces::the_cgroup_namespace_shows_one_tree",
        "control groups of version 2",
    ),
    ("process::a_loaded_profile_of_apparmor", "AppArmor"),
    ("process::a_profile_of_apparmor", "AppArmor"),
    (
        "resources::a_file_that_does_not_exist_is_an_error",
        "control groups of version 2",
    ),
    (
        "resources::a_limit_below_the_use_is_refused",
        "control groups of version 2",
    ),
    (
        "resources::files_by_their_names",
        "control groups of version 2",
    ),
    (
        "resources::how_soon_is_swapped",
        "control groups of version 1",
    ),
    ("resources::memory_of_tcp", "control groups of version 1"),
    (
        "resources::no_killer_when_memory_runs_out",
        "control groups of version 1",
    ),
    (
        "resources::pages_of_other_sizes",
        "the controller `hugetlb`",
    ),
    (
        "resources::processors_that_are_not_there",
        "control groups of version 1",
    ),
    (
        "resources::the_class_of_packets",
        "the controller `net_cls`",
    ),
    (
        "resources::the_priority_of_packets",
        "the controller `net_prio`",
    ),
    ("resources::the_weight_for_a_disk", "the scheduler BFQ"),
    (
        "resources::the_weight_of_reads_and_writes",
        "the scheduler BFQ",
    ),
    (
        "tuning::a_process_that_is_served_in_turn",
        "control groups of version 2",
    ),
    (
        "tuning::a_process_with_a_deadline",
        "control groups of version 2",
    ),
    ("tuning::caches", "the file system resctrl"),
];

/// Runs the steps.
pub(crate) fn run(steps: &mut Steps, runner: &[String]) {
    if let Some(reason) = unable() {
        steps.run_any("conformance on this machine", || {
            let instead = "the runs in machines, with all runtimes, stand in for it";
            Ok(Done::Skipped(format!("{reason}: {instead}")))
        });
        return;
    }
    let mut built = None;
    steps.run("conformance suite", || {
        setup::ensure(&[Need::BuildTools, Need::Peers])?;
        built = Some(build::guest_payload(&Guest {
            bins: &["reeve", "probe"],
            tests: &[NAME],
        })?);
        Ok(())
    });
    // Without it the step above has failed, and so has the run.
    let Some(payload) = built else { return };
    for peer in [None].into_iter().chain(peers::names().map(Some)) {
        let name = format!("conformance of {}", peer.unwrap_or("reeve"));
        steps.run_tests(&name, || natively(&payload, peer, runner));
    }
}

/// Why no container can be made here, if so.
pub(super) fn unable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if !cmd::found("unshare") {
        return Some("no `unshare`".to_owned());
    }
    let script = "mount -t tmpfs none /mnt";
    let flags = [
        "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "sh", "-c", script,
    ];
    let tried = Cmd::new("unshare").args(flags).quiet();
    if tried.is_err() {
        return Some("namespaces or mounts cannot be made".to_owned());
    }
    let version2 = Path::new("/sys/fs/cgroup");
    let version1 = version2.join("memory");
    let place = if version1.is_dir() {
        version1.as_path()
    } else {
        version2
    };
    let group = place.join(format!("reeve-xtask-{}", std::process::id()));
    let made = fs::create_dir(&group).and_then(|()| fs::remove_dir(&group));
    made.is_err()
        .then(|| "control groups cannot be made".to_owned())
}

/// Runs the suite; what it printed, if all of it passed.
fn natively(payload: &TempDir, peer: Option<&str>, runner: &[String]) -> Result<String> {
    let bin = payload.path().join("bin");
    let work = scratch::dir("oci")?;
    // Users of the containers come through here.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(work.path(), open).context("chmod the directory of the tests")?;
    let mut command = Cmd::new("unshare").args(["--mount", "--propagation", "private"]);
    command = command.args(["sh", "-c", without_version_2(peer), "sh"]);
    command = command.arg(bin.join(NAME)).args(runner);
    command = command.env("REEVE_TEST_DIR", work.path());
    command = command.env("REEVE_TEST_RUNTIME", bin.join("reeve"));
    if let Some(peer) = peer {
        let variables = environment(peer, &peers::dir()?);
        command = variables
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value));
    }
    let (output, succeeded) = command.tee()?;
    remove_cgroups();
    if !succeeded {
        return Err(Failed {
            what: "the suite failed".to_owned(),
            output,
        }
        .into());
    }
    if results(&output).is_empty() {
        bail!("the suite gave no result");
    }
    if let Some(what) = unlisted_skip(&output) {
        return Err(Failed { what, output }.into());
    }
    Ok(output)
}

/// Removes the groups that the tests had theirs in, in every hierarchy. One that is in use stays.
fn remove_cgroups() {
    let mut tops = vec![PathBuf::from("/sys/fs/cgroup")];
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    tops.extend(hierarchies.map(|entry| entry.path()));
    for top in tops {
        for name in [CGROUP.to_owned(), format!("{CGROUP}/relative")]
            .iter()
            .rev()
        {
            // Where the tests had none, and where another run has some: nothing to remove.
            let _left = fs::remove_dir(top.join(name));
        }
    }
}

/// A script that runs its arguments. For `crun`, which refuses to start where a version 2 tree with
/// a controller stands beside those of version 1, in a mount namespace without that tree.
fn without_version_2(peer: Option<&str>) -> &'static str {
    match peer {
        Some("crun") => {
            "if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; \
             mount -t tmpfs none /sys/fs/cgroup/unified; fi; exec \"$@\""
        }
        _ => "exec \"$@\"",
    }
}

/// Variables that make the suite use a runtime of Debian, whose files are at `dir`.
pub(crate) fn environment(peer: &str, dir: &Path) -> Vec<(String, String)> {
    let program = peers::program(peer, dir).unwrap_or_default();
    vec![
        (
            "REEVE_TEST_RUNTIME".to_owned(),
            program.display().to_string(),
        ),
        ("LD_LIBRARY_PATH".to_owned(), peers::library_path(dir)),
    ]
}

/// What is wrong with the tests that a run left out, if anything.
pub(crate) fn unlisted_skip(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        // The runner may have begun a line of its own.
        let (_, rest) = line.split_once("skipped ")?;
        let (name, reason) = rest.split_once(": ")?;
        let listed = MAY_SKIP.iter().any(|(known, _)| *known == name);
        (!listed).then(|| format!("`{name}` was left out ({reason}) and is not listed"))
    })
}

#[cfg(test)]
mod tests {
    use super::{MAY_SKIP, unlisted_skip};

    #[test]
    fn a_test_that_is_left_out_must_be_listed() {
        let (listed, _) = MAY_SKIP[0];
        assert_eq!(
            unlisted_skip(&format!("skipped {listed}: none here\n")),
            None
        );
        let found = unlisted_skip("test a ... ok\nskipped b::c: no such thing\n");
        assert!(found.is_some_and(|what| what.contains("b::c")));
        assert_eq!(unlisted_skip("test a ... ok\n"), None);
    }
}
