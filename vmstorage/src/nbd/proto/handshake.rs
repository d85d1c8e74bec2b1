//! Messages of the handshake: greeting, options and their replies.

use super::{Fields, Malformed, info, magic, put_string};

/// What a server says first; the client answers with its flags in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// [`super::handshake_flag`]s.
    pub flags: u16,
}

/// What comes before the data of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHeader {
    /// One of [`super::option`].
    pub option: u32,
    /// Length of the data that follows.
    pub len_bytes: u32,
}

/// What comes before the data of a reply to an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionReply {
    /// The option that it answers.
    pub option: u32,
    /// One of [`super::reply`].
    pub kind: u32,
    /// Length of the data that follows; a text for people if the reply is an error.
    pub len_bytes: u32,
}

/// What follows an `EXPORT_NAME` that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportReply {
    /// Size of the export.
    pub size_bytes: u64,
    /// [`super::export_flag`]s.
    pub flags: u16,
}

/// The data of the options `INFO` and `GO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoRequest {
    /// The export; the default one if empty.
    pub name: String,
    /// What the client wants to know: [`super::info`].
    pub wanted: Vec<u16>,
}

/// The data of an `INFO` reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Info {
    /// Size and flags.
    Export(ExportReply),
    /// The canonical name.
    Name(String),
    /// A description for people.
    Description(String),
    /// Block size constraints, all in bytes.
    BlockSize {
        /// Smallest request and alignment, a power of two.
        min_bytes: u32,
        /// What is served best, a power of two.
        preferred_bytes: u32,
        /// Largest payload.
        max_bytes: u32,
    },
    /// Something that is not known here.
    Other(u16, Vec<u8>),
}

/// The data of a `SERVER` reply: an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEntry {
    /// Its name.
    pub name: String,
    /// Details for people, or nothing.
    pub details: String,
}

/// The data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaQuery {
    /// The export; the default one if empty.
    pub export: String,
    /// Names of contexts, or for `LIST_META_CONTEXT` beginnings of names.
    pub queries: Vec<String>,
}

/// The data of a `META_CONTEXT` reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaContext {
    /// The number by which `BLOCK_STATUS` replies refer to it.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl Greeting {
    /// Length on the wire in bytes.
    pub const LEN: usize = 18;

    /// As bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&magic::INIT.to_be_bytes());
        bytes[8..16].copy_from_slice(&magic::OPTION.to_be_bytes());
        bytes[16..].copy_from_slice(&self.flags.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the peer is no server, or one of the oldstyle handshake.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("greeting", bytes);
        if fields.u64()? != magic::INIT {
            return Err(fields.error("the peer is no NBD server"));
        }
        match fields.u64()? {
            magic::OPTION => {}
            magic::OLDSTYLE => {
                return Err(fields.error("the server speaks only the oldstyle handshake"));
            }
            other => return Err(fields.error(format!("unknown magic {other:#x}"))),
        }
        let flags = fields.u16()?;
        fields.end()?;
        Ok(Self { flags })
    }
}

impl OptionHeader {
    /// Length on the wire in bytes, without the data.
    pub const LEN: usize = 16;

    /// As bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&magic::OPTION.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.option.to_be_bytes());
        bytes[12..].copy_from_slice(&self.len_bytes.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the magic is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("option", bytes);
        let found = fields.u64()?;
        if found != magic::OPTION {
            return Err(fields.error(format!("wrong magic {found:#x}")));
        }
        let header = Self {
            option: fields.u32()?,
            len_bytes: fields.u32()?,
        };
        fields.end()?;
        Ok(header)
    }
}

impl OptionReply {
    /// Length on the wire in bytes, without the data.
    pub const LEN: usize = 20;

    /// As bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&magic::OPTION_REPLY.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.option.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.kind.to_be_bytes());
        bytes[16..].copy_from_slice(&self.len_bytes.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the magic is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("option reply", bytes);
        let found = fields.u64()?;
        if found != magic::OPTION_REPLY {
            return Err(fields.error(format!("wrong magic {found:#x}")));
        }
        let header = Self {
            option: fields.u32()?,
            kind: fields.u32()?,
            len_bytes: fields.u32()?,
        };
        fields.end()?;
        Ok(header)
    }

    /// Whether it is an error.
    pub fn is_error(self) -> bool {
        self.kind & super::reply::ERROR_BIT != 0
    }
}

impl ExportReply {
    /// Length on the wire in bytes, without the reserved zeroes.
    pub const LEN: usize = 10;
    /// How many zeroes follow unless both sides agreed on `NO_ZEROES`.
    pub const ZEROES: usize = 124;

    /// As bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.size_bytes.to_be_bytes());
        bytes[8..].copy_from_slice(&self.flags.to_be_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When there are too few or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("export", bytes);
        let reply = Self {
            size_bytes: fields.u64()?,
            flags: fields.u16()?,
        };
        fields.end()?;
        Ok(reply)
    }
}

impl InfoRequest {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + self.name.len() + 2 * self.wanted.len());
        put_string(&mut out, &self.name);
        out.extend((self.wanted.len() as u16).to_be_bytes());
        out.extend(self.wanted.iter().flat_map(|wanted| wanted.to_be_bytes()));
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When a length is wrong or the name is no string.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("information request", bytes);
        let name = fields.counted_string()?;
        let count = fields.u16()?;
        let wanted = (0..count).map(|_| fields.u16()).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { name, wanted })
    }
}

impl Info {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Export(export) => {
                out.extend(info::EXPORT.to_be_bytes());
                out.extend(export.encode());
            }
            Self::Name(name) => {
                out.extend(info::NAME.to_be_bytes());
                out.extend(name.as_bytes());
            }
            Self::Description(text) => {
                out.extend(info::DESCRIPTION.to_be_bytes());
                out.extend(text.as_bytes());
            }
            Self::BlockSize {
                min_bytes,
                preferred_bytes,
                max_bytes,
            } => {
                out.extend(info::BLOCK_SIZE.to_be_bytes());
                for size in [min_bytes, preferred_bytes, max_bytes] {
                    out.extend(size.to_be_bytes());
                }
            }
            Self::Other(kind, data) => {
                out.extend(kind.to_be_bytes());
                out.extend(data);
            }
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When a length is wrong or a text is no string.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("information", bytes);
        let found = match fields.u16()? {
            info::EXPORT => Self::Export(ExportReply::decode(fields.rest())?),
            info::NAME => Self::Name(fields.string(fields.left())?),
            info::DESCRIPTION => Self::Description(fields.string(fields.left())?),
            info::BLOCK_SIZE => Self::BlockSize {
                min_bytes: fields.u32()?,
                preferred_bytes: fields.u32()?,
                max_bytes: fields.u32()?,
            },
            other => Self::Other(other, fields.rest().to_vec()),
        };
        fields.end()?;
        Ok(found)
    }
}

impl ServerEntry {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.name.len() + self.details.len());
        put_string(&mut out, &self.name);
        out.extend(self.details.as_bytes());
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When a length is wrong or a text is no string.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("export list", bytes);
        Ok(Self {
            name: fields.counted_string()?,
            details: fields.string(fields.left())?,
        })
    }
}

impl MetaQuery {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, &self.export);
        out.extend((self.queries.len() as u32).to_be_bytes());
        for query in &self.queries {
            put_string(&mut out, query);
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When a length is wrong or a name is no string.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("metadata context query", bytes);
        let export = fields.counted_string()?;
        let count = fields.u32()?;
        // Each takes four bytes at least, so a false count ends where the message does.
        let queries = (0..count)
            .map(|_| fields.counted_string())
            .collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { export, queries })
    }
}

impl MetaContext {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.name.len());
        out.extend(self.id.to_be_bytes());
        out.extend(self.name.as_bytes());
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When it is too short or the name is no string.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new("metadata context", bytes);
        Ok(Self {
            id: fields.u32()?,
            name: fields.string(fields.left())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let greeting = Greeting { flags: 3 };
        assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
        let header = OptionHeader {
            option: 7,
            len_bytes: 9,
        };
        assert_eq!(OptionHeader::decode(&header.encode()), Ok(header));
        let reply = OptionReply {
            option: 7,
            kind: super::super::reply::ERR_POLICY,
            len_bytes: 0,
        };
        assert_eq!(OptionReply::decode(&reply.encode()), Ok(reply));
        assert!(reply.is_error());
        let request = InfoRequest {
            name: "disk".into(),
            wanted: vec![info::NAME, info::BLOCK_SIZE],
        };
        assert_eq!(InfoRequest::decode(&request.encode()), Ok(request));
        let query = MetaQuery {
            export: "ä".into(),
            queries: vec!["base:".into(), String::new()],
        };
        assert_eq!(MetaQuery::decode(&query.encode()), Ok(query));
        let context = MetaContext {
            id: 1,
            name: "base:allocation".into(),
        };
        assert_eq!(MetaContext::decode(&context.encode()), Ok(context));
        let entry = ServerEntry {
            name: "a".into(),
            details: "of b".into(),
        };
        assert_eq!(ServerEntry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn information_of_every_kind_is_decoded() {
        let all = [
            Info::Export(ExportReply {
                size_bytes: 1 << 50,
                flags: 5,
            }),
            Info::Name("n".into()),
            Info::Description("d".into()),
            Info::BlockSize {
                min_bytes: 1,
                preferred_bytes: 4096,
                max_bytes: 1 << 25,
            },
            Info::Other(77, vec![1, 2]),
        ];
        for info in all {
            assert_eq!(Info::decode(&info.encode()), Ok(info));
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let whole = InfoRequest {
            name: "disk".into(),
            wanted: vec![3],
        }
        .encode();
        for len in 0..whole.len() {
            InfoRequest::decode(&whole[..len]).unwrap_err();
        }
        let mut longer = whole.clone();
        longer.push(0);
        InfoRequest::decode(&longer).unwrap_err();
        // A count that no message could hold.
        MetaQuery::decode(&[0, 0, 0, 0, 255, 255, 255, 255]).unwrap_err();
        // A string's length beyond 4096, one that is not UTF-8, and one with a NUL.
        InfoRequest::decode(&[255; 5000]).unwrap_err();
        InfoRequest::decode(&[0, 0, 0, 1, 200, 0, 0]).unwrap_err();
        InfoRequest::decode(&[0, 0, 0, 1, 0, 0, 0]).unwrap_err();
    }
}
