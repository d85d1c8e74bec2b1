//! The services as gRPC: paths, codecs, the socket.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::task::{Context, Poll};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::message::{
    BoolValue, GetMetadataAllocatedRequest, GetMetadataDeltaRequest, GetMetadataResponse,
    GetPluginCapabilitiesResponse, GetPluginInfoResponse, Nothing, PluginCapability, PluginService,
    ProbeResponse, SNAPSHOT_METADATA_SERVICE,
};
use super::service::{Answers, SnapshotMetadata};
use crate::serve::front;

/// Name of the plugin.
const PLUGIN: &str = "vmstorage.reeve";
/// Longest request in bytes: two ids and secrets.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// `csi.v1.SnapshotMetadata`.
#[derive(Debug, Clone)]
struct Metadata(SnapshotMetadata);

/// `csi.v1.Identity`.
#[derive(Debug, Clone)]
struct Identity;

struct Allocated(SnapshotMetadata);
struct Delta(SnapshotMetadata);
struct Info;
struct Capabilities;
struct Probe;

/// Serves both services on a unix socket until `end` has come. Who may connect is a matter of the
/// folder's permissions.
///
/// # Errors
/// When somebody listens there already, or the socket cannot be made.
pub async fn serve(
    service: SnapshotMetadata,
    socket: &Path,
    end: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    front::remove_stale(socket)?;
    let listener = UnixListener::bind(socket)?;
    tonic::transport::Server::builder()
        .add_service(Metadata(service))
        .add_service(Identity)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), end)
        .await?;
    Ok(())
}

impl NamedService for Metadata {
    const NAME: &'static str = "csi.v1.SnapshotMetadata";
}

impl NamedService for Identity {
    const NAME: &'static str = "csi.v1.Identity";
}

impl ServerStreamingService<GetMetadataAllocatedRequest> for Allocated {
    type Response = GetMetadataResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<GetMetadataAllocatedRequest>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let answers = service.allocated(request.into_inner()).await?;
            Ok(Response::new(answers))
        })
    }
}

impl ServerStreamingService<GetMetadataDeltaRequest> for Delta {
    type Response = GetMetadataResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<GetMetadataDeltaRequest>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let answers = service.delta(request.into_inner()).await?;
            Ok(Response::new(answers))
        })
    }
}

impl UnaryService<Nothing> for Info {
    type Response = GetPluginInfoResponse;
    type Future = Ready<Result<Response<GetPluginInfoResponse>, Status>>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        ready(Ok(Response::new(GetPluginInfoResponse {
            name: PLUGIN.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
        })))
    }
}

impl UnaryService<Nothing> for Capabilities {
    type Response = GetPluginCapabilitiesResponse;
    type Future = Ready<Result<Response<GetPluginCapabilitiesResponse>, Status>>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        let service = PluginService {
            r#type: SNAPSHOT_METADATA_SERVICE,
        };
        let capability = PluginCapability {
            service: Some(service),
        };
        ready(Ok(Response::new(GetPluginCapabilitiesResponse {
            capabilities: vec![capability],
        })))
    }
}

impl UnaryService<Nothing> for Probe {
    type Response = ProbeResponse;
    type Future = Ready<Result<Response<ProbeResponse>, Status>>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        ready(Ok(Response::new(ProbeResponse {
            ready: Some(BoolValue { value: true }),
        })))
    }
}

impl Service<http::Request<Body>> for Metadata {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/csi.v1.SnapshotMetadata/GetMetadataAllocated" => {
                    grpc(ProstCodec::<GetMetadataResponse, GetMetadataAllocatedRequest>::default())
                        .server_streaming(Allocated(service), request)
                        .await
                }
                "/csi.v1.SnapshotMetadata/GetMetadataDelta" => {
                    grpc(ProstCodec::<GetMetadataResponse, GetMetadataDeltaRequest>::default())
                        .server_streaming(Delta(service), request)
                        .await
                }
                _ => unknown(),
            })
        })
    }
}

impl Service<http::Request<Body>> for Identity {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/csi.v1.Identity/GetPluginInfo" => {
                    grpc(ProstCodec::<GetPluginInfoResponse, Nothing>::default())
                        .unary(Info, request)
                        .await
                }
                "/csi.v1.Identity/GetPluginCapabilities" => {
                    grpc(ProstCodec::<GetPluginCapabilitiesResponse, Nothing>::default())
                        .unary(Capabilities, request)
                        .await
                }
                "/csi.v1.Identity/Probe" => {
                    grpc(ProstCodec::<ProbeResponse, Nothing>::default())
                        .unary(Probe, request)
                        .await
                }
                _ => unknown(),
            })
        })
    }
}

fn grpc<C: tonic::codec::Codec>(codec: C) -> Grpc<C> {
    Grpc::new(codec).max_decoding_message_size(MAX_REQUEST_BYTES)
}

fn unknown() -> http::Response<Body> {
    Status::unimplemented("there is no such method").into_http()
}
