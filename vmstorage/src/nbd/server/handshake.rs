//! The handshake: greeting, options, and with which export a client goes on.

use std::io;
use std::rc::Rc;

use super::Tls;
use super::export::{Context, Served};
use super::input::Input;
use super::options::{self, Next};
use super::registry::Registry;
use crate::engine::{IoBuf, yield_now};
use crate::nbd::proto::{
    ExportReply, Greeting, Headers, Malformed, OptionHeader, OptionReply, handshake_flag, option,
    reply,
};
use crate::nbd::tls::TlsStream;
use crate::nbd::wire::Wire;

/// How many options a client may send.
const MOST_OPTIONS: usize = 4096;
/// Longest data of an option that is looked at, in bytes: a name and many queries.
const MOST_OPTION_BYTES: u32 = 64 << 10;
/// Longest data of an option that is received to be refused, in bytes.
const MOST_SKIPPED_BYTES: u32 = 32 << 20;

/// Why a handshake led nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client wanted no more.
    #[error("the client aborted the handshake")]
    Aborted,
    /// The client cannot be told otherwise that it may not go on.
    #[error("{0}")]
    Refused(String),
    /// The client does not speak the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The stream failed.
    #[error("handshake: {0}")]
    Io(#[from] io::Error),
}

/// What a handshake came to.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) input: Input,
    pub(super) served: Rc<Served>,
    pub(super) headers: Headers,
    pub(super) contexts: Vec<Rc<dyn Context>>,
}

/// Metadata contexts that a client chose.
pub(super) struct Chosen {
    /// Of which export.
    pub(super) of: Rc<Served>,
    pub(super) contexts: Vec<Rc<dyn Context>>,
}

/// A handshake under way.
pub(super) struct Handshake<'a> {
    pub(super) registry: &'a Registry,
    input: Input,
    no_zeroes: bool,
    pub(super) headers: Headers,
    pub(super) chosen: Option<Chosen>,
    /// Replies that are not sent yet.
    out: Vec<u8>,
}

/// Agrees with a client on an export and on how to go on.
pub(super) async fn shake(registry: &Registry, wire: Wire) -> Result<Session, End> {
    let mut handshake = Handshake {
        registry,
        input: Input::new(wire),
        no_zeroes: false,
        headers: Headers::Simple,
        chosen: None,
        out: Vec::new(),
    };
    let fixed = handshake.greet().await?;
    for _ in 0..MOST_OPTIONS {
        // A client that sends many options at once leaves others their turn.
        yield_now().await;
        if let Some(served) = handshake.option(fixed).await? {
            let contexts = handshake.contexts_of(&served);
            return Ok(Session {
                input: handshake.input,
                served,
                headers: handshake.headers,
                contexts,
            });
        }
    }
    Err(End::Refused("too many options".into()))
}

impl Handshake<'_> {
    /// Exchanges flags; whether the client knows replies to options.
    async fn greet(&mut self) -> Result<bool, End> {
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        self.out.extend(Greeting { flags }.encode());
        self.send().await?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.exactly(4).await?);
        self.input.take(4);
        let client = u32::from_be_bytes(bytes);
        if client & !u32::from(flags) != 0 {
            return Err(End::Refused(format!("unknown client flags {client:#x}")));
        }
        self.no_zeroes = client & u32::from(handshake_flag::NO_ZEROES) != 0;
        Ok(client & u32::from(handshake_flag::FIXED_NEWSTYLE) != 0)
    }

    /// Takes one option; the export when it was the last.
    async fn option(&mut self, fixed: bool) -> Result<Option<Rc<Served>>, End> {
        let header = OptionHeader::decode(self.exactly(OptionHeader::LEN).await?)?;
        self.input.take(OptionHeader::LEN);
        let kind = header.option;
        if !fixed && kind != option::EXPORT_NAME {
            return Err(End::Refused(format!(
                "option {kind} without fixed newstyle"
            )));
        }
        if header.len_bytes > MOST_OPTION_BYTES {
            self.skip_option(header).await?;
            return Ok(None);
        }
        let len = header.len_bytes as usize;
        let data = self.exactly(len).await?.to_vec();
        self.input.take(len);
        let next = options::take(self, kind, &data);
        let next = match next {
            Ok(next) => next,
            Err((_, message)) if kind == option::EXPORT_NAME => return Err(End::Refused(message)),
            Err((error, message)) => {
                self.reply(kind, error, message.as_bytes());
                Next::Option
            }
        };
        match next {
            Next::Option => self.send().await?,
            Next::Abort => {
                // The client may be gone already, which is as good.
                let _ = self.send().await;
                return Err(End::Aborted);
            }
            Next::StartTls => self.start_tls().await?,
            Next::Transmission(served) => {
                self.send().await?;
                return Ok(Some(served));
            }
        }
        Ok(None)
    }

    /// Refuses an option whose data is too long.
    async fn skip_option(&mut self, header: OptionHeader) -> Result<(), End> {
        let (kind, len) = (header.option, header.len_bytes);
        if kind == option::EXPORT_NAME || len > MOST_SKIPPED_BYTES {
            return Err(End::Refused(format!("option {kind} has {len} bytes")));
        }
        self.input.skip(len.into()).await?;
        self.reply(kind, reply::ERR_TOO_BIG, b"the option is too long");
        Ok(self.send().await?)
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let (Wire::Plain(stream), Tls::Allow(config) | Tls::Require(config)) =
            (self.input.wire().clone(), &self.registry.tls)
        else {
            return Err(End::Refused("TLS is not possible here".into()));
        };
        if self.input.len() > 0 {
            // What came in the clear must not count as if it had come through TLS.
            return Err(End::Refused("data after STARTTLS came before TLS".into()));
        }
        self.reply(option::STARTTLS, reply::ACK, &[]);
        self.send().await?;
        let stream = TlsStream::accept(stream, config.clone()).await?;
        self.input = Input::new(Wire::Tls(stream));
        // Nothing that was agreed on in the clear holds any more.
        self.headers = Headers::Simple;
        self.chosen = None;
        Ok(())
    }

    /// Queues a reply to an option.
    pub(super) fn reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        let header = OptionReply {
            option,
            kind,
            len_bytes: data.len() as u32,
        };
        self.out.extend(header.encode());
        self.out.extend(data);
    }

    /// Queues the answer to `EXPORT_NAME`.
    pub(super) fn export_reply(&mut self, export: ExportReply) {
        self.out.extend(export.encode());
        if !self.no_zeroes {
            self.out.extend([0; ExportReply::ZEROES]);
        }
    }

    /// The contexts that were chosen of this export.
    pub(super) fn contexts_of(&self, served: &Rc<Served>) -> Vec<Rc<dyn Context>> {
        match &self.chosen {
            Some(chosen) if Rc::ptr_eq(&chosen.of, served) => chosen.contexts.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.input.wire().is_tls()
    }

    async fn exactly(&mut self, len: usize) -> Result<&[u8], End> {
        let bytes = self.input.peek(len).await?;
        if bytes.len() < len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    async fn send(&mut self) -> io::Result<()> {
        let out = IoBuf::copy_of(&self.out);
        self.out.clear();
        self.input.wire().send_all(&[out]).await
    }
}
