//! Whom the service asks about reference points.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use crate::disk::{Error, ErrorKind, Result};
use crate::serve::control::Kind;
use crate::serve::{Client, ClientError, control};
use crate::track::Offline;
use crate::track::catalog::{Reply, Request};

/// A disk that answers about its reference points, from any thread.
pub trait Source: Debug + Send + Sync + 'static {
    /// Does what [`crate::track::catalog::Catalog::answer`] does.
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>>;
}

/// A disk that nobody serves; its map is opened for each question.
#[derive(Debug, Clone)]
pub struct Closed(pub Offline);

/// A disk of a running block service.
#[derive(Debug, Clone)]
pub struct Served {
    /// The service's control socket.
    pub control: PathBuf,
    /// The disk's name there.
    pub disk: String,
}

impl Source for Closed {
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let offline = self.0.clone();
        // On a thread of its own: a disk's engine and tokio's do not share one.
        Box::pin(blocking(move || {
            let answer = crate::engine::run(offline.answer(request));
            answer.map_err(|error| Error::io("eventfd", error))?
        }))
    }
}

impl Source for Served {
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send + '_>> {
        let (control, disk) = (self.control.clone(), self.disk.clone());
        Box::pin(blocking(move || {
            let request = control::Request::Refpoint { disk, request };
            let answer = Client::connect(&control).and_then(|mut client| client.ask(&request));
            let answer = answer.map_err(|error| refused(&error))?;
            serde_json::from_value(answer).map_err(|error| {
                let message = format!("the service answers what nobody asked: {error}");
                Error::new(ErrorKind::Io, message)
            })
        }))
    }
}

async fn blocking(ask: impl FnOnce() -> Result<Reply> + Send + 'static) -> Result<Reply> {
    let done = tokio::task::spawn_blocking(ask).await;
    done.unwrap_or_else(|error| Err(Error::new(ErrorKind::Shutdown, error.to_string())))
}

fn refused(error: &ClientError) -> Error {
    let kind = match error {
        ClientError::Refused(failure) => match failure.kind {
            Kind::FullBackupNeeded => ErrorKind::FullNeeded,
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Unsupported => ErrorKind::OutOfRange,
            _ => ErrorKind::Io,
        },
        ClientError::Io { .. } => ErrorKind::Shutdown,
    };
    Error::new(kind, error.to_string())
}
