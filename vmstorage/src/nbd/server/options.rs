//! What a server answers to each option ("Option types").

use std::collections::HashSet;
use std::rc::Rc;

use super::Tls;
use super::export::Served;
use super::handshake::{Chosen, Handshake};
use super::status;
use crate::nbd::proto::{
    ExportReply, Headers, Info, InfoRequest, MAX_STRING_BYTES, MetaContext, MetaQuery, ServerEntry,
    export_flag, info, option, reply,
};

/// How a handshake goes on after an option.
pub(super) enum Next {
    Option,
    Abort,
    StartTls,
    Transmission(Rc<Served>),
}

/// How many names of metadata contexts a client may send at once.
const MOST_QUERIES: usize = 1024;

/// The kind of an error reply, and its text.
type Refusal = (u32, String);

fn refuse<T>(kind: u32, message: impl Into<String>) -> Result<T, Refusal> {
    Err((kind, message.into()))
}

/// Answers an option, or says why not.
pub(super) fn take(handshake: &mut Handshake<'_>, kind: u32, data: &[u8]) -> Result<Next, Refusal> {
    if kind == option::ABORT {
        handshake.reply(kind, reply::ACK, &[]);
        return Ok(Next::Abort);
    }
    if handshake.registry.is_closing() {
        return refuse(reply::ERR_SHUTDOWN, "the server is going down");
    }
    if kind == option::STARTTLS {
        return start_tls(handshake, data);
    }
    if matches!(handshake.registry.tls, Tls::Require(_)) && !handshake.is_tls() {
        return refuse(reply::ERR_TLS_REQD, "TLS has to come first");
    }
    match kind {
        option::EXPORT_NAME => export_name(handshake, data),
        option::LIST => list(handshake, data),
        option::INFO | option::GO => about(handshake, kind, data),
        option::STRUCTURED_REPLY => headers(handshake, kind, data, Headers::Structured),
        option::EXTENDED_HEADERS => headers(handshake, kind, data, Headers::Extended),
        option::LIST_META_CONTEXT | option::SET_META_CONTEXT => meta(handshake, kind, data),
        other => refuse(reply::ERR_UNSUP, format!("option {other} is unknown")),
    }
}

fn empty(data: &[u8]) -> Result<(), Refusal> {
    if data.is_empty() {
        return Ok(());
    }
    refuse(reply::ERR_INVALID, "the option has no data")
}

fn start_tls(handshake: &Handshake<'_>, data: &[u8]) -> Result<Next, Refusal> {
    empty(data)?;
    if handshake.is_tls() {
        return refuse(reply::ERR_INVALID, "TLS is in use already");
    }
    match handshake.registry.tls {
        Tls::Off => refuse(reply::ERR_POLICY, "the server has no certificate"),
        Tls::Allow(_) | Tls::Require(_) => Ok(Next::StartTls),
    }
}

fn headers(
    handshake: &mut Handshake<'_>,
    kind: u32,
    data: &[u8],
    wanted: Headers,
) -> Result<Next, Refusal> {
    empty(data)?;
    if handshake.headers >= wanted {
        let error = if handshake.headers == wanted {
            reply::ERR_INVALID
        } else {
            reply::ERR_EXT_HEADER_REQD
        };
        return refuse(error, "as much or more was agreed on already");
    }
    handshake.headers = wanted;
    handshake.reply(kind, reply::ACK, &[]);
    Ok(Next::Option)
}

fn list(handshake: &mut Handshake<'_>, data: &[u8]) -> Result<Next, Refusal> {
    empty(data)?;
    if !handshake.registry.list {
        return refuse(reply::ERR_POLICY, "the server does not list its exports");
    }
    for served in handshake.registry.served() {
        let export = &served.export;
        if export.hidden || (export.tls_only && !handshake.is_tls()) {
            continue;
        }
        let entry = ServerEntry {
            name: export.name.clone(),
            details: cut(&export.description),
        };
        handshake.reply(option::LIST, reply::SERVER, &entry.encode());
    }
    handshake.reply(option::LIST, reply::ACK, &[]);
    Ok(Next::Option)
}

/// As much of a text as the protocol carries.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(MAX_STRING_BYTES))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}

/// The export of that name, if this client may have it.
fn find(handshake: &Handshake<'_>, name: &str) -> Result<Rc<Served>, Refusal> {
    let Some(served) = handshake.registry.find(name) else {
        return refuse(reply::ERR_UNKNOWN, format!("there is no export `{name}`"));
    };
    if served.export.tls_only && !handshake.is_tls() {
        return refuse(
            reply::ERR_TLS_REQD,
            format!("export `{name}` is for clients that use TLS"),
        );
    }
    Ok(served)
}

fn export_name(handshake: &mut Handshake<'_>, data: &[u8]) -> Result<Next, Refusal> {
    let name = match std::str::from_utf8(data) {
        Ok(name) if name.len() <= MAX_STRING_BYTES => name,
        _ => return refuse(reply::ERR_INVALID, "the export's name is no string"),
    };
    let served = find(handshake, name)?;
    if served.export.min_block_bytes() > 1 {
        return refuse(
            reply::ERR_BLOCK_SIZE_REQD,
            format!("export `{name}` is for clients that ask for its block size"),
        );
    }
    let export = describe(handshake, &served);
    handshake.export_reply(export);
    Ok(Next::Transmission(served))
}

fn about(handshake: &mut Handshake<'_>, kind: u32, data: &[u8]) -> Result<Next, Refusal> {
    let request =
        InfoRequest::decode(data).map_err(|error| (reply::ERR_INVALID, error.to_string()))?;
    let served = find(handshake, &request.name)?;
    let export = &served.export;
    let min_bytes = export.min_block_bytes();
    if min_bytes > 1 && kind == option::GO && !request.wanted.contains(&info::BLOCK_SIZE) {
        return refuse(
            reply::ERR_BLOCK_SIZE_REQD,
            format!("requests have to be aligned to {min_bytes} bytes"),
        );
    }
    let max_bytes = handshake.registry.limits.payload_bytes;
    let preferred_bytes = export
        .disk
        .geometry()
        .preferred_block_bytes
        .clamp(min_bytes.max(4096), max_bytes);
    let mut infos = vec![
        Info::Export(describe(handshake, &served)),
        Info::BlockSize {
            min_bytes,
            preferred_bytes,
            max_bytes,
        },
    ];
    if request.wanted.contains(&info::NAME) {
        infos.push(Info::Name(export.name.clone()));
    }
    if request.wanted.contains(&info::DESCRIPTION) && !export.description.is_empty() {
        infos.push(Info::Description(cut(&export.description)));
    }
    for info in infos {
        handshake.reply(kind, reply::INFO, &info.encode());
    }
    handshake.reply(kind, reply::ACK, &[]);
    match kind {
        option::GO => Ok(Next::Transmission(served)),
        _ => Ok(Next::Option),
    }
}

/// Size and flags, as far as this client has got.
fn describe(handshake: &Handshake<'_>, served: &Rc<Served>) -> ExportReply {
    let mut flags = export_flag::HAS_FLAGS
        | export_flag::SEND_FLUSH
        | export_flag::SEND_FUA
        | export_flag::SEND_CACHE
        // All connections of a disk run on its engine over the one disk, so a flush covers all.
        | export_flag::CAN_MULTI_CONN;
    flags |= if served.read_only {
        export_flag::READ_ONLY
    } else {
        export_flag::SEND_TRIM | export_flag::SEND_WRITE_ZEROES | export_flag::SEND_FAST_ZERO
    };
    if handshake.headers >= Headers::Structured {
        flags |= export_flag::SEND_DF;
    }
    if handshake.headers == Headers::Extended && !handshake.contexts_of(served).is_empty() {
        flags |= export_flag::BLOCK_STATUS_PAYLOAD;
    }
    let size = served.export.disk.geometry().size_bytes;
    ExportReply {
        // Whole blocks only: nobody could ask for the rest.
        size_bytes: size - size % u64::from(served.export.min_block_bytes()),
        flags,
    }
}

fn meta(handshake: &mut Handshake<'_>, kind: u32, data: &[u8]) -> Result<Next, Refusal> {
    let set = kind == option::SET_META_CONTEXT;
    if set {
        handshake.chosen = None;
    }
    if handshake.headers == Headers::Simple {
        return refuse(reply::ERR_INVALID, "structured replies have to come first");
    }
    let query = MetaQuery::decode(data).map_err(|error| (reply::ERR_INVALID, error.to_string()))?;
    if query.queries.len() > MOST_QUERIES {
        return refuse(
            reply::ERR_TOO_BIG,
            format!("more than {MOST_QUERIES} queries"),
        );
    }
    let served = find(handshake, &query.export)?;
    let mut contexts = status::contexts(&served);
    // Found by hash: a client could ask a thousand times for each of a thousand contexts.
    let queries: HashSet<&str> = query.queries.iter().map(String::as_str).collect();
    contexts.retain(|context| {
        let name = context.name();
        let mut spaces = name.match_indices(':').map(|(at, _)| &name[..=at]);
        queries.contains(name.as_str())
            || (!set && (queries.is_empty() || spaces.any(|space| queries.contains(space))))
    });
    for (id, context) in (0..).zip(&contexts) {
        let context = MetaContext {
            id: if set { id } else { 0 },
            name: context.name(),
        };
        handshake.reply(kind, reply::META_CONTEXT, &context.encode());
    }
    if set {
        handshake.chosen = Some(Chosen {
            of: served,
            contexts,
        });
    }
    handshake.reply(kind, reply::ACK, &[]);
    Ok(Next::Option)
}
