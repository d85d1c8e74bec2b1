//! Asking a service through its control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::control::{Answer, Failure, Request};

/// A connection to a control socket; it blocks.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service does not hear, or does not speak as it should.
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The service said no.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or it is not allowed.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Io {
            doing: "connect to the control socket",
            path: path.into(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the service said, and when the connection broke.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let failed = |doing| {
            let path = self.path.clone();
            move |source| ClientError::Io {
                doing,
                path,
                source,
            }
        };
        let asking = failed("ask at the control socket");
        let hearing = failed("hear an answer from the control socket");
        let mut line = match serde_json::to_vec(request) {
            Ok(line) => line,
            Err(error) => return Err(asking(error.into())),
        };
        line.push(b'\n');
        self.stream.get_ref().write_all(&line).map_err(asking)?;
        let mut answer = String::new();
        let heard = self.stream.read_line(&mut answer);
        let parsed = heard.and_then(|_| Ok(serde_json::from_str(&answer)?));
        match parsed.map_err(hearing)? {
            Answer::Ok(value) => Ok(value),
            Answer::Error(failure) => Err(failure.into()),
        }
    }
}
