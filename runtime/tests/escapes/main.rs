//! Escapes that other runtimes once let through, each tried against whole containers.
//!
//! `docs/design/prior-cves.md` says which escape is tried where. The tests need root;
//! each runs in mount, network and pid namespaces of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;

mod cgroups;
mod descriptors;
mod files;
mod identity;
mod joining;
mod program;
mod state;

/// The sources of a directory, one after the other.
fn sources(dir: &Path, all: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *all += &fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn every_test_of_the_page_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for dir in ["runtime/src", "runtime/tests", "tests"] {
        sources(&workspace.join(dir), &mut code);
    }
    let page = fs::read_to_string(workspace.join("docs/design/prior-cves.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| CVE") || line.starts_with("| none"));
    let mut count = 0;
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "without a test: {row}");
        for name in names {
            assert!(
                code.contains(&format!("fn {name}(")),
                "no test `{name}`: {row}"
            );
        }
        count += 1;
    }
    assert!(count > 20, "{count} rows");
}
