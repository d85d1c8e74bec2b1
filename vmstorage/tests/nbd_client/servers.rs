//! Servers in processes of their own, and what tests do with them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vmstorage::disk::Disk;
use vmstorage::engine::{self, IoBufMut};
use vmstorage::nbd::client::{Options, Remote, Target};

pub(crate) const MIB: u64 = 1 << 20;

/// A server, until it is dropped.
pub(crate) struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory for a socket and files.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn target(&self, export: &str) -> Target {
        Target::unix(self.socket(), export)
    }

    /// Starts a server and waits until it listens; `{socket}` in its arguments is the socket.
    #[track_caller]
    pub(crate) fn start(&self, program: &str, args: &[&str]) -> Server {
        let socket = self.path("s");
        let _ = std::fs::remove_file(&socket);
        let child = Command::new(program)
            .args(args.iter().map(|arg| arg.replace("{socket}", &socket)))
            .stdin(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("`{program}`: {error}"));
        let mut server = Server { child };
        let until = Instant::now() + Duration::from_secs(20);
        while !self.socket().exists() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program} {args:?}: {ended:?}");
            assert!(Instant::now() < until, "{program} {args:?} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        // The socket exists a moment before it is listened on.
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < until, "{program} {args:?} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// nbdkit with a plugin and filters.
    #[track_caller]
    pub(crate) fn nbdkit(&self, args: &[&str]) -> Server {
        self.start("nbdkit", &[&["-f", "-U", "{socket}"], args].concat())
    }

    /// qemu-nbd of an export `d`, for many clients one after another.
    #[track_caller]
    pub(crate) fn qemu_nbd(&self, args: &[&str]) -> Server {
        let all = ["-k", "{socket}", "-x", "d", "--persistent", "--shared=8"];
        self.start("qemu-nbd", &[&all, args].concat())
    }
}

/// Runs a program to its end, which has to be a good one.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) {
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status();
    let status = status.unwrap_or_else(|error| panic!("`{program}`: {error}"));
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// Runs a test on an engine, and fails it if it does not end.
pub(crate) fn on_engine(test: impl Future<Output = ()>) {
    let limit = engine::sleep(Duration::from_secs(60));
    let both = async {
        let (test, limit) = (std::pin::pin!(test), std::pin::pin!(limit));
        match futures_util::future::select(test, limit).await {
            futures_util::future::Either::Left(_) => {}
            futures_util::future::Either::Right(_) => panic!("the test does not end"),
        }
    };
    engine::run(both).unwrap();
}

pub(crate) async fn open(target: Target) -> Remote {
    let opened = Remote::open(target, Options::default()).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn read(disk: &dyn Disk, at: u64, len: u64) -> Vec<u8> {
    let read = disk.read(at, IoBufMut::zeroed(len as usize)).await;
    read.unwrap_or_else(|error| panic!("{error}")).to_vec()
}

/// Bytes that look random and are the same every time.
pub(crate) fn noise(len: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len as usize).collect()
}
