//! Pods: containers that share the namespaces of a first one.

use super::podman;
use crate::machine::{self, IMAGE};

#[test]
fn two_in_a_pod() {
    let pod = machine::unique("pod");
    // With a cgroup of its own, the pod would be closed to device nodes by Podman itself.
    let create = ["pod", "create", "--name", &pod, "--share-parent=false"];
    podman(&create).ok();
    let start = [
        "run", "--detach", "--pod", &pod, IMAGE, "nc", "-ll", "-p", "80",
    ];
    podman(&[&start[..], &["-e", "echo", "hello"]].concat()).ok();
    let script = "ip -4 address show eth0 | grep -o 'inet 10.88'; hostname; \
        until nc 127.0.0.1 80 2>/dev/null; do sleep 0.1; done";
    let run = ["run", "--rm", "--pod", &pod, IMAGE, "sh", "-c", script];
    podman(&run).ok().prints(&["inet 10.88", &pod, "hello"]);
    let ps = ["pod", "inspect", "--format={{.State}}", &pod];
    podman(&ps).ok().prints(&["Running"]);
    podman(&["pod", "stop", "--time=1", &pod]).ok();
    podman(&["pod", "rm", "--force", "--time=0", &pod]).ok();
}
