//! Refusals about sockets, in the words in which `reeve policy explain` asks.

use ebpf_common::event::Event;
use ebpf_common::socket::{Address, Asked, has_addresses, kind, right};
use policy::names::socket::right_names;
use policy::{Denied, Question};

use super::{Parts, words};

/// A socket with an address, or one that is granted as a whole.
pub(super) fn by_address(event: &Event) -> Parts {
    let (kind, number) = ((event.detail >> 32) as u32, event.detail as u32);
    let (detail, port) = match has_addresses(kind) {
        true => (0, number),
        false => (number, 0),
    };
    let address = Address {
        version: event.target_pid,
        bits: [
            event.ino,
            u64::from(event.dev) << 32 | u64::from(event.magic),
        ],
        port,
    };
    let asked = Asked {
        kind,
        right: event.rights,
        detail,
        address,
    };
    let text = Question::Socket(asked).to_string();
    let (action, object) = text.split_once(' ').unwrap_or((&text, ""));
    let Asked { right, .. } = asked;
    let denied = Denied::Socket {
        kind,
        right,
        detail,
        address,
    };
    let action = match right {
        right::CREATE => "create socket",
        _ => action,
    };
    // Where the port is not seen there is none to show.
    let object = match (kind, right) {
        (kind::VSOCK, right::LISTEN) => "vsock",
        _ => object,
    };
    (action.into(), object.into(), Some(denied))
}

fn action(event: &Event) -> String {
    words(right_names(event.rights))
}

/// A unix socket of a file system.
pub(super) fn unix_path(event: &Event, shown: String, path: Option<&str>) -> Parts {
    let denied = path.map(|path| Denied::UnixPath {
        path: path.to_owned(),
        right: event.rights,
    });
    (action(event), format!("unix {shown}"), denied)
}

/// An abstract unix socket.
pub(super) fn unix_name(event: &Event) -> Parts {
    let bytes = event.components.first().map_or(&[][..], |name| name);
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    // A name that is cut short or no text cannot be written into a policy.
    let whole = end.is_some_and(|end| end + 1 < bytes.len());
    let name = String::from_utf8_lossy(name).into_owned();
    let denied = Denied::UnixName {
        name: name.clone(),
        right: event.rights,
    };
    let denied = Some(denied).filter(|_| whole);
    (action(event), format!("unix @{name}"), denied)
}

/// An option that leads packets another way.
pub(super) fn route(event: &Event) -> Parts {
    let (level, option) = ((event.detail >> 32) as u32, event.detail as u32);
    let object = match event.detail {
        u64::MAX => "by a control message".to_owned(),
        _ => format!("by option {option} of level {level}"),
    };
    ("route packets".into(), object, None)
}
