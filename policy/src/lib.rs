//! The policy language of Reeve: YAML source with places → checked model → tables for the kernel
//! side, and answers to "would this be allowed, and by which line".
//!
//! The crate is pure: no file, clock, process or network is touched. What must be known of the host
//! comes in as [`Facts`]; what the kernel is told goes out as [`Tables`]. It holds no second
//! implementation of the decision: every answer comes from `ebpf_common::decide`, the function that
//! the eBPF programs run. A policy may come from anywhere, so no input may panic, recurse or take
//! more than a bounded time and memory; all errors of a file are reported at once.
//!
//! Reading order:
//! - `source`, [`diagnostic`]: text, places, findings
//! - [`yaml`], `reader`: text to nodes to typed values
//! - [`names`]: system calls, capabilities, signals, `bpf(2)` commands, mount flags, sockets
//! - [`compose`]: variables, includes and presets, on nodes
//! - [`model`]: the checked policy, one module per section
//! - [`facts`], [`mod@compile`], [`tables`]: what the host is like, and the rules that follow
//! - [`mod@explain`], [`mod@suggest`]: answers from the rules, and the line that would allow what
//!   they refuse
//! - [`lint`]: what it allows and most likely was not meant to
//! - [`fn@universe`], [`diff`], [`expect`]: what tells two policies apart, and what one should
//!   answer
//! - [`learn`], [`edit`]: from what was recorded to a policy, and lines put into one
//! - [`mod@schema`]: the language for editors
#![forbid(unsafe_code)]

pub mod compile;
pub mod compose;
pub mod diagnostic;
pub mod diff;
pub mod edit;
pub mod expect;
pub mod explain;
pub mod facts;
pub mod learn;
pub mod lint;
pub mod model;
pub mod names;
#[cfg(test)]
mod oracle;
mod reader;
pub mod schema;
mod source;
pub mod suggest;
pub mod tables;
mod universe;
pub mod yaml;

pub use compile::{Compiled, Grant, compile};
pub use compose::{Files, NoFiles, Variables, VariablesError};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use explain::{Answer, Question, QuestionError, explain};
pub use facts::{
    CoreObject, Disk, Facts, Found, Inode, Object, ObjectKind, PathKey, PathRequest, Submount, Why,
};
pub use model::{Policy, parse, parse_with};
pub use schema::schema;
pub use source::{Span, Spanned};
pub use suggest::{Denied, suggest};
pub use tables::{Device, Tables};
pub use universe::universe;
