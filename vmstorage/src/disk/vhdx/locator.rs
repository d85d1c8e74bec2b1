//! The parent locator ([MS-VHDX] section 2.6.2.6): keys and values that name a differencing disk's
//! parent.

use std::path::{Component, Path};

use uuid::{Uuid, uuid};

use super::layout;
use crate::disk::{Error, ErrorKind, Result};

const VHDX_LOCATOR: Uuid = uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913");
const HEADER_BYTES: usize = 20;
const ENTRY_BYTES: usize = 12;

/// Which parent a disk has and where it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    /// The parent's `DataWriteGuid` when this disk was made.
    pub linkage: Uuid,
    /// Another one that the parent may have, while a merge is under way.
    pub linkage2: Option<Uuid>,
    /// The parent's path from the directory of this file, with either kind of slash.
    pub relative_path: Option<String>,
    /// The parent's path on a Windows volume.
    pub volume_path: Option<String>,
    /// The parent's path.
    pub absolute_path: Option<String>,
}

impl Locator {
    /// Names the parent of a disk by both paths; `linkage` is the parent's `DataWriteGuid`. Where
    /// one of the paths is relative and the other is not, only the parent's own is named.
    pub fn new(linkage: Uuid, child: &Path, parent: &Path) -> Self {
        let absolute = parent
            .is_absolute()
            .then(|| parent.to_string_lossy().into_owned());
        Self {
            linkage,
            linkage2: None,
            relative_path: relative(child, parent),
            volume_path: None,
            absolute_path: absolute,
        }
    }

    /// Whether a parent with that `DataWriteGuid` is the right one.
    pub fn accepts(&self, data_write: Uuid) -> bool {
        self.linkage == data_write || self.linkage2 == Some(data_write)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < HEADER_BYTES {
            return Err(Error::corrupt(
                "the parent locator is shorter than its header",
            ));
        }
        let kind = layout::guid_at(bytes, 0);
        if kind != VHDX_LOCATOR {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the parent locator is of type `{kind}`: only VHDX parents are known"),
            ));
        }
        let count = usize::from(layout::u16_at(bytes, 18));
        let entries = bytes
            .get(HEADER_BYTES..HEADER_BYTES + count * ENTRY_BYTES)
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "the parent locator is too short for {count} entries"
                ))
            })?;
        let (mut linkage, mut linkage2) = (None, None);
        let (mut relative_path, mut volume_path, mut absolute_path) = (None, None, None);
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let key = text(bytes, layout::u32_at(entry, 0), layout::u16_at(entry, 8))?;
            let value = text(bytes, layout::u32_at(entry, 4), layout::u16_at(entry, 10))?;
            match key.as_str() {
                "parent_linkage" => linkage = Some(guid(&key, &value)?),
                "parent_linkage2" => linkage2 = Some(guid(&key, &value)?),
                "relative_path" => relative_path = Some(value),
                "volume_path" => volume_path = Some(value),
                "absolute_win32_path" => absolute_path = Some(value),
                _ => {}
            }
        }
        Ok(Self {
            linkage: linkage
                .ok_or_else(|| Error::corrupt("the parent locator has no `parent_linkage`"))?,
            linkage2,
            relative_path,
            volume_path,
            absolute_path,
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let braced = |id: Uuid| format!("{{{id}}}");
        let entries = [
            ("parent_linkage", Some(braced(self.linkage))),
            ("parent_linkage2", self.linkage2.map(braced)),
            ("relative_path", self.relative_path.clone()),
            ("volume_path", self.volume_path.clone()),
            ("absolute_win32_path", self.absolute_path.clone()),
        ];
        let entries: Vec<(&str, String)> = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let mut bytes = VHDX_LOCATOR.to_bytes_le().to_vec();
        bytes.extend(0u16.to_le_bytes());
        bytes.extend((entries.len() as u16).to_le_bytes());
        let mut texts = Vec::new();
        let texts_at = HEADER_BYTES + entries.len() * ENTRY_BYTES;
        for (key, value) in &entries {
            let key: Vec<u8> = key.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let value: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let too_long =
                |_| Error::new(ErrorKind::Unsupported, "the path of the parent is too long");
            let key_len = u16::try_from(key.len()).map_err(too_long)?;
            let value_len = u16::try_from(value.len()).map_err(too_long)?;
            let key_at = texts_at + texts.len();
            bytes.extend((key_at as u32).to_le_bytes());
            bytes.extend(((key_at + key.len()) as u32).to_le_bytes());
            bytes.extend(key_len.to_le_bytes());
            bytes.extend(value_len.to_le_bytes());
            texts.extend(key);
            texts.extend(value);
        }
        bytes.extend(texts);
        Ok(bytes)
    }
}

/// The way from a file's directory to another file, as Windows writes it.
fn relative(from: &Path, to: &Path) -> Option<String> {
    if from.is_absolute() != to.is_absolute() {
        return None;
    }
    let directory = from.parent().unwrap_or(Path::new(""));
    let same = directory.components().zip(to.components());
    let same = same.take_while(|(from, to)| from == to).count();
    let mut parts = vec![".".to_string()];
    for component in directory.components().skip(same) {
        match component {
            Component::Normal(_) => parts.push("..".into()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    for component in to.components().skip(same) {
        parts.push(component.as_os_str().to_string_lossy().into_owned());
    }
    Some(parts.join("\\"))
}

fn text(bytes: &[u8], offset: u32, len: u16) -> Result<String> {
    let offset = offset as usize;
    let text = offset
        .checked_add(usize::from(len))
        .and_then(|end| bytes.get(offset..end))
        .filter(|text| text.len() % 2 == 0)
        .ok_or_else(|| {
            Error::corrupt(format!(
                "the parent locator has no text of {len} bytes at its offset {offset:#x}"
            ))
        })?;
    let units: Vec<u16> = text
        .chunks_exact(2)
        .map(|unit| layout::u16_at(unit, 0))
        .collect();
    String::from_utf16(&units).map_err(|_| {
        Error::corrupt(format!(
            "the parent locator's text at its offset {offset:#x} is not UTF-16"
        ))
    })
}

fn guid(key: &str, value: &str) -> Result<Uuid> {
    Uuid::try_parse(value)
        .map_err(|_| Error::corrupt(format!("the parent locator's `{key}` `{value}` is no GUID")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_from_the_child_to_the_parent() {
        for (child, parent, expected) in [
            ("/a/b/child.vhdx", "/a/base.vhdx", Some(".\\..\\base.vhdx")),
            ("/a/child.vhdx", "/a/base.vhdx", Some(".\\base.vhdx")),
            ("child.vhdx", "x/base.vhdx", Some(".\\x\\base.vhdx")),
            ("/a/child.vhdx", "base.vhdx", None),
            ("../child.vhdx", "base.vhdx", None),
        ] {
            let locator = Locator::new(Uuid::nil(), Path::new(child), Path::new(parent));
            assert_eq!(
                locator.relative_path.as_deref(),
                expected,
                "{child} {parent}"
            );
            let absolute = parent.starts_with('/').then_some(parent);
            assert_eq!(locator.absolute_path.as_deref(), absolute);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let locator = Locator {
            linkage: Uuid::from_u128(1),
            linkage2: Some(Uuid::from_u128(2)),
            relative_path: Some(".\\elterndatei-ä.vhdx".into()),
            volume_path: None,
            absolute_path: Some("/images/base.vhdx".into()),
        };
        let bytes = locator.encode().unwrap();
        assert_eq!(Locator::decode(&bytes).unwrap(), locator);
        for cut in 0..bytes.len() {
            Locator::decode(&bytes[..cut]).unwrap_err();
        }
    }
}
