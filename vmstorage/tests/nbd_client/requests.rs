//! Every request, to servers that have different ones.

use vmstorage::disk::{Disk, Durability, ErrorKind, Extent, Zeroes};
use vmstorage::engine::IoBuf;
use vmstorage::nbd::client::{Options, Remote, list_exports};

use crate::servers::{MIB, Place, noise, on_engine, open, read};

const ZEROES: Zeroes = Zeroes {
    durability: Durability::Durable,
    may_unmap: true,
    fast_only: false,
};

/// Writes, zeroes and trims at odd places, and compares all with a model.
async fn exercise(remote: &Remote) {
    let size = remote.geometry().size_bytes;
    let mut model = read(remote, 0, size).await;
    for (n, (at, len)) in [
        (0, 4096),
        (5, 1),
        (511, 1026),
        (70_001, 130_000),
        (size - 513, 513),
    ]
    .into_iter()
    .enumerate()
    {
        let data = noise(len, n as u64 + 1);
        let how = if n % 2 == 0 {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        remote.write(at, IoBuf::copy_of(&data), how).await.unwrap();
        model[at as usize..(at + len) as usize].copy_from_slice(&data);
    }
    for (at, len) in [(4096, 8192), (70_003, 5000), (300_001, 70_001), (3, 1)] {
        remote
            .write_zeroes(Extent::new(at, len), ZEROES)
            .await
            .unwrap();
        model[at as usize..(at + len) as usize].fill(0);
    }
    remote.cache(Extent::new(0, size)).await.unwrap();
    remote.flush().await.unwrap();
    assert!(read(remote, 0, size).await == model, "{}", remote.name());
    for (at, len) in [(1, 3), (70_000, 131_072)] {
        let (at, len) = (at as usize, len as usize);
        assert!(read(remote, at as u64, len as u64).await == model[at..at + len]);
    }
    remote.discard(Extent::new(99_999, 200_001)).await.unwrap();
    let kept = read(remote, 0, 99_999).await;
    assert!(kept == model[..99_999], "{}", remote.name());
    let status = remote
        .status(Extent::new(7, size - 7), usize::MAX)
        .await
        .unwrap();
    let mut at = 7;
    for part in &status {
        assert_eq!(part.extent.offset_bytes, at);
        at = part.extent.end_bytes();
    }
    assert_eq!(at, size);
}

#[test]
fn nbdkit_with_filters_takes_every_request() {
    let size = format!("{}", 2 * MIB + 512);
    let filters: [&[&str]; 7] = [
        &["memory", &size],
        &["--no-sr", "memory", &size],
        &["--filter=nozero", "memory", &size],
        &[
            "--filter=nozero",
            "--filter=fua",
            "memory",
            &size,
            "fuamode=emulate",
        ],
        &[
            "--filter=blocksize-policy",
            "memory",
            &size,
            "blocksize-minimum=512",
            "blocksize-preferred=4096",
            "blocksize-maximum=65536",
            "blocksize-error-policy=error",
        ],
        &["--filter=readahead", "--filter=cache", "memory", &size],
        &[
            "--filter=nofilter",
            "--filter=noextents",
            "--filter=noparallel",
            "memory",
            &size,
        ],
    ];
    for args in filters {
        let place = Place::new();
        let _server = place.nbdkit(args);
        on_engine(async {
            let remote = open(place.target("")).await;
            exercise(&remote).await;
            remote.close().await;
        });
    }
}

#[test]
fn nbdkit_serves_a_file() {
    let place = Place::new();
    let content = noise(MIB, 5);
    let file = place.file("disk", &content);
    let _server = place.nbdkit(&["file", &file]);
    on_engine(async {
        let remote = open(place.target("any")).await;
        assert!(remote.connections() > 1, "nbdkit promises multi-conn");
        assert!(read(&remote, 0, MIB).await == content);
        exercise(&remote).await;
        remote.close().await;
    });
}

#[test]
fn qemu_nbd_serves_raw_and_qcow2() {
    for format in ["raw", "qcow2"] {
        let place = Place::new();
        let image = place.path("image");
        crate::servers::run("qemu-img", &["create", "-q", "-f", format, &image, "4M"]);
        let server = place.qemu_nbd(&["-f", format, "--discard=unmap", &image]);
        on_engine(async {
            let remote = open(place.target("d")).await;
            exercise(&remote).await;
            remote.close().await;
        });
        drop(server);
        if format == "qcow2" {
            crate::servers::run("qemu-img", &["check", "-q", "-f", format, &image]);
        }
    }
}

#[test]
fn qemu_storage_daemon_serves_several_exports() {
    let place = Place::new();
    let file = place.file("disk", &noise(MIB, 6));
    let blockdev = format!("driver=file,node-name=f,filename={file},discard=unmap");
    let _server = place.start(
        "qemu-storage-daemon",
        &[
            "--blockdev",
            &blockdev,
            "--nbd-server",
            "addr.type=unix,addr.path={socket},max-connections=8",
            "--export",
            "nbd,id=a,node-name=f,name=d,writable=on",
            "--export",
            "nbd,id=b,node-name=f,name=read-only",
        ],
    );
    on_engine(async {
        let exports = list_exports(&place.target(""), &Options::default())
            .await
            .unwrap();
        let mut names: Vec<&str> = exports.iter().map(|export| export.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["d", "read-only"]);
        let other = open(place.target("read-only")).await;
        assert!(other.geometry().read_only);
        let write = other
            .write(0, IoBuf::zeroed(512), Durability::Volatile)
            .await;
        assert_eq!(write.unwrap_err().kind(), ErrorKind::ReadOnly);
        other.close().await;
        let remote = open(place.target("d")).await;
        exercise(&remote).await;
        remote.close().await;
    });
}

#[test]
fn fast_zeroes_are_fast_or_refused() {
    let fast = Zeroes {
        fast_only: true,
        ..ZEROES
    };
    for (args, refused) in [
        (&["memory", "1M"][..], false),
        (&["--filter=nozero", "memory", "1M"], true),
        (
            &["--filter=nozero", "memory", "1M", "zeromode=notrim"],
            true,
        ),
    ] {
        let place = Place::new();
        let _server = place.nbdkit(args);
        on_engine(async {
            let remote = open(place.target("")).await;
            let zeroed = remote.write_zeroes(Extent::new(0, MIB), fast).await;
            match zeroed {
                Err(error) if refused => assert_eq!(error.kind(), ErrorKind::Unsupported),
                other => other.unwrap(),
            }
        });
    }
}
