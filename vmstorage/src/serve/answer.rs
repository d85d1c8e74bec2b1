//! What requests over the control socket come to.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Failure, Request};
use super::group::Group;
use super::report::DiskReport;
use super::served::Served;
use super::service::{Service, value};

impl Service {
    /// Does what a request asks for.
    pub(super) async fn answer(&self, request: Request) -> Result<Value, Failure> {
        match request {
            Request::Reload {} => self.reload().await,
            Request::Quit {} => {
                self.quit.notify_one();
                Ok(json!({}))
            }
            Request::CheckpointCreate {
                name,
                disks,
                hold_ms,
            } => {
                let limit = Duration::from_millis(hold_ms);
                let mut round = self.rounds.lock().await;
                *round += 1;
                let group = self.group.read().await;
                group.checkpoint(name, disks, *round, limit).await
            }
            other => self.group.read().await.answer(other).await,
        }
    }
}

impl Group {
    /// Does what a request asks of disks.
    async fn answer(&self, request: Request) -> Result<Value, Failure> {
        match request {
            Request::CheckpointExport { name, disks } => self.export(name, disks).await,
            Request::CheckpointDelete { name, disks } => self.delete(name, disks).await,
            Request::CheckpointConvert {
                name,
                refpoint,
                disks,
            } => self.convert(name, refpoint, disks).await,
            Request::Refpoint { disk, request } => {
                let work = move |served: Rc<Served>| async move { served.refpoint(request).await };
                self.on(&disk, work).await
            }
            Request::Resize {
                disk,
                size_bytes,
                shrink,
            } => {
                let work = move |served: Rc<Served>| async move {
                    served.resize(size_bytes, shrink).await
                };
                self.on(&disk, work).await
            }
            Request::Throttle { disk, limits } => {
                let work = move |served: Rc<Served>| async move { served.set_limits(limits) };
                self.on(&disk, work).await
            }
            Request::Status {}
            | Request::CheckpointCreate { .. }
            | Request::Reload {}
            | Request::Quit {} => status(&self.report().await?),
        }
    }

    async fn export(&self, name: String, disks: Vec<String>) -> Result<Value, Failure> {
        let disks = self.with_checkpoint(&name, disks).await?;
        let work = move |served: Rc<Served>| {
            let name = name.clone();
            async move { value(&served.export_checkpoint(&name).await?) }
        };
        self.each("checkpoints", &disks, work).await
    }

    async fn delete(&self, name: String, disks: Vec<String>) -> Result<Value, Failure> {
        let disks = self.with_checkpoint(&name, disks).await?;
        let work = move |served: Rc<Served>| {
            let name = name.clone();
            async move {
                served.delete_checkpoint(&name).await?;
                value(&served.config.name)
            }
        };
        self.each("deleted", &disks, work).await
    }

    async fn convert(
        &self,
        name: String,
        refpoint: Option<String>,
        disks: Vec<String>,
    ) -> Result<Value, Failure> {
        let disks = self.with_point(&name, disks).await?;
        let refpoint = refpoint.unwrap_or_else(|| name.clone());
        let work = move |served: Rc<Served>| {
            let (name, refpoint) = (name.clone(), refpoint.clone());
            async move {
                served.convert_checkpoint(&name, &refpoint).await?;
                Ok(json!({ "disk": served.config.name, "name": refpoint }))
            }
        };
        self.each("refpoints", &disks, work).await
    }
}

fn status(disks: &[DiskReport]) -> Result<Value, Failure> {
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "disks": value(&disks)?,
    }))
}
