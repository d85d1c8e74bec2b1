//! What is wrong with a request, found before anything is done for it.

use super::link::Link;
use crate::nbd::proto::{Headers, Request, command, command_flag, errno};

/// An errno of the protocol and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u32, pub(super) String);

fn refuse<T>(error: u32, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(error, message.into()))
}

/// Refuses what the disk should not see ("Request types", "Error values").
pub(super) fn request(link: &Link, request: &Request) -> Result<(), Refusal> {
    flags(link, request)?;
    if link.is_closing() {
        return refuse(errno::ESHUTDOWN, "the export is being closed");
    }
    let changes = matches!(
        request.command,
        command::WRITE | command::TRIM | command::WRITE_ZEROES
    );
    if changes && link.served.read_only {
        return refuse(errno::EPERM, "the export is read-only");
    }
    if request.command == command::FLUSH {
        if request.offset_bytes != 0 || request.len_bytes != 0 {
            return refuse(errno::EINVAL, "a flush has no offset and no length");
        }
        return Ok(());
    }
    if matches!(request.command, command::READ | command::WRITE)
        && request.len_bytes > link.payload_bytes.into()
    {
        let (len, most) = (request.len_bytes, link.payload_bytes);
        return refuse(
            errno::EINVAL,
            format!("{len} bytes in one request, {most} at most"),
        );
    }
    if request.command == command::BLOCK_STATUS && link.contexts.is_empty() {
        return refuse(errno::EINVAL, "no metadata context was chosen");
    }
    if request.command == command::BLOCK_STATUS && has_payload(request) {
        if request.len_bytes > 8 + 4 * link.contexts.len() as u64 {
            return refuse(errno::EINVAL, "more metadata contexts than were chosen");
        }
        return Ok(()); // the length is that of the payload, which is checked when it is there
    }
    range(link, request)
}

/// Refuses a range that is not within the disk or not aligned.
pub(super) fn range(link: &Link, request: &Request) -> Result<(), Refusal> {
    let export = &link.served.export;
    let size = export.disk.geometry().size_bytes;
    let end = request.offset_bytes.checked_add(request.len_bytes);
    if end.is_none_or(|end| end > size) {
        let error = match request.command {
            command::WRITE | command::WRITE_ZEROES => errno::ENOSPC,
            _ => errno::EINVAL,
        };
        return refuse(
            error,
            format!(
                "{} bytes at {} are not within the export of {size} bytes",
                request.len_bytes, request.offset_bytes
            ),
        );
    }
    let block = u64::from(export.min_block_bytes());
    if !request.offset_bytes.is_multiple_of(block) || !request.len_bytes.is_multiple_of(block) {
        return refuse(
            errno::EINVAL,
            format!(
                "{} bytes at {} are not aligned to blocks of {block} bytes",
                request.len_bytes, request.offset_bytes
            ),
        );
    }
    if request.command == command::BLOCK_STATUS && request.len_bytes == 0 {
        return refuse(errno::EINVAL, "the status of nothing");
    }
    Ok(())
}

/// Whether a request's length is that of a payload and not of a range; of those that may have one.
pub(super) fn has_payload(request: &Request) -> bool {
    request.flags & command_flag::PAYLOAD_LEN != 0
}

/// Refuses unknown commands, and flags that a command does not have.
fn flags(link: &Link, request: &Request) -> Result<(), Refusal> {
    let extended = link.headers == Headers::Extended;
    let payload = if extended {
        command_flag::PAYLOAD_LEN
    } else {
        0
    };
    // Clients are known to set FUA on any command, and may ("Command flags").
    let valid = command_flag::FUA
        | match request.command {
            command::READ if link.headers >= Headers::Structured => command_flag::DF,
            command::READ | command::FLUSH | command::TRIM | command::CACHE => 0,
            command::WRITE => payload,
            command::WRITE_ZEROES => command_flag::NO_HOLE | command_flag::FAST_ZERO,
            command::BLOCK_STATUS => command_flag::REQ_ONE | payload,
            other => return refuse(errno::EINVAL, format!("command {other} is unknown")),
        };
    let unknown = request.flags & !valid;
    if unknown != 0 {
        return refuse(
            errno::EINVAL,
            format!("command {} has no flag {unknown:#x}", request.command),
        );
    }
    Ok(())
}
