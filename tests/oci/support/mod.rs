//! What the tests share: bundles, the runtime's commands, and what came of them.

pub(crate) mod bundle;
pub(crate) mod cgroup;
pub(crate) mod command;
pub(crate) mod console;
pub(crate) mod leftovers;
pub(crate) mod seen;

pub(crate) use bundle::Bundle;
pub(crate) use command::Ended;
pub(crate) use reeve_tests::oci::case::covers;
pub(crate) use reeve_tests::oci::environment::{Cgroups, Need};
pub(crate) use seen::Seen;
