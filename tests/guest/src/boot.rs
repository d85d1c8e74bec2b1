//! From the initramfs to the root disk.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use guest_init::{Job, layout};
use rustix::mount::{MountFlags, mount, mount_move};

use crate::error::{Context as _, Error};

/// How long a disk may take to appear once its driver is loaded; emulation is slow.
const DISK_WAIT: Duration = Duration::from_secs(20);

/// Loads the disk drivers, mounts the root disk and makes it `/`; returns the job to run.
pub(crate) fn enter_root() -> Result<Job, Error> {
    make_dir("/dev")?;
    // CONFIG_DEVTMPFS_MOUNT does it only for a root without initramfs.
    mount("dev", "/dev", "devtmpfs", MountFlags::NOSUID, None)
        .call(|| "mount devtmpfs".to_owned())?;
    let text = fs::read(layout::JOB_FILE).call(|| format!("read `{}`", layout::JOB_FILE))?;
    let job = serde_json::from_slice(&text).call(|| format!("parse `{}`", layout::JOB_FILE))?;
    load_modules()?;
    wait_for(layout::ROOT_DISK)?;
    make_dir("/newroot")?;
    mount(
        layout::ROOT_DISK,
        "/newroot",
        "ext4",
        MountFlags::empty(),
        None,
    )
    .call(|| format!("mount `{}`", layout::ROOT_DISK))?;
    switch_root("/newroot")?;
    Ok(job)
}

/// Waits until `device` is there.
pub(crate) fn wait_for(device: &str) -> Result<(), Error> {
    let start = Instant::now();
    while !Path::new(device).exists() {
        if start.elapsed() > DISK_WAIT {
            return Err(Error::new(
                format!("wait for `{device}`"),
                "it did not appear",
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn load_modules() -> Result<(), Error> {
    let list = fs::read_to_string(layout::MODULES_FILE)
        .call(|| format!("read `{}`", layout::MODULES_FILE))?;
    for path in list.lines() {
        let file = File::open(path).call(|| format!("open `{path}`"))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Error::new(format!("finit_module `{path}`"), errno)),
        }
    }
    Ok(())
}

/// Makes `root` the root of this process. The initramfs stays underneath, out of reach by path.
fn switch_root(root: &str) -> Result<(), Error> {
    rustix::process::chdir(root).call(|| format!("chdir `{root}`"))?;
    mount_move(".", "/").call(|| format!("move mount `{root}` to `/`"))?;
    rustix::process::chroot(".").call(|| format!("chroot `{root}`"))?;
    rustix::process::chdir("/").call(|| "chdir `/`".to_owned())
}

fn make_dir(path: &str) -> Result<(), Error> {
    fs::create_dir_all(path).call(|| format!("mkdir `{path}`"))
}
