//! `vmstorage backup unlock`.

use serde_json::json;

use super::super::refpoint::utc;
use super::{Error, say};
use crate::backup::{self, Lock};
use crate::disk::Result;

/// Show the locks of a repository in a bucket, or remove those of commands that were killed
///
/// A command that was killed, or lost the bucket, leaves its lock. Be sure that it does not run any
/// more before you remove it: `prune` would remove what it writes. In a directory a lock ends with
/// its process, and nothing is left.
#[derive(Debug, clap::Args)]
pub(super) struct Unlock {
    /// s3://BUCKET/PREFIX
    repository: String,
    /// Locks to remove; without one, all are shown
    #[arg(value_name = "LOCK")]
    locks: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn unlock(args: &Unlock) -> std::result::Result<(), Error> {
    if !args.repository.starts_with("s3://") {
        let message = "only a bucket has locks to remove; help: the lock of a directory ends with \
                       its process, so wait for that or end it";
        return Err(Error::Usage(message.into()));
    }
    let left = remove(args).map_err(|error| {
        let place = format!("repository `{}`", args.repository);
        error.context(place)
    })?;
    if args.json {
        say(json!(left));
    } else if args.locks.is_empty() {
        show(&left);
    } else {
        say(format!("removed: {}", args.locks.join(" ")));
    }
    Ok(())
}

/// Removes what is to be removed, and says what is left.
fn remove(args: &Unlock) -> Result<Vec<Lock>> {
    let store = backup::open_store(&args.repository, false)?;
    for lock in &args.locks {
        backup::unlock(&*store, lock)?;
    }
    backup::locks(&*store)
}

fn show(locks: &[Lock]) {
    let host = locks.iter().map(|lock| lock.owner.host.chars().count());
    let host = host.max().unwrap_or(0).max(4);
    let name = locks.iter().map(|lock| lock.name.chars().count());
    let name = name.max().unwrap_or(0).max(4);
    say(format!(
        "{:name$}  {:host$}  {:>10}  SINCE",
        "LOCK", "HOST", "PROCESS"
    ));
    for lock in locks {
        let owner = &lock.owner;
        let since = utc(owner.time_ms / 1000);
        say(format!(
            "{:name$}  {:host$}  {:>10}  {since}",
            lock.name, owner.host, owner.process
        ));
    }
}
