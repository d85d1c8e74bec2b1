//! Two equally privileged containers, one of them under a policy, in which attempts are made.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reeve_tests::bundle::Config;
use reeve_tests::escape::{Attempt, Class};
use reeve_tests::{Container, Fixture, Outcome, PolicyText, Running, audit, host};

use crate::ground::{Ground, Who};
use crate::verdict::Seen;

const RIGHTS: &str = concat!(
    "read, write, append, create, delete, rename, link, truncate, chmod, chown, execute, mknod, ",
    "xattr, times, flags, ioctl"
);

/// Keeps the programs loaded between the tests, and is the other container of some attempts.
fn keeper() -> u32 {
    static KEEPER: OnceLock<(Running, u32)> = OnceLock::new();
    let (_running, pid) = KEEPER.get_or_init(|| {
        let container = Container::new("keeper", Config::default()).expect("make a bundle");
        let container = container.with_policy(PolicyText::new("keeper"));
        let mut running = container.expect("write its policy").start().expect("start");
        running.attempt("pid").expect("the keeper's answer");
        let pid = running.entry_pid().expect("the keeper's first process");
        (running, pid)
    });
    *pid
}

/// Where the attempts of a class are made.
pub(crate) struct Stage {
    free: Running,
    governed: Running,
    /// Events of the governed container that have been looked at.
    known_events: usize,
    closed: Fixture,
    granted: Fixture,
}

impl Stage {
    pub(crate) fn new(class: &Class) -> Self {
        keeper();
        let closed = Fixture::named("closed").expect("make a directory");
        let granted = Fixture::named("granted").expect("make a directory");
        for directory in ["ro", "rw"] {
            granted.directory(directory).expect("make a directory");
        }
        let mut policy = PolicyText::new("escape")
            .file(granted.at("ro"), "read")
            .file(granted.at("rw"), RIGHTS)
            .file(host::module_file("dummy").expect("a module"), "read")
            // Sockets can be made, for addresses that nobody tries.
            .socket("tcp: { to: [192.0.2.0/24], ports: [9] }, allow: [connect]")
            .socket("udp: { to: [192.0.2.0/24], ports: [9] }, allow: [send]")
            .socket("netlink: [audit], allow: [create]")
            // So that what comes over a socket is decided, and not the way there.
            .socket(&format!(
                "unix: {}, allow: [connect]",
                closed.path().display()
            ));
        if class.name == "exhausting" {
            // What is granted must not be a way to run out of something.
            policy = policy.mount("tmpfs", "");
        }
        let governed = container("governed").with_policy(policy);
        let governed = start(governed.expect("write the policy"), &closed);
        Self {
            free: start(container("free"), &closed),
            governed,
            known_events: 0,
            closed,
            granted,
        }
    }

    /// Makes an attempt in all three ways.
    pub(crate) fn make(&mut self, attempt: &Attempt) -> Seen {
        let action = attempt.action();
        let (ordinary, _) = self.once(
            Who::Ordinary,
            attempt,
            &format!("as 65534 self-exec {action}"),
        );
        let (governed, changed) = self.once(Who::Governed, attempt, &format!("fork {action}"));
        let hooks = self.refusals();
        let (free, _) = self.once(Who::Free, attempt, &format!("fork {action}"));
        Seen {
            ordinary,
            governed,
            changed,
            free,
            hooks,
        }
    }

    /// What came of it, and whether the closed directory is another one afterwards.
    fn once(&mut self, who: Who, attempt: &Attempt, action: &str) -> (Outcome, bool) {
        let running = match who {
            Who::Governed => &mut self.governed,
            Who::Free | Who::Ordinary => &mut self.free,
        };
        let all = format!("{action} {}", attempt.after.join(" "));
        let mut ground = Ground::new(who, &all, running, (&self.closed, &self.granted));
        if all.contains("{other}") && matches!(who, Who::Governed) {
            ground.word("other", keeper().to_string());
        }
        let action = ground.fill(action);
        let before = ground.snapshot();
        let outcome = running.attempt(&action);
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", attempt.name));
        if let Outcome::Misused(message) = &outcome {
            panic!("the table is wrong: `{action}`: {message}");
        }
        let changed = ground.snapshot() != before;
        if outcome.is_done() {
            for step in attempt.after {
                let step = format!("fork steps {}", ground.fill(step));
                running.attempt(step).expect("to clean up");
            }
        }
        (outcome, changed)
    }

    /// Hooks that have refused something since this was last asked.
    fn refusals(&mut self) -> Vec<String> {
        let events = audit::events(self.governed.id()).unwrap_or_else(|error| panic!("{error}"));
        let new = events.iter().skip(self.known_events);
        let mut hooks: Vec<String> = new
            .filter(|event| event.refused())
            .map(|event| event.hook().to_owned())
            .collect();
        self.known_events = events.len();
        hooks.sort_unstable();
        hooks.dedup();
        hooks
    }

    /// Ends both containers; the attempts must have left them alive.
    pub(crate) fn end(self) {
        for running in [self.free, self.governed] {
            let finished = running.finish().unwrap_or_else(|error| panic!("{error}"));
            assert!(finished.status.success(), "{}", finished.status);
        }
    }
}

fn container(name: &str) -> Container {
    let config = Config {
        host_pid: true,
        host_ipc: true,
        host_uts: true,
        host_cgroup: true,
        ..Config::default()
    };
    Container::new(name, config).expect("make a bundle")
}

/// Starts a container whose descriptor 2 is a file of the host, open for reading and writing.
fn start(container: Container, closed: &Fixture) -> Running {
    let held: PathBuf = closed.at(&format!("held-by-{}", container.id()));
    fs::write(&held, vec![b'.'; 8192]).expect("write a file");
    set_mode(&held, 0o666);
    set_mode(&container.root().join("own"), 0o777);
    let held = File::options().read(true).write(true).open(&held);
    let running = container.start_with_stderr(&held.expect("open a file"));
    let mut running = running.expect("start the container");
    running.attempt("pid").expect("the container's answer");
    running
}

/// Changes the mode of a file of the host.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}
