//! A container that is refused faster than anybody reads, and who is told of refusals.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use reeve_tests::fixture::in_container;
use reeve_tests::{Fixture, Running, audit, host, tools};

use crate::support::{contained, shell, waiting};

/// Runs a container that is refused `tries` times; its id.
fn refused(tries: u32) -> (Fixture, String) {
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let inside = in_container(&canary);
    let mut config = shell(&format!(
        "n=0; while [ $n -lt {tries} ]; do n=$((n+1)); true < {inside} && echo opened; done; \
         echo $n tries"
    ));
    config.host = true;
    let container = contained(config);
    let finished = container.run(Stdio::null()).expect("run it");
    assert_eq!(
        finished.stdout.trim(),
        format!("{tries} tries"),
        "{finished:?}"
    );
    (fixture, container.id().to_owned())
}

fn reeve(words: &[&str]) -> Command {
    let mut command = tools::reeve().expect("reeve");
    command.args(words);
    command
}

/// Nothing gets through, what is recorded is bounded, and what is not is counted, also after the
/// container has gone.
#[test]
fn flood_is_bounded_and_counted() {
    let (_fixture, id) = refused(3000);
    let text = tools::output(&mut reeve(&["audit", "--json", &id])).expect("reeve audit");
    let last = text.lines().last().unwrap_or_default();
    let events = audit::events(&id).expect("the audit");
    let recorded = events.iter().filter(|event| event.refused()).count() as u64;
    let counters: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let counters = &counters["counters"];
    let number = |name: &str| counters[name].as_u64().unwrap_or_default();
    assert!(
        recorded >= 512 && number("suppressed") > 0,
        "{recorded}: {last}"
    );
    assert_eq!(number("recorded"), recorded, "{last}");
    let all = number("recorded") + number("suppressed") + number("lost");
    assert!(all >= 3000, "{last}");
    let output = reeve(&["audit", &id]).output().expect("reeve audit");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("came too fast"), "{said}");
    // One container's flood leaves room for others.
    let (_fixture, other) = refused(3);
    assert_eq!(audit::events(&other).expect("the audit").len(), 3);
}

/// The table has a head and stays aligned.
#[test]
fn table_for_people() {
    let (_fixture, id) = refused(2);
    let text = tools::output(&mut reeve(&["audit", &id])).expect("reeve audit");
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    assert!(
        head.starts_with("TIME") && head.ends_with("OBJECT"),
        "{text}"
    );
    let at = head.find("OBJECT").unwrap_or_default();
    let row = lines.next().unwrap_or_default();
    assert!(row[at..].starts_with('/'), "{text}");
    assert!(row.contains(&id) && row.contains("refused"), "{text}");
    assert_eq!(text.matches("to allow:").count(), 2, "{text}");
}

/// New entries go to a file and to whoever listens where journald does; the old ones went already.
#[test]
fn sinks() {
    let keeper = waiting("sinks");
    refused(1);
    fs::create_dir_all("/run/systemd/journal").expect("mkdir");
    let journal = UnixDatagram::bind("/run/systemd/journal/socket").expect("no journald here");
    journal
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a limit");
    let file = Fixture::new().expect("a directory");
    let path = file.path().join("out.jsonl");
    // What is in the log is passed over, and what is new is told.
    let mut follower = reeve(&["audit", "--follow", "--journald", "--append"])
        .arg(&path)
        .spawn()
        .expect("run reeve");
    host::wait_until("the follower", Duration::from_secs(10), || {
        path.exists().then_some(())
    })
    .expect("it begins");
    std::thread::sleep(Duration::from_secs(1));
    let (_fixture, id) = refused(1);
    let mut bytes = [0; 8192];
    let length = journal.recv(&mut bytes).expect("an entry");
    let entry = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(
        entry.contains(&format!("\nREEVE_CONTAINER={id}\n")),
        "{entry}"
    );
    assert!(entry.contains("\nREEVE_SECTION=files\n"), "{entry}");
    let lines = fs::read_to_string(&path).expect("the file");
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains(&id), "{lines}");
    follower.kill().expect("kill");
    follower.wait().expect("wait");
    fs::remove_file("/run/systemd/journal/socket").expect("unlink");
    end(keeper);
}

#[test]
fn metrics() {
    const PORT: u16 = 19470;
    let keeper = waiting("metrics");
    let mut server = reeve(&["audit", &format!("--serve={PORT}")])
        .spawn()
        .expect("run reeve");
    let connect = || TcpStream::connect(("127.0.0.1", PORT)).ok();
    host::wait_until("the server", Duration::from_secs(10), connect).expect("it listens");
    let (_fixture, id) = refused(2);
    let wanted = format!("container=\"{id}\",policy=\"lifecycle\",section=\"files\"");
    let page = host::wait_until("the counters", Duration::from_secs(10), || {
        let mut client = connect()?;
        client.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut page = String::new();
        client.read_to_string(&mut page).ok()?;
        page.contains(&wanted).then_some(page)
    });
    let page = page.expect("the entries are counted");
    let line = page.lines().find(|line| line.contains(&wanted));
    let line = line.unwrap_or_default();
    assert!(line.ends_with("rule=\"none\"} 2"), "{page}");
    let living = format!(
        "reeve_audit_suppressed_total{{container=\"{}\"}} 0",
        keeper.id()
    );
    assert!(page.contains(&living), "{page}");
    server.kill().expect("kill");
    server.wait().expect("wait");
    end(keeper);
}

fn end(running: Running) {
    assert!(running.finish().expect("finish").status.success());
}
