//! The mark that change tracking keeps in the header: a header extension that other programs keep.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind as IoKind};
use std::os::unix::fs::FileExt;

use super::header::Header;
use super::{Qcow2, TRACKING_EXTENSION};
use crate::disk::{Answer, Error, Result};
use crate::track::Mark;

/// Most that is read of a file: the largest cluster.
const MAX_HEADER_BYTES: u64 = 2 << 20;
/// What tells the size of a cluster.
const SECTOR_BYTES: u64 = 512;

/// The mark that a closed image carries; none also if the file is no qcow2 image.
///
/// # Errors
/// When the file cannot be read.
pub fn tracking_mark(file: &File) -> Result<Option<Vec<u8>>> {
    let Ok(bits) = Header::peek_cluster_bits(&start(file, SECTOR_BYTES)?) else {
        return Ok(None);
    };
    let len = 1_u64.checked_shl(bits).unwrap_or(MAX_HEADER_BYTES);
    let bytes = start(file, len.clamp(SECTOR_BYTES, MAX_HEADER_BYTES))?;
    let header = Header::parse(&bytes).ok();
    Ok(header.and_then(|header| header.extension(TRACKING_EXTENSION).map(<[u8]>::to_vec)))
}

impl Mark for Qcow2 {
    fn set_mark(&self, mark: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(self.set_header_extension(TRACKING_EXTENSION, Some(mark)))
    }
}

/// The file's first bytes, zeroes beyond its end.
fn start(file: &File, len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    let mut at = 0;
    while at < bytes.len() {
        match file.read_at(&mut bytes[at..], at as u64) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if IoError::kind(&error) == IoKind::Interrupted => {}
            Err(error) => return Err(Error::io(format!("pread({len} at 0)"), error)),
        }
    }
    Ok(bytes)
}
