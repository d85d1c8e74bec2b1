//! The harness of Reeve's end-to-end tests: it makes bundles, runs them with `reeve run`, has the
//! probe try things in them, and looks at the host before and after.
//!
//! It knows `reeve` by its command line and its output only: nothing here links the runtime, the
//! policy compiler or the loader, so that the tests see what a user sees. The suites under
//! `enforce/`, `escape/`, `lifecycle/` and `no_lsm/` need root, a kernel with the loaded programs
//! and a machine to throw away; `cargo xtask test` gives them one.
//!
//! Reading order:
//! - [`outcome`]: what one action came to; shared with the probe
//! - [`policy_text`]: policies as text, line by line
//! - [`rootfs`] and [`bundle`]: the container's files and its `config.json`
//! - [`container`]: `reeve run`, as a running container that takes actions or as one run to its end
//! - [`hooks`]: which hook governs what, on the running kernel
//! - [`audit`]: what `reeve audit` says
//! - [`host`]: processes, mounts, devices and leftovers of the machine itself
//! - [`escape`]: attempts to get out of a policy, as tables
//! - [`oci`]: the conformance suite, which drives any runtime
//! - [`fixture`]: directories on the host for a test to try its hands at

pub mod audit;
pub mod bundle;
pub mod container;
pub mod error;
pub mod escape;
pub mod fixture;
pub mod hooks;
pub mod host;
pub mod oci;
pub mod outcome;
pub mod policy_text;
pub mod rootfs;
pub mod tools;

pub use container::{Container, Finished, Running};
pub use error::Error;
pub use fixture::Fixture;
pub use outcome::{Outcome, Report};
pub use policy_text::PolicyText;
