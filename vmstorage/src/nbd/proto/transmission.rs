//! Messages of the transmission: requests, simple replies, chunks of structured and extended ones.

use super::{Fields, Malformed, chunk, magic};

/// How many bytes of a reply tell its kind (the magic).
pub const REPLY_PREFIX_BYTES: usize = 4;

/// Which headers the two sides agreed on, in the order of what they can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Headers {
    /// Compact requests, simple replies.
    Simple,
    /// Compact requests, structured replies.
    Structured,
    /// Extended requests and replies.
    Extended,
}

/// A request without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// [`super::command_flag`]s.
    pub flags: u16,
    /// One of [`super::command`].
    pub command: u16,
    /// Comes back in the replies.
    pub cookie: u64,
    /// Where on the disk.
    pub offset_bytes: u64,
    /// How much of it, or the payload's length; at most 32 bits wide without extended headers.
    pub len_bytes: u64,
}

/// A simple reply without the data of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleReply {
    /// 0 or one of [`super::errno`].
    pub error: u32,
    /// Of the request.
    pub cookie: u64,
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// [`chunk::FLAG_DONE`] or 0.
    pub flags: u16,
    /// One of [`super::chunk`].
    pub kind: u16,
    /// Of the request.
    pub cookie: u64,
    /// The request's offset; only with extended headers, else 0.
    pub offset_bytes: u64,
    /// Length of the payload that follows; at most 32 bits wide without extended headers.
    pub len_bytes: u64,
}

impl Headers {
    /// Length of a request on the wire in bytes, without its payload.
    pub fn request_len(self) -> usize {
        match self {
            Self::Simple | Self::Structured => 28,
            Self::Extended => 32,
        }
    }

    /// Length of a chunk's header on the wire in bytes.
    pub fn chunk_len(self) -> usize {
        match self {
            Self::Simple | Self::Structured => 20,
            Self::Extended => 32,
        }
    }
}

impl Request {
    /// Appends it.
    ///
    /// # Errors
    /// When the length needs extended headers, which were not agreed on.
    pub fn encode(&self, headers: Headers, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let magic = match headers {
            Headers::Simple | Headers::Structured => magic::REQUEST,
            Headers::Extended => magic::EXTENDED_REQUEST,
        };
        let len = compact_length("request", headers, self.len_bytes)?;
        out.extend(magic.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        out.extend(self.command.to_be_bytes());
        out.extend(self.cookie.to_be_bytes());
        out.extend(self.offset_bytes.to_be_bytes());
        match len {
            Some(len) => out.extend(len.to_be_bytes()),
            None => out.extend(self.len_bytes.to_be_bytes()),
        }
        Ok(())
    }

    /// From [`Headers::request_len`] bytes.
    ///
    /// # Errors
    /// When the magic or the number of bytes is wrong.
    #[inline]
    pub fn decode(headers: Headers, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("request", bytes);
        let found = fields.u32()?;
        let expected = match headers {
            Headers::Simple | Headers::Structured => magic::REQUEST,
            Headers::Extended => magic::EXTENDED_REQUEST,
        };
        if found != expected {
            return Err(fields.error(format!("wrong magic {found:#x}, expected {expected:#x}")));
        }
        let request = Self {
            flags: fields.u16()?,
            command: fields.u16()?,
            cookie: fields.u64()?,
            offset_bytes: fields.u64()?,
            len_bytes: match headers {
                Headers::Simple | Headers::Structured => fields.u32()?.into(),
                Headers::Extended => fields.u64()?,
            },
        };
        fields.end()?;
        Ok(request)
    }
}

impl SimpleReply {
    /// Length on the wire in bytes, without data.
    pub const LEN: usize = 16;

    /// As bytes.
    #[inline]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&magic::SIMPLE_REPLY.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.error.to_be_bytes());
        bytes[8..].copy_from_slice(&self.cookie.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the magic or the number of bytes is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("simple reply", bytes);
        let found = fields.u32()?;
        if found != magic::SIMPLE_REPLY {
            return Err(fields.error(format!("wrong magic {found:#x}")));
        }
        let reply = Self {
            error: fields.u32()?,
            cookie: fields.u64()?,
        };
        fields.end()?;
        Ok(reply)
    }
}

impl Chunk {
    /// Longest header in bytes.
    pub const MAX_LEN: usize = 32;

    /// Appends it.
    ///
    /// # Errors
    /// When the length needs extended headers, which were not agreed on.
    #[inline]
    pub fn encode(&self, headers: Headers, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match compact_length("chunk", headers, self.len_bytes)? {
            Some(len) => {
                out.extend(magic::STRUCTURED_REPLY.to_be_bytes());
                out.extend(self.flags.to_be_bytes());
                out.extend(self.kind.to_be_bytes());
                out.extend(self.cookie.to_be_bytes());
                out.extend(len.to_be_bytes());
            }
            None => {
                out.extend(magic::EXTENDED_REPLY.to_be_bytes());
                out.extend(self.flags.to_be_bytes());
                out.extend(self.kind.to_be_bytes());
                out.extend(self.cookie.to_be_bytes());
                out.extend(self.offset_bytes.to_be_bytes());
                out.extend(self.len_bytes.to_be_bytes());
            }
        }
        Ok(())
    }

    /// From [`Headers::chunk_len`] bytes.
    ///
    /// # Errors
    /// When the magic or the number of bytes is wrong.
    pub fn decode(headers: Headers, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("chunk", bytes);
        let found = fields.u32()?;
        let expected = match headers {
            Headers::Simple | Headers::Structured => magic::STRUCTURED_REPLY,
            Headers::Extended => magic::EXTENDED_REPLY,
        };
        if found != expected {
            return Err(fields.error(format!("wrong magic {found:#x}, expected {expected:#x}")));
        }
        let (flags, kind, cookie) = (fields.u16()?, fields.u16()?, fields.u64()?);
        let (offset_bytes, len_bytes) = match headers {
            Headers::Simple | Headers::Structured => (0, fields.u32()?.into()),
            Headers::Extended => (fields.u64()?, fields.u64()?),
        };
        fields.end()?;
        Ok(Self {
            flags,
            kind,
            cookie,
            offset_bytes,
            len_bytes,
        })
    }

    /// Whether the reply ends with it.
    pub fn is_done(&self) -> bool {
        self.flags & chunk::FLAG_DONE != 0
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.kind & chunk::ERROR_BIT != 0
    }
}

/// The length as compact headers have it; nothing with extended ones.
fn compact_length(what: &str, headers: Headers, len: u64) -> Result<Option<u32>, Malformed> {
    match (headers, u32::try_from(len)) {
        (Headers::Extended, _) => Ok(None),
        (_, Ok(len)) => Ok(Some(len)),
        (_, Err(_)) => Err(Malformed::new(format!(
            "{what}: {len} bytes need extended headers"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Headers; 3] = [Headers::Simple, Headers::Structured, Headers::Extended];

    #[test]
    fn requests_and_chunks_of_all_headers_are_decoded() {
        for headers in ALL {
            let request = Request {
                flags: 1,
                command: 6,
                cookie: u64::MAX - 1,
                offset_bytes: 1 << 40,
                len_bytes: 1 << 20,
            };
            let mut bytes = Vec::new();
            request.encode(headers, &mut bytes).unwrap();
            assert_eq!(bytes.len(), headers.request_len());
            assert_eq!(Request::decode(headers, &bytes), Ok(request));
            Request::decode(headers, &bytes[1..]).unwrap_err();

            let header = Chunk {
                flags: chunk::FLAG_DONE,
                kind: chunk::ERROR,
                cookie: 5,
                offset_bytes: if headers == Headers::Extended { 9 } else { 0 },
                len_bytes: 77,
            };
            let mut bytes = Vec::new();
            header.encode(headers, &mut bytes).unwrap();
            assert_eq!(bytes.len(), headers.chunk_len());
            assert_eq!(Chunk::decode(headers, &bytes), Ok(header));
            assert!(header.is_done() && header.is_error());
        }
    }

    #[test]
    fn long_lengths_need_extended_headers() {
        let request = Request {
            flags: 0,
            command: 4,
            cookie: 0,
            offset_bytes: 0,
            len_bytes: 1 << 32,
        };
        let mut bytes = Vec::new();
        request.encode(Headers::Structured, &mut bytes).unwrap_err();
        assert!(bytes.is_empty());
        request.encode(Headers::Extended, &mut bytes).unwrap();
        assert_eq!(Request::decode(Headers::Extended, &bytes), Ok(request));
        Request::decode(Headers::Simple, &bytes[..28]).unwrap_err();
    }

    #[test]
    fn simple_replies_are_decoded() {
        let reply = SimpleReply {
            error: 5,
            cookie: 7,
        };
        assert_eq!(SimpleReply::decode(&reply.encode()), Ok(reply));
    }
}
