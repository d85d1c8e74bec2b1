//! What may be done to a file or below a directory, as bits with names.

/// A set of file actions. The names in [`Rights::NAMES`] are the words of the policy language.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(pub u32);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Open for reading, list a directory, map readable.
    pub const READ: Self = Self(1 << 0);
    /// Open for writing, map shared and writable.
    pub const WRITE: Self = Self(1 << 1);
    /// Make a new entry in a directory and fill it through the descriptor that made it.
    pub const CREATE: Self = Self(1 << 2);
    /// Remove an entry (unlink, rmdir, or be replaced by a rename).
    pub const DELETE: Self = Self(1 << 3);
    /// Rename or move the object.
    pub const RENAME: Self = Self(1 << 4);
    /// Give the object another hard link.
    pub const LINK: Self = Self(1 << 5);
    /// Cut or extend to a length (`truncate`, `O_TRUNC`).
    pub const TRUNCATE: Self = Self(1 << 6);
    /// Change permission bits.
    pub const CHMOD: Self = Self(1 << 7);
    /// Change owner or group.
    pub const CHOWN: Self = Self(1 << 8);
    /// Execute, or map executable.
    pub const EXECUTE: Self = Self(1 << 9);
    /// Make a fifo or socket; a device node where its number is granted for that, too.
    pub const MKNOD: Self = Self(1 << 10);
    /// Set or remove extended attributes and access control lists.
    pub const XATTR: Self = Self(1 << 11);
    /// Open for adding at the end, never to overwrite.
    pub const APPEND: Self = Self(1 << 12);
    /// Set the times of access and change.
    pub const TIMES: Self = Self(1 << 13);
    /// Set what `chattr` sets: immutable, append-only, no dump, project.
    pub const FLAGS: Self = Self(1 << 14);
    /// Every `ioctl`.
    pub const IOCTL: Self = Self(1 << 15);
    /// Every right there is: what a container has over its own files.
    pub const ALL: Self = Self((1 << 16) - 1);

    /// Name and bit of each right, in the order in which they are documented.
    pub const NAMES: [(&'static str, Self); 16] = [
        ("read", Self::READ),
        ("write", Self::WRITE),
        ("append", Self::APPEND),
        ("create", Self::CREATE),
        ("delete", Self::DELETE),
        ("rename", Self::RENAME),
        ("link", Self::LINK),
        ("truncate", Self::TRUNCATE),
        ("chmod", Self::CHMOD),
        ("chown", Self::CHOWN),
        ("execute", Self::EXECUTE),
        ("mknod", Self::MKNOD),
        ("xattr", Self::XATTR),
        ("times", Self::TIMES),
        ("flags", Self::FLAGS),
        ("ioctl", Self::IOCTL),
    ];

    /// Whether every right of `other` is in `self`.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no right is set.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Rights of either.
    #[inline(always)]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Rights of `self` that `other` lacks.
    #[inline(always)]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The right of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut found = None;
        for (known, right) in Self::NAMES {
            if known == name {
                found = Some(right);
            }
        }
        found
    }

    /// The names of the rights in the set, in documented order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(_, right)| self.contains(*right))
            .map(|(name, _)| name)
    }
}

impl core::ops::BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl core::fmt::Debug for Rights {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Rights over objects of the section `ipc`, in the same bits as those over files but with words of
/// their own.
pub mod ipc {
    use super::Rights;

    /// Attach for reading, receive, look at; the content of a key.
    pub const READ: Rights = Rights(1 << 0);
    /// Attach for writing, send, change; replace a key, change a keyring.
    pub const WRITE: Rights = Rights(1 << 1);
    /// Make a new one.
    pub const CREATE: Rights = Rights(1 << 2);
    /// Remove a POSIX message queue.
    pub const DELETE: Rights = Rights(1 << 3);
    /// Remove, lock, change owner and mode.
    pub const CONTROL: Rights = Rights(1 << 4);
    /// Attributes of a key.
    pub const VIEW: Rights = Rights(1 << 5);
    /// Find a key by its description; search a keyring.
    pub const SEARCH: Rights = Rights(1 << 6);
    /// Link a key to a keyring.
    pub const LINK: Rights = Rights(1 << 7);
    /// Change owner, permissions and lifetime of a key.
    pub const SETATTR: Rights = Rights(1 << 8);

    /// Name and bit of each right, in the order in which they are documented.
    pub const NAMES: [(&str, Rights); 9] = [
        ("read", READ),
        ("write", WRITE),
        ("create", CREATE),
        ("delete", DELETE),
        ("control", CONTROL),
        ("view", VIEW),
        ("search", SEARCH),
        ("link", LINK),
        ("setattr", SETATTR),
    ];

    /// The names of the rights in the set, in documented order.
    pub fn names(rights: Rights) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .filter(move |(_, right)| rights.contains(*right))
            .map(|(name, _)| name)
    }
}
