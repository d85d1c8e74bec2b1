//! The parent locator ([MS-VHDX] section 2.6.2.6): keys and values that name a differencing disk's
//! parent.

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
