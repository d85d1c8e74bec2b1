//! The control socket: who may connect, and lines in and out.

use std::io;
use std::path::Path;
use std::rc::Rc;

use tokio::net::{UnixListener, UnixStream};

use super::control::{Answer, Failure, Kind, MAX_REQUEST_BYTES, Request};
use super::front::remove_stale;
use super::service::Service;

/// Listens at a path that only its owner may use.
///
/// # Errors
/// When something else is there, or the system refuses.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    // The process creates files for itself alone (`umask`), so nobody gets in before this.
    let listener = UnixListener::bind(path)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode)?;
    Ok(listener)
}

/// Takes connections for ever.
pub(super) async fn serve(listener: UnixListener, service: Rc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, Rc::clone(&service)));
            }
            Err(error) => {
                tracing::warn!(%error, "accept on the control socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, service: Rc<Service>) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused on the control socket");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "a peer of the control socket is not known");
            return;
        }
    }
    if let Err(error) = talk(&stream, &service).await {
        tracing::debug!(%error, "a control connection ended");
    }
}

async fn talk(stream: &UnixStream, service: &Rc<Service>) -> io::Result<()> {
    let mut pending = Vec::new();
    while let Some(line) = next_line(stream, &mut pending).await? {
        let done = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => service.answer(request).await,
            Err(error) => Err(Failure::new(Kind::BadRequest, error.to_string())),
        };
        let mut answer = serde_json::to_vec(&Answer::from(done))?;
        answer.push(b'\n');
        send(stream, &answer).await?;
    }
    Ok(())
}

/// The next line, without its end; nothing at the end of the stream.
async fn next_line(stream: &UnixStream, pending: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut looked = 0;
    loop {
        if let Some(end) = pending[looked..].iter().position(|&byte| byte == b'\n') {
            let rest = pending.split_off(looked + end + 1);
            let mut line = std::mem::replace(pending, rest);
            line.pop();
            return Ok(Some(line));
        }
        looked = pending.len();
        if looked > MAX_REQUEST_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a request is too long",
            ));
        }
        stream.readable().await?;
        let mut buf = [0; 4096];
        match stream.try_read(&mut buf) {
            Ok(0) => return Ok(None),
            Ok(read) => pending.extend_from_slice(&buf[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn send(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
