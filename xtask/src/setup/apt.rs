//! Debian packages from suites that the machine's own apt does not know, and need not.
//!
//! Every [`Archive`] has lists, sources and state in the cache. apt itself verifies what it gets:
//! the release file by Debian's key ring, the index by the release file, the package by the index.
//! The sources under `/etc/apt` are neither read nor written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cmd::{self, Cmd};
use crate::{digest, paths};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MAIN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// Package lists younger than this are used as they are.
const FRESH: Duration = Duration::from_secs(6 * 3600);

/// A set of Debian suites that is looked at on its own.
pub(crate) struct Archive {
    /// Folder name in the cache.
    pub(crate) name: &'static str,
    /// Suites of the main archive.
    main: &'static str,
    /// Suites of the security archive; may be empty.
    security: &'static str,
}

/// Debian 12 with its security updates.
pub(crate) const BOOKWORM: Archive = Archive {
    name: "bookworm",
    main: "bookworm",
    security: "bookworm-security",
};

/// Debian 12 with backports; used only with an explicit target release.
pub(crate) const BOOKWORM_BACKPORTS: Archive = Archive {
    name: "bookworm-backports",
    main: "bookworm bookworm-backports",
    security: "bookworm-security",
};

/// Debian 13 with its security updates.
pub(crate) const TRIXIE: Archive = Archive {
    name: "trixie",
    main: "trixie",
    security: "trixie-security",
};

/// What Debian offers for 13 from its next release; nothing else.
pub(crate) const TRIXIE_BACKPORTS: Archive = Archive {
    name: "trixie-backports",
    main: "trixie-backports",
    security: "",
};

/// A package file that was unpacked, for the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    /// File name with version and architecture.
    pub(crate) file: String,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
}

impl Archive {
    fn dir(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("apt").join(self.name))
    }

    /// `apt-get` or `apt-cache` that sees this archive and nothing of `/etc/apt`'s sources.
    fn tool(&self, command: Cmd) -> Result<Cmd> {
        let dir = self.dir()?;
        let options = [
            ("Dir::Etc::SourceList", PathBuf::from("/dev/null")),
            ("Dir::Etc::SourceParts", dir.join("sources")),
            ("Dir::Etc::Preferences", PathBuf::from("/dev/null")),
            ("Dir::Etc::PreferencesParts", dir.join("preferences")),
            ("Dir::State::Lists", dir.join("lists")),
            ("Dir::Cache::pkgcache", PathBuf::new()),
            ("Dir::Cache::srcpkgcache", PathBuf::new()),
            ("Acquire::Languages", PathBuf::from("none")),
            ("Acquire::Retries", PathBuf::from("3")),
            ("APT::Sandbox::User", PathBuf::from("root")),
        ];
        Ok(options
            .into_iter()
            .fold(command.env("LC_ALL", "C.UTF-8"), |command, (key, value)| {
                command.arg("-o").arg(format!("{key}={}", value.display()))
            }))
    }

    /// As [`Archive::tool`], for a machine on which nothing is installed: for downloads only.
    fn isolated(&self, program: &str) -> Result<Cmd> {
        let status = self.dir()?.join("status");
        Ok(self
            .tool(Cmd::new(program))?
            .arg("-o")
            .arg(format!("Dir::State::Status={}", status.display())))
    }

    /// Makes the package lists fresh.
    fn update(&self) -> Result<()> {
        if !Path::new(KEYRING).is_file() || !cmd::found("apt-get") {
            bail!(
                "no `apt-get` with `{KEYRING}` here\nhelp: on another distribution, install the \
                 package `debian-archive-keyring` and apt, or work on Debian 12"
            );
        }
        let dir = self.dir()?;
        for name in ["sources", "preferences", "lists/partial"] {
            paths::create_dir(&dir.join(name))?;
        }
        write_if_changed(&dir.join("status"), "")?;
        let changed = write_if_changed(&dir.join("sources/debian.sources"), &self.sources())?;
        let stamp = dir.join("updated");
        if !changed && age(&stamp).is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        self.isolated("apt-get")?
            .arg("update")
            .arg("--error-on=any")
            .quiet()?;
        fs::write(&stamp, "").with_context(|| format!("write `{}`", stamp.display()))
    }

    fn sources(&self) -> String {
        let mut text = String::new();
        for (uri, suites) in [(MAIN, self.main), (SECURITY, self.security)] {
            if !suites.is_empty() {
                text.push_str(&format!(
                    "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n\
                     Signed-By: {KEYRING}\n\n"
                ));
            }
        }
        text
    }

    /// The names in the `Depends` field of `package`'s newest version here.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let shown = self
            .isolated("apt-cache")?
            .args(["show", "--no-all-versions", package]);
        let text = shown.read()?;
        let field = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let names = field.unwrap_or_default().split([',', '|']);
        let bare = |name: &str| {
            name.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        Ok(names.map(bare).filter(|name| !name.is_empty()).collect())
    }

    /// Downloads `packages` and unpacks them into `into`, without installing anything.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<Vec<Unpacked>> {
        self.update()?;
        paths::create_dir(into)?;
        let temporary =
            tempfile::tempdir_in(self.dir()?).context("make a directory in the cache")?;
        let download = self.isolated("apt-get")?.arg("download").args(packages);
        download.dir(temporary.path()).quiet()?;
        let mut unpacked = Vec::new();
        let entries = fs::read_dir(temporary.path()).context("list the downloaded packages")?;
        for entry in entries {
            let path = entry.context("list the downloaded packages")?.path();
            Cmd::new("dpkg-deb")
                .arg("--extract")
                .arg(&path)
                .arg(into)
                .quiet()?;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            unpacked.push(Unpacked {
                file: name,
                sha256: digest::of_file(&path)?,
            });
        }
        unpacked.sort_by(|a, b| a.file.cmp(&b.file));
        if unpacked.len() != packages.len() {
            bail!(
                "`apt-get download` gave {} of {} packages",
                unpacked.len(),
                packages.len()
            );
        }
        Ok(unpacked)
    }

    /// Installs `packages` on this machine. `release` prefers that suite for them.
    pub(crate) fn install(&self, packages: &[&str], release: Option<&str>) -> Result<()> {
        require_debian_12(packages)?;
        self.update()?;
        eprintln!("  installing with apt: {}", packages.join(" "));
        let mut command = self.tool(Cmd::root("apt-get")?)?;
        if let Some(release) = release {
            command = command.args(["--target-release", release]);
        }
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .quiet()
    }
}

/// Packages of Debian 12 are installed on Debian 12 only.
fn require_debian_12(packages: &[&str]) -> Result<()> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    if field("ID=") == "debian" && field("VERSION_ID=") == "12" {
        return Ok(());
    }
    bail!(
        "this machine is not Debian 12, so nothing is installed on it\nhelp: install what gives it \
         these, then try again: {}",
        packages.join(" ")
    )
}

fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    SystemTime::now().duration_since(modified).ok()
}

/// True if the file had another content, or none.
fn write_if_changed(path: &Path, text: &str) -> Result<bool> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    Ok(true)
}
