//! What the suites share: containers that run a line of shell.

use std::process::Stdio;
use std::sync::OnceLock;

use reeve_tests::bundle::Config;
use reeve_tests::{Container, Finished, PolicyText, Running, host};

/// A configuration whose entry process is this shell script.
pub(crate) fn shell(script: &str) -> Config {
    let args = ["/bin/busybox", "sh", "-c", script]
        .map(str::to_owned)
        .to_vec();
    Config {
        args,
        host: false,
        ..Config::default()
    }
}

/// Keeps Reeve's programs loaded from here on.
pub(crate) fn keep_loaded() {
    static KEEPER: OnceLock<Running> = OnceLock::new();
    KEEPER.get_or_init(|| waiting("keeper"));
}

/// A running container that waits.
pub(crate) fn waiting(name: &str) -> Running {
    let config = Config {
        host: false,
        ..Config::default()
    };
    let container = Container::new(name, config).expect("make a bundle");
    let container = container
        .with_policy(PolicyText::new(name))
        .expect("write its policy");
    let mut running = container.start().expect("start it");
    running.attempt("pid").expect("it runs");
    running
}

/// Fails if a container left anything.
pub(crate) fn nothing_left(container: &Container, after: &str) {
    let left = host::leftovers(container.id());
    assert!(left.is_empty(), "after {after}: {left:#?}");
}

/// A container under a policy that grants nothing, with the programs loaded already.
pub(crate) fn contained(config: Config) -> Container {
    keep_loaded();
    alone(config)
}

/// A container under a policy that grants nothing.
pub(crate) fn alone(config: Config) -> Container {
    let container = Container::new("lifecycle", config).expect("make a bundle");
    container
        .with_policy(PolicyText::new("lifecycle"))
        .expect("write its policy")
}

/// A container without a policy.
pub(crate) fn free(config: Config) -> Container {
    Container::new("lifecycle", config).expect("make a bundle")
}

/// Runs a container to its end.
pub(crate) fn run(container: &Container) -> Finished {
    container.run(Stdio::null()).expect("run it")
}

/// Runs a shell script with and without a policy; what it prints has to be the same.
pub(crate) fn both(config: Config, check: impl Fn(&Finished)) {
    check(&run(&free(config.clone())));
    check(&run(&contained(config)));
}
