//! A server with clients that say exactly what a test wants them to.

mod fuzz;
mod handshake;
mod hostile;
mod lifecycle;
mod lost;
mod recorder;
mod tls;
mod transmission;

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::input::Input;
use super::{Export, Options, Server};
use crate::disk::Disk;
use crate::disk::memory::Memory;
use crate::engine::{IoBuf, Stream, run};
use crate::nbd::proto::{
    BlockStatus, Chunk, ErrorChunk, ExportReply, Greeting, Headers, Info, InfoRequest, MetaContext,
    MetaQuery, OptionHeader, OptionReply, Request, SimpleReply, chunk, command, info, option,
    reply,
};
use crate::nbd::wire::Wire;

/// Size of [`disk`].
const SIZE: u64 = 1 << 20;

/// A client's side of a connection.
pub(super) struct Raw {
    input: Input,
    /// The same socket, to end one direction of it.
    socket: UnixStream,
    pub(super) headers: Headers,
}

/// The replies to one option.
pub(super) type Replies = Vec<(u32, Vec<u8>)>;

/// A reply to a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) cookie: u64,
    pub(super) error: u32,
    /// What was read; holes are filled in.
    pub(super) data: Vec<u8>,
    pub(super) status: Vec<BlockStatus>,
    /// Kinds of the chunks; of a simple reply none.
    pub(super) chunks: Vec<u16>,
}

pub(super) fn disk() -> Rc<dyn Disk> {
    let bytes = (0..SIZE).map(|at| (at % 251) as u8).collect();
    Rc::new(Memory::with_content(bytes))
}

pub(super) fn server_of(exports: Vec<Export>) -> Server {
    server_with(exports, Options::default())
}

pub(super) fn server_with(exports: Vec<Export>, options: Options) -> Server {
    let server = Server::new(options);
    for export in exports {
        server.add(export).unwrap();
    }
    server
}

/// Runs a test on an engine.
pub(super) fn on_engine(test: impl Future<Output = ()>) {
    run(test).unwrap();
}

impl Raw {
    /// Connects, and says nothing.
    pub(super) fn silent(server: &Server) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.connect(Stream::from_fd(theirs.into()).unwrap());
        let socket = ours.try_clone().unwrap();
        let stream = Stream::from_fd(ours.into()).unwrap();
        Self {
            input: Input::new(Wire::Plain(stream)),
            socket,
            headers: Headers::Simple,
        }
    }

    /// Connects and exchanges flags.
    pub(super) async fn greeted(server: &Server) -> Self {
        let mut raw = Self::silent(server);
        let greeting = raw.bytes(Greeting::LEN).await;
        assert_eq!(Greeting::decode(&greeting).unwrap().flags, 3);
        raw.send(&3u32.to_be_bytes()).await;
        raw
    }

    /// Connects and gets an export.
    pub(super) async fn open(server: &Server, name: &str, headers: Headers) -> Self {
        Self::with_contexts(server, name, headers, &[]).await
    }

    /// Connects, chooses contexts and gets an export.
    pub(super) async fn with_contexts(
        server: &Server,
        name: &str,
        headers: Headers,
        contexts: &[&str],
    ) -> Self {
        let mut raw = Self::greeted(server).await;
        raw.agree(headers).await;
        if !contexts.is_empty() {
            let chosen = raw.meta(option::SET_META_CONTEXT, name, contexts).await;
            assert_eq!(chosen.unwrap().len(), contexts.len());
        }
        raw.go(name).await;
        raw
    }

    pub(super) async fn agree(&mut self, headers: Headers) {
        let wanted = match headers {
            Headers::Simple => return,
            Headers::Structured => option::STRUCTURED_REPLY,
            Headers::Extended => option::EXTENDED_HEADERS,
        };
        assert_eq!(self.option(wanted, &[]).await, [(reply::ACK, vec![])]);
        self.headers = headers;
    }

    /// Gets an export.
    pub(super) async fn go(&mut self, name: &str) -> ExportReply {
        let request = InfoRequest {
            name: name.into(),
            wanted: vec![info::BLOCK_SIZE],
        };
        let replies = self.option(option::GO, &request.encode()).await;
        assert_eq!(replies.last().unwrap().0, reply::ACK, "{replies:?}");
        let exports = replies
            .iter()
            .find_map(|(kind, data)| match Info::decode(data) {
                Ok(Info::Export(export)) if *kind == reply::INFO => Some(export),
                _ => None,
            });
        exports.unwrap()
    }

    /// Lists or chooses contexts.
    pub(super) async fn meta(
        &mut self,
        kind: u32,
        export: &str,
        queries: &[&str],
    ) -> Result<Vec<MetaContext>, u32> {
        let query = MetaQuery {
            export: export.into(),
            queries: queries.iter().map(|&query| query.into()).collect(),
        };
        let mut replies = self.option(kind, &query.encode()).await;
        match replies.pop().unwrap().0 {
            reply::ACK => Ok(replies
                .iter()
                .map(|(kind, data)| {
                    assert_eq!(*kind, reply::META_CONTEXT);
                    MetaContext::decode(data).unwrap()
                })
                .collect()),
            error => Err(error),
        }
    }

    /// Sends an option and takes all replies to it.
    pub(super) async fn option(&mut self, kind: u32, data: &[u8]) -> Replies {
        self.send_option(kind, data).await;
        self.option_replies(kind).await
    }

    pub(super) async fn send_option(&mut self, kind: u32, data: &[u8]) {
        let header = OptionHeader {
            option: kind,
            len_bytes: data.len() as u32,
        };
        self.send(&[&header.encode()[..], data].concat()).await;
    }

    pub(super) async fn option_replies(&mut self, kind: u32) -> Replies {
        let mut replies = Vec::new();
        loop {
            let header = OptionReply::decode(&self.bytes(OptionReply::LEN).await).unwrap();
            assert_eq!(header.option, kind);
            replies.push((header.kind, self.bytes(header.len_bytes as usize).await));
            if header.kind == reply::ACK || header.is_error() {
                return replies;
            }
        }
    }

    /// Sends an option that is refused.
    pub(super) async fn refused(&mut self, kind: u32, data: &[u8]) -> u32 {
        let mut replies = self.option(kind, data).await;
        let (error, message) = replies.pop().unwrap();
        assert!(
            replies.is_empty() && error & reply::ERROR_BIT != 0,
            "{error:#x}"
        );
        assert!(!message.is_empty());
        error
    }

    /// Sends a request and takes its answer.
    pub(super) async fn ask(
        &mut self,
        command: u16,
        flags: u16,
        offset_bytes: u64,
        len_bytes: u64,
        payload: &[u8],
    ) -> Answer {
        let request = Request {
            flags,
            command,
            cookie: 0x1234_5678_9abc_def0,
            offset_bytes,
            len_bytes,
        };
        self.request(&request, payload).await;
        let answer = self.answer(&request).await;
        assert_eq!(answer.cookie, request.cookie);
        answer
    }

    pub(super) async fn request(&mut self, request: &Request, payload: &[u8]) {
        let mut bytes = Vec::new();
        request.encode(self.headers, &mut bytes).unwrap();
        bytes.extend(payload);
        self.send(&bytes).await;
    }

    /// The next reply, to this request if it is a simple one.
    pub(super) async fn answer(&mut self, request: &Request) -> Answer {
        let mut answer = Answer::default();
        loop {
            let magic = self.input.peek(4).await.unwrap().to_vec();
            if magic == crate::nbd::proto::magic::SIMPLE_REPLY.to_be_bytes() {
                assert_ne!(self.headers, Headers::Extended);
                let reply = SimpleReply::decode(&self.bytes(SimpleReply::LEN).await).unwrap();
                answer.cookie = reply.cookie;
                answer.error = reply.error;
                if request.command == command::READ && reply.error == 0 {
                    assert_eq!(self.headers, Headers::Simple);
                    answer.data = self.bytes(request.len_bytes as usize).await;
                }
                return answer;
            }
            let header = self.bytes(self.headers.chunk_len()).await;
            let header = Chunk::decode(self.headers, &header).unwrap();
            let payload = self.bytes(header.len_bytes as usize).await;
            answer.cookie = header.cookie;
            answer.chunks.push(header.kind);
            self.chunk(&header, &payload, &mut answer);
            if header.is_done() {
                return answer;
            }
        }
    }

    fn chunk(&self, header: &Chunk, payload: &[u8], answer: &mut Answer) {
        match header.kind {
            chunk::NONE => assert!(payload.is_empty()),
            chunk::OFFSET_DATA => answer.data.extend(&payload[8..]),
            chunk::OFFSET_HOLE => {
                let hole = crate::nbd::proto::Hole::decode(payload).unwrap();
                let len = answer.data.len() + hole.len_bytes as usize;
                answer.data.resize(len, 0);
            }
            chunk::BLOCK_STATUS | chunk::BLOCK_STATUS_EXT => {
                assert_eq!(header.kind, BlockStatus::kind(self.headers));
                let status = BlockStatus::decode(self.headers, payload).unwrap();
                answer.status.push(status);
            }
            kind => {
                let error = ErrorChunk::decode(kind, payload).unwrap();
                assert!(!error.message.is_empty());
                answer.error = error.error;
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // A server that has hung up is for what is received next to notice.
        let _ = self.input.wire().send_all(&[IoBuf::copy_of(bytes)]).await;
    }

    pub(super) async fn bytes(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.input.peek(len).await.unwrap().to_vec();
        assert_eq!(bytes.len(), len, "the server hung up");
        self.input.take(len);
        bytes
    }

    /// Ends what is sent, as a client does that is gone or wants only replies.
    pub(super) fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Whether the server hangs up without another word.
    pub(super) async fn is_over(&mut self) -> bool {
        matches!(self.input.peek(1).await, Ok([]) | Err(_))
    }
}
