//! Podman and containerd, as Debian has them, with the runtime under test in the place of theirs.
//!
//! Runs as root in a machine to throw away. What is tested is the runtime, as far as an engine lets
//! one see it: what an engine does itself (images, networks, logs) matters only where the runtime
//! has a part in it. `REEVE_TEST_RUNTIME` names another runtime's program; every test holds for
//! crun and runc as well, which is how it is known that a failure is ours.
//!
//! - [`said`]: what a command printed, and what was expected of it
//! - [`machine`]: the runtime under test and the files that both engines start from
//! - [`podman`] and [`containerd`]: the engines, and the tests of each
//! - [`systemd`]: cgroups that systemd makes

mod containerd;
mod machine;
mod podman;
mod said;
mod systemd;
