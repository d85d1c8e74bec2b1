//! `vmstorage csi`: reference points for backup products of Kubernetes.

use std::path::PathBuf;

use super::Error;
use crate::csi::{Closed, Served, SnapshotMetadata, Source, serve};
use crate::disk::{self, ErrorKind};
use crate::track::Offline;

/// Serve the CSI snapshot metadata of reference points (KEP-3314)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  vmstorage csi --listen /csi/csi.sock /disks/root.qcow2 /disks/data.raw
  vmstorage csi --listen /csi/csi.sock --control /run/vm.ctl root data

A snapshot id is the id or the name of a reference point. The socket is for the
external-snapshot-metadata sidecar; who may use it is up to the permissions of its folder.")]
pub(super) struct Args {
    /// The unix socket to make
    #[arg(long, value_name = "PATH")]
    listen: PathBuf,
    /// Ask the service at this control socket; the disks are then its names
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The disks: files with their maps beside them, or names in the service
    #[arg(required = true)]
    disks: Vec<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let source = |disk: PathBuf| -> Box<dyn Source> {
        match &args.control {
            Some(control) => Box::new(Served {
                control: control.clone(),
                disk: disk.display().to_string(),
            }),
            None => Box::new(Closed(Offline {
                disk,
                map: None,
                format: None,
            })),
        }
    };
    let service = SnapshotMetadata::new(args.disks.iter().cloned().map(source).collect());
    let socket = args.listen.clone();
    let failed = |call: &str, error| Error::Disk(disk::Error::io(call, error));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .map_err(|error| failed("tokio", error))?;
    let served = runtime.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| failed("signal(SIGTERM)", error))?;
        let end = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        let served = serve(service, &socket, end).await;
        served.map_err(|error| {
            let message = format!("serve CSI at `{}`: {error}", socket.display());
            Error::Disk(disk::Error::new(ErrorKind::Io, message))
        })
    });
    // The socket is of no use to anybody; a later start would meet it.
    if served.is_ok() {
        let _ = std::fs::remove_file(&args.listen);
    }
    served
}
