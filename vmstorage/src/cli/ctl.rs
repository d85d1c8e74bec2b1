//! `vmstorage ctl`: asking a running block service.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::units::{parse_size, show_size};
use super::{Error, say};
use crate::serve::Client;
use crate::serve::config::RawThrottle;
use crate::serve::control::Request;

/// Ask a running service: status, checkpoints, sizes, limits
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export VMSTORAGE_CONTROL=/run/vm.ctl
  vmstorage ctl status
  vmstorage ctl checkpoint create monday           # of all disks, at one instant
  vmstorage ctl checkpoint export monday           # as DISK@monday, beside the disks themselves
  vmstorage ctl checkpoint convert monday          # keep its reference point, let its data go
  vmstorage ctl resize data 40G
  vmstorage ctl throttle data --iops 2000

What is sent and answered are lines of JSON:
  echo '{\"command\":\"status\"}' | socat - UNIX-CONNECT:/run/vm.ctl")]
pub(super) struct Args {
    /// The control socket of the service; VMSTORAGE_CONTROL if it is not given
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,
    /// Print the answer as it came
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is served, to whom, and what was done
    Status,
    /// Images of disks at one instant
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Change the size of a disk
    Resize {
        /// The disk
        disk: String,
        /// Its size, such as 40G
        #[arg(value_parser = parse_size)]
        size: u64,
        /// Let it shrink, and lose what is beyond
        #[arg(long)]
        shrink: bool,
    },
    /// Change the limits of a disk; without one it has none
    Throttle {
        /// The disk
        disk: String,
        /// Operations a second
        #[arg(long, value_name = "NUMBER")]
        iops: Option<u64>,
        /// Bytes a second, such as 200M
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        bandwidth: Option<u64>,
    },
    /// Read the configuration again
    Reload,
    /// Stop the service in order
    Quit,
}

#[derive(Debug, Subcommand)]
enum Checkpoint {
    /// Take images of disks, all at the same instant
    Create {
        /// Name of the checkpoint
        name: String,
        /// The disks; all if none are named
        disks: Vec<String>,
        /// For how long writes may be held, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 5000)]
        hold: u64,
    },
    /// Show all checkpoints
    List,
    /// Offer a checkpoint over NBD, as DISK@NAME at the addresses of the disk
    Export {
        /// Name of the checkpoint
        name: String,
        /// The disks; all that have it if none are named
        disks: Vec<String>,
    },
    /// End a checkpoint and give its space back
    Delete {
        /// Name of the checkpoint
        name: String,
        /// The disks; all that have it if none are named
        disks: Vec<String>,
    },
    /// Keep a checkpoint as a reference point: its identifiers are stored, its data is let go
    Convert {
        /// Name of the checkpoint
        name: String,
        /// The disks; all that have it if none are named
        disks: Vec<String>,
        /// Name of the reference point; that of the checkpoint if there is none
        #[arg(long = "as", value_name = "NAME")]
        refpoint: Option<String>,
    },
}

pub(super) fn run(args: Args) -> Result<(), Error> {
    let control = args
        .control
        .or_else(|| std::env::var_os("VMSTORAGE_CONTROL").map(Into::into));
    let Some(control) = control else {
        return Err(Error::Usage(
            "no control socket is named; help: `--control PATH` or VMSTORAGE_CONTROL".into(),
        ));
    };
    let answer = Client::connect(&control)?.ask(&request(&args.command))?;
    if args.json {
        say(&answer);
        return match list(&answer, "failed") {
            [] => Ok(()),
            _ => Err(Error::Negative),
        };
    }
    match &args.command {
        Command::Status => show_status(&answer),
        Command::Checkpoint(Checkpoint::List) => show_checkpoints(&answer),
        Command::Checkpoint(Checkpoint::Create { .. } | Checkpoint::Export { .. }) => {
            for checkpoint in list(&answer, "checkpoints") {
                show_checkpoint(checkpoint);
            }
        }
        Command::Reload => show_reload(&answer)?,
        _ => {}
    }
    Ok(())
}

fn request(command: &Command) -> Request {
    match command {
        Command::Status | Command::Checkpoint(Checkpoint::List) => Request::Status {},
        Command::Checkpoint(Checkpoint::Create { name, disks, hold }) => {
            Request::CheckpointCreate {
                name: name.clone(),
                disks: disks.clone(),
                hold_ms: *hold,
            }
        }
        Command::Checkpoint(Checkpoint::Export { name, disks }) => Request::CheckpointExport {
            name: name.clone(),
            disks: disks.clone(),
        },
        Command::Checkpoint(Checkpoint::Delete { name, disks }) => Request::CheckpointDelete {
            name: name.clone(),
            disks: disks.clone(),
        },
        Command::Checkpoint(Checkpoint::Convert {
            name,
            disks,
            refpoint,
        }) => Request::CheckpointConvert {
            name: name.clone(),
            refpoint: refpoint.clone(),
            disks: disks.clone(),
        },
        Command::Resize { disk, size, shrink } => Request::Resize {
            disk: disk.clone(),
            size_bytes: *size,
            shrink: *shrink,
        },
        Command::Throttle {
            disk,
            iops,
            bandwidth,
        } => Request::Throttle {
            disk: disk.clone(),
            limits: RawThrottle {
                iops: *iops,
                bytes_per_second: *bandwidth,
                ..RawThrottle::default()
            },
        },
        Command::Reload => Request::Reload {},
        Command::Quit => Request::Quit {},
    }
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn size(of: &Value, key: &str) -> String {
    show_size(of[key].as_u64().unwrap_or_default())
}

fn show_status(answer: &Value) {
    for disk in list(answer, "disks") {
        let access = if disk["read_only"].as_bool() == Some(true) {
            ", read-only"
        } else {
            ""
        };
        let (name, bytes) = (text(disk, "name"), size(disk, "size_bytes"));
        let (format, source) = (text(disk, "format"), text(disk, "source"));
        say(format!("{name}: {bytes}, {format} `{source}`{access}"));
        for uri in list(disk, "uris") {
            say(format!("  at {}", uri.as_str().unwrap_or_default()));
        }
        if let Some(exports) = disk["exports"].as_object() {
            for (export, done) in exports {
                say(format!(
                    "  {export}: {} clients, {} read in {} requests, {} written in {}, {} errors",
                    done["connections"],
                    size(done, "read_bytes"),
                    done["reads"],
                    size(done, "written_bytes"),
                    done["writes"],
                    done["errors"],
                ));
            }
        }
        let tracking = &disk["tracking"];
        if tracking.is_object() {
            let (map, beginning) = (text(tracking, "map"), text(tracking, "beginning"));
            let points = &tracking["refpoints"];
            say(format!(
                "  tracked in `{map}` ({beginning}), {points} reference points"
            ));
        }
        for checkpoint in list(disk, "checkpoints") {
            show_checkpoint(checkpoint);
        }
    }
}

fn show_checkpoints(answer: &Value) {
    for disk in list(answer, "disks") {
        for checkpoint in list(disk, "checkpoints") {
            show_checkpoint(checkpoint);
        }
    }
}

fn show_checkpoint(checkpoint: &Value) {
    let (disk, name) = (text(checkpoint, "disk"), text(checkpoint, "name"));
    let (bytes, held) = (
        size(checkpoint, "size_bytes"),
        size(checkpoint, "held_bytes"),
    );
    let state = match (checkpoint["error"].as_str(), checkpoint["export"].as_str()) {
        (Some(error), _) => format!("lost: {error}"),
        (None, Some(export)) => format!("exported as `{export}`"),
        (None, None) => "not exported".into(),
    };
    say(format!("  {disk}@{name}: {bytes}, keeps {held}, {state}"));
}

fn show_reload(answer: &Value) -> Result<(), Error> {
    for what in ["added", "changed", "removed"] {
        for disk in list(answer, what) {
            say(format!("{what} {}", disk.as_str().unwrap_or_default()));
        }
    }
    let failed = list(answer, "failed");
    for disk in failed {
        say(format!(
            "failed {}: {}",
            text(disk, "disk"),
            text(&disk["error"], "message")
        ));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Negative)
    }
}
