//! Addresses on which clients connect.

use std::cell::RefCell;
use std::fs::Permissions;
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::disk::open::Address;
use crate::engine::{Listener, Task, spawn, unblock};
use crate::held::wait_while_held;
use crate::nbd::server::{Limits, Options, Server, Tls};

use super::control::{Failure, Kind};

/// An address with the server behind it. Dropping it takes no more connections.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) server: Server,
    /// The address as it is: with the real port where 0 was asked for.
    pub(crate) address: Address,
    /// Clients have to use TLS.
    pub(super) secure: bool,
    accepting: RefCell<Option<Task<()>>>,
}

impl Front {
    /// Listens on an address.
    pub(crate) async fn open(
        address: &Address,
        tls: Tls,
        max_clients: u32,
        socket_mode: u32,
    ) -> Result<Self, Failure> {
        let opened = listen(address, socket_mode).await;
        let failed = |error| Failure::new(Kind::Failed, format!("listen on `{address}`: {error}"));
        let (listener, address) = opened.map_err(failed)?;
        let secure = matches!(tls, Tls::Require(_));
        let server = Server::new(Options {
            limits: Limits {
                connections: max_clients as usize,
                ..Limits::default()
            },
            tls,
            ..Options::default()
        });
        let serving = server.clone();
        Ok(Self {
            accepting: RefCell::new(Some(spawn(async move { serving.serve(listener).await }))),
            server,
            address,
            secure,
        })
    }

    /// Lets clients finish, flushes, and removes the socket.
    pub(crate) async fn close(&self) -> crate::disk::Result<()> {
        let closed = self.server.shutdown().await;
        let accepting = self.accepting.take();
        if let Some(accepting) = accepting {
            accepting.await;
        }
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
        closed
    }
}

async fn listen(address: &Address, mode: u32) -> io::Result<(Listener, Address)> {
    match address {
        Address::Unix(path) => {
            let stale = path.clone();
            unblock(move || remove_stale(&stale)).await?;
            // For its owner alone at first (`umask`), so nobody gets in before this.
            let listener = Listener::unix(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            Ok((listener, address.clone()))
        }
        Address::Tcp { host, port } => {
            let target = (host.clone(), *port);
            let found = unblock(move || target.to_socket_addrs()).await?.next();
            let found = found.ok_or_else(|| io::Error::other("the host has no address"))?;
            let bind = move || wait_while_held(|| Listener::tcp(found), is_taken);
            let listener = unblock(bind).await?;
            let port = listener.local_address().map_or(*port, |bound| bound.port());
            let host = host.clone();
            Ok((listener, Address::Tcp { host, port }))
        }
    }
}

/// Removes the socket that a service which crashed left behind; one in use is left alone. It blocks
/// while the crashed one still seems to listen ([`wait_while_held`]).
///
/// # Errors
/// When something else is there, or somebody listens.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    wait_while_held(|| remove_unheard(path), is_taken)
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn remove_unheard(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is no socket has this path",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves there",
        )),
    }
}
