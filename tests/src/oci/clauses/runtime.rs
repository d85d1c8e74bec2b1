//! `bundle.md`, `runtime.md`, `runtime-linux.md`.

use super::{Table, no_test, row};

/// The directory that a container is made from.
pub(super) const BUNDLE: Table = Table {
    title: "Bundle",
    source: "bundle.md, config.md",
    clauses: &[
        row("bundle: config.json"),
        row("bundle: config.json missing"),
        row("ociVersion"),
        row("ociVersion: an unsupported version is refused"),
        row("an unknown property is ignored"),
        row("root.path"),
        row("root.path: absolute"),
        row("root.path: missing"),
        row("root.readonly"),
        row("annotations"),
        row("annotations: empty key is refused"),
    ],
};

/// The state of a container.
pub(super) const STATE: Table = Table {
    title: "State",
    source: "runtime.md",
    clauses: &[
        row("state.ociVersion"),
        row("state.id"),
        no_test(
            "state.status: creating",
            "passes before `create` returns; nothing outside can wait for it",
        ),
        row("state.status: created"),
        row("state.status: running"),
        row("state.status: stopped"),
        row("state.pid"),
        row("state.bundle"),
        row("state.annotations"),
    ],
};

/// Operations and the life of a container.
pub(super) const OPERATIONS: Table = Table {
    title: "Operations and lifecycle",
    source: "runtime.md",
    clauses: &[
        row("state: an id that does not exist is an error"),
        row("create: the container is made"),
        row("create: the program does not run"),
        row("create: an id in use is an error"),
        row("create: later changes of config.json have no effect"),
        row("create: what cannot be applied is an error"),
        row("start: the program runs"),
        row("start: an id that does not exist is an error"),
        row("start: only a created container"),
        row("start: without process is an error"),
        row("kill: the signal reaches the process"),
        row("kill: an id that does not exist is an error"),
        row("kill: only a created or running container"),
        row("delete: everything is removed"),
        row("delete: an id that does not exist is an error"),
        row("delete: only a stopped container"),
        row("delete: what the runtime did not make stays"),
        row("delete: the id can be used again"),
        row("an error leaves the environment as it was"),
    ],
};

/// What a process finds on Linux.
pub(super) const ENVIRONMENT: Table = Table {
    title: "Environment on Linux",
    source: "runtime-linux.md, config-linux.md",
    clauses: &[
        row("descriptors: only the standard streams"),
        row("descriptors: LISTEN_FDS"),
        row("dev: fd, stdin, stdout and stderr are links"),
        row("dev: null, zero, full, random, urandom and tty"),
        row("dev: console with a terminal"),
        row("dev: ptmx"),
        row("signals: none is blocked or ignored"),
        row("session keyring: a new one"),
        row("process: leader of its session"),
        no_test(
            "proc: default file systems beside those in `mounts`",
            "SHOULD; the common runtimes mount nothing that is not listed, and engines rely on it",
        ),
    ],
};
