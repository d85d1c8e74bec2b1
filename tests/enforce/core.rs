//! The fixed core: what no policy opens.

use std::path::Path;
use std::process::Stdio;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::host::{PIN_DIR, STATE_DIR, pins};

use crate::support::{Contained, Grounds, prepared, rights_without};

fn everything() -> String {
    rights_without(&[])
}

/// Reeve's state, with a grant on everything around it.
#[test]
fn state_directory() {
    let policy = PolicyText::new("state").file("/run", &everything());
    let mut contained = Contained::start(policy);
    let id = contained.running().id().to_owned();
    contained.allowed("file_open", "create /host/run/reeve-test-file");
    contained.allowed("path_unlink", "unlink /host/run/reeve-test-file");
    let state = in_container(STATE_DIR);
    for action in [
        format!("list {state}"),
        format!("open dir {state}"),
        format!("create {state}/new"),
        format!("mkdir {state}/new"),
        format!("symlink /etc {state}/new"),
        format!("list {state}/{id}"),
        format!("rename {state} /host/run/moved"),
        format!("rmdir {state}/{id}"),
        format!("rename {state}/{id} {state}/moved"),
    ] {
        let outcome = contained.attempt(&action);
        let errno = outcome.errno();
        assert!(
            errno == Some(EACCES) || errno == Some(EPERM),
            "the core let `{action}` through, or answers oddly: {outcome}"
        );
    }
    assert!(
        Path::new(STATE_DIR).join(&id).exists(),
        "the container's state is gone"
    );
    contained.refused("path_chmod", EPERM, format!("chmod {state} 0777"));
    contained.refused(
        "path_rename",
        EACCES,
        format!("rename {state} /host/run/moved"),
    );
    contained.end();
}

/// A policy that would open the core is no policy: the container does not start.
#[test]
fn grants_that_cannot_be_given() {
    let args = ["/probe", "pid"].map(str::to_owned).to_vec();
    for path in [
        "/sys/fs/bpf",
        PIN_DIR,
        STATE_DIR,
        "/proc/sys/kernel",
        "/proc/sys/kernel/ftrace_enabled",
        "/proc/sysrq-trigger",
    ] {
        let config = Config {
            args: args.clone(),
            ..Config::default()
        };
        let policy = PolicyText::new("core").file(path, "read, write");
        let finished = prepared(config, policy).run(Stdio::null()).expect("run it");
        assert!(
            !finished.status.success(),
            "a policy that grants `{path}` was taken"
        );
        assert!(finished.stdout.is_empty(), "it ran: {}", finished.stdout);
        let named = finished.stderr.contains(&format!("`{path}`"));
        assert!(named, "`{path}` is not named: {}", finished.stderr);
    }
}

/// The pinned programs, maps and links, by file and by `bpf(2)`.
#[test]
fn pins_are_out_of_reach() {
    let policy = PolicyText::new("pins")
        .mount("tmpfs", "")
        .capability_all("SYS_ADMIN")
        .kernel("bpf: [map_create]");
    let mut contained = Contained::start(policy.clone());
    let before = pins();
    assert!(!before.is_empty(), "nothing is pinned below {PIN_DIR}");
    // No more from one container than is recorded of it.
    for some in before.chunks(100) {
        let mut contained = Contained::start(policy.clone());
        for pin in some.iter().map(in_container) {
            contained.refused("path_unlink", EACCES, format!("unlink {pin}"));
            let away = format!("rename {pin} /host/sys/fs/bpf/moved");
            contained.refused("path_rename", EACCES, away);
            contained.refused("bpf", EPERM, format!("bpf-obj-get {pin}"));
        }
        contained.end();
    }
    contained.refused(
        "path_rmdir",
        EACCES,
        format!("rmdir {}", in_container(PIN_DIR)),
    );
    contained.refused(
        "file_open",
        EACCES,
        format!("list {}", in_container(PIN_DIR)),
    );
    contained.refused("sb_umount", EPERM, "umount /host/sys/fs/bpf detach");
    contained.refused("sb_mount", EPERM, "mount none /mnt bpf");
    contained.refused("sb_mount", EPERM, "mount-tmpfs /host/sys/fs/bpf");
    assert_eq!(pins(), before, "a pin is gone");
    contained.end();
}

/// Commands with which an object of Reeve's could be opened: no policy gives them, or they do not
/// open Reeve's.
#[test]
fn objects_are_out_of_reach() {
    for command in [
        "obj_get",
        "map_get_fd_by_id",
        "prog_get_fd_by_id",
        "link_get_fd_by_id",
    ] {
        let grant = format!(
            "bpf: [map_create, {command}, map_get_next_id, prog_get_next_id, link_get_next_id]"
        );
        let container = prepared(Config::default(), PolicyText::new("objects").kernel(&grant));
        let mut running = container.start().expect("start the container");
        let Ok(_) = running.attempt("pid") else {
            assert!(
                running.messages().contains(command),
                "{}",
                running.messages()
            );
            continue;
        };
        let gets = pins()
            .into_iter()
            .map(|pin| format!("bpf-obj-get {}", in_container(&pin)));
        for action in gets.chain(["map", "prog", "link"].map(|kind| format!("bpf-{kind}-scan"))) {
            let outcome = running.attempt(&action).expect("an answer");
            assert!(
                !outcome.is_done(),
                "the core let `{action}` through with `{command}`"
            );
        }
    }
}

/// Switches with which enforcement goes off, or with which a kernel's memory can be seen.
#[test]
fn switches_are_out_of_reach() {
    let grounds = Grounds::new();
    let canary = in_container(grounds.plot("closed").join("file"));
    let mut contained = Contained::start(PolicyText::new("switches"));
    for proc in ["/proc", "/host/proc"] {
        let action = format!("rewrite {proc}/sys/kernel/ftrace_enabled");
        contained.refused("file_open", EACCES, action);
    }
    let tracing = "/sys/kernel/tracing";
    assert!(
        Path::new(tracing).join("trace").exists(),
        "tracefs is not mounted here"
    );
    for entry in ["trace", "tracing_on", "set_event", "instances"] {
        let action = format!("open r {}/{entry}", in_container(tracing));
        contained.refused("file_open", EACCES, action);
    }
    contained.refused(
        "file_open",
        EACCES,
        "open w /host/sys/kernel/tracing/tracing_on",
    );
    contained.refused("file_open", EACCES, format!("open w {canary}"));
    contained.end();
}

/// Kernel settings are the host's, in the container's own procfs too.
#[test]
fn kernel_settings() {
    let mut contained = Contained::start(PolicyText::new("settings"));
    for proc in ["/proc", "/host/proc"] {
        contained.refused(
            "file_open",
            EACCES,
            format!("open w {proc}/sys/kernel/core_pattern"),
        );
        contained.refused("file_open", EACCES, format!("open w {proc}/sysrq-trigger"));
        contained.refused(
            "file_open",
            EACCES,
            format!("open w {proc}/sys/kernel/modprobe"),
        );
    }
    contained.allowed("file_open", "read /proc/sys/kernel/osrelease");
    contained.allowed("file_open", "read /proc/self/status");
    contained.refused(
        "file_open",
        EACCES,
        "open w /host/sys/kernel/mm/transparent_hugepage/enabled",
    );
    contained.refused(
        "file_open",
        EACCES,
        "open w /host/sys/fs/cgroup/cgroup.procs",
    );
    contained.end();
}

/// Audit mode records and lets through, but not the core.
#[test]
fn audit_mode_keeps_the_core() {
    let mut contained = Contained::start(PolicyText::new("audit").audit());
    let state = in_container(STATE_DIR);
    contained.refused("path_mkdir", EACCES, format!("mkdir {state}/new"));
    contained.refused(
        "file_open",
        EACCES,
        format!("list {}", in_container(PIN_DIR)),
    );
    contained.end();
}
