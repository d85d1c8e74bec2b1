//! The kernel itself: modules, `bpf(2)`, the clock.

use std::path::PathBuf;
use std::process::Command;

use libc::EPERM;
use reeve_tests::fixture::in_container;
use reeve_tests::{Outcome, PolicyText, host, tools};

use crate::support::{Contained, Grounds};

/// A module that is on every kernel of the tests and does nothing until asked.
const MODULE: &str = "dummy";
/// Another one.
const OTHER: &str = "ifb";

fn unload(module: &str) {
    if host::module_loaded(module) {
        let probe = tools::find("probe").expect("the probe");
        tools::output(Command::new(probe).args(["delete-module", module]))
            .expect("unload a module");
    }
}

/// A module's file, and its directory for a grant to read it.
fn module(name: &str) -> PathBuf {
    host::module_file(name).expect("find a module")
}

fn may_read_modules(policy: PolicyText) -> PolicyText {
    let directory = module(MODULE)
        .ancestors()
        .nth(4)
        .expect("its tree")
        .to_owned();
    policy.file(directory, "read")
}

#[test]
fn module_granted() {
    unload(MODULE);
    let policy = PolicyText::new("module").kernel(&format!("modules: [{MODULE}]"));
    let mut contained = Contained::start(may_read_modules(policy));
    let file = in_container(module(MODULE));
    contained.allowed("kernel_read_file", format!("finit-module {file}"));
    assert!(host::module_loaded(MODULE));
    contained.end();
    unload(MODULE);
}

#[test]
fn module_refused() {
    unload(OTHER);
    let policy = PolicyText::new("module")
        .kernel(&format!("modules: [{MODULE}]"))
        .capability("SYS_MODULE", "finit_module, init_module");
    let mut contained = Contained::start(may_read_modules(policy));
    let file = in_container(module(OTHER));
    contained.refused("kernel_read_file", EPERM, format!("finit-module {file}"));
    // A copy of a granted module is not the granted module.
    let copy = contained
        .running()
        .container()
        .root()
        .join("own")
        .join(file_name(MODULE));
    std::fs::copy(module(MODULE), &copy).expect("copy a module");
    contained.refused(
        "kernel_read_file",
        EPERM,
        format!("finit-module /own/{}", file_name(MODULE)),
    );
    assert!(
        !host::module_loaded(OTHER),
        "hook `kernel_read_file` refused and the module is loaded"
    );
    contained.end();
}

fn file_name(name: &str) -> String {
    module(name)
        .file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn init_module_refused() {
    unload(MODULE);
    let policy = PolicyText::new("module")
        .kernel(&format!("modules: [{MODULE}]"))
        .capability("SYS_MODULE", "init_module");
    let mut contained = Contained::start(may_read_modules(policy));
    let file = in_container(module(MODULE));
    contained.refused("kernel_load_data", EPERM, format!("init-module {file}"));
    assert!(
        !host::module_loaded(MODULE),
        "hook `kernel_load_data` refused and the module is loaded"
    );
    contained.end();
    // Without the capability it does not even get there.
    let mut contained = Contained::start(may_read_modules(PolicyText::new("module")));
    contained.refused("capable", EPERM, format!("finit-module {file}"));
    contained.refused("capable", EPERM, format!("delete-module {MODULE}"));
    contained.end();
}

#[test]
fn bpf_granted() {
    let mut contained = Contained::start(PolicyText::new("bpf").kernel("bpf: [map_create]"));
    contained.allowed("bpf", "bpf-map-create");
    contained.end();
    let policy = PolicyText::new("bpf").kernel("bpf: [map_create, prog_load]");
    let mut contained = Contained::start(policy);
    contained.allowed("bpf", "bpf-prog-load");
    contained.end();
}

#[test]
fn bpf_refused() {
    let policy = PolicyText::new("bpf").kernel("bpf: [map_create]");
    let mut contained = Contained::start(policy);
    for action in [
        "bpf-prog-load",
        "bpf-map-scan",
        "bpf-prog-scan",
        "bpf-link-scan",
    ] {
        contained.refused("bpf", EPERM, action);
    }
    contained.refused("bpf", EPERM, "bpf-obj-get /host/sys/fs/bpf");
    contained.refused("bpf", EPERM, "bpf-obj-pin /host/sys/fs/bpf/mine");
    contained.end();
    // Every command, also those that this program does not know the name of.
    let mut contained = Contained::start(PolicyText::new("bpf"));
    for command in 0..=36 {
        contained.refused("bpf", EPERM, format!("bpf-command {command}"));
    }
    contained.end();
}

#[test]
fn settime_granted() {
    let mut contained = Contained::start(PolicyText::new("clock").kernel("clock: true"));
    contained.allowed("settime", "settime");
    contained.allowed("settime", "settimeofday");
    contained.allowed("settime", "adjtimex");
    contained.end();
}

#[test]
fn settime_refused() {
    let calls = "clock_settime, settimeofday, adjtimex";
    let mut contained = Contained::start(PolicyText::new("clock").capability("SYS_TIME", calls));
    contained.refused("settime", EPERM, "settime");
    contained.refused("settime", EPERM, "settimeofday");
    contained.end();
    let mut contained = Contained::start(PolicyText::new("clock"));
    for action in ["settime", "settimeofday", "adjtimex"] {
        let outcome: Outcome = contained.attempt(action);
        assert_eq!(
            outcome.errno(),
            Some(EPERM),
            "hook `settime`, `{action}`: {outcome}"
        );
    }
    contained.end();
}

/// A user namespace of one's own gives no power over the kernel.
#[test]
fn a_user_namespace_loads_nothing() {
    let grounds = Grounds::new();
    let policy = may_read_modules(PolicyText::new("userns").kernel(&format!("modules: [{OTHER}]")));
    let mut contained = Contained::start(policy);
    let file = in_container(module(MODULE));
    for action in [
        format!("finit-module {file}"),
        "bpf-prog-load".to_owned(),
        "settime".to_owned(),
    ] {
        let outcome = contained.attempt(format!("unshare user {action}"));
        assert_eq!(
            outcome.errno(),
            Some(EPERM),
            "`{action}` in a user namespace: {outcome}"
        );
    }
    contained.end();
    drop(grounds);
}
