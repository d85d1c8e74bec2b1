//! What is backed up, which reference point it stands for, and what changed on it since another.
//!
//! A name can be given to a later point, and what changed in between would then be missing from an
//! increment. So points are told from each other by their digests wherever the source knows them.

use std::path::PathBuf;
use std::rc::Rc;

use super::Error;
use crate::disk::open::{self, Format, Opened, Source};
use crate::disk::{self, Disk as _, ErrorKind, Extent};
use crate::nbd::client::{self, Options, Remote, Target};
use crate::track::Offline;
use crate::track::catalog::{Described, Reply, Request};

/// Extents that are asked for at once.
const PAGE: usize = 16_384;
/// The flag of what changed, in either kind of context.
const CHANGED: u64 = 1;
/// The contexts that tell changes: of this project by `NAME` and by `NAME/DIGEST`, and of QEMU.
const CHANGES: &str = "reeve:changes:";
const BITMAP: &str = "qemu:dirty-bitmap:";

/// The point that a backup stands for.
pub(super) struct Since {
    /// Its name.
    pub(super) name: String,
    /// Its digest, if the source told it when it was backed up.
    pub(super) digest: Option<String>,
}

impl Since {
    /// A source that knows digests did not know the point when it was backed up, so it was made
    /// later, and what changed before would be missed.
    fn unknown_then(&self, of: impl std::fmt::Display) -> disk::Error {
        let name = &self.name;
        let message = format!(
            "{of} has a point `{name}`, but had none when the backup was made that refers to it: \
             what changed before it was made is not known\nhelp: run without `--since`, and with \
             `--reference` only of points that are there"
        );
        disk::Error::new(ErrorKind::FullNeeded, message)
    }
}

/// What is asked of a source.
pub(super) struct Question<'a> {
    pub(super) format: Option<Format>,
    /// The map of a closed disk, if it is not beside it.
    pub(super) map: Option<PathBuf>,
    /// The reference point that a backup of the source will stand for.
    pub(super) reference: Option<&'a str>,
    /// The checkpoint that the source is an export of.
    pub(super) checkpoint: Option<&'a str>,
    /// Where an increment begins.
    pub(super) since: Option<Since>,
}

/// A source that is open: from now on, nobody writes to it.
pub(super) struct Stable {
    pub(super) opened: Opened,
    /// Of [`Question::reference`], if the source knows that point.
    pub(super) reference_digest: Option<String>,
    /// What changed since [`Question::since`], in order.
    pub(super) changed: Option<Vec<Extent>>,
}

/// Opens a source.
pub(super) async fn open(source: &Source, question: Question<'_>) -> Result<Stable, Error> {
    if let Source::Nbd(target) = source {
        return Ok(served(target, question).await?);
    }
    let options = open::Options {
        format: question.format,
        read_only: true,
        ..Default::default()
    };
    // Open before changes are asked for.
    let opened = open::open(source, options).await?;
    let (mut reference_digest, mut changed) = (None, None);
    if let Source::File(disk) = source {
        let offline = Offline {
            disk: disk.clone(),
            map: question.map,
            format: question.format,
        };
        if let (Some(name), true) = (question.reference, offline.has_map()) {
            let found = points(&offline).await?;
            let found = found.into_iter().find(|known| known.point.name == name);
            reference_digest = found.map(|known| known.point.digest);
        }
        if let Some(since) = &question.since {
            changed = Some(closed(&offline, since).await?);
        }
    } else if question.since.is_some() {
        let message = format!("`{source}` has no past; help: run without `--since`");
        return Err(Error::Usage(message));
    }
    Ok(Stable {
        opened,
        reference_digest,
        changed,
    })
}

/// An export. It is read over the connection that tells what it is, and that connection is made
/// again only to an export of the same contexts: a checkpoint that has taken the name of another
/// meanwhile is not read as that one.
async fn served(target: &Target, question: Question<'_>) -> disk::Result<Stable> {
    let queries = [CHANGES, BITMAP].map(str::to_owned);
    let known = client::list_contexts(target, &Options::default(), &queries).await?;
    let digest_of = |name: &str| {
        let of_name = format!("{CHANGES}{name}/");
        known
            .iter()
            .find_map(|context| context.strip_prefix(&of_name))
    };
    let since = match &question.since {
        Some(since) => Some(context_of(&known, since, target)?),
        None => None,
    };
    let identity = question.checkpoint.and_then(|name| {
        let digest = digest_of(name)?;
        Some(format!("{CHANGES}{name}/{digest}"))
    });
    let options = Options {
        contexts: since.iter().chain(&identity).cloned().collect(),
        ..Options::default()
    };
    let remote = Rc::new(Remote::open(target.clone(), options).await?);
    let changed = match &since {
        Some(context) => Some(extents(&remote, context).await?),
        None => None,
    };
    Ok(Stable {
        opened: Opened::remote(remote, true),
        reference_digest: question.reference.and_then(digest_of).map(str::to_owned),
        changed,
    })
}

/// The context that tells changes since a point: by digest if that is known, else by name.
fn context_of(known: &[String], since: &Since, target: &Target) -> disk::Result<String> {
    let name = &since.name;
    let found = match &since.digest {
        Some(digest) => known.iter().find(|context| {
            let point = context.strip_prefix(CHANGES);
            point
                .and_then(|point| point.rsplit_once('/'))
                .is_some_and(|(_, of)| of == digest)
        }),
        None => {
            let told = format!("{CHANGES}{name}/");
            if known.iter().any(|context| context.starts_with(&told)) {
                return Err(since.unknown_then(format!("the export `{}`", target.export)));
            }
            let wanted = [CHANGES, BITMAP].map(|space| format!("{space}{name}"));
            known.iter().find(|context| wanted.contains(context))
        }
    };
    found.cloned().ok_or_else(|| {
        let what = match &since.digest {
            Some(digest) => format!("{CHANGES}*/{digest}"),
            None => format!("{CHANGES}{name}"),
        };
        disk::Error::new(
            ErrorKind::FullNeeded,
            format!(
                "the export `{}` does not tell changes since the point `{name}` that was backed \
                 up: it has no metadata context `{what}`\nhelp: run without `--since`",
                target.export
            ),
        )
    })
}

async fn extents(remote: &Remote, context: &str) -> disk::Result<Vec<Extent>> {
    let (mut at, end) = (0, remote.geometry().size_bytes);
    let mut changed = Vec::new();
    while at < end {
        let rest = Extent::new(at, end - at);
        let parts = remote.context_status(context, rest, PAGE).await?;
        let Some(last) = parts.last() else {
            let message = format!("the export says nothing of `{context}` at byte {at}");
            return Err(disk::Error::new(ErrorKind::Io, message));
        };
        at = last.extent.end_bytes();
        let dirty = parts.iter().filter(|part| part.value & CHANGED != 0);
        changed.extend(dirty.map(|part| part.extent));
    }
    Ok(changed)
}

async fn points(offline: &Offline) -> disk::Result<Vec<Described>> {
    match offline.answer(Request::List).await? {
        Reply::Points(points) => Ok(points),
        _ => Ok(Vec::new()),
    }
}

/// Changes of a disk that nobody serves.
async fn closed(offline: &Offline, since: &Since) -> disk::Result<Vec<Extent>> {
    let name = &since.name;
    let mut known = points(offline).await?.into_iter();
    let found = match &since.digest {
        Some(digest) => known.find(|known| known.point.digest == *digest),
        None if known.any(|known| known.point.name == *name) => {
            let map = format!("the map of `{}`", offline.disk.display());
            return Err(since.unknown_then(map));
        }
        None => None,
    };
    let found = found.ok_or_else(|| {
        let message = format!(
            "the map of `{}` does not know the point `{name}` that was backed up, though it may \
             know another one of that name\nhelp: run without `--since`",
            offline.disk.display()
        );
        disk::Error::new(ErrorKind::FullNeeded, message)
    })?;
    let point = found.point.id.to_string();
    let (mut changed, mut next) = (Vec::new(), Some(0));
    while let Some(offset_bytes) = next {
        let request = Request::Changes {
            since: point.clone(),
            until: None,
            offset_bytes,
            limit: PAGE,
        };
        let Reply::Changes {
            extents,
            next_bytes,
            ..
        } = offline.answer(request).await?
        else {
            break;
        };
        changed.extend(extents.iter().map(|&(at, len)| Extent::new(at, len)));
        next = next_bytes;
    }
    Ok(changed)
}
