//! The NBD server with clients that nobody here wrote: libnbd's tools, QEMU's, fio's.

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::thread::JoinHandle;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tempfile::TempDir;
use vmstorage::disk::memory::Memory;
use vmstorage::disk::{
    Answer, Disk, Durability, Extent, Geometry, Result as DiskResult, Status, Zeroes,
};
use vmstorage::engine::{self, IoBuf, IoBufMut, Listener, Stream, spawn};
use vmstorage::nbd::proto::StatusExtent;
use vmstorage::nbd::server::{Context, Export, Options, Server, Tls};
use vmstorage::nbd::tls;

const MIB: u64 = 1 << 20;

/// A server on a thread of its own, until it is dropped.
struct Running {
    dir: TempDir,
    /// The server stops when it is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<DiskResult<()>>>,
}

impl Running {
    /// Serves what `exports` makes on the server's thread.
    fn start(exports: impl FnOnce() -> Vec<Export> + Send + 'static) -> Self {
        Self::with(exports, |_| Options::default())
    }

    fn with(
        exports: impl FnOnce() -> Vec<Export> + Send + 'static,
        options: impl FnOnce(&Path) -> Options,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        let path = dir.path().join("nbd.sock");
        let (stop, stopped) = UnixStream::pair().unwrap();
        let (up, is_up) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let serve = async move {
                let server = Server::new(options);
                for export in exports() {
                    server.add(export).unwrap();
                }
                let listener = Listener::unix(&path).unwrap();
                let serving = server.clone();
                spawn(async move { serving.serve(listener).await }).detach();
                up.send(()).unwrap();
                let stopped = Stream::from_fd(stopped.into()).unwrap();
                stopped.recv(IoBufMut::zeroed(1)).await.unwrap();
                server.shutdown().await
            };
            engine::run(serve).unwrap()
        });
        is_up.recv().unwrap();
        Self {
            dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// A path beside the socket.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn stop(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let stopped = thread.join();
            assert!(
                stopped.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}

/// A disk that knows where it is sparse: parts of 64 KiB that are zero.
#[derive(Debug)]
struct Sparse(Memory);

impl Disk for Sparse {
    fn name(&self) -> String {
        "sparse".into()
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        self.0.read(offset_bytes, buf)
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        self.0.write(offset_bytes, data, durability)
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        self.0.write_zeroes(extent, how)
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        self.0.discard(extent)
    }

    fn flush(&self) -> Answer<'_, ()> {
        self.0.flush()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            self.geometry().check(extent)?;
            let content = self.0.content();
            let mut parts = Vec::new();
            let mut start = extent.offset_bytes;
            while start < extent.end_bytes() && parts.len() < limit {
                let end = (start + 1)
                    .next_multiple_of(1 << 16)
                    .min(extent.end_bytes());
                let zero = content[start as usize..end as usize]
                    .iter()
                    .all(|&byte| byte == 0);
                parts.push(Status {
                    extent: Extent::new(start, end - start),
                    allocated: !zero,
                    zero,
                });
                start = end;
            }
            Ok(parts)
        })
    }

    fn resize(&self, size_bytes: u64) -> Answer<'_, ()> {
        self.0.resize(size_bytes)
    }
}

/// Says of every other 64 KiB that it has changed.
#[derive(Debug)]
struct Stripes(&'static str);

impl Context for Stripes {
    fn name(&self) -> String {
        self.0.into()
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<StatusExtent>> {
        Box::pin(async move {
            let mut parts = Vec::new();
            let mut start = extent.offset_bytes;
            while start < extent.end_bytes() && parts.len() < limit {
                let end = (start + 1)
                    .next_multiple_of(1 << 16)
                    .min(extent.end_bytes());
                parts.push(StatusExtent {
                    len_bytes: end - start,
                    status: (start >> 16) % 2,
                });
                start = end;
            }
            Ok(parts)
        })
    }
}

fn random(len: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Random content with a hole in its middle.
fn holey(len: u64, seed: u64) -> Vec<u8> {
    let mut bytes = random(len, seed);
    bytes[(len / 4) as usize..(len / 2) as usize].fill(0);
    bytes
}

fn export(name: &str, disk: impl Disk + 'static) -> Export {
    Export::new(name, Rc::new(disk))
}

/// Runs a program to its end, which has to be a good one.
#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{out}\n{err}",
        output.status
    );
    out + &err
}

#[track_caller]
fn output(program: &str, args: &[&str]) -> Output {
    // A client that hangs fails the test instead of hanging it.
    let timeout = Command::new("timeout")
        .arg("60")
        .arg(program)
        .args(args)
        .output();
    let output = timeout.unwrap_or_else(|error| panic!("timeout {program}: {error}"));
    assert_ne!(
        output.status.code(),
        Some(127),
        "`{program}` is not installed"
    );
    output
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn nbdinfo_shows_what_an_export_offers() {
    let running = Running::start(|| {
        let mut first = export("first", Sparse(Memory::with_content(holey(4 * MIB, 1))));
        first.description = "the first of them".into();
        first
            .contexts
            .push(Rc::new(Stripes("reeve:changes:monday")));
        let mut second = export("second", Memory::new(MIB));
        second.read_only = true;
        let mut hidden = export("hidden", Memory::new(MIB));
        hidden.hidden = true;
        vec![first, second, hidden]
    });
    let listed = json(&run("nbdinfo", &["--json", "--list", &running.uri("")]));
    let exports = listed["exports"].as_array().unwrap();
    let names: Vec<_> = exports
        .iter()
        .map(|export| &export["export-name"])
        .collect();
    assert_eq!(names, ["first", "second"]);
    let first = &exports[0];
    assert_eq!(first["description"], "the first of them");
    assert_eq!(first["contexts"][0], "base:allocation");
    assert_eq!(first["contexts"][1], "reeve:changes:monday");
    for flag in [
        "can_multi_conn",
        "can_fua",
        "can_flush",
        "can_trim",
        "can_zero",
        "can_df",
    ] {
        assert_eq!(first[flag], true, "{flag}: {first}");
    }
    assert_eq!(exports[1]["is_read_only"], true);
    assert_eq!(exports[1]["can_zero"], false);
    let size = run("nbdinfo", &["--size", &running.uri("hidden")]);
    assert_eq!(size.trim(), "1048576");
    let map = json(&run("nbdinfo", &["--json", "--map", &running.uri("first")]));
    let of = |index: usize| {
        (
            map[index]["offset"].as_u64(),
            map[index]["description"].as_str(),
        )
    };
    assert_eq!(of(0), (Some(0), Some("data")));
    assert_eq!(of(1), (Some(MIB), Some("hole,zero")));
    assert_eq!(of(2), (Some(2 * MIB), Some("data")));
    let changes = "--map=reeve:changes:monday";
    let map = json(&run("nbdinfo", &["--json", changes, &running.uri("first")]));
    assert_eq!(map.as_array().unwrap().len(), 64);
    assert_eq!(map[1]["type"], 1);
    running.stop();
}

#[test]
fn nbdcopy_copies_both_ways_over_several_connections() {
    let content = holey(24 * MIB, 2);
    let copy = content.clone();
    let running = Running::start(move || {
        vec![
            export("from", Sparse(Memory::with_content(copy))),
            export("to", Memory::with_content(random(24 * MIB, 3))),
        ]
    });
    let copied = running.path("copied");
    let copied_text = copied.display().to_string();
    let (from, to) = (running.uri("from"), running.uri("to"));
    run(
        "nbdcopy",
        &["--connections=4", "--requests=32", &from, &copied_text],
    );
    assert!(std::fs::read(&copied).unwrap() == content);
    run(
        "nbdcopy",
        &["--connections=3", "--flush", &copied_text, &to],
    );
    run("nbdcopy", &["--synchronous", &to, &copied_text]);
    assert!(std::fs::read(&copied).unwrap() == content);
    run("nbdcopy", &["--connections=2", &from, &to]);
    running.stop();
}

#[test]
fn qemu_img_converts_compares_and_asks() {
    let content = holey(8 * MIB, 4);
    let running = Running::start(move || vec![export("disk", Memory::new(8 * MIB))]);
    let raw = running.file("raw", &content).display().to_string();
    let uri = running.uri("disk");
    run(
        "qemu-img",
        &["convert", "-n", "-f", "raw", "-O", "raw", &raw, &uri],
    );
    run(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", &raw, &uri],
    );
    let info = json(&run("qemu-img", &["info", "--output=json", &uri]));
    assert_eq!(info["virtual-size"], 8 * MIB);
    let qcow2 = running.path("copy.qcow2").display().to_string();
    run(
        "qemu-img",
        &["convert", "-W", "-m", "16", "-O", "qcow2", &uri, &qcow2],
    );
    run("qemu-img", &["compare", "-F", "raw", &qcow2, &raw]);
    running.stop();
}

#[test]
fn qemu_io_reads_what_it_wrote() {
    let running = Running::start(|| vec![export("disk", Memory::new(4 * MIB))]);
    let uri = running.uri("disk");
    let commands = [
        "aio_write -P 1 0 64k",
        "aio_write -P 2 64k 1M",
        "aio_flush",
        "write -f -P 3 12345 777",
        "write -z 128k 64k",
        "write -z -u 192k 64k",
        "discard 2M 1M",
        "flush",
        "read -P 1 0 12345",
        "read -P 3 12345 777",
        "read -P 0 128k 128k",
        "read -P 2 256k 512k",
    ];
    let mut args = vec!["-f", "raw", &uri];
    for command in commands {
        args.extend(["-c", command]);
    }
    let said = run("qemu-io", &args);
    assert!(
        !said.contains("failed") && !said.contains("error"),
        "{said}"
    );
    running.stop();
}
