//! `linux.rootfsPropagation`.

use serde::Serialize;

use super::{Error, Problem};

/// How mounts that are made later travel between the host and the container. Without the key it is
/// `rslave`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// In which direction.
    pub kind: PropagationKind,
    /// Whether it holds for the mounts below the container's root too, once that is the root.
    pub recursive: bool,
}

/// Direction of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropagationKind {
    /// Not at all.
    Private,
    /// From the host to the container.
    Slave,
    /// Both ways, for what is bound from a shared mount of the host; and the container's root is
    /// shared with the namespaces that its processes make.
    Shared,
    /// Not at all, and the container's root cannot be bound.
    Unbindable,
}

impl Propagation {
    pub(super) fn check(word: Option<&str>) -> Result<Self, Error> {
        let word = word.unwrap_or_default();
        let (recursive, kind) = match word.strip_prefix('r') {
            Some(kind) => (true, kind),
            None => (false, word),
        };
        let kind = match kind {
            "" if !recursive => PropagationKind::Slave,
            "private" => PropagationKind::Private,
            "slave" => PropagationKind::Slave,
            "shared" => PropagationKind::Shared,
            "unbindable" => PropagationKind::Unbindable,
            _ => {
                let problem = Problem::UnknownWord(word.to_owned());
                return Err(Error::invalid("linux.rootfsPropagation", problem));
            }
        };
        let recursive = recursive || word.is_empty();
        Ok(Self { kind, recursive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_its_recursive_form() {
        for (word, kind) in [
            ("private", PropagationKind::Private),
            ("slave", PropagationKind::Slave),
            ("shared", PropagationKind::Shared),
            ("unbindable", PropagationKind::Unbindable),
        ] {
            for recursive in [false, true] {
                let word = format!("{}{word}", if recursive { "r" } else { "" });
                let found = Propagation::check(Some(&word)).unwrap();
                assert_eq!(found, Propagation { kind, recursive });
            }
        }
        for none in [None, Some("")] {
            let found = Propagation::check(none).unwrap();
            assert_eq!(found.kind, PropagationKind::Slave);
        }
        for wrong in ["r", "Shared", "rrslave", "share"] {
            Propagation::check(Some(wrong)).unwrap_err();
        }
    }
}
