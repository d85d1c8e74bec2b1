//! A server in a thread of the test, and programs that are its clients.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::thread::JoinHandle;

use tempfile::TempDir;
use vmstorage::disk::{Disk, Result};
use vmstorage::engine::{self, IoBufMut, Listener, Stream, spawn};
use vmstorage::nbd::server::{Export, Options, Server};

pub(crate) const MIB: u64 = 1 << 20;

/// A server on a thread of its own, until it is dropped.
pub(crate) struct Running {
    dir: TempDir,
    /// The server stops when it is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// Serves what `exports` makes on the server's thread.
    pub(crate) fn start(exports: impl FnOnce() -> Vec<Export> + Send + 'static) -> Self {
        Self::with(exports, |_| Options::default())
    }

    pub(crate) fn with(
        exports: impl FnOnce() -> Vec<Export> + Send + 'static,
        options: impl FnOnce(&Path) -> Options,
    ) -> Self {
        Self::also(exports, options, None)
    }

    /// Serves on a socket that was handed over, too.
    pub(crate) fn also(
        exports: impl FnOnce() -> Vec<Export> + Send + 'static,
        options: impl FnOnce(&Path) -> Options,
        handed_over: Option<OwnedFd>,
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
                let mut listeners = vec![Listener::unix(&path).unwrap()];
                listeners.extend(handed_over.map(|fd| Listener::from_fd(fd).unwrap()));
                for listener in listeners {
                    let serving = server.clone();
                    spawn(async move { serving.serve(listener).await }).detach();
                }
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

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// A path beside the socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn stop(mut self) {
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

pub(crate) fn export(name: &str, disk: impl Disk + 'static) -> Export {
    Export::new(name, Rc::new(disk))
}

/// Runs a program to its end, which has to be a good one.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
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
pub(crate) fn output(program: &str, args: &[&str]) -> Output {
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

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
