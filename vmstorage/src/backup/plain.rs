//! Backups as qcow2 images that QEMU's tools read: a full one, and increments on top of it.
//!
//! `DISK-0001.qcow2` is a full backup, `DISK-0002.qcow2` has it, or another, as its backing file.
//! Beside each is `DISK-0001.json`, the [`Manifest`], written when the image is whole and durable.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use super::image::reported;
use super::run::changes;
use super::store::{Local, Store as _};
use super::{Manifest, Plan, Progress};
use crate::disk::copy::{self, copy_parts};
use crate::disk::file::{FileDisk, OpenOptions};
use crate::disk::open::{self, Format, Source};
use crate::disk::qcow2::{BackingName, CreateOptions, Qcow2};
use crate::disk::{Disk, Error, ErrorKind, Result};

/// Longer manifests are nobody's.
const MAX_MANIFEST_BYTES: u64 = 1 << 16;
/// Clusters of an increment: a block of 4 KiB that changed takes no more.
const INCREMENT_CLUSTER_BYTES: u64 = 4096;

/// The points of a folder, the oldest first.
///
/// # Errors
/// Of the system, and when a manifest is none.
pub fn list(folder: &Path) -> Result<Vec<Manifest>> {
    if folder.join("snapshots").exists() {
        let message = format!(
            "`{}` is a repository; help: leave out `--plain`",
            folder.display()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut points = Vec::new();
    for name in names(folder)? {
        let Some(stem) = name.strip_suffix(".json") else {
            continue;
        };
        let path = folder.join(&name);
        let failed = |error| Error::io(format!("read `{}`", path.display()), error);
        if fs::metadata(&path).map_err(failed)?.len() > MAX_MANIFEST_BYTES {
            return Err(super::corrupt(
                &name,
                "it is longer than any that is written",
            ));
        }
        let text = fs::read(&path).map_err(failed)?;
        let point: Manifest =
            serde_json::from_slice(&text).map_err(|error| super::corrupt(&name, error))?;
        if point.id != stem {
            return Err(super::corrupt(&name, "it is the manifest of another image"));
        }
        points.push(point);
    }
    points.sort_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
    Ok(points)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("readdir `{}`", folder.display()), error);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().map_err(failed)
}

/// Backs up a disk, which must not change meanwhile, as an image in a folder. One that was
/// interrupted begins anew. [`Plan::level`] is not used.
///
/// # Errors
/// Of the disk and the system; [`ErrorKind::FullNeeded`] when the parent is no point of the disk.
pub async fn run(
    source: &Rc<dyn Disk>,
    plan: Plan,
    folder: &Path,
    sink: impl FnMut(Progress),
) -> Result<Manifest> {
    let store = Local::flat(folder)?;
    let _lock = store.lock(true)?;
    for name in store.leftovers()? {
        store.delete(&name)?;
    }
    check_name(&plan.disk)?;
    let parent = match &plan.parent {
        None => None,
        Some(id) => Some(find(folder, &plan.disk, id)?),
    };
    let size_bytes = source.geometry().size_bytes;
    let changed = changes(
        &plan,
        parent.as_ref().map(|point| point.size_bytes),
        size_bytes,
    )?;
    let id = next_id(folder, &plan.disk)?;
    let staged = folder.join(format!(".new-{id}.qcow2"));
    let target = create(&staged, size_bytes, parent.as_ref()).await?;
    let options = copy::Options {
        // What changed is scattered more often than not: small reads, as many as keep a disk busy.
        requests: if parent.is_some() { 64 } else { 16 },
        target_is_zero: parent.is_none(),
        ..copy::Options::default()
    };
    let total_bytes = changed.iter().map(|extent| extent.len_bytes).sum();
    let progress = Rc::new(copy::Progress::default());
    let copying = copy_parts(source, &target.disk, &changed, options, &progress);
    let copied = reported(total_bytes, &progress, copying, sink).await;
    copied.and(target.close().await)?;
    let manifest = Manifest {
        id: id.clone(),
        disk: plan.disk,
        time_ms: plan.time_ms,
        parent: parent.map(|point| point.id),
        size_bytes,
        reference: plan.reference,
        reference_digest: plan.reference_digest,
        read_bytes: progress.done_bytes.get(),
        stored_bytes: progress.copied_bytes.get(),
        deduplicated_bytes: 0,
    };
    let path = folder.join(format!("{id}.qcow2"));
    fs::File::open(&staged)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&staged, &path))
        .map_err(|error| Error::io(format!("rename to `{}`", path.display()), error))?;
    let name = format!("{id}.json");
    let text = serde_json::to_vec(&manifest).map_err(|error| super::corrupt(&name, error))?;
    // It is renamed in the same folder and that is synchronised, which makes both names durable.
    store.put(&name, &text)?;
    Ok(manifest)
}

/// Names of disks become names of files.
fn check_name(disk: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if disk.is_empty() || disk.len() > 128 || disk.starts_with('.') || !disk.chars().all(fine) {
        let message = format!(
            "`{disk}` cannot be the name of a file; help: say `--disk` with letters, digits, `_`, \
             `-` and `.`"
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}

fn find(folder: &Path, disk: &str, id: &str) -> Result<Manifest> {
    let found = list(folder)?.into_iter().find(|point| point.id == id);
    found.filter(|point| point.disk == disk).ok_or_else(|| {
        let message = format!("the parent is not a point of disk `{disk}`");
        Error::new(ErrorKind::FullNeeded, message)
    })
}

/// A number that no image and no manifest of the disk has.
fn next_id(folder: &Path, disk: &str) -> Result<String> {
    let prefix = format!("{disk}-");
    let number = |name: &String| {
        let (stem, _) = name.strip_prefix(&prefix)?.rsplit_once('.')?;
        stem.parse::<u64>().ok()
    };
    let last = names(folder)?.iter().filter_map(number).max();
    let next = last.unwrap_or(0).saturating_add(1);
    Ok(format!("{prefix}{next:04}"))
}

async fn create(path: &Path, size_bytes: u64, parent: Option<&Manifest>) -> Result<open::Opened> {
    let mut options = CreateOptions::new(size_bytes);
    if let Some(parent) = parent {
        options.cluster_bytes = INCREMENT_CLUSTER_BYTES;
        options.backing = Some(BackingName {
            file: format!("{}.qcow2", parent.id),
            format: "qcow2".into(),
        });
    }
    let file = FileDisk::create(path, 0, &OpenOptions::default()).await?;
    Qcow2::create(Rc::new(file), &options).await?;
    let options = open::Options {
        format: Some(Format::Qcow2),
        ..open::Options::default()
    };
    open::open(&Source::File(path.to_owned()), options).await
}
