//! Every option, as it should be and as it should not.

use std::rc::Rc;
use std::time::Duration;

use super::recorder::Recorder;
use super::{Raw, SIZE, disk, on_engine, server_of, server_with};
use crate::disk::{Answer, Extent};
use crate::nbd::proto::{
    ExportReply, Headers, Info, InfoRequest, OptionHeader, ServerEntry, export_flag, info, option,
    reply,
};
use crate::nbd::proto::{MetaQuery, StatusExtent};
use crate::nbd::server::{Context, Export, ExportError, Limits, Options, Server};

#[derive(Debug)]
struct Named(&'static str);

impl Context for Named {
    fn name(&self) -> String {
        self.0.into()
    }

    fn status(&self, extent: Extent, _: usize) -> Answer<'_, Vec<StatusExtent>> {
        let all = StatusExtent {
            len_bytes: extent.len_bytes,
            status: 7,
        };
        Box::pin(std::future::ready(Ok(vec![all])))
    }
}

fn about(name: &str, wanted: &[u16]) -> Vec<u8> {
    let request = InfoRequest {
        name: name.into(),
        wanted: wanted.into(),
    };
    request.encode()
}

fn one() -> Server {
    server_of(vec![Export::new("disk", disk())])
}

#[test]
fn exports_are_listed_and_described() {
    on_engine(async {
        let mut first = Export::new("a", disk());
        first.description = "of somebody".into();
        let mut hidden = Export::new("b", disk());
        hidden.hidden = true;
        let mut tls = Export::new("c", disk());
        tls.tls_only = true;
        let server = server_of(vec![first, hidden, tls]);
        let mut raw = Raw::greeted(&server).await;
        let listed = raw.option(option::LIST, &[]).await;
        let entry = ServerEntry {
            name: "a".into(),
            details: "of somebody".into(),
        };
        assert_eq!(
            listed,
            [(reply::SERVER, entry.encode()), (reply::ACK, vec![])]
        );
        let wanted = [info::NAME, info::DESCRIPTION, info::BLOCK_SIZE, 99];
        let said = raw.option(option::INFO, &about("a", &wanted)).await;
        let infos: Vec<_> = said
            .iter()
            .filter(|(kind, _)| *kind == reply::INFO)
            .map(|(_, data)| Info::decode(data).unwrap())
            .collect();
        assert!(infos.contains(&Info::Name("a".into())));
        assert!(infos.contains(&Info::Description("of somebody".into())));
        assert!(infos.contains(&Info::BlockSize {
            min_bytes: 1,
            preferred_bytes: 4096,
            max_bytes: 32 << 20,
        }));
        assert_eq!(
            raw.refused(option::GO, &about("c", &[])).await,
            reply::ERR_TLS_REQD
        );
        assert_eq!(
            raw.refused(option::GO, &about("d", &[])).await,
            reply::ERR_UNKNOWN
        );
        // Three exports and no default: nobody knows which is meant.
        assert_eq!(
            raw.refused(option::GO, &about("", &[])).await,
            reply::ERR_UNKNOWN
        );
        assert_eq!(raw.go("b").await.size_bytes, SIZE);
    });
}

#[test]
fn wrong_options_are_refused_and_the_handshake_goes_on() {
    on_engine(async {
        let server = one();
        let mut raw = Raw::greeted(&server).await;
        for unknown in [0, 4, 12, u32::MAX] {
            assert_eq!(raw.refused(unknown, b"what").await, reply::ERR_UNSUP);
        }
        for empty in [
            option::LIST,
            option::STRUCTURED_REPLY,
            option::EXTENDED_HEADERS,
        ] {
            assert_eq!(raw.refused(empty, b"x").await, reply::ERR_INVALID);
        }
        assert_eq!(raw.refused(option::STARTTLS, &[]).await, reply::ERR_POLICY);
        let long = vec![0; 100_000];
        assert_eq!(raw.refused(option::LIST, &long).await, reply::ERR_TOO_BIG);
        assert_eq!(raw.refused(77, &long).await, reply::ERR_TOO_BIG);
        let whole = about("disk", &[info::NAME]);
        for kind in [option::INFO, option::GO] {
            for len in 0..whole.len() {
                assert_eq!(raw.refused(kind, &whole[..len]).await, reply::ERR_INVALID);
            }
        }
        assert_eq!(
            raw.refused(option::GO, &[255; 64]).await,
            reply::ERR_INVALID
        );
        raw.go("").await;
    });
}

#[test]
fn wrong_queries_for_contexts_are_refused_and_the_handshake_goes_on() {
    on_engine(async {
        let server = one();
        let mut raw = Raw::greeted(&server).await;
        let query = MetaQuery {
            export: "disk".into(),
            queries: vec!["base:".into()],
        };
        let meta = [option::LIST_META_CONTEXT, option::SET_META_CONTEXT];
        for kind in meta {
            // Structured replies have to come first.
            assert_eq!(raw.refused(kind, &query.encode()).await, reply::ERR_INVALID);
        }
        raw.agree(Headers::Structured).await;
        assert_eq!(
            raw.refused(option::STRUCTURED_REPLY, &[]).await,
            reply::ERR_INVALID
        );
        for kind in meta {
            for len in 0..query.encode().len() {
                let part = &query.encode()[..len];
                assert_eq!(raw.refused(kind, part).await, reply::ERR_INVALID);
            }
            let many = MetaQuery {
                export: "disk".into(),
                queries: vec!["base:".into(); 1025],
            };
            assert_eq!(raw.refused(kind, &many.encode()).await, reply::ERR_TOO_BIG);
            let unknown = MetaQuery {
                export: "other".into(),
                queries: vec![],
            };
            assert_eq!(
                raw.refused(kind, &unknown.encode()).await,
                reply::ERR_UNKNOWN
            );
        }
        raw.agree(Headers::Extended).await;
        assert_eq!(
            raw.refused(option::EXTENDED_HEADERS, &[]).await,
            reply::ERR_INVALID
        );
        let again = raw.refused(option::STRUCTURED_REPLY, &[]).await;
        assert_eq!(again, reply::ERR_EXT_HEADER_REQD);
        raw.go("").await;
    });
}

#[test]
fn contexts_are_found_by_name_and_listed_by_prefix() {
    on_engine(async {
        let mut export = Export::new("disk", disk());
        for name in [
            "reeve:changes:monday",
            "reeve:changes:tuesday",
            "qemu:dirty-bitmap:b",
        ] {
            export.contexts.push(Rc::new(Named(name)));
        }
        let server = server_of(vec![export, Export::new("other", disk())]);
        let mut raw = Raw::greeted(&server).await;
        raw.agree(Headers::Structured).await;
        let count = |found: Result<Vec<_>, u32>| found.unwrap().len();
        let list = option::LIST_META_CONTEXT;
        for (queries, found) in [
            (&[][..], 4),
            (&["base:"], 1),
            (&["reeve:"], 2),
            (&["reeve:changes:"], 2),
            (&["reeve:changes"], 0),
            (&["reeve:changes:monday"], 1),
            (&["qemu:dirty-bitmap:", "base:allocation"], 2),
            (&["nobody:"], 0),
            (&["", "reeve"], 0),
        ] {
            assert_eq!(
                count(raw.meta(list, "disk", queries).await),
                found,
                "{queries:?}"
            );
        }
        let set = option::SET_META_CONTEXT;
        assert_eq!(count(raw.meta(set, "disk", &["reeve:", "base:"]).await), 0);
        server.set_contexts("nothing", vec![]).unwrap_err();
        let queries = ["qemu:dirty-bitmap:b", "base:allocation", "nobody:x"];
        let chosen = raw.meta(set, "disk", &queries).await.unwrap();
        let names: Vec<_> = chosen
            .iter()
            .map(|context| (context.id, &*context.name))
            .collect();
        assert_eq!(names, [(0, "base:allocation"), (1, "qemu:dirty-bitmap:b")]);
        // What is changed now is for those who come later.
        server.set_contexts("disk", vec![]).unwrap();
        assert_eq!(count(raw.meta(list, "disk", &[]).await), 1);
        // They were chosen of another export.
        raw.go("other").await;
        let answer = raw.ask(7, 0, 0, 4096, &[]).await;
        assert_eq!(answer.error, 22);
    });
}

#[test]
fn clients_that_are_no_clients_are_hung_up_on() {
    on_engine(async {
        let server = one();
        let mut flags = Raw::silent(&server);
        flags.bytes(18).await;
        flags.send(&[0, 0, 0, 4]).await;
        assert!(flags.is_over().await);

        let mut magic = Raw::greeted(&server).await;
        magic.send(&[0; 16]).await;
        assert!(magic.is_over().await);

        let mut unknown = Raw::greeted(&server).await;
        unknown.send_option(option::EXPORT_NAME, b"nothing").await;
        assert!(unknown.is_over().await);

        let mut endless = Raw::greeted(&server).await;
        let header = OptionHeader {
            option: option::GO,
            len_bytes: u32::MAX,
        };
        endless.send(&header.encode()).await;
        assert!(endless.is_over().await);

        let mut old = Raw::silent(&server);
        old.bytes(18).await;
        old.send(&[0; 4]).await;
        old.send_option(option::LIST, &[]).await;
        assert!(old.is_over().await);

        let mut gone = Raw::greeted(&server).await;
        assert_eq!(
            gone.option(option::ABORT, &[]).await,
            [(reply::ACK, vec![])]
        );
        assert!(gone.is_over().await);

        let mut many = Raw::greeted(&server).await;
        for _ in 0..4096 {
            many.send_option(99, &[]).await;
            many.option_replies(99).await;
        }
        assert!(many.is_over().await);
    });
}

#[test]
fn export_name_ends_the_handshake_of_old_clients() {
    on_engine(async {
        let server = one();
        for (flags, zeroes) in [(0u32, 124), (1, 124), (3, 0)] {
            let mut raw = Raw::silent(&server);
            raw.bytes(18).await;
            raw.send(&flags.to_be_bytes()).await;
            raw.send_option(option::EXPORT_NAME, b"disk").await;
            let export = ExportReply::decode(&raw.bytes(ExportReply::LEN).await).unwrap();
            assert_eq!(export.size_bytes, SIZE);
            assert_eq!(export.flags & export_flag::SEND_DF, 0);
            assert_eq!(raw.bytes(zeroes).await, vec![0; zeroes]);
            assert_eq!(raw.ask(0, 0, 251, 3, &[]).await.data, [0, 1, 2]);
        }
    });
}

#[test]
fn strict_exports_want_clients_that_ask_for_block_sizes() {
    on_engine(async {
        let disk = Recorder {
            block_bytes: Some(512),
            ..Recorder::default()
        };
        let mut export = Export::new("disk", Rc::new(disk));
        export.strict_blocks = true;
        let server = server_of(vec![export]);
        let mut raw = Raw::greeted(&server).await;
        let refused = raw.refused(option::GO, &about("disk", &[])).await;
        assert_eq!(refused, reply::ERR_BLOCK_SIZE_REQD);
        raw.go("disk").await;
        assert_eq!(raw.ask(0, 0, 512, 1024, &[]).await.error, 0);
        assert_eq!(raw.ask(0, 0, 511, 1024, &[]).await.error, 22);
        assert_eq!(raw.ask(1, 0, 512, 3, b"abc").await.error, 22);
        let mut old = Raw::greeted(&server).await;
        old.send_option(option::EXPORT_NAME, b"disk").await;
        assert!(old.is_over().await);
    });
}

#[test]
fn a_handshake_has_a_deadline_and_connections_are_counted() {
    on_engine(async {
        let limits = Limits {
            handshake: Duration::from_millis(30),
            connections: 2,
            ..Limits::default()
        };
        let options = Options {
            limits,
            list: false,
            ..Options::default()
        };
        let server = server_with(vec![Export::new("disk", disk())], options);
        let mut raw = Raw::greeted(&server).await;
        assert_eq!(raw.refused(option::LIST, &[]).await, reply::ERR_POLICY);
        raw.go("disk").await;
        let mut slow = Raw::greeted(&server).await;
        let mut too_many = Raw::silent(&server);
        assert!(too_many.is_over().await);
        slow.send(b"IHAVE").await;
        assert!(slow.is_over().await);
        // Who has an export open may take as long as it likes.
        assert_eq!(raw.ask(0, 0, 0, 1, &[]).await.data, [0]);
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn names_are_unique_and_can_be_sent() {
    let server = one();
    let again = server.add(Export::new("disk", disk()));
    assert!(matches!(again, Err(ExportError::Exists(name)) if name == "disk"));
    let long = server.add(Export::new("x".repeat(4097), disk()));
    assert!(matches!(long, Err(ExportError::Name(4097))));
    server.replace(Export::new("disk", disk())).unwrap();
}
