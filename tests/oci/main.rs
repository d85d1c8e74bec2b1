//! The conformance suite: drives any OCI runtime by its command line and looks at what it did, from
//! inside the container (the probe is its entry process) and from outside.
//!
//! `REEVE_TEST_RUNTIME=/usr/bin/crun` tests that runtime instead of `reeve`. It needs root and may
//! run on a machine that is in use: every container has an id, a state directory, a cgroup and a
//! directory of its own, and whatever a runtime leaves is removed. `cargo xtask test` runs it.

mod bad_input;
mod capabilities;
mod cgroups;
mod consoles;
mod devices;
mod environment;
mod exec;
mod hooks;
mod lifecycle;
mod mount_options;
mod mounts;
mod namespaces;
mod operations;
mod paths;
mod process;
mod resources;
mod run;
mod seccomp;
mod seccomp_arguments;
mod support;
mod tuning;
mod user_namespaces;
