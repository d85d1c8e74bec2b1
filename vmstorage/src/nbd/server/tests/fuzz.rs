//! Conversations that were good before a seed changed them: whatever comes, the server goes on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Raw, disk, on_engine, server_with};
use crate::engine::sleep;
use crate::nbd::proto::{
    Headers, InfoRequest, MetaQuery, OptionHeader, Request, StatusPayload, command, info, option,
};
use crate::nbd::server::{Export, Limits, Options};

const CONVERSATIONS: u64 = 3000;

fn put_option(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    let header = OptionHeader {
        option: kind,
        len_bytes: data.len() as u32,
    };
    out.extend(header.encode());
    out.extend(data);
}

/// A client's whole side of a good conversation.
fn conversation(rng: &mut StdRng) -> Vec<u8> {
    let mut out = (if rng.random_ratio(1, 8) { 0 } else { 3u32 })
        .to_be_bytes()
        .to_vec();
    let headers = *[Headers::Simple, Headers::Structured, Headers::Extended]
        .choose(rng)
        .unwrap();
    let query = MetaQuery {
        export: "disk".into(),
        queries: vec!["base:allocation".into(), "reeve:".into()],
    };
    let about = InfoRequest {
        name: "disk".into(),
        wanted: vec![info::NAME, info::BLOCK_SIZE],
    };
    for _ in 0..rng.random_range(0..3) {
        match rng.random_range(0..5) {
            0 => put_option(&mut out, option::LIST, &[]),
            1 => put_option(&mut out, option::INFO, &about.encode()),
            2 => put_option(&mut out, option::LIST_META_CONTEXT, &query.encode()),
            3 => put_option(&mut out, option::STARTTLS, &[]),
            _ => put_option(&mut out, rng.random_range(0..20), &[1, 2, 3]),
        }
    }
    match headers {
        Headers::Simple => {}
        Headers::Structured => put_option(&mut out, option::STRUCTURED_REPLY, &[]),
        Headers::Extended => put_option(&mut out, option::EXTENDED_HEADERS, &[]),
    }
    if headers != Headers::Simple {
        put_option(&mut out, option::SET_META_CONTEXT, &query.encode());
    }
    if rng.random() {
        put_option(&mut out, option::GO, &about.encode());
    } else {
        put_option(&mut out, option::EXPORT_NAME, b"disk");
    }
    for cookie in 0..rng.random_range(0..12) {
        request(rng, headers, cookie, &mut out);
    }
    out
}

fn request(rng: &mut StdRng, headers: Headers, cookie: u64, out: &mut Vec<u8>) {
    let mut request = Request {
        flags: if rng.random_ratio(1, 4) {
            1 << rng.random_range(0..7)
        } else {
            0
        },
        command: rng.random_range(0..9),
        cookie,
        offset_bytes: rng.random_range(0..1 << 20),
        len_bytes: rng.random_range(0..1 << 14),
    };
    let mut payload = Vec::new();
    if request.command == command::WRITE {
        payload.resize(request.len_bytes as usize, 0xaa);
    } else if headers == Headers::Extended && request.flags & 32 != 0 {
        let status = StatusPayload {
            len_bytes: request.len_bytes,
            context_ids: vec![0],
        };
        payload = status.encode();
        request.len_bytes = payload.len() as u64;
    }
    request.encode(headers, out).unwrap();
    out.extend(payload);
}

/// Makes a few things wrong.
fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = 255,
            3 => bytes.truncate(at.max(1)),
            4 => {
                let again = bytes[at..bytes.len().min(at + 40)].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let end = bytes.len().min(at + rng.random_range(1..8));
                bytes[at..end].fill(rng.random());
            }
        }
    }
}

#[test]
fn no_conversation_harms_the_server_or_another_client() {
    on_engine(async {
        let limits = Limits {
            handshake: Duration::from_secs(3),
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let mut other = Export::new("other", disk());
        other.read_only = true;
        let server = server_with(vec![Export::new("disk", disk()), other], options);
        let mut good = Raw::open(&server, "other", Headers::Structured).await;
        for seed in 0..CONVERSATIONS {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut bytes = conversation(&mut rng);
            mutate(&mut rng, &mut bytes);
            let mut raw = Raw::silent(&server);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rng.random_range(1..=rest.len()));
                raw.send(now).await;
                rest = later;
            }
            raw.finish();
            if rng.random() {
                while !raw.is_over().await {
                    let len = raw.input.len();
                    raw.input.take(len);
                }
            }
            drop(raw);
            if seed % 16 == 0 {
                let answer = good.ask(command::READ, 0, 0, 4, &[]).await;
                assert_eq!(answer.data, [0, 1, 2, 3], "after conversation {seed}");
            }
        }
        for _ in 0..2000 {
            if server.connections() > 1 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(server.connections(), 1, "connections hang");
        let did = server.statistics()["disk"];
        let least = [
            did.connections_total,
            did.reads,
            did.status_queries,
            did.errors,
        ];
        assert!(least.iter().all(|&count| count > 200), "{did:?}");
    });
}
