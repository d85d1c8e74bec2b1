//! Repositories in a bucket, with a server of S3 that is not of this project.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::{MIB, World};

const REPOSITORY: &str = "s3://bucket/some/where";
/// More than one pack.
const SIZE: usize = 20 * MIB;

/// Puts of a name that a server lives through.
#[derive(Clone)]
struct Life {
    of: &'static str,
    left: Arc<AtomicUsize>,
    over: Arc<Notify>,
}

impl Life {
    fn new(of: &'static str, puts: usize) -> Self {
        Self {
            of,
            left: Arc::new(AtomicUsize::new(puts)),
            over: Arc::default(),
        }
    }

    /// Whether the server dies of a request.
    fn ends_with(&self, request: &Request<Incoming>) -> bool {
        if request.method() != "PUT" || !request.uri().path().contains(self.of) {
            return false;
        }
        let less = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        let ended = self.left.fetch_update(set, fetch, less).is_err();
        if ended {
            self.over.notify_one();
        }
        ended
    }
}

/// A server of S3 over a folder of the world; it dies when it is dropped.
struct Server {
    _runtime: Runtime,
}

impl Server {
    /// Starts one, to which the world's programs are pointed from now on.
    fn start(world: &mut World, life: Life) -> Self {
        let root = world.at("s3");
        fs::create_dir_all(root.join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        service.set_auth(SimpleAuth::from_single("an-id", "a-secret"));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(listener, service, life));
        let variables = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret"),
            ("AWS_ALLOW_HTTP", "true"),
            // A dead server is not waited for long.
            ("AWS_MAX_ATTEMPTS", "2"),
        ];
        world.variables = variables.map(|(name, value)| (name, value.into())).into();
        Self { _runtime: runtime }
    }
}

/// Serves until its life is over; then the listener and all connections are gone at once.
async fn serve(listener: TcpListener, service: S3Service, life: Life) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = life.over.notified() => return,
        };
        let (service, life) = (service.clone(), life.clone());
        let answer = service_fn(move |request| {
            let (service, life) = (service.clone(), life.clone());
            async move {
                if life.ends_with(&request) {
                    std::future::pending::<Infallible>().await;
                }
                Service::call(&service, request).await
            }
        });
        let stream = TokioIo::new(accepted.unwrap().0);
        let http = hyper::server::conn::http1::Builder::new();
        connections.spawn(async move { http.serve_connection(stream, answer).await.is_ok() });
    }
}

/// The objects of the repository's folder.
fn objects(world: &World, folder: &str) -> Vec<PathBuf> {
    let folder = world.at("s3/bucket/some/where").join(folder);
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn same(world: &World, point: &str, file: &str) {
    world.ok(&["backup", "restore", REPOSITORY, point, "r.raw"]);
    let equal = fs::read(world.at("r.raw")).unwrap() == fs::read(world.at(file)).unwrap();
    assert!(equal, "{point} is not {file}");
    fs::remove_file(world.at("r.raw")).unwrap();
}

fn id(point: &Value) -> &str {
    point["id"].as_str().unwrap()
}

#[test]
fn a_bucket_is_a_repository() {
    let mut world = World::new();
    world.disk("disk.raw", SIZE, SIZE, 1);
    let _server = Server::start(&mut world, Life::new("none", 0));
    let full = world.backup(&["disk.raw", REPOSITORY]);
    fs::copy(world.at("disk.raw"), world.at("full.raw")).unwrap();
    let file = fs::File::options().write(true).open(world.at("disk.raw"));
    file.unwrap()
        .write_all_at(&[7; 65_536], MIB as u64)
        .unwrap();
    let changes = format!(r#"[{{"offset":{MIB},"length":65536}}]"#);
    fs::write(world.at("changes"), changes).unwrap();
    let increment = ["disk.raw", REPOSITORY, "--changes", "changes", "--parent"];
    let next = world.backup(&[&increment[..], &[id(&full)]].concat());
    assert_eq!(next["read_bytes"], 65_536);
    let list = world.ok(&["backup", "list", REPOSITORY, "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list, Value::from(vec![full.clone(), next.clone()]));
    world.ok(&["backup", "verify", REPOSITORY]);
    same(&world, id(&full), "full.raw");
    same(&world, id(&next), "disk.raw");
    // Nobody else is at it while it is pruned, and it is not pruned while somebody is at it.
    let lock = |kind: &str| world.at("s3/bucket/some/where/locks").join(kind);
    let prune = ["backup", "prune", REPOSITORY, "--keep-last", "1"];
    for (kind, command) in [
        ("x-shared", &prune[..]),
        ("x-exclusive", &["backup", "run", "disk.raw", REPOSITORY]),
        ("x-exclusive", &["backup", "verify", REPOSITORY]),
    ] {
        fs::write(lock(kind), "locked").unwrap();
        let (status, _, message) = world.refused(command);
        assert_eq!(status, 4, "{message}");
        assert!(
            message.contains(&format!("in use by `locks/{kind}`; help:")),
            "{message}"
        );
        fs::remove_file(lock(kind)).unwrap();
    }
    world.ok(&prune);
    let list = world.ok(&["backup", "list", REPOSITORY, "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list, Value::from(vec![next.clone()]));
    same(&world, "latest", "disk.raw");
    assert_eq!(objects(&world, "locks"), Vec::<PathBuf>::new());
}

#[test]
fn what_is_missing_for_a_bucket_is_said() {
    let mut world = World::new();
    let (_, _, message) = world.refused(&["backup", "unlock", "directory"]);
    assert!(message.contains("only a bucket"), "{message}");
    world.disk("disk.raw", MIB, MIB, 2);
    let _server = Server::start(&mut world, Life::new("none", 0));
    let right = world.variables.clone();
    for (name, value, wanted) in [
        (
            "AWS_ALLOW_HTTP",
            None,
            "is not encrypted; help: use https, or set `AWS_ALLOW_HTTP",
        ),
        ("AWS_ACCESS_KEY_ID", None, "there are no credentials for"),
        ("AWS_SECRET_ACCESS_KEY", None, "Missing SecretAccessKey"),
        (
            "AWS_ACCESS_KEY_ID",
            Some("another"),
            "help: check `AWS_ACCESS_KEY_ID`",
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            Some("wrong"),
            "help: check `AWS_ACCESS_KEY_ID`",
        ),
    ] {
        world.variables = right.clone();
        world.variables.retain(|(other, _)| *other != name);
        world
            .variables
            .extend(value.map(|value| (name, value.into())));
        for command in [&["run", "disk.raw", REPOSITORY][..], &["list", REPOSITORY]] {
            let (status, _, message) = world.refused(&[&["backup"], command].concat());
            assert_eq!(status, 4, "{message}");
            assert!(message.contains(wanted), "{name} {value:?}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
    assert_eq!(fs::read_dir(world.at("s3/bucket")).unwrap().count(), 0);
    world.variables = right;
    let (_, _, message) = world.refused(&["backup", "list", REPOSITORY]);
    assert!(
        message.contains("no repository is there; help:"),
        "{message}"
    );
}

/// A run whose server dies at a put, and what is done about it.
fn dies_and_goes_on(of: &'static str, puts: usize, packs: usize) {
    let mut world = World::new();
    world.disk("disk.raw", SIZE, SIZE, 3);
    let server = Server::start(&mut world, Life::new(of, puts));
    let (status, _, message) = world.refused(&["backup", "run", "disk.raw", REPOSITORY]);
    assert_eq!(status, 4, "{message}");
    assert!(message.contains(of.trim_start_matches('/')), "{message}");
    drop(server);
    assert_eq!(objects(&world, "packs").len(), packs);
    let _server = Server::start(&mut world, Life::new("none", 0));
    assert_eq!(world.ok(&["backup", "list", REPOSITORY, "--json"]), "[]\n");
    let point = world.backup(&["disk.raw", REPOSITORY]);
    let again = point["deduplicated_bytes"].as_u64().unwrap();
    assert!(again >= 16 << 20, "{again} bytes were there already");
    world.ok(&["backup", "verify", REPOSITORY]);
    // The dead run could not remove its lock.
    let prune = ["backup", "prune", REPOSITORY, "--keep-last", "1"];
    let (_, _, message) = world.refused(&prune);
    let left = objects(&world, "locks");
    assert_eq!(left.len(), 1, "{message}");
    let name = left[0].file_name().unwrap().to_str().unwrap();
    let owner = format!("{name}` of process ");
    assert!(message.contains(&owner), "{message}");
    let list = world.ok(&["backup", "unlock", REPOSITORY, "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["name"], format!("locks/{name}"));
    world.ok(&["backup", "unlock", REPOSITORY, name]);
    world.ok(&prune);
    same(&world, "latest", "disk.raw");
}

#[test]
fn a_server_that_dies_at_a_pack_leaves_no_point_and_the_run_is_gone_on_with() {
    dies_and_goes_on("/packs/", 1, 1);
}

#[test]
fn a_server_that_dies_at_the_point_leaves_none_and_the_run_is_gone_on_with() {
    dies_and_goes_on("/snapshots/", 0, 2);
}
