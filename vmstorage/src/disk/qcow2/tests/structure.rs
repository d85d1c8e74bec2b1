//! What is stored where: requests of the file, extensions, bitmaps, status, chains.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Shape, content, shape};
use crate::disk::fault::Fault;
use crate::disk::memory::Memory;
use crate::disk::qcow2::header::BACKING_FORMAT;
use crate::disk::qcow2::{
    BackingName, Bitmap, CreateOptions, Opener, Qcow2, TRACKING_EXTENSION, open_chain,
};
use crate::disk::{Answer, Disk, Durability, Error, ErrorKind, Extent, Zeroes};
use crate::engine::IoBuf;
use crate::engine::run;
use std::rc::Rc;

async fn fresh(shape: &Shape) -> (Rc<Memory>, Qcow2) {
    let file = shape.create().await;
    let disk = shape.open(file.clone()).await.unwrap();
    (file, disk)
}

async fn write(disk: &Qcow2, offset: u64, byte: u8, len: usize) {
    let data = IoBuf::copy_of(&vec![byte; len]);
    disk.write(offset, data, Durability::Volatile)
        .await
        .unwrap();
}

#[test]
fn a_write_in_place_is_one_write_of_the_file() {
    run(async {
        let shape = shape(1 << 20, 65_536, 16);
        let file = Rc::new(Fault::new(shape.create().await.content()));
        let disk = shape.open(file.clone()).await.unwrap();
        write(&disk, 0, 1, 65_536).await;
        disk.flush().await.unwrap();
        let before = file.operations();
        write(&disk, 4096, 2, 4096).await;
        assert_eq!(file.operations(), before + 1);
        disk.flush().await.unwrap();
        assert_eq!(file.operations(), before + 2);
    })
    .unwrap();
}

#[test]
fn zeroes_and_holes_are_told_from_data() {
    run(async {
        let (_file, disk) = fresh(&shape(10 * 4096, 4096, 16)).await;
        write(&disk, 4096, 1, 8192).await;
        let how = Zeroes {
            durability: Durability::Volatile,
            may_unmap: true,
            fast_only: true,
        };
        disk.write_zeroes(Extent::new(8192, 4096), how)
            .await
            .unwrap();
        let parts = disk.status(Extent::new(0, 10 * 4096), 100).await.unwrap();
        let seen: Vec<_> = parts
            .iter()
            .map(|part| (part.extent.len_bytes, part.allocated, part.zero))
            .collect();
        assert_eq!(
            seen,
            [
                (4096, false, true),
                (4096, true, false),
                (8 * 4096, false, true)
            ]
        );
        assert_eq!(disk.status(Extent::new(0, 8192), 1).await.unwrap().len(), 1);
    })
    .unwrap();
}

#[test]
fn freed_clusters_are_used_again_after_a_flush() {
    run(async {
        let (file, disk) = fresh(&shape(1 << 20, 4096, 16)).await;
        for round in 0..50 {
            write(&disk, 0, round, 400_000).await;
            disk.discard(Extent::new(0, 1 << 20)).await.unwrap();
            disk.flush().await.unwrap();
        }
        let size = file.geometry().size_bytes;
        assert!(size < 4 << 20, "{size}");
    })
    .unwrap();
}

#[test]
fn bitmaps_note_all_writes_until_the_image_is_closed() {
    run(async {
        let shape = shape(1 << 20, 4096, 16);
        let (file, disk) = fresh(&shape).await;
        let bitmap = |name: &str, auto| Bitmap {
            name: name.into(),
            granularity_bytes: 65_536,
            auto,
            in_use: false,
        };
        let marked = vec![Extent::new(0, 65_536)];
        disk.set_bitmap(bitmap("on", true), marked.clone())
            .await
            .unwrap();
        disk.set_bitmap(bitmap("off", false), marked.clone())
            .await
            .unwrap();
        disk.close().await.unwrap();
        let disk = shape.open(file.clone()).await.unwrap();
        assert!(
            disk.bitmaps()
                .await
                .unwrap()
                .iter()
                .all(|bitmap| !bitmap.in_use)
        );
        write(&disk, 200_000, 1, 10).await;
        let in_use = |bitmaps: Vec<Bitmap>| -> Vec<String> {
            let used = bitmaps.into_iter().filter(|bitmap| bitmap.in_use);
            used.map(|bitmap| bitmap.name).collect()
        };
        assert_eq!(in_use(disk.bitmaps().await.unwrap()), ["on"]);
        disk.close().await.unwrap();
        assert!(in_use(disk.bitmaps().await.unwrap()).is_empty());
        let on = disk.bitmap_extents("on").await.unwrap();
        assert_eq!(on, [Extent::new(0, 65_536), Extent::new(196_608, 65_536)]);
        assert_eq!(disk.bitmap_extents("off").await.unwrap(), marked);
        disk.remove_bitmap("on").await.unwrap();
        disk.remove_bitmap("off").await.unwrap();
        disk.close().await.unwrap();
        let found = disk.check().await.unwrap();
        assert!(found.is_clean(), "{found:?}");
    })
    .unwrap();
}

#[test]
fn extensions_stay_whatever_becomes_of_others() {
    run(async {
        for cluster in [1024, 4096, 65_536] {
            let shape = shape(100_000, cluster, 16);
            let (file, disk) = fresh(&shape).await;
            disk.set_header_extension(0x1234_5678, Some(b"theirs".to_vec()))
                .await
                .unwrap();
            for len in [1, 300, 20, 380, 7] {
                let data = Some(vec![len as u8; len]);
                disk.set_header_extension(TRACKING_EXTENSION, data.clone())
                    .await
                    .unwrap();
                let again = shape.open(file.clone()).await.unwrap();
                assert_eq!(again.header_extension(TRACKING_EXTENSION), data);
                assert_eq!(again.header_extension(0x1234_5678).unwrap(), b"theirs");
            }
            let too_long = Some(vec![0; cluster as usize]);
            disk.set_header_extension(TRACKING_EXTENSION, too_long)
                .await
                .unwrap_err();
            disk.set_header_extension(BACKING_FORMAT, None)
                .await
                .unwrap_err();
        }
    })
    .unwrap();
}

/// Files of a chain, by name.
struct Files(HashMap<PathBuf, Rc<dyn Disk>>);

impl Opener for Files {
    fn open(&self, path: &Path, _: bool) -> Answer<'_, Rc<dyn Disk>> {
        let file = self.0.get(path).cloned();
        Box::pin(std::future::ready(file.ok_or_else(|| {
            Error::new(ErrorKind::Io, format!("there is no `{}`", path.display()))
        })))
    }
}

async fn link(file: &str, format: &str) -> Rc<dyn Disk> {
    let mut options = CreateOptions::new(10_000);
    options.backing = Some(BackingName {
        file: file.into(),
        format: format.into(),
    });
    let disk = Rc::new(Memory::new(0));
    Qcow2::create(disk.clone(), &options).await.unwrap();
    disk
}

#[test]
fn chains_are_opened_by_what_is_recorded() {
    run(async {
        let files = Files(HashMap::from([
            (PathBuf::from("/a/top"), link("mid", "qcow2").await),
            (PathBuf::from("/a/mid"), link("b/base", "raw").await),
            (PathBuf::from("/a/loop"), link("loop", "qcow2").await),
            (PathBuf::from("/a/odd"), link("top", "").await),
            (PathBuf::from("/a/far"), link("nbd://host/", "raw").await),
            (
                PathBuf::from("/a/b/base"),
                Rc::new(Memory::with_content(vec![5; 6000])) as Rc<dyn Disk>,
            ),
        ]));
        let top = open_chain(&files, Path::new("/a/top"), false)
            .await
            .unwrap();
        let bytes = content(&top).await;
        assert_eq!(bytes[..6000], [5; 6000]);
        assert_eq!(bytes[6000..], [0; 4000]);
        for (name, reason) in [("loop", "loops"), ("odd", "format"), ("far", "not a path")] {
            let path = Path::new("/a").join(name);
            let error = open_chain(&files, &path, true).await.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    })
    .unwrap();
}
