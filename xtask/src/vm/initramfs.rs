//! The initramfs: the init, its job, and the modules that make the disks visible.
//!
//! It is made for each run, an uncompressed `newc` archive of a few megabytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use guest_init::{Job, layout};

use crate::setup::kernels::Kernel;

/// Drivers of the disks and of their file system; what is built into a kernel is passed over.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4"];

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Writes the archive to `path`.
pub(crate) fn write(path: &Path, kernel: &Kernel, init: &Path, job: &Job) -> Result<()> {
    let mut archive = Archive::default();
    archive.add("init", EXECUTABLE, &read(init)?);
    let job = serde_json::to_vec(job).context("serialize the job")?;
    archive.add(layout::JOB_FILE.trim_start_matches('/'), FILE, &job);
    archive.add("modules", DIRECTORY, &[]);
    let mut list = String::new();
    for module in modules(kernel)? {
        let name = module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let inside = format!("modules/{name}");
        archive.add(&inside, FILE, &read(&module)?);
        list.push_str(&format!("/{inside}\n"));
    }
    archive.add(
        layout::MODULES_FILE.trim_start_matches('/'),
        FILE,
        list.as_bytes(),
    );
    fs::write(path, archive.finish()).with_context(|| format!("write `{}`", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read `{}`", path.display()))
}

/// The files of [`MODULES`] and of what they depend on, in loading order.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let dir = kernel.modules();
    let index = dir.join("modules.dep");
    let index =
        fs::read_to_string(&index).with_context(|| format!("read `{}`", index.display()))?;
    Ok(in_loading_order(&index, MODULES)
        .into_iter()
        .map(|path| dir.join(path))
        .collect())
}

/// Reads `modules.dep`: `path: dependency dependency …`, each line complete, the deepest last.
fn in_loading_order(index: &str, wanted: &[&str]) -> Vec<String> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let lines = index.lines().filter_map(|line| line.split_once(':'));
        let is_wanted = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file.strip_suffix(".ko")
                .is_some_and(|stem| stem.replace('-', "_") == *name)
        };
        let Some((path, depends)) = { lines }.find(|(path, _)| is_wanted(path)) else {
            continue;
        };
        for path in depends.split_whitespace().rev().chain([path]) {
            if seen.insert(path.to_owned()) {
                order.push(path.to_owned());
            }
        }
    }
    order
}

/// A `newc` archive in memory (kernel documentation, `buffer-format.rst`).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.count += 1;
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX) + 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        self.bytes.extend_from_slice(b"070701");
        // ino, mode, uid, gid, nlink, mtime, filesize, device (4 fields), namesize, check
        let fields = [
            self.count,
            mode,
            0,
            0,
            links,
            0,
            length,
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, FILE, in_loading_order};

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let index = "kernel/drivers/virtio/virtio_pci.ko: \
                     kernel/drivers/virtio/virtio_pci_modern_dev.ko \
                     kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
                     kernel/drivers/block/virtio_blk.ko: \
                     kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n";
        let order = in_loading_order(index, &["virtio_pci", "virtio_blk", "ext4"]);
        let names: Vec<&str> = order
            .iter()
            .map(|path| path.rsplit('/').next().unwrap_or_default())
            .collect();
        assert_eq!(
            names,
            [
                "virtio.ko",
                "virtio_ring.ko",
                "virtio_pci_modern_dev.ko",
                "virtio_pci.ko",
                "virtio_blk.ko"
            ]
        );
    }

    #[test]
    fn an_entry_is_aligned_and_counted() {
        let mut archive = Archive::default();
        archive.add("a", FILE, b"12345");
        // Header 110, name 2, content 5, each part padded to four.
        assert_eq!(archive.bytes.len(), 112 + 8);
        assert_eq!(&archive.bytes[..6], b"070701");
        let bytes = archive.finish();
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
