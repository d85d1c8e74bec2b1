//! `reeve spec`: a `config.json` to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Error, OCI_VERSION};
use crate::cgroup::Layout;

/// What other runtimes write, too; `@version` is filled in.
const TEMPLATE: &str = include_str!("template/config.json");

/// The same for a user without privileges: in a user namespace that maps `@uid` and `@gid`, with
/// the host's network, `/sys` and cgroups, which could not be made new.
const ROOTLESS: &str = include_str!("template/rootless.json");

/// Left out where cgroups are not all of version 2: other hierarchies are shown as bind mounts.
const CGROUP_NAMESPACE: &str = "      { \"type\": \"cgroup\" },\n";

/// Write a config.json to start from
///
/// It runs `sh` in a terminal, as root with few capabilities, in the read-only root file system
/// `rootfs` beside it. A file that is there already is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mkdir -p web/rootfs && cd web
  tar -C rootfs -xf busybox.tar         # a root file system, from anywhere
  reeve spec                            # writes ./config.json
  reeve run web                         # a shell in it
  reeve spec --rootless --bundle mine   # for a user other than root")]
pub struct Args {
    /// Directory in which the file is written
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user other than root
    #[arg(long)]
    rootless: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let ids = args.rootless.then(|| {
        let uid = rustix::process::geteuid().as_raw();
        (uid, rustix::process::getegid().as_raw())
    });
    let text = text(ids, Layout::detect().pure_v2());
    write(&args.bundle.join("config.json"), &text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(rootless: Option<(u32, u32)>, pure_v2: bool) -> String {
    let template = match rootless {
        Some((uid, gid)) => ROOTLESS
            .replace("\"@uid\"", &uid.to_string())
            .replace("\"@gid\"", &gid.to_string()),
        None => TEMPLATE.to_owned(),
    };
    let text = template.replace("@version", OCI_VERSION);
    if pure_v2 {
        text
    } else {
        text.replace(CGROUP_NAMESPACE, "")
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o666);
    let failed = |operation| {
        move |source: std::io::Error| match source.kind() {
            ErrorKind::AlreadyExists => Error::InTheWay(path.to_owned()),
            _ => Error::File {
                operation,
                path: path.to_owned(),
                source,
            },
        }
    };
    let mut file = options.open(path).map_err(failed("open"))?;
    file.write_all(text.as_bytes()).map_err(failed("write"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::Spec;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn both_are_configurations_that_are_carried_out() {
        for rootless in [None, Some((1000, 100))] {
            for pure_v2 in [true, false] {
                let text = text(rootless, pure_v2);
                assert!(!text.contains('@'), "{text}");
                assert_eq!(text.contains("\"cgroup\" }"), pure_v2);
                let raw = serde_json::from_str(&text).unwrap();
                let spec = Spec::check(&raw, Path::new("/b")).unwrap();
                assert_eq!(spec.rootfs, Path::new("/b/rootfs"));
            }
        }
    }

    /// What other runtimes take away from their configuration for users other than root.
    #[test]
    fn how_the_rootless_one_differs() {
        let mut root = parsed(&text(None, false));
        let linux = root["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        let mapping = |host| json!([{"containerID": 0, "hostID": host, "size": 1}]);
        linux.insert("uidMappings".to_owned(), mapping(1000));
        linux.insert("gidMappings".to_owned(), mapping(100));
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(json!({"type": "user"}));
        for mount in root["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys" {
                mount["type"] = "none".into();
                mount["source"] = "/sys".into();
                let options = mount["options"].as_array_mut().unwrap();
                options.insert(0, "rbind".into());
            }
            if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
                options.retain(|one| one.as_str().is_none_or(|one| !one.starts_with("gid=")));
            }
        }
        assert_eq!(parsed(&text(Some((1000, 100)), false)), root);
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        write(&path, "mine").unwrap();
        let error = write(&path, "other").unwrap_err();
        assert!(matches!(error, Error::InTheWay(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
