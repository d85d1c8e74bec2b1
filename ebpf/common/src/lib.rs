//! What Reeve's user space and its eBPF programs share: the ABI of the maps, the table of hooks,
//! the table of kernel struct fields, and the one pure decision function.
//!
//! The crate is `no_std`, has no dependency and no `unsafe`: the eBPF programs (`ebpf/programs`)
//! and the host (`policy`, `ebpf/loader`, `runtime`) compile the same lines. It does no I/O and
//! knows nothing of YAML, paths or system calls.
//!
//! Reading order:
//! - [`abi`]: keys and values of every map, versioned and layout-asserted
//! - [`rights`]: what may be done to a file, as bits with names
//! - [`socket`]: kinds of sockets, addresses, and the rules for them
//! - [`lookup`]: the tables as the decision sees them
//! - [`decide`]: the decision, one module per section of a policy
//! - [`event`]: what the ring buffer carries to `reeve audit`
//! - [`fields`]: kernel struct fields whose offsets the loader resolves from BTF
//! - [`hooks`]: every LSM hook that is attached, and what it governs
//! - [`ioctl`]: commands of `ioctl(2)` by name, and which of them are free
//! - [`policy_id`], [`counters`], [`rate`]: numbers of policies; what is counted of a container,
//!   and how much of it may be recorded
#![no_std]

pub mod abi;
pub mod counters;
pub mod decide;
pub mod errno;
pub mod event;
pub mod fields;
pub mod hooks;
pub mod ioctl;
pub mod lookup;
pub mod magic;
pub mod policy_id;
pub mod rate;
pub mod rights;
pub mod socket;

pub use abi::{ABI_VERSION, PolicyId};
pub use decide::{Reason, Verdict};
pub use lookup::{Chain, Lookup};
pub use rights::Rights;
