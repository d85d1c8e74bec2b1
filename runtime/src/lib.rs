//! The `reeve` OCI runtime.
//!
//! It refuses what it cannot do: a key of a configuration that is not carried out, a policy that
//! cannot be enforced, a capability that cannot be given. Nothing here decides whether an action of
//! a container is allowed: that is `ebpf-common`, compiled by `policy` and loaded by `ebpf-loader`.
//! There is no tokio and no second thread: the first process of a container is a copy of this one.
//!
//! Reading order:
//! - [`spec`]: `config.json`, parsed and checked
//! - [`plan`]: the start of a container as data
//! - [`lsm`]: security modules with labels
//! - [`state`]: what is remembered of a container
//! - [`cgroup`]: where its processes are held and counted
//! - [`policy_source`]: policies from files, with what they include; `plain_file` opens those
//! - [`resolve`]: a policy's paths, looked up on the host
//! - [`launch`]: from plan to running process, as a chain of types
//! - [`hooks`]: programs that the configuration has run at moments of a container's life
//! - [`seccomp`]: filters of system calls
//! - `child`: the container's first process, before it executes
//! - `outside`: what of its mounts only the host can open; `net_device` (over `netlink`) and
//!   [`rdt`]: what its parent gives it besides
//! - [`audit`]: what the kernel refused
//! - [`cmd`]: the command line; [`report`] and [`failure`]: errors
//!
//! Kernel: 6.1 or newer.

pub mod audit;
pub mod cgroup;
mod channel;
mod child;
pub mod cmd;
pub mod failure;
pub mod hooks;
pub mod launch;
pub mod lsm;
pub mod mountinfo;
mod net_device;
mod netlink;
mod outside;
mod plain_file;
pub mod plan;
pub mod policy_source;
pub mod rdt;
pub mod report;
pub mod resolve;
pub mod seccomp;
pub mod spec;
pub mod state;
mod timings;
mod user;

#[allow(
    unsafe_code,
    reason = "the one place for system calls without a safe wrapper"
)]
mod sys;
