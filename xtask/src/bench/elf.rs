//! Whether a program is linked statically.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// `PT_INTERP` (elf(5)): the program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// True if the 64-bit little-endian program at `path` names no dynamic linker.
pub(crate) fn is_static(path: &Path) -> Result<bool> {
    let bytes = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    let kinds = header_kinds(&bytes);
    let kinds = kinds.with_context(|| format!("`{}` is not a 64-bit program", path.display()))?;
    Ok(!kinds.contains(&PT_INTERP))
}

/// The types of all program headers.
fn header_kinds(bytes: &[u8]) -> Option<Vec<u32>> {
    // Magic number, 64 bits, little-endian.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let offset = u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?);
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let kind = |index: usize| {
        let offset = usize::try_from(offset).ok()?;
        word(offset.checked_add(index * size)?)
    };
    (0..count).map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::{PT_INTERP, header_kinds};

    /// A file header that is followed by program headers of these types.
    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(kinds.len()).expect("few headers");
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn every_program_header_is_seen() {
        assert_eq!(header_kinds(&program(&[1, PT_INTERP])), Some(vec![1, 3]));
        assert_eq!(header_kinds(&program(&[])), Some(vec![]));
    }

    #[test]
    fn what_is_no_program_or_cut_short_is_none() {
        assert_eq!(header_kinds(b"#!/bin/sh\n"), None);
        let mut cut = program(&[1, 2]);
        cut.truncate(70);
        assert_eq!(header_kinds(&cut), None);
    }
}
