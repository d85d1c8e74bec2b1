//! Questions about sockets, such as `connect tcp 10.0.0.1:80`, and their answers. The container
//! shares the host's network in them: in one of its own it may do all of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ebpf_common::abi::{Section, file_flags};
use ebpf_common::decide::FileObject;
use ebpf_common::decide::socket::{decide_socket, decide_unix_name, decide_unix_path};
use ebpf_common::hooks::Hook;
use ebpf_common::socket::{Address, Asked, kind, name_hash_of, right, version};

use super::question::{known, path};
use super::{Decided, ID, Question, QuestionError, nearest, unknown};
use crate::compile::Compiled;
use crate::facts::Facts;
use crate::model::HostPath;
use crate::model::sockets::{address, ip_of};
use crate::names::socket::{FAMILIES, KINDS, NETLINK, name, number};
use crate::suggest::Denied;
use crate::tables::Tables;

const PRIVATE: &str = "a container with a network namespace of its own may do this there";

/// A unix socket that somebody else listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnixPeer {
    /// In a file system.
    Path(HostPath),
    /// In the host's network namespace.
    Name(String),
}

/// `connect tcp 10.0.0.1:80` and its like.
pub(super) fn parse(verb: &str, kind: &str, at: &str) -> Result<Question, QuestionError> {
    let right = number(&right::NAMES, verb).unwrap_or(0);
    match kind {
        "unix" => {
            let peer = UnixPeer::Path(path(at)?);
            return Ok(Question::Unix { right, peer });
        }
        "abstract" => {
            let peer = UnixPeer::Name(at.to_owned());
            return Ok(Question::Unix { right, peer });
        }
        _ => {}
    }
    let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
    let kind = known(kind, "kinds of sockets", &names, |word| {
        number(&KINDS, word)
    })?;
    let address = match kind {
        kind::VSOCK => known(at, "addresses (`CID:PORT`)", &[], cid),
        _ => known(at, "addresses (`ADDRESS:PORT`)", &[], |word| {
            let found: SocketAddr = word.parse().ok()?;
            Some(address(found.ip(), u32::from(found.port())))
        }),
    }?;
    Ok(Question::Socket(Asked {
        kind,
        right,
        detail: 0,
        address,
    }))
}

fn cid(word: &str) -> Option<Address> {
    let (cid, port) = word.split_once(':')?;
    Some(Address {
        version: version::CID,
        bits: [0, u64::from(cid.parse::<u32>().ok()?)],
        port: port.parse().ok()?,
    })
}

/// `create-socket netlink route` and its like.
pub(super) fn parse_create(kind: &str, what: Option<&str>) -> Result<Question, QuestionError> {
    let (kind, detail) = match (kind, what) {
        ("netlink", Some(word)) => {
            let names: Vec<_> = NETLINK.iter().map(|(name, _)| *name).collect();
            let protocol = known(word, "netlink protocols", &names, |word| {
                number(&NETLINK, word)
            })?;
            (kind::NETLINK, protocol)
        }
        ("family", Some(word)) => {
            let names: Vec<_> = FAMILIES.iter().map(|(name, _)| *name).collect();
            let family = known(word, "address families", &names, |word| {
                number(&FAMILIES, word)
            })?;
            (kind::OTHER, family)
        }
        ("raw", None) => (kind::RAW, 0),
        ("packet", None) => (kind::PACKET, 0),
        (kind, _) => {
            let mut names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            names.extend(["raw", "packet", "netlink", "family"]);
            let found = known(kind, "kinds of sockets", &names, |word| {
                number(&KINDS, word).filter(|_| what.is_none())
            })?;
            (found, 0)
        }
    };
    Ok(Question::Socket(Asked {
        kind,
        right: right::CREATE,
        detail,
        address: Address::default(),
    }))
}

fn address_text(address: &Address) -> String {
    match ip_of(address) {
        Some(IpAddr::V6(v6)) => format!("[{v6}]:{}", address.port),
        Some(ip) => format!("{ip}:{}", address.port),
        None => format!("{}:{}", address.bits[1], address.port),
    }
}

/// What is asked, as it is asked; a refusal is told in the same words.
pub(super) fn text(asked: &Asked) -> String {
    let verb = name(&right::NAMES, asked.right).unwrap_or("?");
    let of_table = |table, what: &str| {
        let name = name(table, asked.detail);
        let name = name.map_or_else(|| asked.detail.to_string(), str::to_owned);
        format!("{what} {name}")
    };
    let kind = match asked.kind {
        kind::NETLINK => of_table(&NETLINK, "netlink"),
        kind::OTHER => of_table(&FAMILIES, "family"),
        kind::RAW => "raw".to_owned(),
        kind::PACKET => "packet".to_owned(),
        kind => name(&KINDS, kind).unwrap_or("?").to_owned(),
    };
    match asked.right {
        right::CREATE => format!("create-socket {kind}"),
        _ if asked.address.version == version::NONE => format!("{verb} {kind}"),
        _ => format!("{verb} {kind} {}", address_text(&asked.address)),
    }
}

pub(super) fn write_unix(f: &mut fmt::Formatter<'_>, right: u32, peer: &UnixPeer) -> fmt::Result {
    let verb = name(&right::NAMES, right).unwrap_or("?");
    match peer {
        UnixPeer::Path(path) => write!(f, "{verb} unix {path}"),
        UnixPeer::Name(name) => write!(f, "{verb} abstract {name}"),
    }
}

fn hooks(asked: &Asked) -> &'static [Hook] {
    match (asked.right, asked.kind) {
        (right::CREATE, kind::RAW | kind::PACKET) => &[Hook::SocketCreate, Hook::Capable],
        (right::CREATE, _) => &[Hook::SocketCreate],
        (right::BIND, kind::SCTP) => &[Hook::SocketBind, Hook::SctpBindConnect],
        (right::BIND, _) => &[Hook::SocketBind],
        (right::LISTEN, _) => &[Hook::SocketListen],
        (right::CONNECT, kind::SCTP) => &[Hook::SocketConnect, Hook::SctpBindConnect],
        (right::CONNECT, kind::TCP) => &[Hook::SocketConnect, Hook::SocketSendmsg],
        (right::CONNECT, _) => &[Hook::SocketConnect],
        _ => &[Hook::SocketSendmsg],
    }
}

pub(super) fn by_address(tables: &Tables, asked: &Asked) -> Decided {
    let mut asked = *asked;
    if asked.kind == kind::VSOCK && asked.right == right::LISTEN {
        // As the hook sees it.
        asked.address = Address::default();
    }
    let verdict = decide_socket(tables, ID, &asked, false);
    let Asked {
        kind,
        right,
        detail,
        address,
    } = asked;
    let denied = Denied::Socket {
        kind,
        right,
        detail,
        address,
    };
    let decided = Decided::new(Section::Sockets, verdict, hooks(&asked)).denied(denied);
    let of_host = kind == kind::VSOCK || kind == kind::OTHER;
    if of_host {
        decided
    } else {
        decided.note(PRIVATE)
    }
}

pub(super) fn unix(compiled: &Compiled, facts: &Facts, right: u32, peer: &UnixPeer) -> Decided {
    let hooks: &[Hook] = match right {
        right::SEND => &[Hook::UnixMaySend],
        right::BIND => &[Hook::SocketBind],
        _ => &[Hook::UnixStreamConnect],
    };
    let tables = &compiled.tables;
    match peer {
        UnixPeer::Name(name) => {
            let verdict = decide_unix_name(tables, ID, name_hash_of(name), right, false);
            let name = name.clone();
            Decided::new(Section::Sockets, verdict, hooks)
                .denied(Denied::UnixName { name, right })
                .note(PRIVATE)
        }
        UnixPeer::Path(path) => {
            let Some((object, exists)) = nearest(facts, path) else {
                return unknown(Section::Sockets, hooks, path);
            };
            let seen = FileObject {
                dev: object.inode.dev,
                magic: object.magic,
                super_block: 0,
                super_flags: 0,
                of_process: false,
                passes_over: file_flags::BACKING,
            };
            let above = object.ancestors.iter();
            let above = above.take_while(|inode| inode.dev == object.inode.dev);
            let mut chain = std::iter::once(object.inode.ino)
                .chain(above.map(|inode| inode.ino))
                .peekable();
            let verdict = decide_unix_path(tables, ID, &seen, &mut chain, right);
            let denied = Denied::UnixPath {
                path: path.as_str().to_owned(),
                right,
            };
            let decided = Decided::new(Section::Sockets, verdict, hooks).denied(denied);
            match exists {
                true => decided,
                false => {
                    let real = &object.real;
                    decided.note(format!("`{path}` does not exist: decided by `{real}`"))
                }
            }
        }
    }
}
