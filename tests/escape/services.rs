//! Processes of the host, and what they offer: those that an attempt names are started for it.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reeve_tests::{host, tools};

use crate::ground::host_probe;

/// What runs for an attempt; ended when dropped.
#[derive(Default)]
pub(crate) struct Services {
    children: Vec<Child>,
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    names: Vec<UnixListener>,
}

impl Services {
    /// Starts what `text` names; adds the words for it.
    pub(crate) fn start(
        &mut self,
        text: &str,
        plot: &Path,
        words: &mut Vec<(&'static str, String)>,
    ) {
        if text.contains("{pid}") || text.contains("{other}") {
            let pid = self.bystander(plot);
            words.push(("pid", pid.to_string()));
            words.push(("other", pid.to_string()));
            words.push(("address", first_address(pid)));
        }
        if text.contains("{gone}") {
            words.push(("gone", host_probe(&["pid"])));
        }
        if text.contains("{hand}") {
            let socket = plot.join("hand");
            self.hand_out(plot, &socket);
            words.push(("hand", reeve_tests::fixture::in_container(&socket)));
        }
        if text.contains("{port}") {
            words.push(("port", self.listen().to_be().to_string()));
        }
        if text.contains("{name}") {
            words.push(("name", format!("4:{:#x}", u32::from_ne_bytes(*b"reev"))));
            words.push(("namelength", "7".to_owned()));
            let name = SocketAddr::from_abstract_name(b"reev").expect("a name");
            self.names
                .push(UnixListener::bind_addr(&name).expect("bind"));
        }
        if text.contains("{queue}") {
            let name = plot.file_name().unwrap_or_default().to_string_lossy();
            let made = format!("'{name}");
            host_probe(&["call", "mq_open", &made, "0102", "0600", "0"]);
            words.push(("queue", name.into_owned()));
        }
        for (word, make) in OBJECTS {
            if text.contains(&format!("{{{word}}}")) {
                words.push((word, host_probe(make)));
            }
        }
    }

    /// A process that waits in `plot`, with its file as descriptor 2.
    fn bystander(&mut self, plot: &Path) -> u32 {
        let file = File::options()
            .read(true)
            .write(true)
            .open(plot.join("file"));
        let child = Command::new(tools::find("probe").expect("the probe"))
            .args(["hold", "0"])
            .process_group(0)
            .current_dir(plot)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file.expect("open a file"))
            .spawn()
            .expect("start a process");
        let pid = child.id();
        self.children.push(child);
        pid
    }

    fn hand_out(&mut self, plot: &Path, socket: &Path) {
        let child = Command::new(tools::find("probe").expect("the probe"))
            .arg("hand-out")
            .arg(socket)
            .arg(plot.join("second"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.children.push(child.expect("start a process"));
        host::wait_until("the socket", Duration::from_secs(10), || {
            socket.exists().then_some(())
        })
        .expect("the socket");
    }

    /// Listens for streams and datagrams on one port.
    fn listen(&mut self) -> u16 {
        let stream = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        let port = stream.local_addr().expect("the port").port();
        self.streams.push(stream);
        self.datagrams.extend(UdpSocket::bind(("127.0.0.1", port)));
        port
    }
}

/// Where the first mapping of a process begins.
fn first_address(pid: u32) -> String {
    // It is said to execute before its program is mapped.
    let maps = host::wait_until("its program", Duration::from_secs(10), || {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        maps.contains("[heap]").then_some(maps)
    });
    let maps = maps.expect("its mappings");
    let (first, _) = maps.split_once('-').expect("a mapping");
    format!("0x{first}")
}

/// Objects without a file, and what makes each: only root may use them.
const OBJECTS: [(&str, &[&str]); 4] = [
    ("shm", &["call", "shmget", "0", "4096", "01600"]),
    ("sem", &["call", "semget", "0", "1", "01600"]),
    ("msg", &["call", "msgget", "0", "01600"]),
    (
        "key",
        &["call", "add_key", "'user", "'reeve-test", "'x", "1", "-4"],
    ),
];

impl Drop for Services {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
