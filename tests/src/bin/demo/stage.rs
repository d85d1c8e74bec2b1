//! The stage: a virtual disk with data, a policy, and containers that hold everything back from
//! nobody.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reeve_tests::bundle::Config;
use reeve_tests::{Container, Fixture, host, rootfs, tools};

use crate::failure::Failure;
use crate::table::Style;

/// Name of the disk's image.
const IMAGE: &str = "web1.qcow2";
/// The module that is tried; it makes network devices on demand and does nothing else.
pub(crate) const MODULE: &str = "dummy";

/// Everything on the host that the demo uses.
pub(crate) struct Stage {
    fixture: Fixture,
    size_mib: u64,
    policy: String,
    disk: Disk,
}

impl Stage {
    /// Makes the disk's image and the directories.
    pub(crate) fn set(size_mib: u64) -> Result<Self, Failure> {
        // The owner of a process's directory is its effective user.
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
            return Err(Failure::NotRoot);
        }
        let doctor = tools::reeve()?.arg("doctor").output();
        let doctor = doctor.map_err(|source| io("execve", Path::new("reeve"), source))?;
        if !doctor.status.success() {
            let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
            return Err(Failure::CannotEnforce(text));
        }
        let fixture = Fixture::named("reeve-demo")?;
        let (images, backup) = (fixture.directory("images")?, fixture.directory("backup")?);
        make_image(&fixture.at("raw"), &images.join(IMAGE), size_mib)?;
        let policy = format!(
            "reeve: v1\n\
             name: backup-agent\n\
             description: reads the disks of virtual machines, writes their backups\n\
             files:\n\
             \x20 - {{ path: {}, allow: [read] }}\n\
             \x20 - {{ path: {}, allow: [read, write, create] }}\n",
            images.display(),
            backup.display()
        );
        fixture.file("policy.yaml", &policy)?;
        let disk = Disk::find(&fixture)?;
        Ok(Self {
            fixture,
            size_mib,
            policy,
            disk,
        })
    }

    /// What is shown before anything runs.
    pub(crate) fn describe(&self, style: &Style) -> String {
        format!(
            "{}\n{}\nThe container: all 41 capabilities, the host's `/` at /host read-write, \
             the host's process ids.\nThe disk: {}, {} MiB.\n",
            style.heading("the policy"),
            self.policy,
            self.image().display(),
            self.size_mib
        )
    }

    /// The disk's image.
    pub(crate) fn image(&self) -> PathBuf {
        self.fixture.at("images").join(IMAGE)
    }

    /// Its backup.
    pub(crate) fn backup(&self) -> PathBuf {
        self.fixture.at("backup").join(IMAGE)
    }

    /// Directory of the demo on the host.
    pub(crate) fn fixture(&self) -> &Fixture {
        &self.fixture
    }

    /// The block device that is tried.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk.device
    }

    /// A container with everything, and with `qemu-img` and a kernel module in its root.
    pub(crate) fn container(&self, name: &str) -> Result<Container, Failure> {
        self.container_of(
            name,
            Config {
                host_pid: true,
                ..Config::default()
            },
        )
    }

    /// The same for user 65534 without capabilities.
    pub(crate) fn unprivileged(&self, name: &str) -> Result<Container, Failure> {
        let nobody = Config {
            host_pid: true,
            uid: 65534,
            capabilities: false,
            ..Config::default()
        };
        self.container_of(name, nobody)
    }

    fn container_of(&self, name: &str, config: Config) -> Result<Container, Failure> {
        let container = Container::new(name, config)?;
        let root = container.root();
        let qemu_img = tools::find("qemu-img")?;
        rootfs::copy_program(&qemu_img, &root.join("bin/qemu-img"))?;
        rootfs::add_libraries(&qemu_img, &root)?;
        fs::write(root.join("own/empty"), "").map_err(|source| io("write", &root, source))?;
        let module = host::module_file(MODULE)?;
        let copy = root.join(self.module_in_container(&module).trim_start_matches('/'));
        fs::copy(&module, &copy).map_err(|source| io("copy", &module, source))?;
        Ok(container)
    }

    /// Where the container has its copy of a module: the file itself is not what keeps it out.
    pub(crate) fn module_in_container(&self, module: &Path) -> String {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        format!("/own/{name}")
    }

    /// The policy's text.
    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }
}

/// A block device that may be written: the test machine's scratch disk, or one made of a file.
struct Disk {
    device: PathBuf,
    attached: bool,
}

impl Disk {
    fn find(fixture: &Fixture) -> Result<Self, Failure> {
        // Only the test machines have a third virtual disk and a payload.
        let scratch = PathBuf::from("/dev/vdc");
        if scratch.exists() && Path::new("/payload").is_dir() {
            return Ok(Self {
                device: scratch,
                attached: false,
            });
        }
        let file = fixture.file("disk", vec![0; 1 << 20])?;
        let mut losetup = Command::new("losetup");
        let device = tools::output(losetup.args(["--find", "--show"]).arg(file))?;
        Ok(Self {
            device: PathBuf::from(device.trim()),
            attached: true,
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.attached {
            let _ = Command::new("losetup")
                .arg("--detach")
                .arg(&self.device)
                .status();
        }
    }
}

/// Makes a qcow2 image of `size_mib` whose first three quarters hold data.
fn make_image(raw: &Path, image: &Path, size_mib: u64) -> Result<(), Failure> {
    let mut file = File::create(raw).map_err(|source| io("create", raw, source))?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut chunk = vec![0u8; 1 << 20];
    for _ in 0..(size_mib * 3 / 4).max(1) {
        for word in chunk.chunks_exact_mut(8) {
            // Xorshift: data that neither compresses nor repeats.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&chunk)
            .map_err(|source| io("write", raw, source))?;
    }
    file.set_len(size_mib << 20)
        .map_err(|source| io("ftruncate", raw, source))?;
    let mut convert = Command::new(tools::find("qemu-img")?);
    tools::output(
        convert
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(raw)
            .arg(image),
    )?;
    fs::remove_file(raw).map_err(|source| io("unlink", raw, source))
}

pub(crate) fn io(call: &'static str, path: &Path, source: std::io::Error) -> Failure {
    Failure::Io {
        call,
        path: path.display().to_string(),
        source,
    }
}
