//! Attacks on the places where mounts go, in namespaces of their own.
//!
//! Each test starts this program once more under `unshare(1)`, with itself as the only test, and
//! does its work there. Without root it takes a user namespace; where not even that is allowed, it
//! says so and passes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::mount::{MountFlags, mount as mount_at};

use super::super::device;
use super::super::procfs::Procfs;
use super::super::rooted::Root;
use super::*;
use crate::mountinfo;
use crate::plan::Link;
use crate::spec::{Device, DeviceKind, PropagationKind};

/// Says in which test the copy of this program is.
const INSIDE: &str = "REEVE_TEST_INSIDE";

/// Runs `test`, which is the test `name` of this module, in new mount, PID, network and UTS
/// namespaces.
fn in_namespaces(name: &str, test: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return test();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--net", "--uts"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let allowed = Command::new("unshare")
        .args(command.get_args())
        .arg("true")
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: `unshare` may not make namespaces here");
        return;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let status = command
        .arg(std::env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--nocapture"])
        .env(INSIDE, name)
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its namespaces");
}

/// A root file system beside a directory that nothing may appear in.
struct Scene {
    dir: tempfile::TempDir,
    root: Root,
    mounts: Mounts,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir.path().join("root"), flags, Mode::empty()).unwrap();
        Self {
            dir,
            root: Root::new(root),
            mounts: Mounts::default(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), Failure> {
        self.mounts.mount(&self.root, mount)
    }

    /// Nothing was made or mounted in the directory outside.
    fn check_outside(&self) {
        let outside = self.outside();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "made outside");
        let root = self.dir.path().join("root");
        for mount in mountinfo::mounts().unwrap() {
            let here = mount.point.starts_with(self.dir.path());
            assert!(!here || mount.point.starts_with(&root), "{mount:?}");
        }
    }
}

fn new(fs_type: &str, target: &str) -> Mount {
    Mount {
        number: 0,
        target: target.into(),
        target_nofollow: false,
        kind: MountKind::New {
            fs_type: fs_type.to_owned(),
            source: Some(fs_type.to_owned()),
            options: Vec::new(),
            copy_up: false,
        },
        attrs: MountAttrs::default(),
        recursive_attrs: MountAttrs::default(),
        propagation: Vec::new(),
        idmap: None,
    }
}

fn bind(source: impl Into<PathBuf>, target: &str) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source: source.into(),
            recursive: true,
            link: SourceLink::Follow,
        },
        ..new("", target)
    }
}

/// Exchanges two names over and over until dropped.
struct Swapper<'s> {
    stop: &'s AtomicBool,
}

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs `attempt` while another thread exchanges `one` and `other`.
fn under_swaps(one: &Path, other: &Path, attempt: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        // Also when an assertion fails: the thread would swap for ever.
        let _swapper = Swapper { stop: &stop };
        attempt();
    });
}

#[test]
fn no_swap_of_a_directory_for_a_link_leads_out() {
    in_namespaces("no_swap_of_a_directory_for_a_link_leads_out", || {
        let mut scene = Scene::new();
        let (dir, evil) = (scene.path("dir"), scene.path("evil"));
        fs::create_dir(&dir).unwrap();
        symlink(scene.outside(), &evil).unwrap();
        fs::write(scene.dir.path().join("file"), "").unwrap();
        let file = scene.dir.path().join("file");
        let device = Device {
            path: "/dir/device".into(),
            kind: DeviceKind::Fifo,
            major: 0,
            minor: 0,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        let mut made = 0;
        under_swaps(&dir, &evil, || {
            for number in 0..500 {
                let target = format!("/dir/a{number}/b");
                made += usize::from(scene.mount(&new("tmpfs", &target)).is_ok());
                let target = format!("/dir/f{number}");
                made += usize::from(scene.mount(&bind(&file, &target)).is_ok());
                let device = Device {
                    path: format!("/dir/d{number}").into(),
                    ..device.clone()
                };
                let _ = device::make_all(&scene.root, &[device], false);
                let link = Link {
                    path: format!("/dir/l{number}").into(),
                    target: "x".into(),
                    replace: true,
                };
                let _ = device::link_all(&scene.root, &[link]);
                let masked = PathBuf::from(format!("/dir/a{number}"));
                let _ = scene.mounts.mask(&scene.root, &masked);
                let _ = readonly(&scene.root, &masked);
            }
        });
        assert!(made > 0, "no attempt got through");
        scene.check_outside();
    });
}

#[test]
fn no_exchange_of_directories_leads_out() {
    in_namespaces("no_exchange_of_directories_leads_out", || {
        let mut scene = Scene::new();
        // As two containers that share a volume would: `..` from the deeper one leads further up.
        let (deep, flat) = (scene.path("a/b/c/deep"), scene.path("flat"));
        fs::create_dir_all(deep.join("x")).unwrap();
        fs::create_dir_all(&flat).unwrap();
        symlink("../../../../outside", flat.join("x")).unwrap();
        let mut made = 0;
        under_swaps(&deep, &flat, || {
            for number in 0..500 {
                for base in ["/a/b/c/deep", "/flat"] {
                    let target = format!("{base}/x/m{number}");
                    made += usize::from(scene.mount(&new("tmpfs", &target)).is_ok());
                }
            }
        });
        assert!(made > 0, "no attempt got through");
        scene.check_outside();
    });
}

#[test]
fn the_kernels_own_trees_do_not_follow_links() {
    in_namespaces("the_kernels_own_trees_do_not_follow_links", || {
        for (fs_type, name) in [("proc", "proc"), ("sysfs", "sys")] {
            let mut scene = Scene::new();
            fs::create_dir(scene.path("elsewhere")).unwrap();
            symlink("elsewhere", scene.path(name)).unwrap();
            let failure = scene.mount(&new(fs_type, &format!("/{name}"))).unwrap_err();
            assert!(failure.is(Errno::LOOP), "{failure}");
            assert_eq!(fs::read_dir(scene.path("elsewhere")).unwrap().count(), 0);
        }
        let scene = Scene::new();
        symlink(scene.outside(), scene.path("dev")).unwrap();
        let device = Device {
            path: "/dev/null".into(),
            kind: DeviceKind::Char,
            major: 1,
            minor: 3,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        for bind in [false, true] {
            let failure =
                device::make_all(&scene.root, std::slice::from_ref(&device), bind).unwrap_err();
            assert!(failure.is(Errno::LOOP), "{failure}");
        }
        let link = Link {
            path: "/dev/fd".into(),
            target: "/proc/self/fd".into(),
            replace: false,
        };
        device::link_all(&scene.root, &[link]).unwrap_err();
        scene.check_outside();
    });
}

#[test]
fn procfs_is_neither_replaced_nor_covered() {
    in_namespaces("procfs_is_neither_replaced_nor_covered", || {
        let mut scene = Scene::new();
        let file = scene.dir.path().join("file");
        fs::write(&file, "ours").unwrap();
        let outside = scene.outside();
        for fake in [bind(&outside, "/proc"), new("tmpfs", "/proc")] {
            let failure = scene.mount(&fake).unwrap_err();
            assert!(failure.is(Errno::PERM), "{failure}");
        }
        scene.mount(&new("proc", "/proc")).unwrap();
        symlink("proc", scene.path("link")).unwrap();
        for cover in [
            bind(&file, "/proc/version"),
            bind(&file, "/proc/self/attr/exec"),
            bind(&outside, "/proc/sys/kernel"),
            bind(&file, "/link/sys/kernel/core_pattern"),
            new("tmpfs", "/proc/self"),
            new("tmpfs", "/link/sys"),
            Mount {
                target_nofollow: true,
                ..bind(&file, "/link/version")
            },
        ] {
            let failure = scene.mount(&cover).unwrap_err();
            assert!(failure.is(Errno::PERM), "{cover:?}: {failure}");
        }
        scene.mount(&bind(&file, "/proc/meminfo")).unwrap();
        assert_eq!(
            fs::read_to_string(scene.path("proc/meminfo")).unwrap(),
            "ours"
        );
        // Another procfs is a procfs; what lies in it has to be the host's.
        scene.mount(&bind("/proc", "/proc")).unwrap();
    });
}

#[test]
fn only_the_null_device_masks_a_file() {
    in_namespaces("only_the_null_device_masks_a_file", || {
        let mut scene = Scene::new();
        fs::write(scene.path("secret"), "secret").unwrap();
        fs::create_dir(scene.path("dir")).unwrap();
        fs::write(scene.path("dir/secret"), "secret").unwrap();
        symlink("secret", scene.path("alias")).unwrap();
        symlink("turn", scene.path("turn")).unwrap();
        let mut mask = |path: &str| scene.mounts.mask(&scene.root, Path::new(path));
        mask("/missing").unwrap();
        mask("/missing/too").unwrap();
        assert!(mask("/turn").unwrap_err().is(Errno::LOOP));
        assert!(mask("/secret/below").unwrap_err().is(Errno::NOTDIR));
        mask("/alias").unwrap();
        mask("/dir").unwrap();
        let found = fs::metadata(scene.path("secret")).unwrap();
        assert!(found.file_type().is_char_device() && found.rdev() == makedev_null());
        assert_eq!(fs::read_dir(scene.path("dir")).unwrap().count(), 0);
        fs::write(scene.path("dir/new"), "").unwrap_err();

        // The host's own has been tampered with (CVE-2025-31133).
        let flags = MountFlags::empty();
        mount_at("tmpfs", "/dev", "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        fs::write(scene.path("other"), "other").unwrap();
        let other = Path::new("/other");
        let mut fresh = Mounts::default();
        symlink(scene.path("other"), "/dev/null").unwrap();
        assert!(fresh.mask(&scene.root, other).unwrap_err().is(Errno::NODEV));
        fs::remove_file("/dev/null").unwrap();
        assert!(fresh.mask(&scene.root, other).unwrap_err().is(Errno::NOENT));
        fs::write("/dev/null", "").unwrap();
        assert!(fresh.mask(&scene.root, other).unwrap_err().is(Errno::NODEV));
    });
}

fn makedev_null() -> u64 {
    rustix::fs::makedev(1, 3)
}

#[test]
fn parameters_are_written_past_whatever_covers_them() {
    in_namespaces("parameters_are_written_past_whatever_covers_them", || {
        let flags = MountFlags::empty();
        let none = None::<&std::ffi::CStr>;
        mount_at("proc", "/proc", "proc", flags, none).unwrap();
        let procfs = Procfs::open().unwrap();
        let lo = Path::new("net/ipv4/conf/lo/rp_filter");
        mount_at("tmpfs", "/proc/sys", "tmpfs", flags, none).unwrap();
        fs::create_dir_all("/proc/sys/net/ipv4/conf/lo").unwrap();
        fs::write("/proc/sys/net/ipv4/conf/lo/rp_filter", "unchanged").unwrap();
        procfs.sysctl(lo, "2").unwrap();
        let covered = fs::read_to_string("/proc/sys/net/ipv4/conf/lo/rp_filter").unwrap();
        assert_eq!(covered, "unchanged");
        rustix::mount::unmount("/proc/sys", rustix::mount::UnmountFlags::DETACH).unwrap();
        let real = fs::read_to_string("/proc/sys/net/ipv4/conf/lo/rp_filter").unwrap();
        assert_eq!(real, "2\n");
        for path in ["../self/comm", "../../etc/passwd", "/etc/passwd"] {
            procfs.sysctl(Path::new(path), "x").unwrap_err();
        }
        procfs.write(Path::new("self/comm"), b"x").unwrap_err();
        procfs.write_own("comm", b"renamed").unwrap();
        assert_eq!(
            fs::read_to_string("/proc/thread-self/comm").unwrap(),
            "renamed\n"
        );
    });
}

#[test]
fn a_read_only_bind_leaves_its_source_alone() {
    in_namespaces("a_read_only_bind_leaves_its_source_alone", || {
        let mut scene = Scene::new();
        let source = scene.outside();
        let mut mount = bind(&source, "/a");
        mount.attrs = MountAttrs::set(attr::RDONLY | attr::NOEXEC);
        scene.mount(&mount).unwrap();
        fs::write(scene.path("a/x"), "").unwrap_err();
        fs::write(source.join("x"), "").unwrap();

        scene.mount(&bind(&source, "/b")).unwrap();
        let remount = Mount {
            target: "/b".into(),
            kind: MountKind::Remount {
                options: Vec::new(),
            },
            ..mount
        };
        fs::write(scene.path("b/x"), "").unwrap();
        scene.mount(&remount).unwrap();
        fs::write(scene.path("b/x"), "").unwrap_err();
        fs::write(source.join("x"), "").unwrap();
        let nowhere = Mount {
            target: "/".into(),
            ..remount
        };
        // A directory that is no mount is not changed with the mount that it is on.
        fs::create_dir(scene.path("plain")).unwrap();
        let plain = Mount {
            target: "/plain".into(),
            ..nowhere
        };
        assert!(scene.mount(&plain).unwrap_err().is(Errno::INVAL));
    });
}

#[test]
fn a_tmpfs_starts_with_what_it_covers() {
    in_namespaces("a_tmpfs_starts_with_what_it_covers", || {
        let mut scene = Scene::new();
        fs::create_dir_all(scene.path("img/deep/er")).unwrap();
        fs::set_permissions(scene.path("img"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::write(scene.path("img/deep/file"), "text").unwrap();
        let mode = fs::Permissions::from_mode(0o4711);
        fs::set_permissions(scene.path("img/deep/file"), mode).unwrap();
        symlink("/etc/passwd", scene.path("img/link")).unwrap();
        fs::create_dir(scene.path("img/point")).unwrap();
        scene.mount(&new("tmpfs", "/img/point")).unwrap();
        fs::write(scene.path("img/point/hidden"), "").unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = fs::File::open(scene.path("img/deep/file")).unwrap();
        file.set_modified(old).unwrap();

        let mut mount = new("tmpfs", "/img");
        if let MountKind::New { copy_up, .. } = &mut mount.kind {
            *copy_up = true;
        }
        mount.attrs = MountAttrs::set(attr::RDONLY);
        scene.mount(&mount).unwrap();
        let found = fs::metadata(scene.path("img/deep/file")).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o4711);
        assert_eq!(found.modified().unwrap(), old);
        assert_eq!(
            fs::read_to_string(scene.path("img/deep/file")).unwrap(),
            "text"
        );
        let says = fs::read_link(scene.path("img/link")).unwrap();
        assert_eq!(says, Path::new("/etc/passwd"));
        assert_eq!(fs::read_dir(scene.path("img/point")).unwrap().count(), 0);
        assert_eq!(
            fs::metadata(scene.path("img")).unwrap().mode() & 0o7777,
            0o751
        );
        // Places for other mounts are still made in it.
        scene.mount(&new("tmpfs", "/img/made/later")).unwrap();
        scene.mounts.finish().unwrap();
        fs::write(scene.path("img/x"), "").unwrap_err();
    });
}

/// The root that `tree` becomes, in the way of `reeve run` or of `--no-pivot`.
fn change_root(scene: &Scene, enter: fn(&Root) -> Result<(), Failure>) -> OwnedFd {
    let private = Propagation {
        kind: PropagationKind::Private,
        recursive: true,
    };
    let mut mounts = Mounts::default();
    mounts.stop_propagation(private).unwrap();
    fs::write(scene.path("inside"), "").unwrap();
    let path = scene.path("");
    let found = fs::metadata(&path).unwrap();
    let wrong = (found.dev(), found.ino() + 1);
    assert!(
        mounts
            .rootfs(&path, wrong, false)
            .unwrap_err()
            .is(Errno::STALE)
    );
    let root = mounts
        .rootfs(&path, (found.dev(), found.ino()), false)
        .unwrap();
    mounts.mount(&root, &new("proc", "/proc")).unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).unwrap();
    enter(&root).unwrap();
    assert!(Path::new("/inside").exists());
    old
}

#[test]
fn the_root_is_pivoted_to() {
    in_namespaces("the_root_is_pivoted_to", || {
        let scene = Scene::new();
        change_root(&scene, pivot);
        let mounts = mountinfo::mounts().unwrap();
        let points: Vec<_> = mounts.iter().map(|mount| mount.point.clone()).collect();
        assert_eq!(points, ["/", "/proc"].map(PathBuf::from));
        std::mem::forget(scene);
        std::process::exit(0);
    });
}

#[test]
fn the_root_is_moved_to_where_it_cannot_be_pivoted_to() {
    let name = "the_root_is_moved_to_where_it_cannot_be_pivoted_to";
    in_namespaces(name, || {
        let scene = Scene::new();
        let old = change_root(&scene, move_root);
        // The host's tree is there still for who holds it, but neither its procfs nor its sysfs.
        for name in ["proc", "sys"] {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let there = rustix::fs::openat(&old, name, flags, Mode::empty()).unwrap();
            let found = rustix::fs::fstatfs(&there).unwrap().f_type;
            assert!(!matches!(found, 0x9fa0 | 0x6265_6572), "{name} is in reach");
        }
        assert!(Path::new("/proc/self/stat").exists());
        std::mem::forget(scene);
        std::process::exit(0);
    });
}
