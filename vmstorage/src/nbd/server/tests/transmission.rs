//! Every command, with all headers, and what the disk sees of it.

use std::rc::Rc;

use super::recorder::Recorder;
use super::{Raw, SIZE, disk, on_engine, server_of};
use crate::disk::Disk;
use crate::disk::fault::{Fault, Operation};
use crate::disk::memory::Memory;
use crate::nbd::proto::{
    Headers, Request, StatusExtent, StatusPayload, chunk, command, command_flag, errno,
};
use crate::nbd::server::Export;

const ALL: [Headers; 3] = [Headers::Simple, Headers::Structured, Headers::Extended];

#[test]
fn data_comes_and_goes_with_all_headers() {
    on_engine(async {
        let server = server_of(vec![Export::new("disk", disk())]);
        for headers in ALL {
            let mut raw = Raw::open(&server, "disk", headers).await;
            let read = raw.ask(command::READ, 0, 250, 3, &[]).await;
            assert_eq!((read.error, &read.data[..]), (0, &[250, 0, 1][..]));
            let payload = if headers == Headers::Extended {
                command_flag::PAYLOAD_LEN
            } else {
                0
            };
            let wrote = raw.ask(command::WRITE, payload, SIZE - 3, 3, b"end").await;
            assert_eq!(wrote.error, 0);
            let read = raw.ask(command::READ, 0, SIZE - 4, 4, &[]).await;
            assert_eq!(&read.data[1..], b"end");
            assert_eq!(
                raw.ask(command::WRITE_ZEROES, 0, SIZE - 3, 3, &[])
                    .await
                    .error,
                0
            );
            let read = raw.ask(command::READ, 0, SIZE - 4, 4, &[]).await;
            assert_eq!(&read.data[1..], [0; 3]);
            for empty in [command::READ, command::WRITE, command::TRIM, command::CACHE] {
                let answer = raw.ask(empty, 0, 0, 0, &[]).await;
                assert_eq!((answer.error, answer.data.len()), (0, 0));
            }
            assert_eq!(raw.ask(command::FLUSH, 0, 0, 0, &[]).await.error, 0);
        }
        assert_eq!(server.statistics()["disk"].reads, 12);
        assert_eq!(server.statistics()["disk"].written_bytes, 9);
        assert_eq!(server.statistics()["disk"].errors, 0);
    });
}

#[test]
fn flags_reach_the_disk() {
    on_engine(async {
        let disk = Rc::new(Recorder::default());
        let server = server_of(vec![Export::new("disk", Rc::clone(&disk) as Rc<dyn Disk>)]);
        let mut raw = Raw::open(&server, "disk", Headers::Extended).await;
        let (fua, no_hole) = (command_flag::FUA, command_flag::NO_HOLE);
        let far = 1 << 49;
        for (command, flags, len, payload) in [
            (command::WRITE, command_flag::PAYLOAD_LEN, 3, &b"abc"[..]),
            (command::WRITE, command_flag::PAYLOAD_LEN | fua, 3, b"abc"),
            // A client that forgets the flag means a payload all the same.
            (command::WRITE, 0, 3, b"abc"),
            (command::WRITE_ZEROES, 0, far, b""),
            (command::WRITE_ZEROES, fua | no_hole, 1, b""),
            (command::TRIM, 0, far, b""),
            (command::TRIM, fua, 5, b""),
            (command::CACHE, fua, far, b""),
            (command::READ, fua, 1, b""),
        ] {
            assert_eq!(raw.ask(command, flags, 7, len, payload).await.error, 0);
        }
        let slow = raw
            .ask(command::WRITE_ZEROES, command_flag::FAST_ZERO, 0, 1, &[])
            .await;
        assert_eq!(slow.error, errno::ENOTSUP);
        assert_eq!(raw.ask(command::FLUSH, fua, 0, 0, &[]).await.error, 0);
        let calls = disk.calls.borrow().join("; ");
        let far = far.to_string();
        assert_eq!(
            calls,
            "write 7 3 Volatile; write 7 3 Durable; write 7 3 Volatile; zero 7 FAR Volatile true; \
             zero 7 1 Durable false; trim 7 FAR; trim 7 5; flush; cache 7 FAR; flush"
                .replace("FAR", &far)
        );
    });
}

#[test]
fn wrong_requests_are_refused_and_the_session_goes_on() {
    on_engine(async {
        let mut read_only = Export::new("ro", disk());
        read_only.read_only = true;
        let server = server_of(vec![Export::new("disk", disk()), read_only]);
        for headers in ALL {
            let mut raw = Raw::open(&server, "disk", headers).await;
            let big = vec![0; 40 << 20];
            for (command, flags, at, len, payload, error) in [
                (command::READ, 0, SIZE, 1, &[][..], errno::EINVAL),
                (command::READ, 0, u64::MAX, 2, &[], errno::EINVAL),
                (command::READ, 0, 0, 33 << 20, &[], errno::EINVAL),
                (command::WRITE, 0, SIZE - 1, 2, b"xx", errno::ENOSPC),
                (command::WRITE, 0, 0, 40 << 20, &big, errno::EINVAL),
                (command::WRITE_ZEROES, 0, 1, SIZE, &[], errno::ENOSPC),
                (command::TRIM, 0, 1, SIZE, &[], errno::EINVAL),
                (command::CACHE, 0, 1, SIZE, &[], errno::EINVAL),
                (command::FLUSH, 0, 1, 0, &[], errno::EINVAL),
                (command::BLOCK_STATUS, 0, 0, 1, &[], errno::EINVAL),
                (command::RESIZE, 0, 0, 1, &[], errno::EINVAL),
                (9, 0, 0, 0, &[], errno::EINVAL),
                (u16::MAX, 0, 0, 0, &[], errno::EINVAL),
                (
                    command::READ,
                    command_flag::NO_HOLE,
                    0,
                    1,
                    &[],
                    errno::EINVAL,
                ),
                (command::WRITE, 1 << 15, 0, 2, b"xx", errno::EINVAL),
                (
                    command::TRIM,
                    command_flag::FAST_ZERO,
                    0,
                    1,
                    &[],
                    errno::EINVAL,
                ),
            ] {
                let answer = raw.ask(command, flags, at, len, payload).await;
                assert_eq!(
                    answer.error, error,
                    "{command} {flags} {at} {len} {headers:?}"
                );
            }
            let df = raw.ask(command::READ, command_flag::DF, 0, 1, &[]).await;
            let known = headers >= Headers::Structured;
            assert_eq!(df.error, if known { 0 } else { errno::EINVAL });
            assert_eq!(raw.ask(command::READ, 0, 0, 2, &[]).await.data, [0, 1]);

            let mut raw = Raw::open(&server, "ro", headers).await;
            let payload = [1; 5000];
            assert_eq!(
                raw.ask(command::WRITE, 0, 0, 5000, &payload).await.error,
                errno::EPERM
            );
            for command in [command::TRIM, command::WRITE_ZEROES] {
                assert_eq!(raw.ask(command, 0, 0, 1, &[]).await.error, errno::EPERM);
            }
            assert_eq!(raw.ask(command::READ, 0, 0, 2, &[]).await.data, [0, 1]);
        }
    });
}

#[test]
fn extended_headers_carry_payloads_and_long_ranges() {
    on_engine(async {
        let server = server_of(vec![Export::new("disk", Rc::new(Recorder::default()))]);
        let contexts = &["base:allocation"];
        let mut raw = Raw::with_contexts(&server, "disk", Headers::Extended, contexts).await;
        let status = raw.ask(command::BLOCK_STATUS, 0, 5, 1 << 45, &[]).await;
        let all = StatusExtent {
            len_bytes: 1 << 45,
            status: 3,
        };
        assert_eq!(status.status[0].extents, [all]);
        assert_eq!(status.chunks, [chunk::BLOCK_STATUS_EXT]);
        let flag = command_flag::PAYLOAD_LEN;
        let payload = |context_ids: &[u32]| {
            let payload = StatusPayload {
                len_bytes: 1 << 40,
                context_ids: context_ids.into(),
            };
            payload.encode()
        };
        let good = payload(&[0]);
        let status = raw.ask(command::BLOCK_STATUS, flag, 0, 12, &good).await;
        assert_eq!(status.status[0].extents[0].len_bytes, 1 << 40);
        for bad in [
            payload(&[1]),
            payload(&[]),
            payload(&[0, 0]),
            vec![0; 4],
            vec![],
        ] {
            let len = bad.len() as u64;
            let status = raw.ask(command::BLOCK_STATUS, flag, 0, len, &bad).await;
            assert_eq!(status.error, errno::EINVAL, "{bad:?}");
        }
        // A payload where none belongs is gone past.
        let trim = raw.ask(command::TRIM, flag, 0, 1000, &[0; 1000]).await;
        assert_eq!(trim.error, errno::EINVAL);
        assert_eq!(
            raw.ask(command::READ, 0, 1 << 49, 4, &[]).await.data,
            [0; 4]
        );
        // What is far too long to go past ends the session.
        let request = Request {
            flags: flag,
            command: command::WRITE,
            cookie: 1,
            offset_bytes: 0,
            len_bytes: u64::MAX,
        };
        raw.request(&request, &[]).await;
        assert!(raw.is_over().await);
    });
}

#[test]
fn status_says_one_or_all_within_the_request() {
    on_engine(async {
        let server = server_of(vec![Export::new("disk", Rc::new(Recorder::default()))]);
        let contexts = &["base:allocation"];
        let mut raw = Raw::with_contexts(&server, "disk", Headers::Structured, contexts).await;
        for flags in [0, command_flag::REQ_ONE] {
            let len = u64::from(u32::MAX);
            let status = raw.ask(command::BLOCK_STATUS, flags, 1, len, &[]).await;
            assert_eq!(status.status[0].extents[0].len_bytes, (1 << 32) - (1 << 16));
        }
        let none = raw.ask(command::BLOCK_STATUS, 0, 0, 0, &[]).await;
        assert_eq!(none.error, errno::EINVAL);
    });
}

#[test]
fn zeroes_of_large_reads_are_holes_unless_the_client_wants_them() {
    on_engine(async {
        let mut content = vec![0; SIZE as usize];
        content[300_000] = 1;
        let export = Export::new("disk", Rc::new(Memory::with_content(content.clone())));
        let server = server_of(vec![export]);
        for headers in [Headers::Structured, Headers::Extended] {
            let mut raw = Raw::open(&server, "disk", headers).await;
            let (hole, data) = (chunk::OFFSET_HOLE, chunk::OFFSET_DATA);
            let read = raw.ask(command::READ, 0, 0, SIZE, &[]).await;
            assert!(read.data == content);
            assert_eq!(read.chunks, [hole, data, hole]);
            let read = raw.ask(command::READ, command_flag::DF, 0, SIZE, &[]).await;
            assert!(read.data == content);
            assert_eq!(read.chunks, [data]);
            let read = raw.ask(command::READ, 0, 1, 4096, &[]).await;
            assert_eq!(read.chunks, [data]);
            let odd = raw.ask(command::READ, 0, 3, 299_999, &[]).await;
            assert!(odd.data == content[3..300_002]);
        }
    });
}

#[test]
fn a_flush_covers_the_writes_of_every_connection() {
    on_engine(async {
        let disk = Rc::new(Fault::new(vec![0; 8192]));
        let server = server_of(vec![Export::new("disk", Rc::clone(&disk) as Rc<dyn Disk>)]);
        let mut one = Raw::open(&server, "disk", Headers::Structured).await;
        let mut two = Raw::open(&server, "disk", Headers::Simple).await;
        one.ask(command::WRITE, 0, 0, 4096, &[1; 4096]).await;
        two.ask(command::FLUSH, 0, 0, 0, &[]).await;
        one.ask(command::WRITE, 0, 4096, 2048, &[2; 2048]).await;
        let fua = command_flag::FUA;
        two.ask(command::WRITE_ZEROES, fua, 0, 512, &[]).await;
        for seed in 0..20 {
            let after = disk.after_power_cut(seed);
            assert_eq!((after[0], after[512], after[4095]), (0, 1, 1));
        }
        disk.fail_next(Operation::Flush, libc::EIO);
        assert_eq!(
            one.ask(command::FLUSH, 0, 0, 0, &[]).await.error,
            errno::EIO
        );
        disk.fail_next(Operation::Change, libc::ENOSPC);
        assert_eq!(
            one.ask(command::WRITE, 0, 0, 1, b"x").await.error,
            errno::ENOSPC
        );
        disk.fail_next(Operation::Read, libc::EIO);
        assert_eq!(two.ask(command::READ, 0, 0, 1, &[]).await.error, errno::EIO);
        assert_eq!(server.statistics()["disk"].errors, 3);
    });
}
