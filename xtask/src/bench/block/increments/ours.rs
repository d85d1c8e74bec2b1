//! `vmstorage serve` and `vmstorage backup`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::super::running::Running;
use super::{Chain, Last};
use crate::cmd::Cmd;

/// A tracked disk and its backups.
pub(super) struct Ours {
    program: PathBuf,
    dir: PathBuf,
    plain: bool,
    running: Running,
    /// Number of the last checkpoint that was backed up.
    last: u32,
}

impl Ours {
    pub(super) fn start(
        program: &Path,
        disk: &Path,
        dir: &Path,
        block_kib: u32,
        plain: bool,
    ) -> Result<Self> {
        let socket = dir.join("nbd");
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(disk)
            .args(["--format=raw", "--name=disk", "--direct"])
            .arg(format!("--track={}", dir.join("map").display()))
            .arg(format!("--track-block={block_kib}K"))
            .arg(format!("--listen=unix:{}", socket.display()))
            .arg(format!("--control={}", dir.join("control").display()));
        let running = Running::launch(command, "vmstorage", socket, dir)?;
        let mut ours = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            plain,
            running,
            last: 0,
        };
        ours.back_up(None)?;
        Ok(ours)
    }

    fn checkpoint(&self, verb: &str, number: u32) -> Result<()> {
        Cmd::new(&self.program)
            .args(["ctl", "--control"])
            .arg(self.dir.join("control"))
            .args(["checkpoint", verb])
            .arg(format!("p{number}"))
            .quiet()
    }

    fn back_up(&mut self, since: Option<u32>) -> Result<()> {
        let number = self.last + 1;
        self.checkpoint("create", number)?;
        self.checkpoint("export", number)?;
        let socket = self.dir.join("nbd");
        let mut run = Cmd::new(&self.program)
            .args(["backup", "run"])
            .arg(format!(
                "nbd+unix:///disk@p{number}?socket={}",
                socket.display()
            ))
            .arg(self.dir.join("backups"));
        if self.plain {
            run = run.arg("--plain");
        }
        if let Some(since) = since {
            run = run.arg(format!("--since=p{since}"));
        }
        run.quiet()?;
        self.checkpoint("convert", number)?;
        self.last = number;
        Ok(())
    }
}

impl Chain for Ours {
    fn running(&self) -> &Running {
        &self.running
    }

    fn increment(&mut self) -> Result<()> {
        self.back_up(Some(self.last))
    }

    fn last(self: Box<Self>) -> Result<Last> {
        let Self {
            program,
            dir,
            plain,
            running,
            last,
        } = *self;
        drop(running);
        let backups = dir.join("backups");
        if plain {
            return Ok(Last {
                image: format!("{}/disk-{last:04}.qcow2", backups.display()),
                format: "qcow2",
                _server: None,
            });
        }
        let socket = dir.join("look");
        let mut command = Command::new(program);
        command
            .args(["backup", "mount"])
            .arg(backups)
            .arg("latest")
            .arg(format!("--listen=unix:{}", socket.display()));
        Ok(Last {
            image: format!("nbd+unix:///disk?socket={}", socket.display()),
            format: "raw",
            _server: Some(Running::launch(command, "vmstorage", socket, &dir)?),
        })
    }
}
