//! The control plane: what is served, and what is changed about it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, RwLock};

use super::config::{Config, ConfigError, RawConfig, RawTls, check, load};
use super::control::{Failure, Kind};
use super::group::Group;
use super::host::{Shared, TlsConfig};
use super::notify::notify;
use super::socket;
use crate::nbd::tls;

/// Where the configuration is from.
#[derive(Debug, Clone)]
pub enum Setup {
    /// A file, which can be read again.
    File(PathBuf),
    /// Flags, and the directory that relative paths are meant from.
    Flags(Box<RawConfig>, PathBuf),
}

/// Why the service ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A disk cannot be served, or was not closed in order.
    #[error(transparent)]
    Disk(#[from] Failure),
}

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    setup: Setup,
    /// For changes of what is served, alone; for all else, together.
    pub(super) group: RwLock<Group>,
    pub(super) quit: Notify,
    /// Number of the next checkpoint. They are taken one after the other, since two that hold the
    /// same disks in different orders would wait for each other.
    pub(super) rounds: Mutex<u64>,
}

impl Setup {
    fn read(&self) -> Result<Config, ConfigError> {
        match self {
            Self::File(path) => load(path),
            Self::Flags(raw, directory) => check((**raw).clone(), directory),
        }
    }
}

/// Serves until `SIGTERM`, `SIGINT` or a request to quit, then closes all disks in order.
///
/// # Errors
/// When it cannot begin, or a disk was not closed in order.
pub fn run(setup: Setup) -> Result<(), ServeError> {
    let config = setup.read()?;
    // Sockets, maps and scratch files are for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| ServeError::System {
        doing: "start the control plane".into(),
        source,
    })?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(serve(setup, config)))
}

async fn serve(setup: Setup, config: Config) -> Result<(), ServeError> {
    let signals = |kind, name: &str| {
        signal(kind).map_err(|source| ServeError::System {
            doing: format!("handle {name}"),
            source,
        })
    };
    let mut terminate = signals(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = signals(SignalKind::interrupt(), "SIGINT")?;
    let mut hangup = signals(SignalKind::hangup(), "SIGHUP")?;
    let shared = shared(&config)?;
    let control = match &config.control {
        None => None,
        Some(path) => {
            let listener = socket::listen(path).map_err(|source| ServeError::System {
                doing: format!("listen on the control socket `{}`", path.display()),
                source,
            })?;
            Some((listener, path.clone()))
        }
    };
    let service = Rc::new(Service {
        setup,
        group: RwLock::default(),
        quit: Notify::new(),
        rounds: Mutex::default(),
    });
    let begun = service.group.write().await.begin(config, shared).await;
    let mut result = Ok(());
    let path = control.as_ref().map(|(_, path)| path.clone());
    match begun {
        Err(failure) => result = Err(failure),
        Ok(()) => {
            if let Some((listener, _)) = control {
                let serving = socket::serve(listener, Rc::clone(&service));
                tokio::task::spawn_local(serving);
            }
            service.tell_ready().await;
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    () = service.quit.notified() => break,
                    _ = hangup.recv() => service.reload_on_signal().await,
                }
            }
            notify("STOPPING=1");
        }
    }
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
    let ended = service.group.write().await.end().await;
    Ok(result.and(ended)?)
}

/// What all disks share, from files that the configuration names.
fn shared(config: &Config) -> Result<Shared, ServeError> {
    let load = |raw: &RawTls| {
        let authorities = raw.client_authorities.as_deref();
        let config = tls::server_config(&raw.certificate, &raw.key, authorities);
        let config = config.map_err(|error| Failure::new(Kind::BadConfig, error.to_string()))?;
        Ok::<_, Failure>(if raw.required {
            TlsConfig::Require(config)
        } else {
            TlsConfig::Allow(config)
        })
    };
    let tls = config.tls.as_ref().map(load).transpose()?;
    Ok(Shared {
        scratch: config.scratch.clone(),
        socket_mode: config.socket_mode,
        tls: tls.unwrap_or(TlsConfig::Off),
    })
}

impl Service {
    /// Says in one line, and to the service manager, that clients can connect.
    async fn tell_ready(&self) {
        let disks = self.group.read().await.report().await.unwrap_or_default();
        let places = disks.iter().map(|disk| {
            let place = disk.uris.first().map_or("no NBD address", String::as_str);
            format!("{} ({})", disk.name, place)
        });
        let places: Vec<_> = places.collect();
        let mut out = io::stdout().lock();
        // Nobody may be reading it any more, which is no reason to end.
        let _ = writeln!(out, "ready: {}", places.join(", "));
        let _ = out.flush();
        notify("READY=1");
    }

    async fn reload_on_signal(&self) {
        notify("RELOADING=1");
        match self.reload().await {
            Ok(report) => tracing::info!(%report, "the configuration was read again"),
            Err(error) => tracing::error!(%error, "the configuration is not used"),
        }
        notify("READY=1");
    }

    /// Reads the configuration again.
    pub(super) async fn reload(&self) -> Result<Value, Failure> {
        let bad = |error: String| Failure::new(Kind::BadConfig, error);
        let config = self.setup.read().map_err(|error| bad(error.to_string()))?;
        let shared = shared(&config).map_err(|error| bad(error.to_string()))?;
        self.group.write().await.change(config, shared).await
    }
}

/// Something as JSON.
pub(super) fn value(of: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(of).map_err(|error| Failure::new(Kind::Failed, error.to_string()))
}
