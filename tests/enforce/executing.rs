//! Executing programs of the host, by themselves or as an interpreter.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// A binary format that the kernel hands to an interpreter, which it opened when the format was
/// registered: no path of the container's leads there.
struct Format;

impl Format {
    const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";
    /// What files of the format start with.
    const MAGIC: &str = "reeve-test-format";

    fn register(interpreter: &Path) -> Self {
        tools::output(Command::new("modprobe").arg("binfmt_misc")).expect("load binfmt_misc");
        let mut mount = Command::new("mount");
        tools::output(mount.args(["-t", "binfmt_misc", "none", Self::DIRECTORY])).expect("mount");
        let line = format!(":reeve:M::{}::{}:F", Self::MAGIC, interpreter.display());
        let format = Self;
        fs::write(format!("{}/register", Self::DIRECTORY), line).expect("register a format");
        format
    }

    /// Makes a file of the format.
    fn file(path: &Path) {
        fs::write(path, format!("{}\n", Self::MAGIC)).expect("write a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
}

impl Drop for Format {
    fn drop(&mut self) {
        let _ = fs::write(format!("{}/reeve", Self::DIRECTORY), "-1");
        let _ = Command::new("umount").arg(Self::DIRECTORY).status();
    }
}

/// Granted, its interpreter runs; refused, it does not.
#[test]
fn registered_interpreter() {
    let grounds = Grounds::new();
    let plot = grounds.plot("interpreter");
    add_programs(&plot);
    let _format = Format::register(&plot.join("program"));
    for (rights, allowed) in [("read, execute", true), ("read, write", false)] {
        let mut contained = Contained::start(PolicyText::new("format").file(&plot, rights));
        Format::file(&contained.running().container().root().join("own/file"));
        if allowed {
            contained.allowed("bprm_check_security", "exec /own/file");
        } else {
            contained.refused("file_open", EACCES, "exec /own/file");
        }
        contained.end();
    }
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
