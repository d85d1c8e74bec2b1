//! What a kernel prints when it is in trouble.

/// What a console line says about the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The kernel is broken: the run ends and has failed.
    Fatal,
    /// Worth a line in the verdict; slow emulation alone can be the reason.
    Notable,
}

const FATAL: &[&str] = &[
    "Kernel panic",
    "soft lockup",
    "hard LOCKUP",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "KASAN:",
    "possible recursive locking",
];

const NOTABLE: &[&str] = &["rcu: INFO: ", "blocked for more than", "WARNING: "];

/// What is wrong with the kernel that printed `line`, if anything.
pub(crate) fn trouble(line: &str) -> Option<Trouble> {
    let has = |markers: &[&str]| markers.iter().any(|marker| line.contains(marker));
    if has(FATAL) {
        Some(Trouble::Fatal)
    } else if has(NOTABLE) {
        Some(Trouble::Notable)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Trouble, trouble};

    #[test]
    fn real_lines_are_told_apart() {
        let fatal = [
            "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "[  41.7] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [init:1]",
            "[   3.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "[   3.1] Oops: 0000 [#1] PREEMPT SMP NOPTI",
        ];
        for line in fatal {
            assert_eq!(trouble(line), Some(Trouble::Fatal), "{line}");
        }
        let stall = "[  33.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
        assert_eq!(trouble(stall), Some(Trouble::Notable));
        assert_eq!(
            trouble("[    0.5] Spectre V2 : Mitigation: Retpolines"),
            None
        );
        assert_eq!(
            trouble("[    0.1] MDS: Vulnerable: Clear CPU buffers attempted"),
            None
        );
    }
}
