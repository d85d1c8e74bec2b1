//! What changed on a disk since a reference point.

use std::path::PathBuf;

use super::Error;
use crate::disk::open::{Format, Source};
use crate::disk::{self, Disk as _, ErrorKind, Extent};
use crate::nbd::client::{self, Options, Remote, Target};
use crate::track::Offline;
use crate::track::catalog::{Reply, Request};

/// Extents that are asked for at once.
const PAGE: usize = 16_384;
/// The flag of what changed, in either kind of context.
const CHANGED: u64 = 1;

/// All changes of a disk since a point, in order.
pub(super) async fn changes(
    source: &Source,
    format: Option<Format>,
    map: Option<PathBuf>,
    since: &str,
) -> Result<Vec<Extent>, Error> {
    match source {
        Source::Nbd(target) => Ok(served(target, since).await?),
        Source::File(disk) => {
            let offline = Offline {
                disk: disk.clone(),
                map,
                format,
            };
            Ok(closed(&offline, since).await?)
        }
        Source::Backup { .. } => Err(Error::Usage("a point of a backup has no changes".into())),
        Source::Memory { .. } => Err(Error::Usage("a disk in memory has no past".into())),
    }
}

async fn served(target: &Target, since: &str) -> disk::Result<Vec<Extent>> {
    let wanted = ["reeve:changes:", "qemu:dirty-bitmap:"].map(|space| format!("{space}{since}"));
    let known = client::list_contexts(target, &Options::default(), &wanted).await?;
    let Some(context) = wanted.iter().find(|name| known.contains(name)) else {
        return Err(disk::Error::new(
            ErrorKind::FullNeeded,
            format!(
                "the export `{}` does not tell changes since `{since}`: it has no metadata context \
                 `{}`; help: run without `--since`",
                target.export, wanted[0]
            ),
        ));
    };
    let options = Options {
        connections: 1,
        contexts: vec![context.clone()],
        ..Options::default()
    };
    let remote = Remote::open(target.clone(), options).await?;
    let found = extents(&remote, context).await;
    remote.close().await;
    found
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

async fn closed(offline: &Offline, since: &str) -> disk::Result<Vec<Extent>> {
    let (mut changed, mut next) = (Vec::new(), Some(0));
    while let Some(offset_bytes) = next {
        let request = Request::Changes {
            since: since.to_owned(),
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
