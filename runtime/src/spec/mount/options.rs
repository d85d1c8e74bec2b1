//! The words of a mount's `options` (OCI runtime specification, "Linux mount options").

use super::{FsOption, MountAttrs, attr};
use crate::spec::{Error, Problem};

/// Options that change attributes: name, bits to set, bits to clear. With an `r` before the name
/// they hold for the mounts below too (`rro`).
const ATTR_OPTIONS: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("norelatime", attr::STRICTATIME, attr::ATIME),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nostrictatime", 0, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// Words for how every super block is anyway. Like their opposites they go to the new file system,
/// as does all that is unknown here.
const SUPER_DEFAULTS: [&str; 3] = ["async", "nolazytime", "nomand"];

/// Words that change nothing. The first two say how much the kernel logs, for which the mount calls
/// have no word any more; and whether a file system counts versions of its inodes is its own
/// decision (ext4 was the last one to ask, before Linux 6.1).
const WITHOUT_EFFECT: [&str; 6] = ["", "defaults", "silent", "loud", "iversion", "noiversion"];

/// Options of a kind of mount of their own.
const WORDS: [&str; 9] = [
    "bind",
    "rbind",
    "remount",
    "tmpcopyup",
    "idmap",
    "ridmap",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
];

/// Words for how a super block is otherwise than usual; the kernel takes them for every type.
const SUPER_FLAGS: [&str; 4] = ["sync", "dirsync", "lazytime", "mand"];

/// All options that are not left to the file system's type, for `reeve features`.
pub fn known_mount_options() -> impl Iterator<Item = String> {
    let both = |name: &str| [name.to_owned(), format!("r{name}")];
    let attrs = ATTR_OPTIONS.iter().flat_map(move |(name, ..)| both(name));
    let propagation = PROPAGATION.iter().flat_map(move |(name, _)| both(name));
    let plain = [&WORDS[..], &SUPER_FLAGS, &SUPER_DEFAULTS, &WITHOUT_EFFECT];
    let plain = plain.into_iter().flatten().filter(|word| !word.is_empty());
    attrs
        .chain(propagation)
        .chain(plain.map(|word| (*word).to_owned()))
}

/// Which mounts an id mapping holds for, and from where it comes if the option says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdmapOption {
    /// For the mounts below too.
    pub(super) recursive: bool,
    /// What follows `idmap=`.
    pub(super) ranges: Option<String>,
}

/// All options of a mount, sorted by what they change.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) attrs: MountAttrs,
    pub(super) recursive_attrs: MountAttrs,
    pub(super) propagation: Vec<(u64, bool)>,
    /// With `true` for the mounts below too.
    pub(super) bind: Option<bool>,
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    pub(super) copy_symlink: bool,
    pub(super) source_nofollow: bool,
    pub(super) target_nofollow: bool,
    pub(super) idmap: Option<IdmapOption>,
    /// For the file system.
    pub(super) data: Vec<FsOption>,
}

impl Options {
    /// Takes in one more word; of two that contradict each other the later one holds.
    pub(super) fn take(&mut self, key: &str, option: &str) -> Result<(), Error> {
        if option.contains('\0') {
            return Err(Error::invalid(key, Problem::Nul));
        }
        if !self.take_word(option) && !self.take_attr(option) {
            self.data.extend(split_data(option));
        }
        Ok(())
    }

    fn take_word(&mut self, option: &str) -> bool {
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.source_nofollow = true,
            "dest-nofollow" => self.target_nofollow = true,
            _ if WITHOUT_EFFECT.contains(&option) => {}
            _ => {
                let (word, ranges) = match option.split_once('=') {
                    Some((word, ranges)) => (word, Some(ranges.to_owned())),
                    None => (option, None),
                };
                let recursive = word == "ridmap";
                if !recursive && word != "idmap" {
                    return false;
                }
                self.idmap = Some(IdmapOption { recursive, ranges });
            }
        }
        true
    }

    fn take_attr(&mut self, option: &str) -> bool {
        let find_attr = |name: &str| ATTR_OPTIONS.iter().find(|(known, ..)| *known == name);
        let find_propagation = |name: &str| PROPAGATION.iter().find(|(known, _)| *known == name);
        let inner = option.strip_prefix('r');
        if let Some((_, set, clear)) = find_attr(option) {
            self.attrs.apply(*set, *clear);
        } else if let Some((_, set, clear)) = inner.and_then(find_attr) {
            self.recursive_attrs.apply(*set, *clear);
        } else if let Some((_, flag)) = find_propagation(option) {
            self.propagation.push((*flag, false));
        } else if let Some((_, flag)) = inner.and_then(find_propagation) {
            self.propagation.push((*flag, true));
        } else {
            return false;
        }
        true
    }

    /// The file system's options of a mount that has no file system of its own to change: none but
    /// words for what is so anyway.
    pub(super) fn refuse_data(&self, key: &str, what: &'static str) -> Result<(), Error> {
        let mut data = self.data.iter();
        let changes =
            |(name, value): &&FsOption| value.is_some() || !SUPER_DEFAULTS.contains(&name.as_str());
        match data.find(changes) {
            Some((name, _)) => {
                let problem = Problem::FsOption(what, name.clone());
                Err(Error::invalid(format!("{key}.options"), problem))
            }
            None => Ok(()),
        }
    }
}

/// Options of a file system from one word, which may hold several: to `mount(2)` they were one
/// string with commas. A comma between double quotes belongs to a value, the quotes do not.
fn split_data(word: &str) -> impl Iterator<Item = FsOption> {
    let mut quoted = false;
    let pieces = word.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    let pieces = pieces.filter(|piece| !piece.is_empty());
    pieces.map(|piece| match piece.split_once('=') {
        Some((name, value)) => {
            let inner = value.strip_prefix('"');
            let inner = inner.and_then(|value| value.strip_suffix('"'));
            (name.to_owned(), Some(inner.unwrap_or(value).to_owned()))
        }
        None => (piece.to_owned(), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> Options {
        let mut options = Options::default();
        for word in words {
            options.take("o", word).unwrap();
        }
        options
    }

    /// The specification's table, but for the words that have tests of their own.
    #[test]
    fn every_word_of_the_specification_is_known() {
        for (word, ..) in ATTR_OPTIONS {
            let plain = taken(&[word]);
            assert!(!plain.attrs.is_empty() && plain.data.is_empty(), "{word}");
            let recursive = taken(&[&format!("r{word}")]);
            assert!(recursive.attrs.is_empty() && recursive.data.is_empty());
            assert_eq!(recursive.recursive_attrs, plain.attrs, "r{word}");
        }
        for (word, flag) in PROPAGATION {
            assert_eq!(taken(&[word]).propagation, [(*flag, false)]);
            assert_eq!(taken(&[&format!("r{word}")]).propagation, [(*flag, true)]);
        }
        for word in WITHOUT_EFFECT {
            assert!(taken(&[word]).data.is_empty(), "{word}");
        }
        for word in SUPER_FLAGS.into_iter().chain(SUPER_DEFAULTS) {
            assert_eq!(taken(&[word]).data, [(word.to_owned(), None)]);
        }
    }

    #[test]
    fn every_word_that_is_told_is_taken_in() {
        let told: Vec<_> = known_mount_options().collect();
        for word in WORDS {
            let options = taken(&[word]);
            assert!(options.data.is_empty(), "{word}");
            assert!(told.contains(&word.to_owned()));
        }
        for word in ["ro", "rro", "rnosymfollow", "runbindable", "async", "loud"] {
            assert!(told.iter().any(|known| known == word), "{word}");
        }
    }

    #[test]
    fn a_word_may_hold_several_options_of_the_file_system() {
        let text = |options: Options| {
            let data = options.data.into_iter();
            let data = data.map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name,
            });
            data.collect::<Vec<_>>()
        };
        let found = text(taken(&[
            "mode=755,size=1m,,inode64",
            "x=\"a,b\",y=\"",
            "z=a=b",
        ]));
        assert_eq!(
            found,
            ["mode=755", "size=1m", "inode64", "x=a,b", "y=\"", "z=a=b"]
        );
    }

    #[test]
    fn the_later_word_holds() {
        let options = taken(&["ro", "noatime", "rw", "strictatime"]);
        assert_eq!(options.attrs.set, attr::STRICTATIME);
        assert_eq!(options.attrs.clear, attr::RDONLY | attr::ATIME);
        assert_eq!(taken(&["rbind", "bind"]).bind, Some(true));
        let idmap = taken(&["idmap", "ridmap"]).idmap.unwrap();
        assert!(idmap.recursive && idmap.ranges.is_none());
    }

    #[test]
    fn what_says_how_it_is_anyway_is_no_change() {
        let options = taken(&["async", "nolazytime", "silent"]);
        options.refuse_data("m", "a bind mount").unwrap();
        taken(&["sync"]).refuse_data("m", "x").unwrap_err();
        taken(&["async=1"]).refuse_data("m", "x").unwrap_err();
    }
}
