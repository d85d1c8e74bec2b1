//! What the entry process starts with.

use reeve_tests::Finished;
use reeve_tests::bundle::Config;

use crate::support::{both, shell};

/// The script prints exactly this.
fn prints(config: Config, expected: &str) {
    both(config, |finished: &Finished| {
        assert_eq!(finished.stdout.trim_end(), expected, "{}", finished.stderr);
        assert!(
            finished.status.success(),
            "{}: {}",
            finished.status,
            finished.stderr
        );
    });
}

#[test]
fn environment() {
    let mut config = shell("echo $COLOUR; env | grep -c REEVE_SECRET; true");
    config.env.push("COLOUR=blue".to_owned());
    prints(config, "blue\n0");
}

#[test]
fn working_directory() {
    let mut config = shell("pwd");
    config.cwd = "/own".to_owned();
    prints(config, "/own");
}

#[test]
fn limits() {
    let mut config = shell("ulimit -S -n; ulimit -H -n; ulimit -S -c");
    config.rlimits = vec![
        ("RLIMIT_NOFILE".to_owned(), 99, 111),
        ("RLIMIT_CORE".to_owned(), 0, 0),
    ];
    prints(config, "99\n111\n0");
}

#[test]
fn user() {
    let mut config = shell("id -u; id -g; id -G");
    config.uid = 1234;
    config.capabilities = false;
    prints(config, "1234\n1234\n1234");
}

#[test]
fn capabilities() {
    prints(
        shell("grep CapEff /proc/self/status | cut -f2"),
        "000001ffffffffff",
    );
    let mut config = shell("grep -E 'CapEff|CapBnd' /proc/self/status | cut -f2");
    config.capabilities = false;
    prints(config, "0000000000000000\n0000000000000000");
}

#[test]
fn no_new_privileges() {
    let mut config = shell("grep NoNewPrivs /proc/self/status | cut -f2");
    config.no_new_privileges = true;
    prints(config.clone(), "1");
    config.no_new_privileges = false;
    prints(config, "0");
}

#[test]
fn namespaces() {
    let script = "echo $$; hostname; readlink /proc/1/exe";
    prints(shell(script), "1\nreeve-test\n/bin/busybox");
}

#[test]
fn root_and_devices() {
    let mut config =
        shell("touch /own/x 2>/dev/null || echo read-only; echo x > /dev/null; ls /host");
    config.readonly_root = true;
    prints(config, "read-only");
    prints(
        shell("touch /own/x && head -c 4 /dev/zero | wc -c; ls -d /dev/pts/ptmx"),
        "4\n/dev/pts/ptmx",
    );
}

/// No descriptor of the runtime's is left open in the container.
#[test]
fn descriptors() {
    let script = "for fd in /proc/$$/fd/*; do test ${fd##*/} -le 2 || readlink $fd; done; echo all";
    prints(shell(script), "all");
}
