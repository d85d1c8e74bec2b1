//! What is answered, message by message.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::message::{
    BlockMetadata, BlockMetadataType, GetMetadataAllocatedRequest, GetMetadataDeltaRequest,
    GetMetadataResponse,
};
use super::source::Source;
use crate::disk::{Error, ErrorKind};
use crate::track::catalog::{Described, Reply, Request};

/// Extents in a message when the client does not say.
const DEFAULT_RESULTS: usize = 1024;
/// Most extents in a message: about 1 MiB.
const MAX_RESULTS: usize = 65_536;
/// Messages that wait for a client that does not read.
const WAITING: usize = 2;

/// A stream of answers.
pub(super) type Answers = ReceiverStream<Result<GetMetadataResponse, Status>>;

/// The service over disks.
#[derive(Debug, Clone)]
pub struct SnapshotMetadata {
    sources: Arc<Vec<Box<dyn Source>>>,
}

/// A checked request.
struct Stream {
    service: SnapshotMetadata,
    source: usize,
    /// [`Request::Changes`] or [`Request::Allocated`].
    request: Request,
    capacity_bytes: u64,
}

impl SnapshotMetadata {
    /// Of these disks; snapshots are looked for in all of them.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Self {
        Self {
            sources: Arc::new(sources),
        }
    }

    /// What a snapshot has allocated; more, if that is not known exactly.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a request that makes no sense, `NOT_FOUND` for an unknown snapshot,
    /// `OUT_OF_RANGE` for an offset beyond the volume, `FAILED_PRECONDITION` when nothing is known
    /// of changes since the snapshot, `UNAVAILABLE` and `INTERNAL` for failures.
    pub async fn allocated(&self, request: GetMetadataAllocatedRequest) -> Result<Answers, Status> {
        let limit = check_limit(request.max_results)?;
        let (source, snapshot) = self.find(&request.snapshot_id).await?;
        let capacity_bytes = snapshot.point.point.size_bytes;
        let offset_bytes = check_offset(request.starting_offset, capacity_bytes)?;
        let request = Request::Allocated {
            name: snapshot.point.id.to_string(),
            offset_bytes,
            limit,
        };
        self.start(source, request, capacity_bytes).await
    }

    /// What changed from one snapshot until another.
    ///
    /// # Errors
    /// As [`SnapshotMetadata::allocated`]; `INVALID_ARGUMENT` also for snapshots of different
    /// volumes or in the wrong order.
    pub async fn delta(&self, request: GetMetadataDeltaRequest) -> Result<Answers, Status> {
        let limit = check_limit(request.max_results)?;
        let (source, base) = self.find(&request.base_snapshot_id).await?;
        let (other, target) = self.find(&request.target_snapshot_id).await?;
        if source != other {
            return Err(Status::invalid_argument(
                "the snapshots are of different volumes",
            ));
        }
        let capacity_bytes = target.point.point.size_bytes;
        let offset_bytes = check_offset(request.starting_offset, capacity_bytes)?;
        let request = Request::Changes {
            since: base.point.id.to_string(),
            until: Some(target.point.id.to_string()),
            offset_bytes,
            limit,
        };
        self.start(source, request, capacity_bytes).await
    }

    /// The snapshot of this id, and the disk that has it.
    async fn find(&self, id: &str) -> Result<(usize, Described), Status> {
        if id.is_empty() {
            return Err(Status::invalid_argument("no snapshot is named"));
        }
        let is_name = uuid::Uuid::try_parse(id).is_err();
        let mut found = None;
        for (at, source) in self.sources.iter().enumerate() {
            match source.ask(Request::Show { name: id.into() }).await {
                Ok(Reply::Point(point)) if is_name && found.is_none() => found = Some((at, point)),
                // A checkpoint of several disks has one name on all of them.
                Ok(Reply::Point(_)) if is_name => {
                    return Err(Status::invalid_argument(format!(
                        "several volumes have a snapshot `{}`; help: say its id",
                        id.escape_default()
                    )));
                }
                Ok(Reply::Point(point)) => return Ok((at, point)),
                Ok(_) => return Err(Status::internal("the disk answers what nobody asked")),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(status(&error)),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        let id = id.escape_default();
        Err(Status::not_found(format!("there is no snapshot `{id}`")))
    }

    /// Begins a stream; what fails at once fails the call.
    async fn start(
        &self,
        source: usize,
        request: Request,
        capacity_bytes: u64,
    ) -> Result<Answers, Status> {
        let mut stream = Stream {
            service: self.clone(),
            source,
            request,
            capacity_bytes,
        };
        let (first, mut more) = stream.next().await?;
        let (send, receive) = mpsc::channel(WAITING);
        // A failed send means that the client has gone, and then nobody needs the rest.
        let rest = async move {
            let mut message = Ok(first);
            while send.send(message).await.is_ok() && more {
                message = match stream.next().await {
                    Ok((next, again)) => {
                        more = again;
                        Ok(next)
                    }
                    Err(status) => {
                        more = false;
                        Err(status)
                    }
                };
            }
        };
        tokio::spawn(rest);
        Ok(ReceiverStream::new(receive))
    }
}

impl Stream {
    /// The next message, and whether there is another one after it.
    async fn next(&mut self) -> Result<(GetMetadataResponse, bool), Status> {
        let source = &self.service.sources[self.source];
        let reply = source.ask(self.request.clone()).await;
        let reply = reply.map_err(|error| status(&error))?;
        let Reply::Changes {
            extents,
            next_bytes,
            ..
        } = reply
        else {
            return Err(Status::internal("the disk answers what nobody asked"));
        };
        if let (
            Some(next),
            Request::Changes { offset_bytes, .. } | Request::Allocated { offset_bytes, .. },
        ) = (next_bytes, &mut self.request)
        {
            *offset_bytes = next;
        }
        let extents = extents.into_iter().map(|(offset, size)| {
            Ok(BlockMetadata {
                byte_offset: signed(offset)?,
                size_bytes: signed(size)?,
            })
        });
        let message = GetMetadataResponse {
            block_metadata_type: BlockMetadataType::VariableLength.into(),
            volume_capacity_bytes: signed(self.capacity_bytes)?,
            block_metadata: extents.collect::<Result<_, Status>>()?,
        };
        Ok((message, next_bytes.is_some()))
    }
}

fn signed(number: u64) -> Result<i64, Status> {
    i64::try_from(number).map_err(|_| Status::internal("the volume is too large for the protocol"))
}

fn check_limit(max_results: i32) -> Result<usize, Status> {
    match usize::try_from(max_results) {
        Ok(0) => Ok(DEFAULT_RESULTS),
        Ok(limit) => Ok(limit.min(MAX_RESULTS)),
        Err(_) => Err(Status::invalid_argument("`max_results` is negative")),
    }
}

fn check_offset(offset: i64, capacity_bytes: u64) -> Result<u64, Status> {
    match u64::try_from(offset) {
        Ok(offset) if offset < capacity_bytes || offset == 0 => Ok(offset),
        Ok(_) => Err(Status::out_of_range(format!(
            "`starting_offset` is beyond the volume of {capacity_bytes} bytes"
        ))),
        Err(_) => Err(Status::invalid_argument("`starting_offset` is negative")),
    }
}

/// The status that the specification has for a failure.
fn status(error: &Error) -> Status {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::FullNeeded => Status::failed_precondition(message),
        ErrorKind::NotFound => Status::not_found(message),
        ErrorKind::OutOfRange => Status::out_of_range(message),
        ErrorKind::Unsupported => Status::invalid_argument(message),
        ErrorKind::Shutdown => Status::unavailable(message),
        _ => Status::internal(message),
    }
}
