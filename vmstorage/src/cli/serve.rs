//! `vmstorage serve`: the block service.

use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Error;
use crate::serve::config::{
    RawCheckpoints, RawConfig, RawDisk, RawThrottle, RawTls, RawTrack, Size,
};
use crate::serve::{Setup, run as serve};

/// Serve virtual disks over NBD and vhost-user-blk, with change tracking and checkpoints
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # An image for QEMU and for libnbd's tools, on a unix socket:
  vmstorage serve root.qcow2 --listen unix:/run/root.sock
  qemu-system-x86_64 … -drive file=nbd+unix:///root?socket=/run/root.sock,format=raw
  nbdinfo 'nbd+unix:///root?socket=/run/root.sock'

  # A raw disk, its changes tracked, around the page cache, with a socket to control it:
  vmstorage serve disk.raw --name root --track --direct \\
      --listen unix:/run/root.sock --control /run/vm.ctl

  # Several disks:
  vmstorage serve --config /etc/vmstorage/vm1.json
  kill -HUP PID      # read the file again; disks that did not change are not disturbed

A configuration file is JSON; all but `name` and `source` is optional:
  {
    \"control\": \"/run/vm1.ctl\",
    \"scratch\": \"/var/tmp\",
    \"tls\": {\"certificate\": \"c.pem\", \"key\": \"k.pem\", \"client_authorities\": \"ca.pem\"},
    \"disks\": [{
      \"name\": \"root\", \"description\": \"\", \"source\": \"root.qcow2\", \"format\": \"qcow2\",
      \"read_only\": false, \"direct\": true, \"engine\": \"auto\",
      \"listen\": [\"unix:/run/root.sock\", \"tcp:[::]:10809\", \"vhost-user:/run/root.vhost\"],
      \"max_clients\": 64,
      \"track\": {\"map\": \"root.map\", \"block\": \"64K\"},
      \"checkpoints\": {\"granule\": \"64K\", \"limit\": \"20G\", \"timeout_ms\": 500,
        \"on_error\": \"checkpoint\"},
      \"throttle\": {\"iops\": 5000, \"bytes_per_second\": 200000000}
    }]
  }
Paths are meant from the file's directory. Once clients can connect one line that begins with
`ready:` is printed, and the service manager is told (`Type=notify`). SIGTERM lets clients finish
what they have begun, and closes all disks in order.")]
pub(super) struct Args {
    /// The disk: a path, nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH, backup:REPOSITORY#POINT
    /// or memory:SIZE
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    disk: Option<String>,
    /// Serve the disks of this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// What can be said of a single disk.
#[derive(Debug, clap::Args)]
#[group(id = "flags", multiple = true, conflicts_with = "config")]
struct Flags {
    /// Its format: raw, qcow2 or vhdx. Without it the extension of its name decides
    #[arg(short, long)]
    format: Option<String>,
    /// Where clients connect: unix:PATH, tcp:HOST[:PORT] or vhost-user:PATH; can be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// The name of the export; the file's name without its extension if there is none
    #[arg(short, long, visible_alias = "export")]
    name: Option<String>,
    /// What clients are told about the export
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Follow which blocks change, in the file MAP, or in `DISK.reeve-map`
    #[arg(long, value_name = "MAP", num_args = 0..=1, require_equals = true)]
    track: Option<Option<PathBuf>>,
    /// Size of a block of a new map, from 4K to 1M
    #[arg(long, value_name = "SIZE", requires = "track")]
    track_block: Option<String>,
    /// Refuse writes
    #[arg(short, long)]
    read_only: bool,
    /// Go around the page cache (O_DIRECT)
    #[arg(long)]
    direct: bool,
    /// How I/O is done: auto, uring or threads
    #[arg(long)]
    engine: Option<String>,
    /// Clients of an address at the same time
    #[arg(long, value_name = "NUMBER")]
    max_clients: Option<u32>,
    /// Operations a second
    #[arg(long, value_name = "NUMBER")]
    iops: Option<u64>,
    /// Bytes a second, such as 200M
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<String>,
    /// The most old content that checkpoints may keep, such as 20G
    #[arg(long, value_name = "SIZE")]
    checkpoint_limit: Option<String>,
    /// Where checkpoints keep old content
    #[arg(long, value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,
    /// Who may connect to unix sockets of NBD: 0600 this user, 0660 its group too
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// A socket for `vmstorage ctl`
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Certificate chain (PEM); TCP clients then have to use TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authorities that sign certificates of clients (PEM); others are refused
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let setup = match (args.config, args.disk) {
        (Some(file), _) => Setup::File(file),
        (None, Some(disk)) => {
            let directory = std::env::current_dir().map_err(|error| {
                Error::Usage(format!("the working directory is not known: {error}"))
            })?;
            Setup::Flags(Box::new(args.flags.config(disk)?), directory)
        }
        (None, None) => return Err(Error::Usage("neither a disk nor `--config`".into())),
    };
    raise_descriptor_limit();
    Ok(serve(setup)?)
}

/// Takes as many descriptors as the service may have: each client has one. The usual limit of 1024
/// is for programs that use `select`.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files is not raised");
    }
}

impl Flags {
    fn config(self, source: String) -> Result<RawConfig, Error> {
        let bandwidth = self.bandwidth.map(|text| Size::Text(text).bytes());
        let bandwidth = bandwidth.transpose();
        let bandwidth = bandwidth.map_err(|why| Error::Usage(format!("--bandwidth: {why}")))?;
        let tls = self.tls_cert.zip(self.tls_key);
        let tls = tls.map(|(certificate, key)| RawTls {
            certificate,
            key,
            client_authorities: self.tls_client_ca,
            required: true,
        });
        let disk = RawDisk {
            name: self.name.unwrap_or_else(|| name_of(&source)),
            description: self.description,
            source,
            format: self.format,
            read_only: self.read_only,
            direct: self.direct,
            engine: self.engine,
            listen: self.listen,
            max_clients: self.max_clients,
            track: self.track.map(|map| RawTrack {
                map,
                block: self.track_block.map(Size::Text),
            }),
            checkpoints: RawCheckpoints {
                limit: self.checkpoint_limit.map(Size::Text),
                ..RawCheckpoints::default()
            },
            throttle: Some(RawThrottle {
                iops: self.iops,
                bytes_per_second: bandwidth,
                ..RawThrottle::default()
            }),
        };
        Ok(RawConfig {
            control: self.control,
            scratch: self.scratch,
            socket_mode: self.socket_mode,
            tls,
            disks: vec![disk],
        })
    }
}

/// A name for an export: what the file is called, as far as names can be.
pub(super) fn name_of(source: &str) -> String {
    let last = source.rsplit('/').next().unwrap_or_default();
    let stem = match last.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => last,
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name: String = stem.chars().filter(|c| fine(*c)).take(128).collect();
    if name.is_empty() { "disk".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_named_after_files() {
        for (source, name) in [
            ("/images/root.qcow2", "root"),
            ("root", "root"),
            ("memory:1G", "memory1G"),
            ("/dev/vg/a b.c", "ab"),
            ("nbd://host/", "disk"),
        ] {
            assert_eq!(name_of(source), name, "{source}");
        }
    }
}
