//! Loads Reeve's eBPF programs, keeps them pinned, and feeds them policies: the only crate that
//! names `aya`.
//!
//! What is loaded outlives the process that loaded it: programs, links and maps are pinned below
//! `/sys/fs/bpf/reeve/v<ABI>`, made by the first container that needs them, used by the next, and
//! removed with the last. There is no daemon.
//!
//! It does not parse policies, resolve paths or start processes. It refuses to work rather than to
//! work half: a kernel without BPF LSM, without BTF, without one of the struct fields or hooks, or
//! on which a refusal was seen not to happen, is an [`Error`] with a remedy.
//!
//! Reading order: [`btf`] (offsets), [`load`] (programs), [`pins`] (where they live), [`enforcer`]
//! (what the runtime calls), [`events`] (what `reeve audit` reads), [`host`] and [`loaded`] (what
//! `reeve doctor` asks).

pub mod btf;
pub mod enforcer;
mod error;
pub mod events;
pub mod host;
mod install;
mod load;
pub mod loaded;
mod maps;
mod pins;
mod scan;
mod selftest;
mod sys;

pub use enforcer::{Enforcer, PolicyAttached};
pub use error::Error;
pub use pins::Lock;
