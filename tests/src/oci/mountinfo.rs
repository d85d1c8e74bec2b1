//! `/proc/PID/mountinfo` (proc(5)).

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount.
    pub id: u32,
    /// Number of the mount that it is on.
    pub parent: u32,
    /// Path within its file system.
    pub root: String,
    /// Where it is, seen from the process's root.
    pub point: String,
    /// Options of the mount: `rw`, `nosuid`, `relatime`, …
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`; empty for a private mount.
    pub propagation: Vec<String>,
    /// Type of its file system.
    pub kind: String,
    /// What it was mounted from.
    pub source: String,
    /// Options of its file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount has the option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }

    /// Whether its file system has the option.
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|known| known == option)
    }

    /// Whether it gets or gives mount events as `kind` (`shared`, `master`, `unbindable`).
    pub fn propagates(&self, kind: &str) -> bool {
        let of = |field: &String| field.split(':').next() == Some(kind);
        self.propagation.iter().any(of)
    }
}

/// All mounts of a text, in its order. Lines that are none are passed over.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let [id, parent, _, root, point, options, propagation @ ..] = left.as_slice() else {
        return None;
    };
    let mut right = right.split(' ');
    let list = |text: &str| text.split(',').map(unescape).collect();
    Some(Mount {
        id: id.parse().ok()?,
        parent: parent.parse().ok()?,
        root: unescape(root),
        point: unescape(point),
        options: list(options),
        propagation: propagation.iter().map(|&field| field.to_owned()).collect(),
        kind: unescape(right.next()?),
        source: unescape(right.next()?),
        super_options: right.next().map(list).unwrap_or_default(),
    })
}

/// Blanks, line ends and backslashes are octal numbers in these files.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/r rw,x=y";
        let mounts = parse(line);
        assert_eq!(mounts.len(), 1);
        let mount = &mounts[0];
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.point, "/mnt 2");
        assert!(mount.has("noatime") && mount.super_has("x=y"));
        assert!(mount.propagates("master") && mount.propagates("shared"));
        assert!(!mount.propagates("unbindable"));
        assert_eq!(mount.kind, "ext3");
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert!(parse("\nnothing\n1 2 - ext4\n").is_empty());
    }
}
