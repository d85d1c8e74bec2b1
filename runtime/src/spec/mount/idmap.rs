//! Id mappings of single mounts.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, Mount as RawMount};
use serde::Serialize;

use super::options::IdmapOption;
use crate::spec::{Error, IdMapping, NamespaceKind, Namespaces, Problem};

/// The ids of a file system as other ids (`mount_setattr(2)`, "ID-mapped mounts").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Idmap {
    /// What the mapping is.
    pub from: IdmapFrom,
    /// Whether it holds for the mounts below too.
    pub recursive: bool,
}

/// Where the mapping of a mount comes from. The kernel takes it from a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdmapFrom {
    /// Ranges, for which a user namespace is made.
    Ranges {
        /// From the file system to the host's view of it.
        uids: Vec<IdMapping>,
        /// Likewise.
        gids: Vec<IdMapping>,
    },
    /// The user namespace of another process, which the container joins.
    Namespace(PathBuf),
}

/// The mapping that a mount asks for by its option or its keys. Keys without the option mean
/// `idmap`; the option without keys means the mapping of the container.
pub(super) fn check(
    key: &str,
    raw: &RawMount,
    option: Option<&IdmapOption>,
    namespaces: &Namespaces,
) -> Result<Option<Idmap>, Error> {
    let uids = ranges(raw.uid_mappings().as_deref());
    let gids = ranges(raw.gid_mappings().as_deref());
    let recursive = option.is_some_and(|option| option.recursive);
    let missing = |name: &str| Error::invalid(format!("{key}.{name}"), Problem::Missing);
    let from = match (option, uids.is_empty(), gids.is_empty()) {
        (None, true, true) => return Ok(None),
        (_, true, false) => return Err(missing("uidMappings")),
        (_, false, true) => return Err(missing("gidMappings")),
        (Some(option), true, true) => match &option.ranges {
            Some(text) => parse(text, namespaces).ok_or_else(|| {
                let problem = Problem::UnknownWord(text.clone());
                Error::invalid(format!("{key}.options"), problem)
            })?,
            None => of_container(key, namespaces)?,
        },
        (
            Some(IdmapOption {
                ranges: Some(_), ..
            }),
            false,
            false,
        ) => {
            let problem = Problem::Twice("idmap".to_owned());
            return Err(Error::invalid(format!("{key}.uidMappings"), problem));
        }
        (_, false, false) => IdmapFrom::Ranges { uids, gids },
    };
    Ok(Some(Idmap { from, recursive }))
}

fn ranges(raw: Option<&[LinuxIdMapping]>) -> Vec<IdMapping> {
    let raw = raw.unwrap_or_default().iter();
    raw.map(|raw| IdMapping {
        container: raw.container_id(),
        host: raw.host_id(),
        size: raw.size(),
    })
    .collect()
}

fn of_container(key: &str, namespaces: &Namespaces) -> Result<IdmapFrom, Error> {
    let mut joined = namespaces.joined();
    if let Some((_, path)) = joined.find(|(kind, _)| *kind == NamespaceKind::User) {
        return Ok(IdmapFrom::Namespace(path.to_owned()));
    }
    if !namespaces.own(NamespaceKind::User) {
        let problem = Problem::NeedsNamespace(NamespaceKind::User);
        return Err(Error::invalid(format!("{key}.options"), problem));
    }
    Ok(IdmapFrom::Ranges {
        uids: namespaces.uid_mappings.clone(),
        gids: namespaces.gid_mappings.clone(),
    })
}

/// `uids=FIRST-HOST-SIZE#…;gids=…`, as crun has it. A list that starts with `@` counts its second
/// numbers in the user namespace of the container.
fn parse(text: &str, namespaces: &Namespaces) -> Option<IdmapFrom> {
    let (mut uids, mut gids) = (None, None);
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, list) = part.split_once('=')?;
        let (place, container) = match name {
            "uids" => (&mut uids, &namespaces.uid_mappings),
            "gids" => (&mut gids, &namespaces.gid_mappings),
            _ => return None,
        };
        if place.is_some() {
            return None;
        }
        let (list, inside) = match list.strip_prefix('@') {
            Some(list) => (list, true),
            None => (list, false),
        };
        let parsed: Option<Vec<_>> = list.split('#').map(parse_range).collect();
        let parsed = parsed?;
        *place = Some(if inside {
            let outer = parsed.into_iter().map(|range| through(range, container));
            outer.collect::<Option<Vec<_>>>()?
        } else {
            parsed
        });
    }
    Some(IdmapFrom::Ranges {
        uids: uids?,
        gids: gids?,
    })
}

fn parse_range(text: &str) -> Option<IdMapping> {
    let numbers: Option<Vec<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
    match numbers?[..] {
        [container, host, size] => Some(IdMapping {
            container,
            host,
            size,
        }),
        _ => None,
    }
}

/// A range whose `host` is an id of the container, with the host's id for it.
fn through(range: IdMapping, container: &[IdMapping]) -> Option<IdMapping> {
    let last = range.host.checked_add(range.size.checked_sub(1)?)?;
    let around = container.iter().find(|map| {
        let end = u64::from(map.container) + u64::from(map.size);
        range.host >= map.container && u64::from(last) < end
    })?;
    let host = around.host.checked_add(range.host - around.container)?;
    Some(IdMapping { host, ..range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMapping {
        IdMapping {
            container,
            host,
            size,
        }
    }

    #[test]
    fn ranges_in_an_option() {
        let mut namespaces = Namespaces::default();
        namespaces.uid_mappings = vec![map(0, 100_000, 1000), map(1000, 5000, 10)];
        namespaces.gid_mappings = vec![map(0, 200_000, 1000)];
        let found = parse("uids=0-1-10#20-30-1;gids=@5-7-3", &namespaces);
        let expected = IdmapFrom::Ranges {
            uids: vec![map(0, 1, 10), map(20, 30, 1)],
            gids: vec![map(5, 200_007, 3)],
        };
        assert_eq!(found, Some(expected));
        for wrong in [
            "uids=0-1-10",
            "uids=0-1;gids=0-1-1",
            "uids=0-1-1;uids=0-1-1;gids=0-1-1",
            "uids=x-1-1;gids=0-1-1",
            "uids=@0-995-10;gids=0-1-1",
            "uids=@0-0-0;gids=0-1-1",
            "uids=@0-4294967295-2;gids=0-1-1",
            "pids=0-1-1",
        ] {
            assert_eq!(parse(wrong, &namespaces), None, "{wrong}");
        }
    }
}
