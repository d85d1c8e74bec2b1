//! The bytes of NBD: constants, and every message encoded and decoded.
//!
//! No I/O and no state. Decoders check all lengths against what they were given and take nothing on
//! trust; they fail with [`Malformed`]. All numbers on the wire are big-endian. Source:
//! `doc/proto.md` of the NBD project, whose section names are given below.

mod handshake;
mod payload;
mod transmission;

pub use handshake::{
    ExportReply, Greeting, Info, InfoRequest, MetaContext, MetaQuery, OptionHeader, OptionReply,
    ServerEntry,
};
pub use payload::{BlockStatus, ErrorChunk, Hole, StatusExtent, StatusPayload};
pub use transmission::{Chunk, Headers, REPLY_PREFIX_BYTES, Request, SimpleReply};

/// Longest string on the wire in bytes ("Conventions").
pub const MAX_STRING_BYTES: usize = 4096;

/// Longest request or reply payload that peers exchange without agreeing on more ("Block size
/// constraints").
pub const MAX_PAYLOAD_BYTES: u32 = 32 << 20;

/// Numbers with which messages begin.
pub mod magic {
    /// First eight bytes from a server.
    pub const INIT: u64 = 0x4e42_444d_4147_4943;
    /// Next eight bytes of a newstyle server, and before every option.
    pub const OPTION: u64 = 0x4948_4156_454f_5054;
    /// Next eight bytes of an oldstyle server.
    pub const OLDSTYLE: u64 = 0x0000_4202_8186_1253;
    /// Before every reply to an option.
    pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
    /// Before a request.
    pub const REQUEST: u32 = 0x2560_9513;
    /// Before a request with extended headers.
    pub const EXTENDED_REQUEST: u32 = 0x21e4_1c71;
    /// Before a simple reply.
    pub const SIMPLE_REPLY: u32 = 0x6744_6698;
    /// Before a chunk of a structured reply.
    pub const STRUCTURED_REPLY: u32 = 0x668e_33ef;
    /// Before a chunk of a reply with extended headers.
    pub const EXTENDED_REPLY: u32 = 0x6e8a_278c;
}

/// Handshake flags; the server's 16 bits and the client's 32 bits agree.
pub mod handshake_flag {
    /// Options other than `EXPORT_NAME` are answered.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// The 124 zeroes after `EXPORT_NAME` may be left out.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Transmission flags: what can be done with an export.
pub mod export_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// Understands `FLUSH`.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// Understands the command flag `FUA`.
    pub const SEND_FUA: u16 = 1 << 3;
    /// Behaves like a spinning disk.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// Understands `TRIM`.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// Understands `WRITE_ZEROES`.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// Understands the command flag `DF`.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush covers what was acknowledged on every connection.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// Understands `RESIZE` (an experimental extension).
    pub const SEND_RESIZE: u16 = 1 << 9;
    /// Understands `CACHE`.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// Understands the command flag `FAST_ZERO`.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
    /// Understands a payload of `BLOCK_STATUS`.
    pub const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// Options ("Option types").
pub mod option {
    /// Choose an export and end the handshake, without a reply that can fail.
    pub const EXPORT_NAME: u32 = 1;
    /// End the session.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Go on with TLS.
    pub const STARTTLS: u32 = 5;
    /// Ask about an export.
    pub const INFO: u32 = 6;
    /// Choose an export and end the handshake.
    pub const GO: u32 = 7;
    /// Replies are structured.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Choose metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Headers have 64-bit lengths.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Replies to options ("Option reply types").
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export's name.
    pub const SERVER: u32 = 2;
    /// Something about an export.
    pub const INFO: u32 = 3;
    /// A metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Set in every reply that is an error.
    pub const ERROR_BIT: u32 = 1 << 31;
    /// The option is unknown.
    pub const ERR_UNSUP: u32 = ERROR_BIT + 1;
    /// The server does not want to.
    pub const ERR_POLICY: u32 = ERROR_BIT + 2;
    /// The option's data is wrong, or it came at a wrong time.
    pub const ERR_INVALID: u32 = ERROR_BIT + 3;
    /// The platform cannot do it.
    pub const ERR_PLATFORM: u32 = ERROR_BIT + 4;
    /// TLS has to come first.
    pub const ERR_TLS_REQD: u32 = ERROR_BIT + 5;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = ERROR_BIT + 6;
    /// The server is going down.
    pub const ERR_SHUTDOWN: u32 = ERROR_BIT + 7;
    /// The client has to ask for block sizes.
    pub const ERR_BLOCK_SIZE_REQD: u32 = ERROR_BIT + 8;
    /// The request is too large.
    pub const ERR_TOO_BIG: u32 = ERROR_BIT + 9;
    /// Extended headers have to come first.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR_BIT + 10;
}

/// What `INFO` and `GO` tell about an export ("Information types").
pub mod info {
    /// Size and flags.
    pub const EXPORT: u16 = 0;
    /// Canonical name.
    pub const NAME: u16 = 1;
    /// Description for people.
    pub const DESCRIPTION: u16 = 2;
    /// Block size constraints.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Commands ("Request types").
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// End the session.
    pub const DISC: u16 = 2;
    /// Make writes durable.
    pub const FLUSH: u16 = 3;
    /// The content of a range does not matter any more.
    pub const TRIM: u16 = 4;
    /// A range will be read soon.
    pub const CACHE: u16 = 5;
    /// Write zeroes.
    pub const WRITE_ZEROES: u16 = 6;
    /// Ask for metadata.
    pub const BLOCK_STATUS: u16 = 7;
    /// Change the size (an experimental extension).
    pub const RESIZE: u16 = 8;
}

/// Flags of a command ("Command flags").
pub mod command_flag {
    /// Durable before it is acknowledged.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes shall not become a hole.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The data of a read comes in one chunk.
    pub const DF: u16 = 1 << 2;
    /// One extent per context is enough.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Fail rather than write zeroes as slowly as data.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// The length is that of a payload (extended headers).
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Chunks of a structured or extended reply ("Structured reply types").
pub mod chunk {
    /// Flag: the last chunk of the reply.
    pub const FLAG_DONE: u16 = 1 << 0;
    /// Nothing to say.
    pub const NONE: u16 = 0;
    /// An offset and data.
    pub const OFFSET_DATA: u16 = 1;
    /// An offset and how many zeroes follow.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents of a metadata context, 32 bits each.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents of a metadata context, 64 bits each.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// Set in every chunk that is an error.
    pub const ERROR_BIT: u16 = 1 << 15;
    /// An error.
    pub const ERROR: u16 = ERROR_BIT + 1;
    /// An error and where it happened.
    pub const ERROR_OFFSET: u16 = ERROR_BIT + 2;
}

/// Errors of requests ("Error values"): the numbers of Linux.
pub mod errno {
    /// Not allowed.
    pub const EPERM: u32 = 1;
    /// The storage failed.
    pub const EIO: u32 = 5;
    /// Out of memory.
    pub const ENOMEM: u32 = 12;
    /// The request is wrong.
    pub const EINVAL: u32 = 22;
    /// The storage is full.
    pub const ENOSPC: u32 = 28;
    /// The answer would be too large.
    pub const EOVERFLOW: u32 = 75;
    /// Cannot be done, or not fast.
    pub const ENOTSUP: u32 = 95;
    /// The server is going down.
    pub const ESHUTDOWN: u32 = 108;
}

/// The metadata context that every server has: what is allocated, what reads as zeroes.
pub const BASE_ALLOCATION: &str = "base:allocation";

/// Status bits of [`BASE_ALLOCATION`].
pub mod allocation {
    /// Nothing is allocated.
    pub const HOLE: u64 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u64 = 1 << 1;
}

/// What a peer sent is not NBD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The fields of a message, taken from its front.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    /// Names the message in errors.
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.error(format!(
                "{len} bytes of it are missing or beyond its end ({} left)",
                self.rest.len()
            )));
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string of `len` bytes.
    pub(crate) fn string(&mut self, len: usize) -> Result<String, Malformed> {
        if len > MAX_STRING_BYTES {
            return Err(self.error(format!(
                "a string of {len} bytes is longer than {MAX_STRING_BYTES}"
            )));
        }
        match std::str::from_utf8(self.bytes(len)?) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            Ok(_) => Err(self.error("a string contains a NUL")),
            Err(error) => Err(self.error(format!("a string is not UTF-8: {error}"))),
        }
    }

    /// A string that is preceded by its length in 32 bits.
    pub(crate) fn counted_string(&mut self) -> Result<String, Malformed> {
        let len = self.u32()?;
        self.string(len as usize)
    }

    /// What is left of the message.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The message has no more fields.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.error(format!("{} bytes too many", self.rest.len())))
    }

    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Malformed {
        Malformed::new(format!("{}: {what}", self.what))
    }
}

/// Appends a string and its length in 32 bits before it.
fn put_string(out: &mut Vec<u8>, text: &str) {
    // No string of this program comes near 4 GiB; a peer refuses one beyond 4096 bytes anyway.
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text.as_bytes());
}
