//! Disks of all formats, served.

use std::io::{BufRead, BufReader};

use serde_json::json;

use crate::service::{World, nbdsh, output, pull, run, write};

const MIB: u64 = 1 << 20;

#[test]
fn a_raw_disk_is_served_and_stopped_in_order() {
    let world = World::new();
    let path = world.raw("root.img", 64 * MIB);
    for extra in [&["--direct"][..], &["--engine", "threads"], &[]] {
        let mut args = vec!["root.img", "--listen", "unix:nbd", "--track"];
        args.extend(extra);
        let service = world.serve(&args);
        assert!(
            service.ready.contains("root (nbd+unix:///root?socket="),
            "{}",
            service.ready
        );
        let uri = world.uri("nbd", "root");
        write(&uri, &["-P 7 64k 4k", "-P 8 1M 3M"]);
        assert!(run("nbdinfo", &[&uri]).contains("export-size: 67108864"));
        let copy = pull(&uri, &world.path("copy"));
        let change = ["-f", "raw", "-c", "write 0 4k", path.to_str().unwrap()];
        let locked = output("qemu-io", &change);
        assert!(
            !locked.status.success(),
            "another program may write to the disk"
        );
        service.stop();
        assert!(std::fs::read(&path).unwrap() == copy);
        assert!(!world.path("nbd").exists());
    }
}

#[test]
fn requests_that_wait_for_their_limit_keep_no_stop_waiting() {
    let world = World::new();
    world.raw("root.img", 64 * MIB);
    let service = world.serve_config(&json!([{
        "name": "root", "source": "root.img", "listen": ["unix:nbd"], "throttle": {"iops": 1},
    }]));
    let script = format!(
        "h.connect_uri({:?})\n\
         for n in range(200):\n\
         \x20   h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b'x' * 512)), n * 512)\n\
         h.flush()\n\
         print('asked', flush=True)\n\
         while h.aio_in_flight() > 0 and h.poll(-1) >= 0: pass\n",
        world.uri("nbd", "root")
    );
    let mut client = nbdsh(&script);
    let mut asked = String::new();
    let mut out = BufReader::new(client.stdout.take().unwrap());
    out.read_line(&mut asked).unwrap();
    assert_eq!(asked, "asked\n");
    service.stop();
    // What it had asked for was done, though it takes minutes by its limit.
    assert!(client.wait().unwrap().success());
    let content = std::fs::read(world.path("root.img")).unwrap();
    assert!(content[..200 * 512].iter().all(|&byte| byte == b'x'));
}

#[test]
fn images_are_served_as_qemu_reads_them() {
    for (name, format) in [("d.vhdx", "vhdx"), ("d.qcow2", "qcow2")] {
        let world = World::new();
        let path = world.path(name);
        let path = path.to_str().unwrap();
        run("qemu-img", &["create", "-q", "-f", format, path, "256M"]);
        let service = world.serve(&[name, "--listen", "unix:nbd", "--track", "--name", "d"]);
        let uri = world.uri("nbd", "d");
        let fio = format!("--uri={uri}");
        let job = [
            "--name=w",
            "--ioengine=nbd",
            &fio,
            "--rw=randwrite",
            "--bsrange=4k-200k",
        ];
        let more = [
            "--size=200M",
            "--io_size=30M",
            "--iodepth=8",
            "--verify=crc32c",
            "--verify_state_save=0",
        ];
        run("fio", &[&job[..], &more].concat());
        pull(&uri, &world.path("copy"));
        service.stop();
        run("qemu-img", &["check", "-f", format, path]);
        let copy = world.path("copy");
        let copy = copy.to_str().unwrap();
        run(
            "qemu-img",
            &["compare", "-f", format, "-F", "raw", path, copy],
        );
    }
}

#[test]
fn a_format_is_not_guessed_from_content() {
    let world = World::new();
    let path = world.path("disk.img");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "1M"],
    );
    let refused = world.command(&["disk.img"]).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{message}");
    assert!(message.contains("say `--format qcow2`"), "{message}");
    let service = world.serve(&["disk.img", "--format", "raw", "--listen", "unix:nbd"]);
    service.stop();
}

#[test]
fn a_service_can_serve_what_another_one_serves() {
    let world = World::new();
    world.raw("d.raw", 8 * MIB);
    let below = world.serve(&["d.raw", "--listen", "unix:below"]);
    let uri = world.uri("below", "d");
    let above = world.serve(&[&uri, "--name", "up", "--listen", "unix:above"]);
    write(&world.uri("above", "up"), &["-P 9 1M 1M"]);
    let (one, other) = (world.path("one"), world.path("other"));
    assert!(pull(&uri, &one) == pull(&world.uri("above", "up"), &other));
    above.stop();
    below.stop();
}

#[test]
fn a_point_of_a_repository_is_served_for_reading() {
    let world = World::new();
    let path = world.raw("d.raw", 8 * MIB);
    let change = [
        "-f",
        "raw",
        "-c",
        "write -P 5 1M 1M",
        path.to_str().unwrap(),
    ];
    run("qemu-io", &change);
    let repo = world.path("repo");
    let backup = |verb: &str, args: &[&str]| {
        let fixed = ["backup", verb, "--json"];
        run(
            env!("CARGO_BIN_EXE_vmstorage"),
            &[&fixed[..], args].concat(),
        )
    };
    let (path_text, repo) = (path.to_str().unwrap(), repo.to_str().unwrap());
    backup("run", &[path_text, repo, "--disk", "d"]);
    let points: serde_json::Value = serde_json::from_str(&backup("list", &[repo])).unwrap();
    let source = format!("backup:repo#{}", points[0]["id"].as_str().unwrap());
    let service = world.serve(&[&source, "--name", "d", "--listen", "unix:nbd"]);
    let uri = world.uri("nbd", "d");
    assert!(pull(&uri, &world.path("copy")) == std::fs::read(&path).unwrap());
    assert!(run("nbdinfo", &[&uri]).contains("is_read_only: true"));
    service.stop();
}

#[test]
fn limits_hold_and_change() {
    let world = World::new();
    let disks = json!([{
        "name": "d", "source": "memory:64M", "listen": ["unix:nbd"], "throttle": {"iops": 50},
    }]);
    let service = world.serve_config(&disks);
    let fio = format!("--uri={}", world.uri("nbd", "d"));
    let args = [
        "--name=r",
        "--ioengine=nbd",
        &fio,
        "--rw=randread",
        "--bs=4k",
        "--size=64M",
    ];
    let timed = [
        "--iodepth=4",
        "--runtime=2",
        "--time_based",
        "--output-format=json",
    ];
    let iops = || {
        let report = run("fio", &[&args[..], &timed].concat());
        let report = &report[report.find('{').unwrap()..];
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        report["jobs"][0]["read"]["iops"].as_f64().unwrap()
    };
    let slow = iops();
    assert!(
        (20.0..80.0).contains(&slow),
        "{slow} operations a second, not 50"
    );
    let limits = json!({"command": "throttle", "disk": "d", "limits": {}});
    service.ask(limits);
    let fast = iops();
    assert!(fast > 300.0, "{fast} operations a second without a limit");
    service.stop();
}
