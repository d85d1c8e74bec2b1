//! What of the host's file systems is the container's own: its root file system.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ebpf_common::abi::kernel_dev;
use ebpf_common::magic;
use policy::{Facts, Inode};
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

use crate::failure::{Called, Failure};
use crate::mountinfo::{self, Mount, unescape};
use crate::resolve::inode_of;

/// Adds the root file system to the facts.
///
/// A directory is own with everything below it. An overlay that is mounted there is own as a super
/// block; and since the kernel opens a file of a layer behind each of its files, the layers are
/// named as its backing. A directory within an overlay of the host's has backing directories as
/// well.
pub(super) fn own_objects(rootfs: &Path, facts: &mut Facts) -> Result<(), Failure> {
    let path = fs::canonicalize(rootfs).called(|| call("realpath", rootfs))?;
    let dir = File::open(&path).called(|| call("open", &path))?;
    let inode = inode_of(dir.as_fd())?;
    let found = rustix::fs::fstatfs(&dir).called(|| call("fstatfs", &path))?;
    if found.f_type as u32 != magic::OVERLAY {
        facts.own.push(inode);
        return Ok(());
    }
    // `stx_mnt_id`, bit 0x1000, since Linux 5.8.
    let mask = StatxFlags::from_bits_retain(0x1000);
    let status = statx(&dir, "", AtFlags::EMPTY_PATH, mask).called(|| call("statx", &path))?;
    let is_mount_root = status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    let mut mounts = mountinfo::mounts()?.into_iter();
    let mount = mounts.find(|mount| mount.id == status.stx_mnt_id);
    let overlay = mount.map(Overlay::of);
    let below = overlay.as_ref().and_then(|overlay| overlay.path_of(&path));
    if is_mount_root && below.as_deref() == Some(Path::new("")) {
        let dev = kernel_dev(status.stx_dev_major, status.stx_dev_minor);
        facts.own_supers.push((dev, magic::OVERLAY));
    } else {
        facts.own.push(inode);
    }
    let (Some(overlay), Some(below)) = (overlay, below) else {
        return Ok(());
    };
    facts.upper.extend(backing(&overlay.upper, &below)?);
    facts.lower.extend(backing(&overlay.lower, &below)?);
    Ok(())
}

/// The directory `below` in each of the layers. One that does not have it, or lies out of sight,
/// backs nothing that could be opened here.
fn backing(layers: &[PathBuf], below: &Path) -> Result<Vec<Inode>, Failure> {
    let found = layers
        .iter()
        .filter_map(|layer| File::open(layer.join(below)).ok());
    found.map(|dir| inode_of(dir.as_fd())).collect()
}

fn call(name: &str, path: &Path) -> String {
    format!("{name}(\"{}\")", path.display())
}

/// An overlay and its layers.
#[derive(Debug, PartialEq, Eq)]
struct Overlay {
    /// Directory of the overlay that is mounted.
    root: PathBuf,
    /// Where.
    mount_point: PathBuf,
    /// Its upper and work directories.
    upper: Vec<PathBuf>,
    /// Its lower directories.
    lower: Vec<PathBuf>,
}

impl Overlay {
    /// The overlay of a mount, with its layers as its options name them.
    fn of(mount: Mount) -> Self {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for option in mount.super_options.split(',') {
            match option.split_once('=') {
                Some(("upperdir" | "workdir", dir)) => upper.push(unescape(dir).into()),
                Some(("lowerdir" | "lowerdir+" | "datadir+", dirs)) => {
                    let dirs = unescape(dirs);
                    let dirs = dirs.split(':').filter(|dir| !dir.is_empty());
                    lower.extend(dirs.map(PathBuf::from));
                }
                _ => {}
            }
        }
        Self {
            root: mount.root,
            mount_point: mount.point,
            upper,
            lower,
        }
    }

    /// The place of a path below the overlay's own root.
    fn path_of(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.mount_point).ok()?;
        let root = self.root.strip_prefix("/").ok()?;
        // `join("")` would leave a slash behind.
        Some(root.components().chain(below.components()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_an_overlay() {
        let line = "36 35 0:33 /sub /run/c\\0401 rw,relatime - overlay overlay \
                    rw,lowerdir=/l/2:/l/1,upperdir=/u,workdir=/w";
        let mount = mountinfo::parse(line).remove(0);
        let overlay = Overlay::of(mount);
        assert_eq!(overlay.mount_point, Path::new("/run/c 1"));
        assert_eq!(overlay.upper, ["/u", "/w"].map(PathBuf::from));
        assert_eq!(overlay.lower, ["/l/2", "/l/1"].map(PathBuf::from));
        let inside = overlay.path_of(Path::new("/run/c 1/rootfs"));
        assert_eq!(inside.as_deref(), Some(Path::new("sub/rootfs")));
    }
}
