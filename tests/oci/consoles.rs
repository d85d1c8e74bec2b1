//! Terminals.

use serde_json::json;

use crate::support::console::{Receiver, Terminal};
use crate::support::{Bundle, Seen, covers};

/// A started container with a terminal, and the host's end of that.
fn with_terminal(bundle: Bundle) -> (Bundle, Terminal) {
    let bundle = bundle.set("process.terminal", json!(true));
    let socket = bundle.at("console.sock");
    let receiver = Receiver::at(&socket);
    bundle
        .create_with(&["--console-socket", &socket])
        .succeeded();
    let (_, master) = receiver.receive();
    bundle.start();
    (bundle, Terminal::new(master))
}

#[test]
fn a_terminal_over_a_socket() {
    covers(&[
        "process.terminal",
        "create --console-socket",
        "dev: console with a terminal",
    ])
    .run(|| {
        let actions = [
            "see",
            "take-terminal",
            "look /dev/console",
            "answer",
            "sleep 600000",
        ];
        let (bundle, mut terminal) = with_terminal(Bundle::doing(&actions));
        let seen = Seen::in_text(&terminal.line("see ok ")).expect("it saw");
        assert_eq!(seen.0["terminals"], json!([true, true, true]));
        // Its session and its foreground group (proc(5), fields 6 to 8).
        assert_eq!(seen.stat(6), 1);
        assert_ne!(seen.stat(7), 0, "no controlling terminal");
        assert_eq!(seen.mount("/dev/console").kind, "devpts");
        assert_eq!(terminal.line("take-terminal "), "take-terminal ok");
        let look = terminal.line("look ok ");
        assert!(look.contains("\"kind\":\"char\""), "{look}");
        terminal.write("a line\n");
        assert_eq!(terminal.line("answer "), "answer ok a line");
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn the_size_of_the_terminal() {
    covers(&["process.consoleSize.height", "process.consoleSize.width"]).run(|| {
        let size = json!({ "height": 33, "width": 99 });
        let bundle = Bundle::doing(&["see"]).set("process.consoleSize", size);
        let (_bundle, mut terminal) = with_terminal(bundle);
        let seen = Seen::in_text(&terminal.line("see ok ")).expect("it saw");
        assert_eq!(seen.0["window"], json!([33, 99]));
        assert_eq!(terminal.size(), (33, 99));
    });
}

#[test]
fn the_terminal_is_the_users() {
    covers(&["process.terminal"]).run(|| {
        let user = json!({ "uid": 1000, "gid": 1000 });
        let bundle = Bundle::doing(&["see", "open rw /dev/console", "text /proc/self/loginuid"]);
        let (_bundle, mut terminal) = with_terminal(bundle.set("process.user", user));
        let seen = Seen::in_text(&terminal.line("see ok ")).expect("it saw");
        assert_eq!(seen.ids("Uid"), [1000; 4]);
        assert_eq!(terminal.line("open "), "open ok");
    });
}

#[test]
fn a_terminal_needs_a_socket() {
    covers(&["create --console-socket"]).run(|| {
        let bundle = Bundle::new().set("process.terminal", json!(true));
        bundle.create_with(&[]).refused();
    });
}

#[test]
fn a_socket_needs_a_terminal() {
    covers(&["create --console-socket"])
        .known("crun", "1.8 passes over it")
        .run(|| {
            let bundle = Bundle::new();
            let socket = bundle.at("console.sock");
            let _receiver = Receiver::at(&socket);
            bundle.create_with(&["--console-socket", &socket]).refused();
        });
}

#[test]
fn without_a_terminal_there_is_none() {
    covers(&["process.terminal", "dev: console with a terminal"]).run(|| {
        let bundle = Bundle::new();
        let outcomes = bundle.attempt(&["take-terminal", "look /dev/console"]);
        assert_eq!(outcomes[0].errno(), Some(libc::ENXIO));
        assert_eq!(outcomes[1].errno(), Some(libc::ENOENT));
    });
}

#[test]
fn the_callers_terminal_is_served() {
    covers(&["run: without --console-socket, the caller's terminal"]).run(|| {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let side = || std::process::Stdio::from(ioctl_tiocgptpeer(&master, flags).unwrap());
        let bundle = Bundle::doing(&["see", "answer"]).set("process.terminal", json!(true));
        bundle.write();
        let mut run = bundle.command("run", &[], &[]);
        let spawned = run.stdin(side()).stdout(side()).stderr(side()).spawn();
        let mut child = spawned.expect("the runtime");
        drop(run);
        let mut terminal = Terminal::new(master);
        let seen = Seen::in_text(&terminal.line("see ok ")).expect("it saw");
        assert_eq!(seen.0["terminals"], json!([true, true, true]));
        terminal.write("words\n");
        assert_eq!(terminal.line("answer "), "answer ok words");
        let ended = crate::support::command::wait_until("the end", || child.try_wait().unwrap());
        assert!(ended.success());
    });
}
