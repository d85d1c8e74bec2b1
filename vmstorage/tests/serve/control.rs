//! The control socket, the configuration, and what the service manager is told.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Service, World, output, run, wait_for};

const MIB: u64 = 1 << 20;

fn memory(name: &str) -> Value {
    json!({"name": name, "source": "memory:8M", "listen": [format!("unix:{name}.sock")]})
}

fn names(service: &Service) -> Vec<String> {
    let status = service.ask(json!({"command": "status"}));
    let disks = status["disks"].as_array().unwrap().iter();
    disks
        .map(|disk| disk["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_configuration_is_read_again_without_harm_to_others() {
    let world = World::new();
    let service = world.serve_config(&json!([memory("stays"), memory("goes")]));
    let fio = format!("--uri={}", world.uri("stays.sock", "stays"));
    let load = std::thread::spawn(move || {
        let args = [
            "--name=w",
            "--ioengine=nbd",
            &fio,
            "--rw=randwrite",
            "--bs=4k",
            "--size=8M",
        ];
        let more = ["--runtime=3", "--time_based", "--iodepth=4"];
        run("fio", &[&args[..], &more].concat());
    });
    std::thread::sleep(Duration::from_millis(500));
    world.write_config(&json!([memory("stays"), memory("comes")]));
    service.signal("HUP");
    wait_for(|| names(&service) == ["comes", "stays"]);
    assert!(!world.path("goes.sock").exists());
    run("nbdinfo", &[&world.uri("comes.sock", "comes")]);
    // What cannot be used changes nothing, and says where.
    std::fs::write(world.path("config.json"), "{\n  \"disks\": [,]\n}").unwrap();
    let error = service.try_ask(json!({"command": "reload"})).unwrap_err();
    assert!(error.to_string().contains("config.json:2:13:"), "{error}");
    world
        .write_config(&json!([memory("stays"), memory("comes"), {"name": "x", "source": "x.raw"}]));
    let answer = service.ask(json!({"command": "reload"}));
    assert_eq!(answer["failed"][0]["disk"], "x", "{answer}");
    assert_eq!(names(&service), ["comes", "stays"]);
    load.join().unwrap();
    // A source that is not there ends no checkpoint of the one that is.
    service.ask(json!({"command": "checkpoint-create", "name": "c", "disks": ["stays"]}));
    world.write_config(&json!([{"name": "stays", "source": "typo.raw"}, memory("comes")]));
    let control = world.path("control").display().to_string();
    let reload = ["ctl", "--json", "--control", &control, "reload"];
    let reloaded = output(env!("CARGO_BIN_EXE_vmstorage"), &reload);
    assert_eq!(reloaded.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&reloaded.stdout).unwrap();
    assert_eq!(answer["failed"][0]["disk"], "stays", "{answer}");
    service.ask(json!({"command": "checkpoint-delete", "name": "c"}));
    service.ask(json!({"command": "quit"}));
    service.wait();
}

#[test]
fn configurations_that_cannot_be_used_are_explained() {
    let world = World::new();
    for (text, expected) in [
        (
            "{\n\"disks\": [{\"nam\": 1}]}",
            "config.json:2:16: unknown field `nam`",
        ),
        (
            r#"{"disks": [{"name": "a b", "source": "x"}]}"#,
            "disks[0].name: `a b` is no name",
        ),
        ("{}", "neither `disks` nor a `control` socket"),
    ] {
        std::fs::write(world.path("config.json"), text).unwrap();
        let refused = world
            .command(&["--config", "config.json"])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let missing = world.command(&["nothing.raw"]).output().unwrap();
    let message = String::from_utf8_lossy(&missing.stderr);
    assert!(message.contains("disk `nothing`: open `"), "{message}");
    assert_eq!(missing.status.code(), Some(4));
}

#[test]
fn the_control_socket_is_for_its_owner_and_answers_every_line() {
    let world = World::new();
    let service = world.serve_config(&json!([memory("d")]));
    let mode = std::fs::metadata(world.path("control"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(world.path("control")).unwrap();
    stream
        .write_all(b"{\"command\":\"status\"}\nnonsense\n{\"command\":\"fly\"}\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let answers: Vec<Value> = answers
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(answers[0]["ok"]["disks"][0]["size_bytes"], 8 * MIB);
    assert_eq!(answers[1]["error"]["kind"], "bad-request");
    assert!(
        answers[2]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("`fly`")
    );
    service.stop();
}

#[test]
fn what_cannot_be_done_is_explained_and_the_rest_is_done() {
    let world = World::new();
    let service = world.serve_config(&json!([memory("d")]));
    // Somebody who says too much is hung up on, and others are answered.
    let mut stream = UnixStream::connect(world.path("control")).unwrap();
    let _ = stream.write_all(&vec![b'x'; 200_000]);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    for (request, kind) in [
        (
            json!({"command": "resize", "disk": "none", "size_bytes": 1}),
            "no disk `none`",
        ),
        (
            json!({"command": "resize", "disk": "d", "size_bytes": 1}),
            "would shrink",
        ),
        (
            json!({"command": "checkpoint-delete", "name": "c"}),
            "no disk has a checkpoint `c`",
        ),
        (
            json!({"command": "checkpoint-create", "name": "a/b"}),
            "is no name",
        ),
        (
            json!({"command": "refpoint", "disk": "d", "request": {"refpoint": "list"}}),
            "tracked",
        ),
    ] {
        let error = service.try_ask(request).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
    }
    service.ask(json!({"command": "resize", "disk": "d", "size_bytes": 16 * MIB}));
    let info = run("nbdinfo", &[&world.uri("d.sock", "d")]);
    assert!(info.contains("export-size: 16777216"), "{info}");
    service.ask(json!({"command": "checkpoint-create", "name": "c"}));
    let twice = service.try_ask(json!({"command": "checkpoint-create", "name": "c"}));
    assert!(
        twice
            .unwrap_err()
            .to_string()
            .contains("has a checkpoint `c` already")
    );
    service.stop();
}

#[test]
fn the_command_line_asks_for_all_of_it() {
    let world = World::new();
    world.raw("d.raw", 8 * MIB);
    let disk = json!({"name": "d", "source": "d.raw", "track": {}, "listen": ["unix:nbd"]});
    let service = world.serve_config(&json!([disk]));
    let control = world.path("control");
    let ctl = |args: &[&str]| {
        let fixed = ["ctl", "--control", control.to_str().unwrap()];
        run(
            env!("CARGO_BIN_EXE_vmstorage"),
            &[&fixed[..], args].concat(),
        )
    };
    assert!(ctl(&["status"]).contains("d: 8 MiB, raw `"));
    ctl(&["checkpoint", "create", "c"]);
    let shown = ctl(&["checkpoint", "export", "c"]);
    assert!(
        shown.contains("d@c: 8 MiB, keeps 0 B, exported as `d@c`"),
        "{shown}"
    );
    ctl(&["checkpoint", "convert", "c", "--as", "r"]);
    assert_eq!(ctl(&["checkpoint", "list"]), "");
    assert!(ctl(&["status"]).contains("1 reference points"));
    ctl(&["resize", "d", "12M"]);
    ctl(&["throttle", "d", "--iops", "5"]);
    let status: Value = serde_json::from_str(&ctl(&["--json", "status"])).unwrap();
    assert_eq!(status["disks"][0]["throttle"]["iops"], 5);
    ctl(&["reload"]);
    ctl(&["quit"]);
    service.wait();
    let fixed = ["ctl", "--control", control.to_str().unwrap(), "status"];
    let gone = output(env!("CARGO_BIN_EXE_vmstorage"), &fixed);
    assert_eq!(gone.status.code(), Some(4));
}

#[test]
fn the_service_manager_is_told() {
    let world = World::new();
    let path = world.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut child = world
        .command(&["memory:1M", "--listen", "unix:nbd"])
        .env("NOTIFY_SOCKET", &path)
        .spawn()
        .unwrap();
    let hear = || {
        let mut buf = [0; 64];
        let len = manager.recv(&mut buf).unwrap();
        String::from_utf8_lossy(&buf[..len]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    run("kill", &["-s", "INT", &child.id().to_string()]);
    assert_eq!(hear(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}
