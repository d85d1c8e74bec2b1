//! Compressed clusters.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::rc::Rc;

use super::header::Compression;
use super::image::Image;
use super::layout::Compressed;
use crate::disk::{Error, Result};
use crate::engine::{IoBuf, IoBufMut, unblock};

/// Bytes of decompressed clusters that are kept.
const KEPT_BYTES: u64 = 4 << 20;
/// The largest window that a zstd frame may ask memory for (16 MiB).
const MAX_WINDOW_LOG: u32 = 24;

/// Clusters that were decompressed last, so that small neighbouring reads decompress once.
#[derive(Debug, Default)]
pub(super) struct Recent {
    clusters: RefCell<VecDeque<(Compressed, Rc<Vec<u8>>)>>,
}

impl Recent {
    fn find(&self, place: Compressed) -> Option<Rc<Vec<u8>>> {
        let clusters = self.clusters.borrow();
        let (_, bytes) = clusters.iter().find(|(key, _)| *key == place)?;
        Some(Rc::clone(bytes))
    }

    fn keep(&self, place: Compressed, bytes: &Rc<Vec<u8>>) {
        let mut clusters = self.clusters.borrow_mut();
        clusters.push_front((place, Rc::clone(bytes)));
        clusters.truncate((KEPT_BYTES / bytes.len() as u64).clamp(1, 64) as usize);
    }

    /// Forgets everything, as compressed clusters were freed.
    pub(super) fn forget(&self) {
        self.clusters.borrow_mut().clear();
    }
}

impl Image {
    /// The content of a compressed cluster.
    pub(super) async fn decompressed(&self, place: Compressed) -> Result<Rc<Vec<u8>>> {
        if let Some(bytes) = self.recent.find(place) {
            return Ok(bytes);
        }
        let buf = IoBufMut::zeroed(place.len_bytes as usize);
        let input = self.file.read(place.offset_bytes, buf).await?.freeze();
        let len = self.layout.cluster_bytes() as usize;
        let compression = self.header.borrow().compression;
        let bytes = unblock(move || decompress(compression, &input, len)).await;
        let bytes = bytes.map_err(|error| {
            let at = place.offset_bytes;
            Error::corrupt(format!("the compressed cluster at {at:#x}: {error}"))
        })?;
        let bytes = Rc::new(bytes);
        self.recent.keep(place, &bytes);
        Ok(bytes)
    }
}

fn decompress(compression: Compression, input: &IoBuf, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    match compression {
        Compression::Zlib => {
            flate2::read::DeflateDecoder::new(&input[..]).read_exact(&mut bytes)?
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&input[..])?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            decoder.read_exact(&mut bytes)?;
        }
    }
    Ok(bytes)
}
