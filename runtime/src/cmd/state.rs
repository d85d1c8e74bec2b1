//! `reeve state`: a container's state as the OCI runtime specification prints it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{Error, say, time};
use crate::spec::ContainerId;
use crate::state::{State, Status};

/// Print the state of a container as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve state web                       # all of it
  reeve state web | jq -r .status       # creating, created, running, paused or stopped")]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = State::load(root, &args.id)?;
    let record = Record::of(&state, &Users::read());
    say(serde_json::to_string_pretty(&record)?)?;
    Ok(ExitCode::SUCCESS)
}

/// A container as `state` and `list` show it: the fields of the specification's state, those that
/// other runtimes add to them, and `policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// Of the first process, on the host; 0 if there is none.
    pub(super) pid: i32,
    pub(super) status: &'static str,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    /// Name of who created it, or the number if it has none.
    pub(super) owner: String,
    /// Name of the policy.
    pub(super) policy: Option<String>,
}

impl Record {
    /// As things are now.
    pub(super) fn of(state: &State, users: &Users) -> Self {
        let status = state.status();
        let process = state.process.filter(|_| status != Status::Stopped);
        Self {
            oci_version: state.oci_version.clone(),
            id: state.id.to_string(),
            pid: process.map_or(0, |process| process.pid),
            status: status.word(),
            bundle: state.bundle.clone(),
            rootfs: state.rootfs.clone(),
            created: time::fraction(state.created_ms),
            annotations: state.annotations.clone(),
            owner: users.name(state.owner),
            policy: state.policy.as_ref().map(|one| one.compiled.name.clone()),
        }
    }
}

/// Names of users, as `/etc/passwd` has them.
#[derive(Debug, Default)]
pub(super) struct Users(BTreeMap<u32, String>);

impl Users {
    /// The host's. Without the file nobody has a name.
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        };
        let mut users = BTreeMap::new();
        for (uid, name) in text.lines().filter_map(entry) {
            // The first line of a number counts, as in getpwuid(3).
            users.entry(uid).or_insert(name);
        }
        Self(users)
    }

    fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
pub(in crate::cmd) mod tests {
    use super::*;

    pub(in crate::cmd) fn record() -> Record {
        Record {
            oci_version: "1.2.0".to_owned(),
            id: "web".to_owned(),
            pid: 4711,
            status: "running",
            bundle: "/bundles/web".into(),
            rootfs: "/bundles/web/rootfs".into(),
            created: time::fraction(1_795_356_073_120),
            annotations: BTreeMap::from([("org.example.a".to_owned(), "b".to_owned())]),
            owner: "root".to_owned(),
            policy: Some("agent".to_owned()),
        }
    }

    #[test]
    fn the_fields_and_their_order() {
        let text = serde_json::to_string_pretty(&record()).unwrap();
        assert_eq!(text + "\n", include_str!("golden/state.json"));
    }

    #[test]
    fn a_state_without_annotations_has_no_such_key() {
        let mut record = record();
        record.annotations.clear();
        assert!(
            !serde_json::to_string(&record)
                .unwrap()
                .contains("annotations")
        );
    }

    #[test]
    fn the_first_name_of_a_user_counts() {
        let users = Users::parse("root:x:0:0:root:/root:/bin/sh\n\nbad\n:x:5:\ntoor:x:0:0::/:\n");
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(5), "5");
    }
}
