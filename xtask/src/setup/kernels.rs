//! The kernels that the tests boot, and how each is had.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::{self, Archive, Unpacked};
use crate::cmd::{self, Cmd};
use crate::paths;

/// A kernel of Debian, found through the package that always names the newest one of a suite.
pub(crate) struct Source {
    /// Folder in the cache.
    pub(crate) name: &'static str,
    /// What it stands for among the tests.
    pub(crate) purpose: &'static str,
    archive: &'static Archive,
}

/// Oldest first.
pub(crate) const SOURCES: [Source; 3] = [
    Source {
        name: "6.1",
        purpose: "oldest kernel supported",
        archive: &apt::BOOKWORM,
    },
    Source {
        name: "6.12",
        purpose: "long-term kernel",
        archive: &apt::TRIXIE,
    },
    Source {
        name: "newest",
        purpose: "newest kernel",
        archive: &apt::TRIXIE_BACKPORTS,
    },
];

/// Debian's kernel for virtual machines: small, and with everything the tests need.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// The packages a kernel is split into; the others that it depends on are for its installation.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// A kernel in the cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    /// What it was unpacked from.
    packages: Vec<Unpacked>,
    #[serde(skip)]
    dir: PathBuf,
}

impl Kernel {
    /// Major and minor version: `6.12`.
    pub(crate) fn version(&self) -> String {
        self.release
            .split(['.', '-', '+'])
            .take(2)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The image to boot.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The directory of the modules and their index.
    pub(crate) fn modules(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.release)
    }

    /// Identifies its content.
    pub(crate) fn fingerprint(&self) -> String {
        self.packages
            .iter()
            .map(|package| package.sha256.as_str())
            .collect()
    }

    /// True if `name` on the command line means this kernel: `6.1`, `7`, `7.3`, a full release.
    fn is_called(&self, source: &Source, name: &str) -> bool {
        let rest = self.release.strip_prefix(name);
        name == source.name || rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_numeric()))
    }
}

impl Source {
    fn dir(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("kernels").join(self.name))
    }

    /// The kernel in the cache, if it is there.
    pub(crate) fn installed(&self) -> Result<Option<Kernel>> {
        let dir = self.dir()?;
        let Ok(text) = fs::read_to_string(dir.join("manifest.json")) else {
            return Ok(None);
        };
        let kernel: Kernel = serde_json::from_str(&text)
            .with_context(|| format!("read `{}`", dir.join("manifest.json").display()))?;
        let kernel = Kernel { dir, ..kernel };
        Ok((kernel.image().is_file() && kernel.modules().is_dir()).then_some(kernel))
    }

    /// Downloads and unpacks the newest kernel of the suite.
    pub(crate) fn install(&self) -> Result<()> {
        let dir = self.dir()?;
        let new = dir.with_extension("new");
        paths::remove_dir(&new)?;
        let tree = new.join("deb");
        let packages = self.archive.unpack(&self.packages()?, &tree)?;
        let modules = find_modules(&tree)?;
        let release = modules
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let image = find_image(&tree, &modules, &release)?;
        rename(&image, &new.join("vmlinuz"))?;
        paths::create_dir(&new.join("lib/modules"))?;
        let kept = new.join("lib/modules").join(&release);
        rename(&modules, &kept)?;
        paths::remove_dir(&tree)?;
        plain_modules(&kept)?;
        let depmod = Cmd::new("depmod").env("PATH", cmd::full_path());
        depmod.arg("--basedir").arg(&new).arg(&release).quiet()?;
        let kernel = Kernel {
            release,
            packages,
            dir: PathBuf::new(),
        };
        let manifest = serde_json::to_string_pretty(&kernel).context("write the manifest")?;
        fs::write(new.join("manifest.json"), manifest).context("write the manifest")?;
        paths::replace_dir(&new, &dir)
    }

    /// The packages of the newest kernel, from the meta package down.
    fn packages(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        let mut look_at = vec![META_PACKAGE.to_owned()];
        while let Some(package) = look_at.pop() {
            for name in self.archive.depends(&package)? {
                let wanted = PARTS.iter().any(|part| name.starts_with(part));
                if wanted && !found.contains(&name) {
                    found.push(name.clone());
                    look_at.push(name);
                }
            }
        }
        if found.is_empty() {
            bail!(
                "`{META_PACKAGE}` of {} depends on no kernel",
                self.archive.name
            );
        }
        Ok(found)
    }
}

/// Every kernel in the cache, oldest first; an error if one is missing.
pub(crate) fn all() -> Result<Vec<Kernel>> {
    let installed = |source: &Source| {
        let kernel = source.installed()?;
        kernel
            .with_context(|| format!("kernel {} is missing: run `cargo xtask setup`", source.name))
    };
    SOURCES.iter().map(installed).collect()
}

/// The kernels that `name` means: one, or `all`.
pub(crate) fn named(name: &str) -> Result<Vec<Kernel>> {
    let kernels = all()?;
    if name == "all" {
        return Ok(kernels);
    }
    let known = kernels
        .iter()
        .map(Kernel::version)
        .collect::<Vec<_>>()
        .join(", ");
    let mut pairs = SOURCES.iter().zip(kernels);
    let found = pairs.find(|(source, kernel)| kernel.is_called(source, name));
    let (_, kernel) = found
        .with_context(|| format!("no kernel `{name}`\nhelp: there are {known}, newest, all"))?;
    Ok(vec![kernel])
}

/// The one directory below `lib/modules`, wherever this version of the package has it.
fn find_modules(tree: &Path) -> Result<PathBuf> {
    for base in ["lib/modules", "usr/lib/modules"] {
        let Ok(mut entries) = fs::read_dir(tree.join(base)) else {
            continue;
        };
        if let Some(entry) = entries.next() {
            return Ok(entry.context("list the kernel's modules")?.path());
        }
    }
    bail!(
        "no `lib/modules` in the kernel's packages (`{}`)",
        tree.display()
    )
}

fn find_image(tree: &Path, modules: &Path, release: &str) -> Result<PathBuf> {
    let places = [
        tree.join(format!("boot/vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ];
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("no kernel image in the packages of {release}"))
}

/// Decompresses every module, so that a guest without `xz` can load it.
fn plain_modules(dir: &Path) -> Result<()> {
    let list = Cmd::new("find")
        .arg(dir)
        .args(["-name", "*.ko.xz"])
        .read()?;
    let files: Vec<&str> = list.lines().collect();
    for batch in files.chunks(200) {
        Cmd::new("xz")
            .args(["--decompress", "--threads=0"])
            .args(batch)
            .quiet()?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("rename `{}` to `{}`", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::{Kernel, SOURCES};
    use std::path::PathBuf;

    fn kernel(release: &str) -> Kernel {
        Kernel {
            release: release.to_owned(),
            packages: Vec::new(),
            dir: PathBuf::new(),
        }
    }

    #[test]
    fn a_short_name_does_not_mean_a_longer_version() {
        let [oldest, middle, newest] = &SOURCES;
        assert!(kernel("6.1.0-56-cloud-amd64").is_called(oldest, "6.1"));
        assert!(!kernel("6.12.107+deb13-cloud-amd64").is_called(middle, "6.1"));
        assert!(kernel("7.3.4+deb13-cloud-amd64").is_called(newest, "7.3"));
        assert!(kernel("7.3.4+deb13-cloud-amd64").is_called(newest, "7"));
        assert!(kernel("7.3.4+deb13-cloud-amd64").is_called(newest, "newest"));
    }

    #[test]
    fn the_version_is_the_first_two_numbers() {
        assert_eq!(kernel("6.12.107+deb13-cloud-amd64").version(), "6.12");
        assert_eq!(kernel("6.1.0-56-cloud-amd64").version(), "6.1");
    }
}
