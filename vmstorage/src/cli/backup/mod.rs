//! `vmstorage backup`: points of disks in a repository.

mod bring;
mod look;
mod make;
mod progress;
mod since;
mod unlock;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Error, say};
use crate::backup::{self, Key, Repository};
use crate::disk;
use crate::engine;

/// Back up disks to a repository, and bring any point back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage backup run root.qcow2 /backups
  vmstorage backup run 'nbd+unix:///root@monday?socket=/run/root.sock' /backups
  vmstorage backup run 'nbd+unix:///root@tuesday?socket=/run/root.sock' /backups --since monday
  vmstorage backup list /backups
  vmstorage backup restore /backups latest root.qcow2
  vmstorage backup mount /backups latest --listen unix:/run/look.sock
  vmstorage backup verify /backups
  vmstorage backup prune /backups --keep-daily 7 --keep-weekly 4
  vmstorage backup unlock s3://backups/vms

A repository is a directory, or s3://BUCKET/PREFIX. A POINT is an id, a unique beginning of one,
`latest`, or `latest:DISK`.

For a bucket: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT_URL for a server
that is not Amazon's (AWS_ALLOW_HTTP=true if it has no TLS); AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true
for names of buckets in the host name; AWS_MAX_ATTEMPTS for how often a request is tried.

Exit status 3: changes since the point cannot be told, only a full backup is right.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<make::Run>),
    List(look::List),
    Verify(look::Verify),
    Restore(bring::Restore),
    Mount(bring::Mount),
    Prune(look::Prune),
    Unlock(unlock::Unlock),
}

/// Which repository.
#[derive(Debug, clap::Args)]
struct Place {
    /// Directory, or s3://BUCKET/PREFIX
    repository: String,
    /// File of 32 random bytes that the repository is encrypted with
    #[arg(long, value_name = "FILE")]
    encrypt_key: Option<PathBuf>,
}

impl Place {
    fn key(&self) -> disk::Result<Option<Key>> {
        self.encrypt_key.as_deref().map(Key::from_file).transpose()
    }

    fn open(&self) -> disk::Result<Repository> {
        let opened = backup::open_store(&self.repository, false)
            .and_then(|store| Repository::open(store, self.key()?));
        opened.map_err(|error| error.context(format!("repository `{}`", self.repository)))
    }

    /// Opens it, or makes it if there is none.
    fn make(&self, chunk_bytes: u32) -> disk::Result<Repository> {
        let key = self.key()?;
        let opened = backup::open_store(&self.repository, true)
            .and_then(|store| Repository::open_or_create(store, key, chunk_bytes));
        opened.map_err(|error| error.context(format!("repository `{}`", self.repository)))
    }
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let done = engine::run(async {
        match args.command {
            Command::Run(args) => make::run(*args).await,
            Command::List(args) => look::list(&args),
            Command::Verify(args) => look::verify(&args),
            Command::Restore(args) => bring::restore(args).await,
            Command::Mount(args) => bring::mount(args).await,
            Command::Prune(args) => look::prune(&args),
            Command::Unlock(args) => unlock::unlock(&args),
        }
    });
    done.map_err(|error| disk::Error::io("start an engine", error))?
}
