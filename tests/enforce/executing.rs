//! Executing programs of the host, by themselves or as an interpreter.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use libc::EACCES;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{PolicyText, rootfs, tools};

use crate::support::{Contained, Grounds, prepared, rights_without};

/// Puts a program, and a script that it interprets, into `plot`.
fn add_programs(plot: &Path) {
    let program = plot.join("program");
    rootfs::copy_program(&tools::find("probe").expect("the probe"), &program).expect("copy it");
    script(&plot.join("script"), &in_container(&program));
}

fn script(path: &Path, interpreter: &str) {
    fs::write(path, format!("#!{interpreter} script --\n")).expect("write a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

#[test]
fn exec_granted() {
    let grounds = Grounds::new();
    let plot = grounds.plot("granted");
    add_programs(&plot);
    let mut contained = Contained::start(PolicyText::new("exec").file(&plot, "read, execute"));
    let at = in_container(&plot);
    contained.allowed("bprm_check_security", format!("exec {at}/program pid"));
    contained.allowed("bprm_check_security", format!("exec {at}/script pid"));
    contained.allowed("bprm_check_security", "exec /probe pid");
    contained.allowed("bprm_check_security", "exec-memfd pid");
    contained.end();
}

#[test]
fn exec_refused() {
    let grounds = Grounds::new();
    let (lacks, unnamed) = (grounds.plot("lacks"), grounds.plot("unnamed"));
    let policy = PolicyText::new("exec").file(&lacks, &rights_without(&["execute"]));
    let mut contained = Contained::start(policy);
    let root = contained.running().container().root();
    for plot in [lacks, unnamed] {
        add_programs(&plot);
        let at = in_container(&plot);
        // `file_open` sees an execution first; `bprm_check_security` is the second line.
        contained.refused("file_open", EACCES, format!("exec {at}/program pid"));
        contained.refused("file_open", EACCES, format!("exec {at}/script pid"));
        // The script is the container's own, its interpreter the host's.
        script(&root.join("own/script"), &format!("{at}/program"));
        contained.refused("file_open", EACCES, "exec /own/script pid");
    }
    contained.end();
}

/// The entry process's own program is governed like any other.
#[test]
fn entry_exec_refused() {
    let grounds = Grounds::new();
    let plot = grounds.plot("unnamed");
    add_programs(&plot);
    let canary = in_container(plot.join("file"));
    let program = format!("{}/program", in_container(&plot));
    let args = [&program, "write", &canary, "changed"]
        .map(str::to_owned)
        .to_vec();
    let container = prepared(
        Config {
            args,
            ..Config::default()
        },
        PolicyText::new("entry"),
    );
    let finished = container.run(Stdio::null()).expect("run it");
    assert!(
        !finished.status.success(),
        "hook `bprm_check_security` let the entry process through"
    );
    assert!(
        finished.stderr.contains("EACCES"),
        "it does not say why: {}",
        finished.stderr
    );
    let text = fs::read_to_string(plot.join("file")).expect("read the canary");
    assert_eq!(text, "content of file\n");
}
