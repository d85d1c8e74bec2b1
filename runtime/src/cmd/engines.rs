//! What container engines look for in the output of a runtime: texts that must stay as they are.
//!
//! - `does not exist`: the container is gone already. containerd's shim (`pkg/process`, for kill
//!   and delete), Podman (`UpdateContainerStatus`).
//! - `container not running`, and `no such process` in any case of letters: the process has ended
//!   already. containerd's shim (`checkKillError`).
//! - `no such file or directory`, `executable file not found`: exit status 127. Podman
//!   (`getOCIRuntimeError`), Docker (`translateContainerdStartErr`, which wants the command's name
//!   as well).
//! - `permission denied`, `operation not permitted`: exit status 126. The same.
//! - `not a directory`: a hint about the kind of a mount's source. Docker.
//! - `already exists`: the id is taken. Scripts, and tests of engines.
//!
//! containerd's shim takes these from standard error for kill and delete, and from the last error
//! in the file of `--log` for create, start and exec; conmon forwards the latter to Podman and
//! CRI-O. So causes belong into the line of the log.
//!
//! `--version` has three lines: go-runc wants exactly three, the first with `version ` before the
//! version, the others with `: `; Docker looks for `commit:`; Podman prints the first.

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use crate::cmd::{Error, kill, version};
    use crate::failure::Failure;
    use crate::launch;
    use crate::spec::ContainerId;
    use crate::state;

    fn id() -> ContainerId {
        "a".parse().unwrap()
    }

    #[test]
    fn states_that_engines_ask_about() {
        for (error, expected) in [
            (Error::from(state::Error::Unknown(id())), "does not exist"),
            (
                kill::Error::NotRunning(id()).into(),
                "container not running",
            ),
            (state::Error::Exists(id()).into(), "already exists"),
            (state::Error::Stale(id()).into(), "already exists"),
        ] {
            assert!(error.line().contains(expected), "{}", error.line());
            assert!(error.report().contains(expected), "{}", error.report());
        }
    }

    /// Engines turn these into exit statuses; only an unknown container may say `does not exist`.
    #[test]
    fn causes_are_in_the_line() {
        for (errno, expected) in [
            (Errno::NOENT, "no such file or directory"),
            (Errno::ACCESS, "permission denied"),
            (Errno::PERM, "operation not permitted"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::SRCH, "no such process"),
        ] {
            let error = Error::from(launch::Error::Step {
                step: "execute".to_owned(),
                source: Failure::new("execve(\"/bin/nope\")", errno),
            });
            let line = error.line();
            assert!(line.contains(expected), "{line}");
            assert!(line.contains("/bin/nope"), "{line}");
            assert!(!line.contains("does not exist"), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_version_has_the_lines_that_are_parsed() {
        let text = format!("reeve {}", version());
        let lines: Vec<&str> = text.trim().split('\n').collect();
        let [first, commit, spec] = lines[..] else {
            panic!("{text}");
        };
        assert_eq!(
            first.split("version ").nth(1),
            Some(env!("CARGO_PKG_VERSION"))
        );
        assert!(commit.starts_with("commit: "), "{commit}");
        assert_eq!(spec.split(": ").nth(1), Some(crate::cmd::OCI_VERSION));
    }
}
