//! `vmstorage backup restore | mount`.

use std::path::PathBuf;
use std::rc::Rc;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::super::staged::Staged;
use super::super::units::show_size;
use super::progress::{Reporter, Work};
use super::{Error, Place, say};
use crate::backup::{self, Image, Progress};
use crate::disk::open::{self, Address, Format};
use crate::disk::{self, Disk};
use crate::engine::unblock;
use crate::nbd::server::{Export, Tls};
use crate::serve::front::Front;

/// Bring a point back as a new image
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    #[command(flatten)]
    place: Place,
    /// An id, a unique beginning of one, `latest`, or `latest:DISK`
    point: String,
    /// Path of the image; what exists is not touched. It has this name when it is whole, and
    /// `.partial` behind it before
    target: PathBuf,
    /// raw, qcow2 or vhdx; otherwise what the extension says
    #[arg(long, value_parser = Format::parse)]
    format: Option<Format>,
    /// Print what happens as JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn restore(args: Restore) -> Result<(), Error> {
    let format = args.format.or_else(|| Format::of_extension(&args.target));
    let format = format.ok_or_else(|| {
        Error::Usage(format!(
            "which format `{}` is to have is not known; help: say `--format`, or name it `.raw`, \
             `.qcow2` or `.vhdx`",
            args.target.display()
        ))
    })?;
    let image = opened(&args.place, &args.point).await?;
    let point = image.manifest().clone();
    let staged = Staged::new(&args.target).await?;
    let target = open::create(staged.path(), format, point.size_bytes).await?;
    let mut reporter = Reporter::new(Work::Restore, args.json);
    let mut last = Progress::default();
    let show = |progress: Progress| {
        last = progress;
        reporter.show(&progress);
    };
    let done = backup::restore(image, &target.disk, true, show).await;
    let done = done.and(target.close().await).and_then(|()| staged.keep());
    let seconds = reporter.finish(&last);
    done?;
    if args.json {
        say(json!({"event": "done", "seconds": seconds, "point": point}));
    } else {
        let size = show_size(point.size_bytes);
        say(format!(
            "{} of `{}`: {size} in {seconds:.1} s",
            point.id, point.disk
        ));
    }
    Ok(())
}

async fn opened(place: &Place, point: &str) -> disk::Result<Image> {
    let repo = place.open()?;
    let point = repo.find(point)?;
    Image::open(&repo, &point.id).await
}

/// Serve a point over NBD, read-only, until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage backup mount /backups latest --listen unix:/run/look.sock
  nbdcopy nbd+unix:///?socket=/run/look.sock root.raw")]
pub(super) struct Mount {
    #[command(flatten)]
    place: Place,
    /// An id, a unique beginning of one, `latest`, or `latest:DISK`
    point: String,
    /// unix:PATH or tcp:HOST[:PORT]
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    listen: Address,
    /// The export's name; otherwise the disk's
    #[arg(long)]
    name: Option<String>,
}

/// Clients at once.
const MAX_CLIENTS: u32 = 64;

pub(super) async fn mount(args: Mount) -> Result<(), Error> {
    // The socket is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let image = opened(&args.place, &args.point).await?;
    // Asked for before anybody can connect, so that it can be ended from the beginning.
    let ended = unblock(watch).await?;
    let point = image.manifest().clone();
    let export = Export {
        description: format!("backup {} of {}", point.id, point.disk),
        read_only: true,
        ..Export::new(
            args.name.unwrap_or(point.disk),
            Rc::new(image) as Rc<dyn Disk>,
        )
    };
    let name = export.name.clone();
    let front = Front::open(&args.listen, Tls::Off, MAX_CLIENTS, 0o600).await;
    let front =
        front.map_err(|failure| disk::Error::new(disk::ErrorKind::Io, failure.to_string()))?;
    let added = front.server.add(export);
    added.map_err(|error| Error::Usage(error.to_string()))?;
    say(format!("ready: {name} ({})", front.address));
    unblock(ended).await;
    Ok(front.close().await?)
}

/// Begins to watch for signals; what it answers waits for one.
fn watch() -> disk::Result<impl FnOnce() + Send + 'static> {
    let failed = |error| disk::Error::io("watch for signals", error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    drop(inside);
    Ok(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
    })
}
