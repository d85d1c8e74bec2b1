//! Payloads of replies and requests: holes, errors, extents of metadata contexts.

use super::{Fields, Headers, MAX_STRING_BYTES, Malformed, chunk};

/// The payload of an `OFFSET_HOLE` chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where on the disk.
    pub offset_bytes: u64,
    /// How many zeroes.
    pub len_bytes: u32,
}

/// The payload of an `ERROR` or `ERROR_OFFSET` chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorChunk {
    /// One of [`super::errno`].
    pub error: u32,
    /// For people.
    pub message: String,
    /// Where on the disk it happened: only of `ERROR_OFFSET`.
    pub offset_bytes: Option<u64>,
}

/// A part of the disk and what a metadata context says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusExtent {
    /// Length; parts follow each other without gaps.
    pub len_bytes: u64,
    /// What the context means by it; at most 32 bits wide without extended headers.
    pub status: u64,
}

/// The payload of a `BLOCK_STATUS` or `BLOCK_STATUS_EXT` chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStatus {
    /// The context's number.
    pub context_id: u32,
    /// Parts from the request's offset on.
    pub extents: Vec<StatusExtent>,
}

/// The payload of a `BLOCK_STATUS` request with extended headers: only some of the contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPayload {
    /// How much of the disk.
    pub len_bytes: u64,
    /// Numbers of the contexts.
    pub context_ids: Vec<u32>,
}

impl Hole {
    /// Length on the wire in bytes.
    pub const LEN: usize = 12;

    /// As bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.offset_bytes.to_be_bytes());
        bytes[8..].copy_from_slice(&self.len_bytes.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the number of bytes is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("hole", bytes);
        let hole = Self {
            offset_bytes: fields.u64()?,
            len_bytes: fields.u32()?,
        };
        fields.end()?;
        Ok(hole)
    }
}

impl ErrorChunk {
    /// One of the kinds `ERROR` and `ERROR_OFFSET`.
    pub fn kind(&self) -> u16 {
        match self.offset_bytes {
            None => chunk::ERROR,
            Some(_) => chunk::ERROR_OFFSET,
        }
    }

    /// As bytes; the message is cut at [`super::MAX_STRING_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        let end = self.message.floor_char_boundary_at(MAX_STRING_BYTES);
        let message = &self.message.as_bytes()[..end];
        let mut out = Vec::with_capacity(14 + message.len());
        out.extend(self.error.to_be_bytes());
        out.extend((message.len() as u16).to_be_bytes());
        out.extend(message);
        out.extend(self.offset_bytes.iter().flat_map(|at| at.to_be_bytes()));
        out
    }

    /// From the payload of a chunk of any error kind; what an unknown kind has after the message is
    /// left out.
    ///
    /// # Errors
    /// When a length is wrong or the message is no string.
    pub fn decode(kind: u16, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("error chunk", bytes);
        let error = fields.u32()?;
        let len = fields.u16()?;
        let message = fields.string(len.into())?;
        let offset_bytes = match kind {
            chunk::ERROR_OFFSET => Some(fields.u64()?),
            _ => None,
        };
        if matches!(kind, chunk::ERROR | chunk::ERROR_OFFSET) {
            fields.end()?;
        }
        Ok(Self {
            error,
            message,
            offset_bytes,
        })
    }
}

impl BlockStatus {
    /// One of the kinds `BLOCK_STATUS` and `BLOCK_STATUS_EXT`.
    pub fn kind(headers: Headers) -> u16 {
        match headers {
            Headers::Simple | Headers::Structured => chunk::BLOCK_STATUS,
            Headers::Extended => chunk::BLOCK_STATUS_EXT,
        }
    }

    /// As bytes; without extended headers the extents end before the first that does not fit.
    pub fn encode(&self, headers: Headers) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 16 * self.extents.len());
        out.extend(self.context_id.to_be_bytes());
        if headers == Headers::Extended {
            out.extend((self.extents.len() as u32).to_be_bytes());
            for extent in &self.extents {
                out.extend(extent.len_bytes.to_be_bytes());
                out.extend(extent.status.to_be_bytes());
            }
            return out;
        }
        for extent in &self.extents {
            let (Ok(len), Ok(status)) = (
                u32::try_from(extent.len_bytes),
                u32::try_from(extent.status),
            ) else {
                break;
            };
            out.extend(len.to_be_bytes());
            out.extend(status.to_be_bytes());
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When a length is wrong, there is no extent, or one is empty.
    pub fn decode(headers: Headers, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("block status", bytes);
        let context_id = fields.u32()?;
        let size = if headers == Headers::Extended { 16 } else { 8 };
        if headers == Headers::Extended {
            let count = fields.u32()? as usize;
            if count.checked_mul(size) != Some(fields.left()) {
                return Err(fields.error(format!("{count} extents of {} bytes", fields.left())));
            }
        }
        let mut extents = Vec::with_capacity(fields.left() / size);
        while fields.left() > 0 {
            let extent = match headers {
                Headers::Simple | Headers::Structured => StatusExtent {
                    len_bytes: fields.u32()?.into(),
                    status: fields.u32()?.into(),
                },
                Headers::Extended => StatusExtent {
                    len_bytes: fields.u64()?,
                    status: fields.u64()?,
                },
            };
            if extent.len_bytes == 0 {
                return Err(fields.error("an extent is empty"));
            }
            extents.push(extent);
        }
        if extents.is_empty() {
            return Err(fields.error("no extent"));
        }
        Ok(Self {
            context_id,
            extents,
        })
    }
}

impl StatusPayload {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 4 * self.context_ids.len());
        out.extend(self.len_bytes.to_be_bytes());
        out.extend(self.context_ids.iter().flat_map(|id| id.to_be_bytes()));
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the number of bytes is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("block status request", bytes);
        let len_bytes = fields.u64()?;
        let mut context_ids = Vec::with_capacity(fields.left() / 4);
        while fields.left() > 0 {
            context_ids.push(fields.u32()?);
        }
        Ok(Self {
            len_bytes,
            context_ids,
        })
    }
}

/// The last place at or before `at` where a text can be cut.
trait Cut {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl Cut for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        (0..=at.min(self.len()))
            .rev()
            .find(|&end| self.is_char_boundary(end))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_decoded() {
        let hole = Hole {
            offset_bytes: 1 << 33,
            len_bytes: 512,
        };
        assert_eq!(Hole::decode(&hole.encode()), Ok(hole));
        for offset_bytes in [None, Some(1 << 35)] {
            let error = ErrorChunk {
                error: 28,
                message: "full".into(),
                offset_bytes,
            };
            assert_eq!(ErrorChunk::decode(error.kind(), &error.encode()), Ok(error));
        }
        let payload = StatusPayload {
            len_bytes: 1 << 44,
            context_ids: vec![1, 2],
        };
        assert_eq!(StatusPayload::decode(&payload.encode()), Ok(payload));
        StatusPayload::decode(&[0; 9]).unwrap_err();
    }

    #[test]
    fn extents_are_decoded() {
        let mut status = BlockStatus {
            context_id: 3,
            extents: vec![
                StatusExtent {
                    len_bytes: 65536,
                    status: 3,
                },
                StatusExtent {
                    len_bytes: 1 << 32,
                    status: 1,
                },
            ],
        };
        let wide = status.encode(Headers::Extended);
        assert_eq!(
            BlockStatus::decode(Headers::Extended, &wide),
            Ok(status.clone())
        );
        BlockStatus::decode(Headers::Extended, &wide[..wide.len() - 1]).unwrap_err();
        BlockStatus::decode(Headers::Extended, &wide[..8]).unwrap_err();
        let narrow = status.encode(Headers::Structured);
        status.extents.truncate(1);
        assert_eq!(
            BlockStatus::decode(Headers::Structured, &narrow),
            Ok(status)
        );
        BlockStatus::decode(Headers::Structured, &[0; 4]).unwrap_err();
        BlockStatus::decode(Headers::Structured, &[0; 12]).unwrap_err();
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let error = ErrorChunk {
            error: 5,
            message: format!("x{}", "ä".repeat(4000)),
            offset_bytes: None,
        };
        let cut = ErrorChunk::decode(chunk::ERROR, &error.encode()).unwrap();
        assert_eq!(cut.message.len(), 4095);
    }
}
