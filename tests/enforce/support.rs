//! What the suites share: containers under a policy, and attempts in them that must succeed or be
//! refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::hooks::governing;
use reeve_tests::{Container, Fixture, Outcome, PolicyText, Report, Running, audit, host, tools};

/// Every file right of the policy language.
const RIGHTS: &str = concat!(
    "read, write, append, create, delete, rename, link, truncate, chmod, chown, execute, mknod, ",
    "xattr, times, flags, ioctl"
);

/// All rights but those of `lacking`. `write` gives `truncate` and `append` too, so who lacks one
/// of these lacks `write` as well.
pub(crate) fn rights_without(lacking: &[&str]) -> String {
    let kept = RIGHTS.split(", ").filter(|right| {
        !(lacking.contains(right)
            || *right == "write" && (lacking.contains(&"truncate") || lacking.contains(&"append")))
    });
    kept.collect::<Vec<_>>().join(", ")
}

/// Version of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    host::version(&host::kernel_release().expect("the kernel's release"))
}

/// Keeps Reeve's programs loaded between the tests: loading them for each would cost more than the
/// tests themselves.
pub(crate) fn keep_loaded() {
    static KEEPER: OnceLock<Running> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let config = Config {
            host: false,
            ..Config::default()
        };
        let container = Container::new("keeper", config).expect("make the keeper's bundle");
        let container = container
            .with_policy(PolicyText::new("keeper"))
            .expect("write its policy");
        let mut running = container.start().expect("start the keeper");
        running.attempt("pid").expect("the keeper's answer");
        running
    });
}

/// A running container under a policy, and what its attempts must come to.
pub(crate) struct Contained {
    running: Running,
    /// Hooks that have refused something, for the audit to confirm.
    expected: Vec<String>,
}

impl Contained {
    /// Starts a container with every capability and the host at `/host`.
    pub(crate) fn start(policy: PolicyText) -> Self {
        Self::with(Config::default(), policy)
    }

    /// Starts a container in the host's pid namespace.
    pub(crate) fn among_host_processes(policy: PolicyText) -> Self {
        Self::with(
            Config {
                host_pid: true,
                ..Config::default()
            },
            policy,
        )
    }

    /// Starts a container with this configuration.
    pub(crate) fn with(config: Config, policy: PolicyText) -> Self {
        Self::of(prepared(config, policy))
    }

    /// Starts this container.
    pub(crate) fn of(container: Container) -> Self {
        let running = container.start().expect("start the container");
        Self {
            running,
            expected: Vec::new(),
        }
    }

    /// Starts a container whose standard error is `file`.
    pub(crate) fn with_descriptor(file: &File, policy: PolicyText) -> Self {
        Self::with_stderr(prepared(Config::default(), policy), file)
    }

    /// Starts this container with `file` as its standard error.
    pub(crate) fn with_stderr(container: Container, file: &File) -> Self {
        let running = container
            .start_with_stderr(file)
            .expect("start the container");
        Self {
            running,
            expected: Vec::new(),
        }
    }

    /// What comes of an attempt.
    pub(crate) fn attempt(&mut self, action: impl AsRef<str>) -> Outcome {
        let outcome = self
            .running
            .attempt(action.as_ref())
            .unwrap_or_else(|error| panic!("{error}"));
        if let Outcome::Misused(message) = &outcome {
            panic!("the test is wrong: `{}`: {message}", action.as_ref());
        }
        outcome
    }

    /// An attempt that must succeed; what it tells.
    pub(crate) fn allowed(&mut self, hook: &str, action: impl AsRef<str>) -> String {
        let action = action.as_ref();
        let outcome = self.attempt(action);
        if !outcome.is_done() {
            let events = audit::events(self.running.id());
            let last: Vec<_> = events.iter().flatten().rev().take(3).collect();
            let hook = governing(hook);
            panic!("hook `{hook}`: `{action}` was granted and came to {outcome}: {last:#?}");
        }
        outcome.detail().to_owned()
    }

    /// An attempt that must be refused with this errno, by this hook.
    pub(crate) fn refused(&mut self, hook: &str, errno: i32, action: impl AsRef<str>) {
        let (hook, action) = (governing(hook), action.as_ref());
        let outcome = self.attempt(action);
        assert!(!outcome.is_done(), "hook `{hook}` let `{action}` through");
        assert_eq!(
            outcome.errno(),
            Some(errno),
            "hook `{hook}`, `{action}`: {outcome}"
        );
        self.expected.push(hook.to_owned());
    }

    /// The running container.
    pub(crate) fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends the container, once the audit has confirmed which hooks refused.
    pub(crate) fn end(self) {
        if !self.expected.is_empty() {
            self.confirm();
        }
        let finished = self
            .running
            .finish()
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            finished.status.success(),
            "{}: {}",
            finished.status,
            finished.stderr
        );
    }

    /// The audit says of each hook that has refused something that it did.
    fn confirm(&self) {
        let events = audit::events(self.running.id()).unwrap_or_else(|error| panic!("{error}"));
        for hook in &self.expected {
            assert!(
                events
                    .iter()
                    .any(|event| event.refused() && event.hook() == hook),
                "hook `{hook}` refused something and the audit does not say so: {events:#?}"
            );
        }
    }
}

/// A container with its policy, not started.
pub(crate) fn prepared(config: Config, policy: PolicyText) -> Container {
    keep_loaded();
    let container = Container::new("enforce", config).expect("make a bundle");
    container.with_policy(policy).expect("write its policy")
}

/// A directory of the host with something of each kind in it, open to every user: what refuses is
/// Reeve, not a mode.
pub(crate) struct Grounds {
    fixture: Fixture,
}

impl Grounds {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new().expect("make a directory");
        let grounds = Self { fixture };
        open_to_all(grounds.fixture.path());
        grounds
    }

    /// A directory `name` with a file, a second one, an empty directory and a symbolic link in it.
    pub(crate) fn plot(&self, name: &str) -> PathBuf {
        let plot = self.fixture.directory(name).expect("make a plot");
        for file in ["file", "second"] {
            let path = plot.join(file);
            fs::write(&path, format!("content of {file}\n")).expect("write a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
        }
        fs::create_dir(plot.join("directory")).expect("mkdir");
        std::os::unix::fs::symlink("file", plot.join("symlink")).expect("symlink");
        open_to_all(&plot);
        plot
    }

    pub(crate) fn fixture(&self) -> &Fixture {
        &self.fixture
    }
}

pub(crate) fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("chmod");
}

/// Everything that can be seen of a tree: a difference is a change.
pub(crate) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("read a directory").flatten() {
        let path = entry.path();
        let meta = entry.metadata().expect("stat");
        let content = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let about = (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.len(),
        );
        seen.insert(path.clone(), format!("{about:?} {content:?}"));
        if meta.is_dir() {
            seen.extend(snapshot(&path));
        }
    }
    seen
}

/// `{}` in an action stands for the plot, as the container sees it.
pub(crate) fn on(plot: &Path, action: &str) -> String {
    action.replace("{}", &in_container(plot))
}

/// With all rights on a plot, each action succeeds.
pub(crate) fn granted(hook: &str, actions: &[&str]) {
    let grounds = Grounds::new();
    let plot = grounds.plot("granted");
    let policy = PolicyText::new("granted").file(&plot, RIGHTS);
    let mut contained = Contained::start(policy);
    for action in actions {
        contained.allowed(hook, on(&plot, action));
    }
    contained.end();
}

/// With all rights but `lacking` on a plot, and with none on another, each action is refused and
/// nothing changes.
pub(crate) fn refused(hook: &str, errno: i32, lacking: &[&str], actions: &[&str]) {
    let grounds = Grounds::new();
    let (lacks, unnamed) = (grounds.plot("lacks"), grounds.plot("unnamed"));
    let policy = PolicyText::new("refused").file(&lacks, &rights_without(lacking));
    let mut contained = Contained::start(policy);
    for plot in [lacks, unnamed] {
        let before = snapshot(&plot);
        for action in actions {
            contained.refused(hook, errno, on(&plot, action));
        }
        assert_eq!(
            snapshot(&plot),
            before,
            "hook `{hook}` refused and something changed"
        );
    }
    contained.end();
}

/// A file of the host, opened by the host for reading and writing.
pub(crate) fn opened(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("open a file")
}

/// What an attempt of the host itself tells; it must succeed.
pub(crate) fn on_host(action: &str) -> String {
    let probe = tools::find("probe").expect("the probe");
    let text = tools::output(Command::new(probe).args(action.split(' ')))
        .unwrap_or_else(|error| panic!("{error}"));
    let report = Report::parse(text.trim()).expect("its line");
    assert!(report.outcome.is_done(), "`{action}`: {}", report.outcome);
    report.outcome.detail().to_owned()
}
