//! libnbd's own checks, from Python: what the tools do not ask for.

use std::rc::Rc;

use vmstorage::disk::memory::Memory;

use crate::disks::{Sparse, Stripes, holey};
use crate::running::{MIB, Running, export, run};

fn start() -> Running {
    Running::start(|| {
        let mut disk = export("disk", Sparse(Memory::with_content(holey(4 * MIB, 6))));
        disk.contexts.push(Rc::new(Stripes("reeve:changes:monday")));
        disk.contexts.push(Rc::new(Stripes("qemu:dirty-bitmap:b0")));
        let mut read_only = export("ro", Memory::new(MIB));
        read_only.read_only = true;
        vec![disk, read_only]
    })
}

/// Runs Python that finds the server's socket in `path`.
#[track_caller]
fn python(running: &Running, script: &str) {
    let prologue = format!("path = {:?}\n", running.socket());
    // The module is the system's Python's; another one may come first in the path.
    let path = "PATH=/usr/bin:/bin";
    run("env", &[path, "nbdsh", "-c", &(prologue + script)]);
}

#[test]
fn commands_do_what_they_say() {
    let running = start();
    python(
        &running,
        r#"
h.set_export_name("disk")
h.set_strict_mode(0)
h.connect_unix(path)
assert h.get_structured_replies_negotiated()
assert h.get_protocol() == "newstyle-fixed"
assert h.can_fast_zero() and h.can_cache() and h.can_multi_conn()
h.pwrite(b"a" * 5000, 3, nbd.CMD_FLAG_FUA)
assert h.pread(5000, 3) == b"a" * 5000
assert h.pread(5000, 3, nbd.CMD_FLAG_DF) == b"a" * 5000
h.zero(1000, 1003, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(1002, 1002) == b"a" + bytes(1000) + b"a"
h.zero(4096, 0)
h.trim(65536, 1 << 20, nbd.CMD_FLAG_FUA)
h.cache(4 << 20, 0)
h.flush()
chunks = []
def chunk(data, offset, status, error):
    chunks.append((offset, len(data), status))
data = h.pread_structured(4 << 20, 0, chunk)
assert len(data) == 4 << 20
assert any(status == nbd.READ_HOLE for _, _, status in chunks), chunks
assert sum(size for _, size, status in chunks) + 0 <= 4 << 20
for bad in [lambda: h.pread(1, 4 << 20), lambda: h.zero(2, (4 << 20) - 1),
            lambda: h.block_status(1, 0, lambda *_: 0)]:
    try:
        bad()
        assert False
    except nbd.Error as error:
        assert error.errno in ("EINVAL", "ENOSPC"), error
assert h.pread(1, 5000) == b"a"
h.shutdown()
"#,
    );
    python(
        &running,
        r#"
h.set_export_name("ro")
h.set_strict_mode(0)
h.connect_unix(path)
assert h.is_read_only()
for bad in [lambda: h.pwrite(b"x", 0), lambda: h.trim(1, 0), lambda: h.zero(1, 0)]:
    try:
        bad()
        assert False
    except nbd.Error as error:
        assert error.errno == "EPERM", error
h.flush()
assert h.pread(2, 0) == bytes(2)
"#,
    );
    running.stop();
}

#[test]
fn named_contexts_answer_beside_base_allocation() {
    let running = start();
    python(
        &running,
        r#"
h.set_export_name("disk")
h.set_opt_mode(True)
h.connect_unix(path)
def listed(*queries):
    h.clear_meta_contexts()
    for query in queries:
        h.add_meta_context(query)
    found = []
    h.opt_list_meta_context(lambda name: found.append(name))
    return found
assert listed() == ["base:allocation", "reeve:changes:monday", "qemu:dirty-bitmap:b0"]
assert listed("reeve:") == ["reeve:changes:monday"]
assert listed("qemu:dirty-bitmap:") == ["qemu:dirty-bitmap:b0"]
assert listed("nobody:") == []
h.clear_meta_contexts()
for name in ["base:allocation", "reeve:changes:monday", "qemu:dirty-bitmap:b0", "x-nobody:y"]:
    h.add_meta_context(name)
h.opt_info()
assert h.get_block_size(nbd.SIZE_MINIMUM) == 1
assert h.get_block_size(nbd.SIZE_PREFERRED) == 4096
assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 << 20
h.opt_go()
assert h.can_meta_context("reeve:changes:monday")
assert not h.can_meta_context("x-nobody:y")
seen = {}
def extents(context, offset, entries, error):
    seen[context] = list(entries)
h.block_status(4 << 20, 0, extents)
assert seen["base:allocation"] == [1 << 20, 0, 1 << 20, 3, 2 << 20, 0], seen
for name in ["reeve:changes:monday", "qemu:dirty-bitmap:b0"]:
    assert seen[name] == [65536, 0, 65536, 1] * 32, seen
h.block_status(1 << 20, 65536 + 512, extents, nbd.CMD_FLAG_REQ_ONE)
assert seen["reeve:changes:monday"] == [65024, 1], seen
assert seen["base:allocation"] == [(1 << 20) - 65536 - 512, 0], seen
"#,
    );
    running.stop();
}

#[test]
fn requests_run_beside_each_other_on_one_connection() {
    let running = start();
    python(
        &running,
        r#"
h.set_export_name("disk")
h.connect_unix(path)
want = [bytes([i]) * (1 + 7919 * i % 70000) for i in range(40)]
cookies = [h.aio_pwrite(data, i * 100000) for i, data in enumerate(want)]
while h.aio_in_flight() > 0:
    h.poll(-1)
    for cookie in [c for c in cookies if h.aio_command_completed(c)]:
        cookies.remove(cookie)
bufs = [nbd.Buffer(len(data)) for data in want]
cookies = [h.aio_pread(buf, i * 100000) for i, buf in enumerate(bufs)]
while h.aio_in_flight() > 0:
    h.poll(-1)
    for cookie in [c for c in cookies if h.aio_command_completed(c)]:
        cookies.remove(cookie)
for buf, data in zip(bufs, want):
    assert buf.to_bytearray() == data
h.shutdown()
"#,
    );
    running.stop();
}

#[test]
fn clients_without_structured_replies_are_served() {
    let running = start();
    python(
        &running,
        r#"
h.set_export_name("disk")
h.set_request_structured_replies(False)
h.connect_unix(path)
assert not h.get_structured_replies_negotiated() and not h.can_df()
h.pwrite(b"x" * 100000, 9)
assert h.pread(100001, 9)[:100000] == b"x" * 100000
h.shutdown()
g = nbd.NBD()
g.set_export_name("disk")
g.set_handshake_flags(0)
g.connect_unix(path)
assert g.get_protocol() == "newstyle"
assert g.pread(3, 9) == b"xxx"
g.shutdown()
"#,
    );
    running.stop();
}
