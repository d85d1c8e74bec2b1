//! Messages as the bytes that a bus has, and a conversation with a systemd that is played here.

use std::thread;

use super::*;

/// Field by field as the specification has it.
#[cfg(target_endian = "little")]
#[test]
fn a_call_has_the_bytes_of_the_protocol() {
    let bytes = wire::method_call(
        2,
        Some("a.b"),
        "/p",
        "a.b.I",
        "Do",
        &[Value::Text("x".to_owned()), Value::Bool(true)],
    );
    let mut expected: Vec<u8> = vec![b'l', 1, 0, 1, 12, 0, 0, 0, 2, 0, 0, 0, 75, 0, 0, 0];
    // path
    expected.extend(b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0");
    // interface
    expected.extend(b"\x02\x01s\0\x05\0\0\0a.b.I\0\0\0");
    // member
    expected.extend(b"\x03\x01s\0\x02\0\0\0Do\0\0\0\0\0\0");
    // destination
    expected.extend(b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
    // signature, and up to the next eight bytes
    expected.extend(b"\x08\x01g\0\x02sb\0");
    expected[12] = u8::try_from(expected.len() - 16).unwrap();
    expected.extend(b"\x01\0\0\0x\0\0\0\x01\0\0\0");
    assert_eq!(bytes, expected);
}

#[cfg(target_endian = "little")]
#[test]
fn properties_are_aligned_to_eight() {
    let properties = Value::Properties(vec![
        ("PIDs".to_owned(), Value::Numbers(vec![7])),
        ("Max".to_owned(), Value::U64(5)),
    ]);
    let bytes = wire::method_call(1, None, "/", "i", "m", &[properties]);
    let mut expected: Vec<u8> = b"\x30\0\0\0\0\0\0\0".to_vec();
    expected.extend(b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x07\0\0\0");
    expected.extend(b"\x03\0\0\0Max\0\x01t\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
    expected[0] = u8::try_from(expected.len() - 8).unwrap();
    assert_eq!(bytes[bytes.len() - expected.len()..], expected);
}

/// A message of the other side. `head` is the signature of the fields' part.
fn message(kind: u8, reply_to: u32, fields: &[(u8, &str, &str)], body: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(b"\x05\x01u\0");
    header.extend(reply_to.to_le_bytes());
    for (code, signature, text) in fields {
        header.resize(header.len().next_multiple_of(8), 0);
        header.extend([*code, 1]);
        header.extend(signature.as_bytes());
        header.push(0);
        if *signature == "g" {
            header.push(u8::try_from(text.len()).unwrap());
        } else {
            header.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        }
        header.extend(text.as_bytes());
        header.push(0);
    }
    let mut bytes = vec![b'l', kind, 1, 1];
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn job_removed(job: &str, result: &str) -> Vec<u8> {
    let mut body = 4u32.to_le_bytes().to_vec();
    for part in [job, "x.scope", result] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(text(part));
    }
    message(4, 0, &[(3, "s", "JobRemoved"), (8, "g", "uoss")], &body)
}

/// Plays a systemd that sends `answers` after the authentication.
fn talk(answers: Vec<u8>) -> Result<Bus, Error> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let played = thread::spawn(move || {
        let mut read = [0; 64];
        let length = theirs.read(&mut read).unwrap();
        assert_eq!(&read[..length], b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        theirs.write_all(b"DATA\r\nOK 1234\r\n").unwrap();
        theirs.write_all(&answers).unwrap();
        theirs
    });
    let bus = Bus::over(ours, false);
    // Kept open until here, so that nothing is lost.
    let theirs = played.join().unwrap();
    std::mem::forget(theirs);
    bus
}

#[test]
fn a_job_is_awaited_whatever_comes_before() {
    let mut answers = job_removed("/job/1", "failed");
    answers.extend(job_removed("/job/2", "done"));
    answers.extend(message(2, 1, &[(8, "g", "o")], &text("/job/2")));
    let mut bus = talk(answers).unwrap();
    let job = bus.manager("StartTransientUnit", &[]).unwrap();
    assert_eq!(job, "/job/2");
    assert_eq!(bus.job_result(&job).unwrap(), "done");
}

#[test]
fn an_error_has_its_name_and_its_text() {
    let name = "org.freedesktop.systemd1.UnitExists";
    let fields = [(4, "s", name), (8, "g", "s")];
    let mut bus = talk(message(3, 1, &fields, &text("it is there"))).unwrap();
    let error = bus
        .manager("StartTransientUnit", &[Value::Text("a".to_owned())])
        .unwrap_err();
    assert!(error.is(name));
    let expected = format!("StartTransientUnit(\"a\"): it is there ({name})");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_property_is_a_variant() {
    let mut body = b"\x01s\0\0".to_vec();
    body.extend(text("/system.slice/x.scope"));
    let mut bus = talk(message(2, 1, &[(8, "g", "v")], &body)).unwrap();
    let group = bus.property("x.scope", "Scope", "ControlGroup").unwrap();
    assert_eq!(group, "/system.slice/x.scope");
}

#[test]
fn bytes_that_are_no_message_are_an_error() {
    let whole = job_removed("/job/1", "done");
    for length in 1..whole.len() {
        assert_eq!(
            Message::parse(&whole[..length]).and_then(|all| all.job_removed()),
            None
        );
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut broken = whole.clone();
            broken[at] = value;
            // Anything but a panic.
            let _ = wire::length(&broken).is_some();
            let _ = Message::parse(&broken).and_then(|all| all.job_removed());
        }
    }
    let mut bus = talk(vec![0xff; 64]).unwrap();
    assert!(matches!(
        bus.manager("x", &[]),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn names_of_units_as_paths() {
    assert_eq!(escape("reeve-a.scope"), "reeve_2da_2escope");
    assert_eq!(escape("1a"), "_31a");
}
