//! The files of one run, and the start of the emulator on them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::accel::Accel;
use super::initramfs;
use super::machine::Machine;
use super::monitor::{self, Limits, Listeners, Mode, Seen};
use super::qemu::{Ports, Root, Start};
use crate::cmd::Cmd;
use crate::setup::guest_root;
use crate::{build, paths, scratch};

/// Always on the kernel's command line. Emulation under load is slow, so watchdogs are patient.
const APPEND: &str = "console=ttyS0 loglevel=5 panic=-1 watchdog_thresh=30 \
                      rcupdate.rcu_cpu_stall_timeout=120 rdinit=/init";

/// Size of the blank disk.
const SCRATCH_MIB: u64 = 64;

/// Room in the payload's image beside the files.
const PAYLOAD_FREE_MIB: u64 = 16;

/// The files of one run; removed with it.
pub(crate) struct Files {
    dir: tempfile::TempDir,
    root: Root,
    payload: PathBuf,
    scratch: PathBuf,
    initramfs: PathBuf,
}

impl Files {
    /// Makes the disks and the initramfs of `machine`.
    pub(crate) fn make(machine: &Machine) -> Result<Files> {
        let dir = scratch::dir("vm")?;
        let at = |name: &str| dir.path().join(name);
        let (payload, scratch, initramfs) = (at("payload"), at("scratch"), at("initramfs"));
        let empty = at("empty");
        paths::create_dir(&empty)?;
        let content = machine.payload.as_deref().unwrap_or(&empty);
        let tool = |program: &str| Ok(Cmd::new(program));
        guest_root::make_image(tool, content, &payload, PAYLOAD_FREE_MIB)?;
        let blank = File::create(&scratch).context("create the scratch disk")?;
        blank
            .set_len(SCRATCH_MIB << 20)
            .context("size the scratch disk")?;
        let init = build::guest_init()?;
        initramfs::write(&initramfs, &machine.kernel, &init, &machine.job)?;
        let root = match &machine.root {
            Some(root) => root.clone(),
            None => Root::Raw(guest_root::installed()?.context("the guest root is missing")?),
        };
        Ok(Files {
            dir,
            root,
            payload,
            scratch,
            initramfs,
        })
    }

    /// Starts the machine and watches it to its end.
    pub(crate) fn start(
        &self,
        machine: &Machine,
        accel: Accel,
        limits: Limits,
        mode: Mode,
    ) -> Result<Seen> {
        let sockets = ["console", "output", "reports"].map(|name| self.at(&format!("{name}.sock")));
        for socket in &sockets {
            // Left over from an earlier attempt, or not there.
            let _not_there = fs::remove_file(socket);
        }
        let listeners = Listeners::bind(&sockets)?;
        let said = self.at("qemu.log");
        let log = File::create(&said).context("create the emulator's log")?;
        let start = self.describe(machine, accel, Ports::Sockets(sockets));
        let child = start.spawn(Stdio::from(log))?;
        monitor::watch(child, listeners, limits, mode).with_context(|| {
            let text = fs::read_to_string(&said).unwrap_or_default();
            format!("watch the machine; the emulator said: {}", text.trim())
        })
    }

    /// Starts the machine with its console on this terminal and waits for its end.
    pub(crate) fn start_on_terminal(&self, machine: &Machine, accel: Accel) -> Result<()> {
        let ports = Ports::Terminal(self.at("reports"));
        let mut child = self
            .describe(machine, accel, ports)
            .spawn(Stdio::inherit())?;
        child.wait().context("wait for the emulator").map(drop)
    }

    fn describe(&self, machine: &Machine, accel: Accel, ports: Ports) -> Start {
        Start {
            accel,
            kernel: machine.kernel.image(),
            initramfs: self.initramfs.clone(),
            append: format!("{APPEND} {} {}", accel.append(), machine.append),
            memory_mib: machine.memory_mib,
            root: self.root.clone(),
            payload: self.payload.clone(),
            scratch: self.scratch.clone(),
            ports,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
