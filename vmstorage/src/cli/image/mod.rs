//! `vmstorage image`: disk images, without serving them.

mod copy;
mod look;
mod make;

use clap::Subcommand;

use super::Error;
use crate::disk::open::{self, Format, Opened, Options, Source};
use crate::disk::{self, ErrorKind};
use crate::engine;

/// Make, look at, copy and compare disk images: raw, qcow2, VHDX
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage image create root.qcow2 20G
  vmstorage image info root.qcow2
  vmstorage image convert root.qcow2 root.vhdx
  vmstorage image convert nbd://host/root copy.raw
  vmstorage image compare root.qcow2 root.vhdx
  vmstorage image map --json root.qcow2
  vmstorage image resize root.qcow2 40G

A disk is a path, nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH or memory:SIZE. The format of a
file is what is said, or what its extension says; it is not guessed from what is in it, since the
user of a raw disk can write there whatever they like.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(make::Create),
    Resize(make::Resize),
    Info(look::Info),
    Map(look::Map),
    Check(look::Check),
    Convert(copy::Convert),
    Compare(copy::Compare),
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let done = engine::run(async {
        match args.command {
            Command::Create(args) => make::create(args).await,
            Command::Resize(args) => make::resize(args).await,
            Command::Info(args) => look::info(args).await,
            Command::Map(args) => look::map(args).await,
            Command::Check(args) => look::check(args).await,
            Command::Convert(args) => copy::convert(args).await,
            Command::Compare(args) => copy::compare(args).await,
        }
    });
    done.map_err(|error| disk::Error::io("start an engine", error))?
}

/// Opens what an argument names.
async fn opened(text: &str, format: Option<Format>, read_only: bool) -> Result<Opened, Error> {
    let source = Source::parse(text).map_err(Error::Usage)?;
    let options = Options {
        format,
        read_only,
        ..Options::default()
    };
    Ok(open::open(&source, options).await?)
}

/// The format of a new file: what is said, or what its extension says.
fn new_format(path: &std::path::Path, said: Option<Format>) -> Result<Format, Error> {
    said.or_else(|| Format::of_extension(path)).ok_or_else(|| {
        Error::Usage(format!(
            "which format `{}` is to have is not known; help: say `--format`, or name it `.raw`, \
             `.qcow2` or `.vhdx`",
            path.display()
        ))
    })
}

/// What was done is durable and in order also when it failed.
async fn close(opened: &Opened, done: disk::Result<()>) -> Result<(), Error> {
    let closed = opened.close().await;
    match (done, closed) {
        (Ok(()), Err(error)) if error.kind() == ErrorKind::ReadOnly => Ok(()),
        (done, closed) => Ok(done.and(closed)?),
    }
}
