//! Images that put something else in the place of what the runtime mounts, masks, opens or writes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::common::Scene;

/// A change of a scene.
type Change = fn(&mut Scene);

/// Each has to be refused with its word, and nothing of the configuration's may have run.
fn refused(cases: &[(&str, Change)]) {
    for (expected, change) in cases {
        let mut scene = Scene::new();
        scene.shell("echo it runs");
        scene.without_mount("/sys/fs/cgroup");
        hooks_that_leave_a_trace(&mut scene);
        change(&mut scene);
        let error = scene.refused();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!scene.path("hook").exists(), "a hook ran: {error}");
    }
}

fn hooks_that_leave_a_trace(scene: &mut Scene) {
    let touch = format!("touch {}", scene.path("hook").display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", touch] }]);
    scene.config["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": hook, "poststart": hook,
    });
}

#[test]
fn the_hooks_of_these_tests_run_where_nothing_is_refused() {
    let mut scene = Scene::new();
    scene.shell("true");
    hooks_that_leave_a_trace(&mut scene);
    // That one is a file of the container.
    scene.config["hooks"]["startContainer"] = json!([]);
    scene.said("$R run -b $B $ID < /dev/null");
    assert!(scene.path("hook").exists());
}

/// The program of a `createContainer` hook lies on the host, though it runs in the namespaces of
/// the container: an image that has a file of its name gets no privileges for it.
#[test]
fn no_hook_of_the_runtime_is_a_program_of_the_image() {
    let mut scene = Scene::new();
    let hook = scene.path("hook-program");
    let inside = scene.rootfs("").join(hook.strip_prefix("/").unwrap());
    // The working directory of the hook, too.
    let rootfs = scene
        .rootfs("")
        .join(scene.rootfs("").strip_prefix("/").unwrap());
    fs::create_dir_all(rootfs).unwrap();
    for (path, says) in [(&hook, "host"), (&inside, "image")] {
        let text = format!("#!/bin/sh\necho {says} >> $DIR/hook\n");
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let env = [
        format!("DIR={}", scene.path("").display()),
        "PATH=/usr/bin:/bin".to_owned(),
    ];
    let hook = json!([{ "path": hook, "env": env }]);
    scene.config["hooks"] = json!({ "createRuntime": hook, "createContainer": hook });
    scene.shell("true");
    let found = scene.said("$R run -b $B $ID < /dev/null; grep -E 'host|image' $DIR/hook");
    assert_eq!(found, "host\nhost\n");
}

/// Puts a mount in the place of the one at its destination.
fn replace(scene: &mut Scene, mount: Value) {
    scene.without_mount(mount["destination"].as_str().unwrap());
    scene.config["mounts"]
        .as_array_mut()
        .unwrap()
        .insert(0, mount);
}

#[test]
fn nothing_else_is_taken_for_the_kernels_own_trees() {
    refused(&[
        // An image volume over procfs (CVE-2019-16884, CVE-2019-19921).
        ("not a procfs", |scene| {
            fs::create_dir_all(scene.path("bundle/volume/self/attr")).unwrap();
            let volume = json!({ "destination": "/proc", "source": "volume", "options": ["bind"] });
            replace(scene, volume);
        }),
        ("not a procfs", |scene| {
            let fake = json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" });
            replace(scene, fake);
        }),
        ("inside of procfs", |scene| {
            fs::create_dir_all(scene.path("bundle/volume/sys/kernel")).unwrap();
            scene.mount(json!({
                "destination": "/proc/sys", "source": "volume/sys", "options": ["bind"],
            }));
        }),
        ("inside of procfs", |scene| {
            symlink("/proc/self", scene.rootfs("way")).unwrap();
            fs::write(scene.path("bundle/file"), "").unwrap();
            scene.mount(json!({
                "destination": "/way/attr/exec", "source": "file", "options": ["bind"],
            }));
        }),
        // Links in their places (CVE-2023-27561, CVE-2023-28642, CVE-2025-54867).
        ("ELOOP", |scene| {
            fs::create_dir(scene.rootfs("elsewhere")).unwrap();
            symlink("elsewhere", scene.rootfs("proc")).unwrap();
        }),
        ("ELOOP", |scene| {
            fs::create_dir(scene.rootfs("elsewhere")).unwrap();
            symlink("/elsewhere", scene.rootfs("sys")).unwrap();
        }),
        ("", |scene| fs::write(scene.rootfs("proc"), "").unwrap()),
        ("ELOOP", |scene| {
            scene.without_mount("/dev");
            fs::create_dir(scene.rootfs("elsewhere")).unwrap();
            symlink("elsewhere", scene.rootfs("dev")).unwrap();
            for below in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
                scene.without_mount(below);
            }
        }),
    ]);
}

#[test]
fn nothing_else_is_taken_for_the_null_device() {
    refused(&[
        ("not the device", |scene| {
            scene.without_mount("/dev");
            fs::create_dir(scene.rootfs("dev")).unwrap();
            symlink("/proc/sysrq-trigger", scene.rootfs("dev/null")).unwrap();
        }),
        ("not the device", |scene| {
            scene.without_mount("/dev");
            fs::create_dir(scene.rootfs("dev")).unwrap();
            fs::write(scene.rootfs("dev/null"), "").unwrap();
        }),
        ("not the device", |scene| {
            scene.without_mount("/dev");
            fs::create_dir(scene.rootfs("dev")).unwrap();
            // The multiplexer, as it would let who writes to the null device open terminals.
            let number = rustix::fs::makedev(5, 2);
            let kind = rustix::fs::FileType::CharacterDevice;
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            let path = scene.rootfs("dev/null");
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, number).unwrap();
        }),
    ]);
}

#[test]
fn a_mask_is_made_of_the_hosts_null_device_and_stays_inside() {
    let mut scene = Scene::new();
    let up = "../".repeat(20);
    let marker = scene.path("marker");
    symlink(&marker, scene.rootfs("absolute")).unwrap();
    symlink(
        format!("{up}{}", marker.display()),
        scene.rootfs("relative"),
    )
    .unwrap();
    fs::write(scene.rootfs("secret"), "secret\n").unwrap();
    symlink("secret", scene.rootfs("alias")).unwrap();
    let paths = json!([
        "/absolute",
        "/relative",
        "/alias",
        "/proc/keys",
        "/proc/kcore"
    ]);
    scene.config["linux"]["maskedPaths"] = paths.clone();
    scene.config["linux"]["readonlyPaths"] = json!(["/absolute", "/relative"]);
    scene.shell("stat -c '%F %t:%T' /secret /proc/keys; cat /secret");
    let found = scene.said("$R run -b $B $ID < /dev/null; echo still >> $MARK; cat $MARK");
    let null = "character special file 1:3\n";
    assert_eq!(found, format!("{null}{null}of the host\nstill\n"));
    // A mask that cannot be looked up is not a mask that is not needed (CVE-2025-31133).
    symlink("turn", scene.rootfs("turn")).unwrap();
    scene.config["linux"]["maskedPaths"] = json!(["/turn"]);
    assert!(scene.refused().contains("ELOOP"));
    scene.config["linux"]["maskedPaths"] = json!(["/secret/below"]);
    assert!(scene.refused().contains("ENOTDIR"));
}

#[test]
fn nothing_else_is_taken_for_a_terminal() {
    let terminal: Change = |scene| {
        scene.config["process"]["terminal"] = json!(true);
        scene.without_mount("/dev/pts");
        scene.without_mount("/dev");
        fs::create_dir_all(scene.rootfs("dev/pts")).unwrap();
    };
    let cases: [(&str, Change); 5] = [
        ("not a devpts", |scene| {
            fs::write(scene.rootfs("dev/pts/ptmx"), "").unwrap();
        }),
        // A terminal of the host (CVE-2025-52565).
        ("ELOOP", |scene| {
            symlink("/dev/pts/0", scene.rootfs("dev/pts/ptmx")).unwrap();
        }),
        ("ELOOP", |scene| {
            fs::remove_dir(scene.rootfs("dev/pts")).unwrap();
            symlink("/proc/self/fd", scene.rootfs("dev/pts")).unwrap();
        }),
        ("not the terminal multiplexer", |scene| {
            fs::write(scene.rootfs("dev/pts/ptmx"), "").unwrap();
            scene.mount(
                json!({ "destination": "/own", "type": "devpts", "source": "devpts",
                                "options": ["newinstance", "ptmxmode=666"] }),
            );
            // Any other node of a devpts.
            scene.mount(
                json!({ "destination": "/dev/pts/ptmx", "source": "/dev/pts/0",
                                "options": ["bind"] }),
            );
        }),
        ("ELOOP", |scene| {
            scene.mount(
                json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                                "options": ["newinstance", "ptmxmode=666"] }),
            );
            fs::write(scene.rootfs("target"), "").unwrap();
            symlink("/target", scene.rootfs("dev/console")).unwrap();
        }),
    ];
    for (number, (expected, change)) in cases.into_iter().enumerate() {
        let mut scene = Scene::new();
        terminal(&mut scene);
        if number == 3 && !Path::new("/dev/pts/0").exists() {
            println!("skipped: no terminal on this host to stand in for the multiplexer");
            continue;
        }
        change(&mut scene);
        scene.shell("echo it runs");
        let error = scene.refused();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn an_exec_writes_past_what_the_container_has_mounted_over_procfs() {
    let mut scene = Scene::new();
    scene.capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD"]);
    // Files in the places that a runtime writes to, and links there to what must not be written.
    scene.shell(
        "mount -t tmpfs fake /proc; cd /proc; mkdir -p self/attr/apparmor self/fd sys/kernel
         for f in self/attr/exec self/attr/apparmor/exec self/attr/keycreate self/oom_score_adj
         do ln -s /trace $f; done; ln -s self thread-self; ln -s self 1; ln -s self 2
         : > /trace; : > /ready; while [ ! -e /stop ]; do sleep 0.05; done; wc -c < /trace",
    );
    let process = json!({ "cwd": "/", "args": ["sh", "-c", "sleep 100"], "oomScoreAdj": 321,
        "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": true });
    fs::write(scene.path("process.json"), process.to_string()).unwrap();
    let found = scene.said(
        "$R run -b $B $ID < /dev/null > $DIR/found & container=$!
         until [ -e $B/rootfs/ready ]; do sleep 0.02; done
         $R exec -d --pid-file $DIR/pid --process $DIR/process.json $ID < /dev/null || exit
         cat /proc/$(cat $DIR/pid)/oom_score_adj
         touch $B/rootfs/stop; wait $container; cat $DIR/found",
    );
    assert_eq!(found, "321\n0\n");
}

#[test]
fn nothing_is_written_into_an_image_but_places_for_mounts() {
    let mut scene = Scene::new();
    // Names that runtimes write, as links to the host (CVE-2025-24965), and a user database that is
    // no file.
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(scene.rootfs("etc")).unwrap();
    let names = [
        ".krun_config.json",
        "dev",
        "run",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/mtab",
    ];
    for name in names.into_iter().filter(|name| *name != "dev") {
        let target = outside.join(name.replace('/', "-"));
        symlink(target, scene.rootfs(name)).unwrap();
    }
    symlink("/proc/self/fd/0", scene.rootfs("etc/passwd")).unwrap();
    scene.shell("echo $HOME");
    let found = scene.said("$R run -b $B $ID < $MARK; ls -A $DIR/outside $B/rootfs/etc");
    let etc = "hostname\nmtab\npasswd\nresolv.conf\n";
    let (bundle, outside) = (scene.path("bundle"), outside.display().to_string());
    let etc = format!("{}/rootfs/etc:\n{etc}", bundle.display());
    assert!(found.starts_with("/\n"), "{found}");
    assert!(
        found.contains(&etc) && found.contains(&format!("{outside}:\n")),
        "{found}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
