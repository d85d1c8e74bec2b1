//! Metadata contexts: what is allocated, and dirty bitmaps of QEMU.

use vmstorage::disk::{Disk, Extent};
use vmstorage::nbd::client::{Options, Remote, list_contexts};

use crate::servers::{MIB, Place, on_engine, open, run};

const BITMAP: &str = "qemu:dirty-bitmap:b0";

#[test]
fn holes_are_seen() {
    let place = Place::new();
    let image = place.path("image");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &image, "8M"]);
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write 1M 64k",
            "-c",
            "write -z 2M 64k",
            &image,
        ],
    );
    let _server = place.qemu_nbd(&["-f", "qcow2", &image]);
    on_engine(async {
        let remote = open(place.target("d")).await;
        let whole = remote.status(Extent::new(0, 8 * MIB), 100).await.unwrap();
        let data: Vec<_> = whole.iter().filter(|part| !part.zero).collect();
        assert_eq!(data.len(), 1, "{whole:?}");
        assert_eq!(data[0].extent, Extent::new(MIB, 65536));
        assert!(data[0].allocated);
        let one = remote.status(Extent::new(MIB + 100, MIB), 1).await.unwrap();
        assert_eq!(one[0].extent, Extent::new(MIB + 100, 65536 - 100));
        assert_eq!(one.len(), 1);
    });
}

#[test]
fn a_dirty_bitmap_of_qemu_is_read() {
    let place = Place::new();
    let image = place.path("image");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &image, "8M"]);
    run("qemu-io", &["-f", "qcow2", "-c", "write 0 1M", &image]);
    run(
        "qemu-img",
        &["bitmap", "--add", "-g", "64k", "-f", "qcow2", &image, "b0"],
    );
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write 2M 64k",
            "-c",
            "write 5M 4k",
            &image,
        ],
    );
    let _server = place.qemu_nbd(&["-r", "-f", "qcow2", "-B", "b0", &image]);
    on_engine(async {
        let listed = list_contexts(&place.target("d"), &Options::default(), &[])
            .await
            .unwrap();
        assert!(listed.iter().any(|name| name == BITMAP), "{listed:?}");
        let options = Options {
            contexts: vec![BITMAP.into()],
            ..Options::default()
        };
        let remote = Remote::open(place.target("d"), options).await.unwrap();
        assert_eq!(remote.contexts(), ["base:allocation", BITMAP]);
        let whole = Extent::new(0, 8 * MIB);
        let found = remote.context_status(BITMAP, whole, 100).await.unwrap();
        let dirty: Vec<Extent> = found
            .iter()
            .filter(|part| part.value == 1)
            .map(|part| part.extent)
            .collect();
        assert_eq!(
            dirty,
            [Extent::new(2 * MIB, 65536), Extent::new(5 * MIB, 65536)]
        );
        assert_eq!(
            found.iter().map(|part| part.extent.len_bytes).sum::<u64>(),
            8 * MIB
        );
        // Allocation is still what it was.
        let status = remote.status(Extent::new(0, MIB), 1).await.unwrap();
        assert!(status[0].allocated && !status[0].zero);
        remote.close().await;
    });
}
