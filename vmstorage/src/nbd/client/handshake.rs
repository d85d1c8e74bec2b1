//! The handshake from the client's side ("Fixed newstyle negotiation").

use super::input::Input;
use super::loss::Loss;
use crate::engine::IoBuf;
use crate::nbd::proto::{
    ExportReply, Greeting, Headers, Info, InfoRequest, MAX_PAYLOAD_BYTES, MetaContext, MetaQuery,
    OptionHeader, OptionReply, ServerEntry, export_flag, handshake_flag, info, option, reply,
};
use crate::nbd::wire::Wire;

/// Longest reply to an option that is taken, in bytes; strings on the wire end at 4096.
const MAX_REPLY_BYTES: u32 = 64 << 10;
/// Most replies to one option that are taken: exports and contexts of a list.
const MAX_REPLIES: usize = 16 << 10;

/// A connection whose export is not chosen yet.
#[derive(Debug)]
pub(super) struct Handshake {
    input: Input,
    headers: Headers,
    no_zeroes: bool,
}

/// What a server says of an export. It must say the same whenever it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) size_bytes: u64,
    pub(super) flags: u16,
    pub(super) min_bytes: u32,
    pub(super) preferred_bytes: u32,
    pub(super) max_bytes: u32,
    pub(super) headers: Headers,
    /// Names of metadata contexts, sorted.
    pub(super) contexts: Vec<String>,
}

/// A connection in its transmission.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) input: Input,
    pub(super) exported: Exported,
    /// The server's number of each of [`Exported::contexts`].
    pub(super) context_ids: Vec<u32>,
}

/// How an option was answered.
enum Answered {
    /// With these replies, and done.
    Done(Vec<(u32, Vec<u8>)>),
    /// With an error and what it says.
    Refused(u32, String),
}

impl Handshake {
    pub(super) async fn begin(wire: Wire) -> Result<Self, Loss> {
        let mut input = Input::new(wire);
        let greeting = Greeting::decode(&input.array::<{ Greeting::LEN }>().await?)?;
        if greeting.flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            return Err(Loss::violated("no fixed newstyle handshake"));
        }
        let flags = greeting.flags & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        send(&input, u32::from(flags).to_be_bytes().to_vec()).await?;
        Ok(Self {
            input,
            headers: Headers::Simple,
            no_zeroes: flags & handshake_flag::NO_ZEROES != 0,
        })
    }

    /// Has the server wait for TLS.
    pub(super) async fn start_tls(&mut self) -> Result<(), Loss> {
        match self.ask(option::STARTTLS, &[]).await? {
            // What came after the answer in the clear would be taken for the server's.
            Answered::Done(_) if self.input.is_empty() => Ok(()),
            Answered::Done(_) => Err(Loss::violated("the server spoke before TLS")),
            Answered::Refused(_, what) => Err(Loss::refused(format!("no TLS: {what}"))),
        }
    }

    /// Goes on over another wire.
    pub(super) fn over(&mut self, wire: Wire) {
        self.input = Input::new(wire);
    }

    pub(super) async fn agree_on_headers(&mut self) -> Result<(), Loss> {
        let best_first = [
            (option::EXTENDED_HEADERS, Headers::Extended),
            (option::STRUCTURED_REPLY, Headers::Structured),
        ];
        for (number, headers) in best_first {
            match self.ask(number, &[]).await? {
                Answered::Done(_) => {
                    self.headers = headers;
                    return Ok(());
                }
                Answered::Refused(reply::ERR_TLS_REQD, what) => {
                    return Err(Loss::refused(format!("{what}; help: use `nbds`")));
                }
                Answered::Refused(..) => {}
            }
        }
        Ok(())
    }

    /// The exports, if the server lists them.
    pub(super) async fn list(&mut self) -> Result<Vec<ServerEntry>, Loss> {
        match self.ask(option::LIST, &[]).await? {
            Answered::Refused(_, what) => Err(Loss::refused(format!("list exports: {what}"))),
            Answered::Done(replies) => replies
                .into_iter()
                .filter(|(kind, _)| *kind == reply::SERVER)
                .map(|(_, data)| Ok(ServerEntry::decode(&data)?))
                .collect(),
        }
    }

    /// Lists or chooses metadata contexts; nothing without structured replies.
    pub(super) async fn contexts(
        &mut self,
        number: u32,
        export: &str,
        queries: &[String],
    ) -> Result<Vec<MetaContext>, Loss> {
        if self.headers == Headers::Simple {
            return Ok(Vec::new());
        }
        let query = MetaQuery {
            export: export.to_owned(),
            queries: queries.to_vec(),
        };
        match self.ask(number, &query.encode()).await? {
            Answered::Refused(reply::ERR_UNSUP, _) => Ok(Vec::new()),
            Answered::Refused(_, what) => Err(Loss::refused(format!("contexts: {what}"))),
            Answered::Done(replies) => replies
                .into_iter()
                .filter(|(kind, _)| *kind == reply::META_CONTEXT)
                .map(|(_, data)| Ok(MetaContext::decode(&data)?))
                .collect(),
        }
    }

    /// Chooses the export with metadata contexts; those that the server does not have are missing.
    pub(super) async fn go(mut self, export: &str, contexts: &[String]) -> Result<Session, Loss> {
        let mut chosen = Vec::new();
        if !contexts.is_empty() {
            chosen = self
                .contexts(option::SET_META_CONTEXT, export, contexts)
                .await?;
            chosen.retain(|context| contexts.contains(&context.name));
            chosen.sort_by(|a, b| a.name.cmp(&b.name));
            chosen.dedup_by(|a, b| a.name == b.name);
        }
        let request = InfoRequest {
            name: export.to_owned(),
            wanted: vec![info::BLOCK_SIZE],
        };
        let mut exported = match self.ask(option::GO, &request.encode()).await? {
            Answered::Done(replies) => Exported::of_replies(&replies)?,
            Answered::Refused(reply::ERR_UNSUP, _) => self.export_name(export).await?,
            Answered::Refused(kind, what) => {
                let hint = match kind {
                    reply::ERR_TLS_REQD => "; help: use `nbds`",
                    _ => "",
                };
                return Err(Loss::refused(format!("export `{export}`: {what}{hint}")));
            }
        };
        exported.headers = self.headers;
        exported.check()?;
        let context_ids = chosen.iter().map(|context| context.id).collect();
        exported.contexts = chosen.into_iter().map(|context| context.name).collect();
        Ok(Session {
            input: self.input,
            exported,
            context_ids,
        })
    }

    /// Ends the session before an export was chosen.
    pub(super) async fn abort(self) {
        let header = OptionHeader {
            option: option::ABORT,
            len_bytes: 0,
        };
        // The server may be gone already; nothing depends on it.
        let _ = send(&self.input, header.encode().to_vec()).await;
        self.input.wire().close().await;
    }

    /// Chooses the export as servers understand it that do not know `GO`.
    async fn export_name(&mut self, export: &str) -> Result<Exported, Loss> {
        self.send_option(option::EXPORT_NAME, export.as_bytes())
            .await?;
        let granted = ExportReply::decode(&self.input.array::<{ ExportReply::LEN }>().await?)?;
        if !self.no_zeroes {
            self.input.array::<{ ExportReply::ZEROES }>().await?;
        }
        Ok(Exported::new(granted))
    }

    async fn send_option(&mut self, number: u32, data: &[u8]) -> Result<(), Loss> {
        let header = OptionHeader {
            option: number,
            len_bytes: data.len() as u32,
        };
        send(&self.input, [&header.encode(), data].concat()).await
    }

    async fn ask(&mut self, number: u32, data: &[u8]) -> Result<Answered, Loss> {
        self.send_option(number, data).await?;
        let mut replies = Vec::new();
        loop {
            let header = OptionReply::decode(&self.input.array::<{ OptionReply::LEN }>().await?)?;
            if header.option != number {
                return Err(Loss::violated(format!(
                    "option {number} was answered as option {}",
                    header.option
                )));
            }
            if header.len_bytes > MAX_REPLY_BYTES || replies.len() == MAX_REPLIES {
                return Err(Loss::violated(format!(
                    "reply {} of {} bytes to option {number}",
                    replies.len(),
                    header.len_bytes
                )));
            }
            let data = self.input.bytes(header.len_bytes as usize).await?;
            if header.is_error() {
                let what = refusal(header.kind, &String::from_utf8_lossy(&data));
                return Ok(Answered::Refused(header.kind, what));
            }
            if header.kind == reply::ACK {
                return Ok(Answered::Done(replies));
            }
            replies.push((header.kind, data));
        }
    }
}

impl Exported {
    fn new(granted: ExportReply) -> Self {
        Self {
            size_bytes: granted.size_bytes,
            flags: granted.flags,
            min_bytes: 1,
            preferred_bytes: 4096,
            max_bytes: MAX_PAYLOAD_BYTES,
            headers: Headers::Simple,
            contexts: Vec::new(),
        }
    }

    fn of_replies(replies: &[(u32, Vec<u8>)]) -> Result<Self, Loss> {
        let mut exported = None;
        let mut sizes = None;
        for (_, data) in replies.iter().filter(|(kind, _)| *kind == reply::INFO) {
            match Info::decode(data)? {
                Info::Export(granted) => exported = Some(Self::new(granted)),
                Info::BlockSize {
                    min_bytes,
                    preferred_bytes,
                    max_bytes,
                } => sizes = Some((min_bytes, preferred_bytes, max_bytes)),
                _ => {}
            }
        }
        let mut exported =
            exported.ok_or_else(|| Loss::violated("an export without size and flags"))?;
        if let Some((min, preferred, max)) = sizes {
            exported.min_bytes = min;
            exported.preferred_bytes = preferred;
            exported.max_bytes = max.min(MAX_PAYLOAD_BYTES);
        }
        Ok(exported)
    }

    /// Refuses sizes that make no sense.
    fn check(&self) -> Result<(), Loss> {
        let (min, preferred, max) = (self.min_bytes, self.preferred_bytes, self.max_bytes);
        let good = min.is_power_of_two()
            && min <= 64 << 10
            && preferred.is_power_of_two()
            && preferred >= min
            && max >= min;
        if !good {
            return Err(Loss::violated(format!(
                "block sizes {min}, {preferred} and {max}"
            )));
        }
        // No file is larger, and sums of offsets and lengths stay clear of the end of 64 bits.
        if self.size_bytes > i64::MAX as u64 {
            return Err(Loss::violated(format!("{} bytes of disk", self.size_bytes)));
        }
        Ok(())
    }

    pub(super) fn can(&self, flag: u16) -> bool {
        self.flags & export_flag::HAS_FLAGS != 0 && self.flags & flag != 0
    }
}

async fn send(input: &Input, bytes: Vec<u8>) -> Result<(), Loss> {
    let sent = input.wire().send_all(&[IoBuf::copy_of(&bytes)]).await;
    sent.map_err(|error| Loss::Lost(format!("send: {error}")))
}

/// A refusal for people.
fn refusal(kind: u32, said: &str) -> String {
    let why = match kind {
        reply::ERR_UNSUP => "the server does not know the option",
        reply::ERR_POLICY => "the server does not want to",
        reply::ERR_INVALID => "the server finds the option wrong",
        reply::ERR_PLATFORM => "the server's platform cannot do it",
        reply::ERR_TLS_REQD => "the server asks for TLS",
        reply::ERR_UNKNOWN => "there is no such export",
        reply::ERR_SHUTDOWN => "the server is going down",
        reply::ERR_TOO_BIG => "the server finds the option too large",
        _ => "the server refuses",
    };
    match said.trim() {
        "" => why.to_owned(),
        said => format!("{why}: {}", said.escape_debug()),
    }
}
