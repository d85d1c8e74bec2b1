//! The emulator's command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use super::accel::Accel;
use crate::cmd::Cmd;

/// Everything that differs between two starts of the emulator.
pub(crate) struct Start {
    /// KVM or emulation.
    pub(crate) accel: Accel,
    /// Kernel image.
    pub(crate) kernel: PathBuf,
    /// Archive made by [`super::initramfs`].
    pub(crate) initramfs: PathBuf,
    /// Kernel command line.
    pub(crate) append: String,
    /// Guest memory.
    pub(crate) memory_mib: u32,
    /// Root disk.
    pub(crate) root: Root,
    /// Image of the files under test; never written.
    pub(crate) payload: PathBuf,
    /// Blank image the guest may write.
    pub(crate) scratch: PathBuf,
    /// How the serial ports are connected.
    pub(crate) ports: Ports,
}

/// The root disk of a machine.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// A raw image; never written.
    Raw(PathBuf),
    /// The NBD export without a name at a unix socket; written.
    Nbd(PathBuf),
    /// The vhost-user-blk server at a unix socket; written.
    VhostUser(PathBuf),
}

/// Where the guest's serial ports go.
pub(crate) enum Ports {
    /// One socket each for console, output and reports; this program listens on them.
    Sockets([PathBuf; 3]),
    /// The console is this terminal; reports go to a file, and nothing uses the output port.
    Terminal(PathBuf),
}

impl Start {
    /// Starts the emulator. It is killed when this process ends, however that ends.
    pub(crate) fn spawn(&self, stderr: Stdio) -> Result<Child> {
        let terminal = matches!(self.ports, Ports::Terminal(_));
        let command = self.command();
        let line = command.line().to_owned();
        let mut command = command.into_command();
        if !terminal {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr);
        }
        command.spawn().with_context(|| format!("run `{line}`"))
    }

    fn command(&self) -> Cmd {
        // `setpriv` becomes the emulator, so that the child handle is the emulator's.
        let mut command = Cmd::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args([
                "-machine",
                "q35",
                "-smp",
                "2",
                "-m",
                &self.memory_mib.to_string(),
            ])
            .args(self.accel.options())
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &self.append])
            .args(self.root.arguments(self.memory_mib))
            .args(drive(&self.payload, "readonly=on"))
            .args(drive(&self.scratch, "cache=unsafe"))
            .args(["-device", "virtio-rng-pci"]);
        match &self.ports {
            Ports::Sockets(paths) => {
                for (index, path) in paths.iter().enumerate() {
                    let socket = format!("socket,id=port{index},path={}", path.display());
                    let port = format!("chardev:port{index}");
                    command = command.args(["-chardev", &socket, "-serial", &port]);
                }
                command
            }
            Ports::Terminal(reports) => {
                let reports = format!("file:{}", reports.display());
                command.args([
                    "-serial",
                    "mon:stdio",
                    "-serial",
                    "null",
                    "-serial",
                    &reports,
                ])
            }
        }
    }
}

impl Root {
    /// It comes first, so it is the guest's first disk.
    fn arguments(&self, memory_mib: u32) -> Vec<String> {
        match self {
            Root::Raw(image) => drive(image, "snapshot=on").to_vec(),
            Root::Nbd(socket) => {
                let uri = format!("nbd+unix:///?socket={}", socket.display());
                let drive = format!("if=virtio,format=raw,discard=unmap,file={uri}");
                vec!["-drive".to_owned(), drive]
            }
            // The server reads and writes the guest's memory itself.
            Root::VhostUser(socket) => [
                "-object".to_owned(),
                format!("memory-backend-memfd,id=memory,size={memory_mib}M,share=on"),
                "-machine".to_owned(),
                "memory-backend=memory".to_owned(),
                "-chardev".to_owned(),
                format!("socket,id=root,path={}", socket.display()),
                "-device".to_owned(),
                "vhost-user-blk-pci,chardev=root".to_owned(),
            ]
            .to_vec(),
        }
    }
}

fn drive(image: &Path, options: &str) -> [String; 2] {
    let drive = format!("if=virtio,format=raw,file={},{options}", image.display());
    ["-drive".to_owned(), drive]
}
