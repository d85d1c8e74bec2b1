//! A client of the same messages, and the messages byte by byte.

use std::path::Path;

use prost::Message;
use tokio_stream::StreamExt;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::message::{
    BlockMetadata, GetMetadataAllocatedRequest, GetMetadataDeltaRequest, GetMetadataResponse,
    GetPluginCapabilitiesResponse, Nothing, PluginCapability, PluginService, ProbeResponse,
};
use super::{Closed, SnapshotMetadata, serve};
use crate::track::Offline;
use crate::track::catalog::{Reply, Request};

/// Encodings written down from `csi.proto`, not made by this code.
#[test]
fn messages_have_the_field_numbers_of_the_specification() {
    let allocated = GetMetadataAllocatedRequest {
        snapshot_id: "s".into(),
        starting_offset: 300,
        max_results: 5,
        secrets: [("k".to_owned(), "v".to_owned())].into(),
    };
    let expected = b"\x0a\x01s\x10\xac\x02\x18\x05\x22\x06\x0a\x01k\x12\x01v";
    assert_eq!(allocated.encode_to_vec(), expected);
    let delta = GetMetadataDeltaRequest {
        base_snapshot_id: "a".into(),
        target_snapshot_id: "b".into(),
        starting_offset: 1,
        max_results: 2,
        secrets: [("k".to_owned(), "v".to_owned())].into(),
    };
    let expected = b"\x0a\x01a\x12\x01b\x18\x01\x20\x02\x2a\x06\x0a\x01k\x12\x01v";
    assert_eq!(delta.encode_to_vec(), expected);
    let response = GetMetadataResponse {
        block_metadata_type: 2,
        volume_capacity_bytes: 4096,
        block_metadata: vec![BlockMetadata {
            byte_offset: 512,
            size_bytes: 128,
        }],
    };
    let expected = b"\x08\x02\x10\x80\x20\x1a\x06\x08\x80\x04\x10\x80\x01";
    assert_eq!(response.encode_to_vec(), expected);
    let service = Some(PluginService { r#type: 4 });
    let capabilities = GetPluginCapabilitiesResponse {
        capabilities: vec![PluginCapability { service }],
    };
    assert_eq!(capabilities.encode_to_vec(), b"\x0a\x04\x0a\x02\x08\x04");
}

async fn connect(socket: &Path) -> Channel {
    let address = format!("unix:{}", socket.display());
    Endpoint::try_from(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn stream<T: Message + 'static>(
    channel: &Channel,
    method: &'static str,
    request: T,
) -> Result<Vec<GetMetadataResponse>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<T, GetMetadataResponse>::default();
    let path = PathAndQuery::from_static(method);
    let answers = grpc.server_streaming(tonic::Request::new(request), path, codec);
    answers
        .await?
        .into_inner()
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}

async fn delta(
    channel: &Channel,
    base: &str,
    target: &str,
    starting_offset: i64,
    max_results: i32,
) -> Result<Vec<GetMetadataResponse>, Status> {
    let request = GetMetadataDeltaRequest {
        base_snapshot_id: base.into(),
        target_snapshot_id: target.into(),
        starting_offset,
        max_results,
        ..Default::default()
    };
    stream(
        channel,
        "/csi.v1.SnapshotMetadata/GetMetadataDelta",
        request,
    )
    .await
}

fn ask(offline: &Offline, request: Request) -> Reply {
    crate::engine::run(offline.answer(request))
        .unwrap()
        .unwrap()
}

/// A disk of 1 MiB with the points `one`, and `two`, and an imported bitmap between them.
fn disk(folder: &Path) -> Offline {
    let disk = folder.join("disk.raw");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let offline = Offline {
        disk,
        map: None,
        format: None,
    };
    let extents = vec![(0, 1), (300_000, 1), (500_000, 100)];
    let name = "one".into();
    let bitmap = Request::Bitmap {
        name,
        extents,
        size_bytes: u64::MAX,
    };
    ask(&offline, bitmap);
    let name = "two".into();
    ask(&offline, Request::Create { name });
    offline
}

fn offsets(messages: &[GetMetadataResponse]) -> Vec<Vec<i64>> {
    let parts = messages.iter().map(|message| &message.block_metadata);
    parts
        .map(|parts| parts.iter().map(|part| part.byte_offset).collect())
        .collect()
}

#[test]
fn a_socket_that_a_killed_process_left_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("csi.sock");
    let held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let begin = || runtime.block_on(serve(SnapshotMetadata::new(Vec::new()), &socket, async {}));
    let error = begin().unwrap_err().to_string();
    assert!(error.contains("another process serves there"), "{error}");
    drop(held);
    begin().unwrap();
}

#[test]
fn a_client_gets_its_snapshots_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("csi.sock");
    let offline = disk(folder.path());
    let service = SnapshotMetadata::new(vec![Box::new(Closed(offline.clone()))]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let at = socket.clone();
    runtime.spawn(async move { serve(service, &at, std::future::pending()).await });
    runtime.block_on(async {
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let channel = connect(&socket).await;
        let all = delta(&channel, "one", "two", 0, 0).await.unwrap();
        assert_eq!(offsets(&all), [[0, 262_144, 458_752]]);
        assert_eq!(all[0].volume_capacity_bytes, 1 << 20);
        assert_eq!(all[0].block_metadata_type, 2);
        let paged = delta(&channel, "one", "two", 0, 2).await.unwrap();
        assert_eq!(offsets(&paged), [vec![0, 262_144], vec![458_752]]);
        let resumed = delta(&channel, "one", "two", 458_752, 2).await.unwrap();
        assert_eq!(offsets(&resumed), [[458_752]]);
        let none = delta(&channel, "two", "two", 0, 0).await.unwrap();
        assert_eq!(offsets(&none), [Vec::<i64>::new()]);

        let code = async |base, target, offset, limit| {
            let refused = delta(&channel, base, target, offset, limit).await;
            refused.unwrap_err().code()
        };
        assert_eq!(code("nobody", "two", 0, 0).await, Code::NotFound);
        assert_eq!(code("", "two", 0, 0).await, Code::InvalidArgument);
        assert_eq!(code("one", "two", 1 << 20, 0).await, Code::OutOfRange);
        assert_eq!(code("one", "two", -1, 0).await, Code::InvalidArgument);
        assert_eq!(code("one", "two", 0, -1).await, Code::InvalidArgument);
        assert_eq!(code("two", "one", 0, 0).await, Code::InvalidArgument);

        let request = GetMetadataAllocatedRequest {
            snapshot_id: "two".into(),
            ..Default::default()
        };
        let method = "/csi.v1.SnapshotMetadata/GetMetadataAllocated";
        let allocated = stream(&channel, method, request).await.unwrap();
        assert_eq!(offsets(&allocated), [[0]]);
        assert_eq!(allocated[0].block_metadata[0].size_bytes, 1 << 20);

        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/csi.v1.Identity/Probe");
        let codec = ProstCodec::<Nothing, ProbeResponse>::default();
        let probed = grpc
            .unary(tonic::Request::new(Nothing {}), path, codec)
            .await;
        assert!(probed.unwrap().into_inner().ready.unwrap().value);

        // Somebody writes the disk, and nobody tracks it.
        std::fs::write(&offline.disk, vec![1; 1 << 20]).unwrap();
        assert_eq!(code("one", "two", 0, 0).await, Code::FailedPrecondition);
    });
}

#[test]
fn a_name_that_several_volumes_have_is_refused_and_an_id_is_not() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disks = folders.each_ref().map(|folder| disk(folder.path()));
    let name = "two".to_owned();
    let Reply::Point(second) = ask(&disks[1], Request::Show { name }) else {
        panic!("there is such a point");
    };
    let sources = disks.map(|disk| Box::new(Closed(disk)) as Box<dyn super::source::Source>);
    let service = SnapshotMetadata::new(sources.into());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let request = |id: &str| GetMetadataAllocatedRequest {
            snapshot_id: id.into(),
            ..Default::default()
        };
        let refused = service.allocated(request("two")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let id = second.point.id.to_string();
        assert!(service.allocated(request(&id)).await.is_ok());
    });
}
