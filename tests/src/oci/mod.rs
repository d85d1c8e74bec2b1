//! What the conformance suite `tests/oci` is made of, and `cargo xtask docs` reads.
//!
//! The suite drives any OCI runtime by its command line: the one that `REEVE_TEST_RUNTIME` names,
//! or `reeve`. What it knows of a runtime is its name ([`runtime`]), to tell known deviations.
//!
//! Reading order:
//! - [`clauses`]: every field and clause of the specification, and why some have no test
//! - [`case`]: one test: what it covers, what it needs, who is known to fail it
//! - [`environment`]: what this machine has
//! - [`runtime`]: the runtime under test
//! - [`mountinfo`]: mounts as the kernel tells them

pub mod case;
pub mod clauses;
pub mod environment;
pub mod mountinfo;
pub mod runtime;
