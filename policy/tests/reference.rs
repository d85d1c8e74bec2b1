//! `docs/reference/policy.md` says what the code does: its examples are policies, its tables are
//! those of the code, and it names every key and right. `REEVE_BLESS=1` writes the tables anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ebpf_common::Rights;
use ebpf_common::ioctl;
use policy::compile::rules::{BUILT_IN, CallSet, DERIVED, DEVICES};
use policy::names::socket::{FAMILIES, NETLINK};
use policy::names::{bpf, mount};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/policy.md");

fn reference() -> String {
    fs::read_to_string(Path::new(REFERENCE)).expect("the reference")
}

fn calls(set: CallSet) -> String {
    let listed = |names: &[&str]| {
        let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    match set {
        CallSet::All => "all".to_owned(),
        CallSet::AllBut(names) => format!("all but {}", listed(names)),
        CallSet::Only(names) => listed(names),
    }
}

fn table(name: &str) -> String {
    let mut out = String::new();
    match name {
        "devices" => {
            let numbers: Vec<_> = DEVICES
                .iter()
                .map(|(major, minor)| format!("`{major}:{minor}`"))
                .collect();
            writeln!(out, "{}", numbers.join(", ")).expect("a string");
        }
        "mounts" => {
            writeln!(
                out,
                "Types: `{}`. Flags: `{}`.",
                mount::TYPES.join("`, `"),
                { mount::FLAGS.map(|(name, ..)| name).join("`, `") }
            )
            .expect("a string");
        }
        "derived" => {
            out += "| grant | capability | system calls |\n| --- | --- | --- |\n";
            for (cause, capability, set) in DERIVED {
                let (cause, set) = (cause.text(), calls(*set));
                writeln!(out, "| {cause} | `{capability}` | {set} |").expect("a string");
            }
        }
        "built-in" => {
            out += "| capability | system calls |\n| --- | --- |\n";
            for (capability, set) in BUILT_IN {
                writeln!(out, "| `{capability}` | {} |", calls(set)).expect("a string");
            }
        }
        "ioctl-free" => {
            writeln!(out, "`{}`.", ioctl::FREE.join("`, `")).expect("a string");
        }
        "ioctl-named" => {
            let names: Vec<_> = ioctl::NAMES.iter().map(|(name, _)| *name).collect();
            writeln!(out, "`{}`.", names.join("`, `")).expect("a string");
        }
        "bpf" => {
            writeln!(out, "Commands: `{}`.", bpf::NAMES.join("`, `")).expect("a string");
        }
        "sockets" => {
            let list = |names: &[(&str, u32)]| {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                names.join("`, `")
            };
            let (netlink, families) = (list(&NETLINK), list(&FAMILIES));
            writeln!(
                out,
                "Netlink protocols: `{netlink}`. Families: `{families}`."
            )
            .expect("a string");
        }
        other => panic!("the reference has a table `{other}` that nothing makes"),
    }
    out
}

/// The reference with every table made anew.
fn renewed(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!-- begin: ") {
        let (name, body) = after.split_once(" -->\n").expect("a name");
        let end = format!("<!-- end: {name} -->");
        let (_, after) = body.split_once(&end).expect("an end");
        out += &format!("{before}<!-- begin: {name} -->\n{}{end}", table(name));
        rest = after;
    }
    out + rest
}

#[test]
fn the_tables_are_those_of_the_code() {
    let text = reference();
    let wanted = renewed(&text);
    if std::env::var_os("REEVE_BLESS").is_some() {
        fs::write(REFERENCE, wanted).expect("write the reference");
        return;
    }
    assert!(
        wanted == text,
        "the tables have drifted: run the test with REEVE_BLESS=1"
    );
}

#[test]
fn the_examples_are_policies() {
    let text = reference();
    let mut examples = 0;
    for block in text.split("```yaml\n").skip(1) {
        let example = block.split("```").next().unwrap_or("");
        let head = match example.contains("reeve: v1") {
            true => "",
            false => "reeve: v1\nname: example\n",
        };
        let example = format!("{head}{example}");
        let policy = policy::parse("example", &example).unwrap_or_else(|found| panic!("{found}"));
        assert!(policy.warnings().is_empty(), "{}", policy.warnings());
        examples += 1;
    }
    assert_eq!(
        examples, 10,
        "one for the whole, one of several files, one for each section"
    );
}

#[test]
fn every_right_and_key_is_named() {
    let text = reference();
    for (name, _) in Rights::NAMES {
        assert!(
            text.contains(&format!("| `{name}` |")),
            "the right `{name}` is missing"
        );
    }
    let schema = policy::schema();
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    for key in keys {
        let named = text.contains(&format!("`{key}`")) || text.contains(&format!("\n## {key}\n"));
        let in_example = text.contains(&format!("  {key}:"));
        assert!(named || in_example, "the key `{key}` is missing");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    if let Some(object) = schema
        .get("properties")
        .and_then(serde_json::Value::as_object)
    {
        keys.extend(object.keys().cloned());
    }
    if let Some(definitions) = schema.get("$defs").and_then(serde_json::Value::as_object) {
        definitions.values().for_each(|one| collect_keys(one, keys));
    }
}
