//! Formats and engines by name.

use std::path::Path;

/// A format of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk, nothing else.
    Raw,
    /// QEMU's.
    Qcow2,
    /// Hyper-V's.
    Vhdx,
}

/// How the I/O of files is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// io_uring where the kernel allows it, threads otherwise.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// Threads with blocking calls.
    Threads,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Qcow2, Self::Vhdx];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhdx => "vhdx",
        }
    }

    /// The format of a name.
    ///
    /// # Errors
    /// A message that lists the names.
    pub fn parse(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| format!("`{name}` is no format; help: `raw`, `qcow2` or `vhdx`"))
    }

    /// What the extension of a file's name says, if it says anything.
    pub fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "raw" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            "vhdx" | "avhdx" | "vhds" => Some(Self::Vhdx),
            _ => None,
        }
    }

    /// The format whose magic a file begins with.
    pub fn of_magic(first_bytes: &[u8]) -> Option<Self> {
        if first_bytes.starts_with(b"QFI\xfb") {
            return Some(Self::Qcow2);
        }
        first_bytes.starts_with(b"vhdxfile").then_some(Self::Vhdx)
    }
}

impl Engine {
    /// The engine of a name.
    ///
    /// # Errors
    /// A message that lists the names.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "threads" => Ok(Self::Threads),
            _ => Err(format!(
                "`{name}` is no engine; help: `auto`, `uring` or `threads`"
            )),
        }
    }
}
