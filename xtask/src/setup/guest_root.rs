//! The root disk of the test machines: a small Debian with the modules of every test kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::kernels::{self, Kernel};
use crate::cmd::{self, Cmd};
use crate::{digest, paths};

const SUITE: &str = "bookworm";

/// What the tests call; `bash` and `coreutils` are in every Debian.
const PACKAGES: &[&str] = &[
    "apparmor",
    "busybox-static",
    "catatonit",
    "conmon",
    "containerd",
    "crun",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "jq",
    "kmod",
    "mount",
    "nbd-client",
    "netavark",
    "podman",
    "procps",
    "qemu-utils",
    "runc",
    "strace",
    "systemd",
    "uidmap",
    "util-linux",
];

/// Not needed in a guest.
const EXCLUDED: &[&str] = &[
    "/usr/bin/containerd-shim",
    "/usr/bin/containerd-shim-runc-v1",
    "/usr/bin/containerd-stress",
    "/usr/lib/udev/hwdb.d/*",
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
];

const SOURCES: [&str; 2] = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
];

/// Room for what the tests write.
const FREE_MIB: u64 = 1024;

/// Raised when the way the image is made changes.
const RECIPE: u32 = 2;

/// The image for the kernels in the cache, if it was made.
pub(crate) fn installed() -> Result<Option<PathBuf>> {
    let Ok(kernels) = kernels::all() else {
        return Ok(None);
    };
    let path = image(&kernels)?;
    Ok(path.is_file().then_some(path))
}

/// The image's path; its name changes with everything that goes into it.
fn image(kernels: &[Kernel]) -> Result<PathBuf> {
    let prints: Vec<String> = kernels.iter().map(Kernel::fingerprint).collect();
    let recipe = format!("{RECIPE} {SUITE} {PACKAGES:?} {EXCLUDED:?} {FREE_MIB} {prints:?}");
    let name = format!("root-{}.ext4", &digest::of_text(&recipe)[..16]);
    Ok(paths::cache()?.join("guest").join(name))
}

/// Makes the image and removes the ones that it replaces.
pub(crate) fn install() -> Result<()> {
    let kernels = kernels::all()?;
    let image = image(&kernels)?;
    let dir = paths::cache()?.join("guest");
    paths::create_dir(&dir)?;
    let tree = dir.join("tree");
    remove_tree(&tree)?;
    debootstrap(&tree)?;
    for kernel in &kernels {
        // The tree has a merged `/usr`: `lib` is a link.
        let modules = tree.join("usr/lib/modules");
        Cmd::root("mkdir")?.arg("-p").arg(&modules).quiet()?;
        Cmd::root("cp")?
            .arg("-r")
            .arg(kernel.modules())
            .arg(&modules)
            .quiet()?;
    }
    let unfinished = image.with_extension("new");
    make_image(Cmd::root, &tree, &unfinished, FREE_MIB)?;
    remove_tree(&tree)?;
    remove_older(&dir)?;
    fs::rename(&unfinished, &image)
        .with_context(|| format!("rename `{}` to `{}`", unfinished.display(), image.display()))
}

fn debootstrap(tree: &Path) -> Result<()> {
    let excluded = EXCLUDED
        .iter()
        .map(|path| format!("--dpkgopt=path-exclude={path}"));
    Cmd::root("mmdebstrap")?
        .args(["--variant=minbase", "--mode=root", "--architectures=amd64"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .args(excluded)
        .arg(SUITE)
        .arg(tree)
        .args(SOURCES)
        .quiet()
}

/// Makes an ext4 image of `tree` with `free_mib` to spare. The file is sparse.
///
/// `tool` starts the programs: with [`Cmd::root`] for a tree with files that only root can read.
pub(crate) fn make_image(
    tool: fn(&str) -> Result<Cmd>,
    tree: &Path,
    image: &Path,
    free_mib: u64,
) -> Result<()> {
    let used = tool("du")?
        .args(["--summarize", "--block-size=1M"])
        .arg(tree)
        .read()?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("size of `{}`", tree.display()))?;
    // A tenth for the file system's own tables.
    let size_mib = used + used / 10 + free_mib;
    let file = File::create(image).with_context(|| format!("create `{}`", image.display()))?;
    file.set_len(size_mib << 20)
        .with_context(|| format!("size `{}`", image.display()))?;
    tool("mke2fs")?
        .env("PATH", cmd::full_path())
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,root_owner=0:0",
        ])
        .arg("-d")
        .arg(tree)
        .arg(image)
        .quiet()
}

/// Removes a tree whose files belong to root.
fn remove_tree(tree: &Path) -> Result<()> {
    Cmd::root("rm")?
        .args(["-rf", "--one-file-system"])
        .arg(tree)
        .quiet()
}

fn remove_older(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list `{}`", dir.display()))? {
        let path = entry
            .with_context(|| format!("list `{}`", dir.display()))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ext4")
        {
            fs::remove_file(&path).with_context(|| format!("remove `{}`", path.display()))?;
        }
    }
    Ok(())
}
