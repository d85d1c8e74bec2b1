//! No input panics, recurses or takes long: random bytes, damaged policies, and documents made to
//! be expensive.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use policy::{Facts, Files, Question, Variables, edit};
use proptest::prelude::*;
use proptest::sample::Index;

/// Everything that a text can go through.
fn take(text: &str) {
    match policy::parse("p.yaml", text) {
        Ok(policy) => {
            let facts = Facts::lexical(&policy, []);
            match policy::compile(&policy, &facts) {
                Ok(compiled) => {
                    let question = Question::SetClock;
                    let answer = policy::explain(&policy, &compiled, &facts, &question);
                    assert!(!answer.to_string().is_empty());
                }
                Err(found) => assert!(found.has_errors() && !found.to_string().is_empty()),
            }
        }
        Err(found) => {
            assert!(found.has_errors() && !found.to_string().is_empty());
            assert!(found.to_json().is_array());
        }
    }
}

fn examples() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for folder in [
        "tests/golden/errors",
        "tests/golden/tables",
        "../examples/policies",
    ] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|found| found == "yaml") {
                let bytes = fs::read(path).expect("a policy");
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    texts
}

/// Files that include each other, whatever they are called: the text that is asked for, by the
/// length of its name.
struct Many<'a>(&'a [String]);

impl Files for Many<'_> {
    fn read(&mut self, _: &str, path: &str) -> Result<(String, String), String> {
        let text = self.0.get(path.len() % (self.0.len() + 1));
        let text = text.ok_or_else(|| "no such file".to_owned())?;
        Ok((path.to_owned(), text.clone()))
    }
}

/// All of that for a policy of several files, and then what edits and compares.
fn take_many(files: &[String], vars: &Variables) {
    let first = files.first().map_or("", String::as_str);
    match policy::parse_with("p.yaml", first, vars, &mut Many(files)) {
        Ok(policy) => {
            let flat = policy.flat();
            let again = policy::parse("flat.yaml", &flat);
            let again = again.unwrap_or_else(|found| panic!("{flat}\n{found}"));
            assert_eq!(again.files.len(), policy.files.len(), "{flat}");
        }
        Err(found) => {
            assert!(found.has_errors() && !found.to_string().is_empty());
            assert!(found.to_json().is_array());
        }
    }
}

/// Pieces that several files give a meaning to.
const COMPOSING: [&str; 24] = [
    "reeve: v1\n",
    "name: a\n",
    "include: [",
    "include: [a, bb]\n",
    "include: [ccc]\n",
    "extends: [node-exporter]\n",
    "extends: [vm-backup-agent, time-sync]\n",
    "vars: { a: /x, b: y }\n",
    "vars:\n  a: 1\n",
    "files:\n  - { path: '${a}', allow: [read] }\n",
    "files:\n  - { path: /a/${b}, allow: none }\n",
    "files: []\n",
    "files:\n",
    "kernel: { modules: ['${b}'], clock: true }\n",
    "kernel: { clock: true, bpf: [map_create] }\n",
    "capabilities: { CAP_SYS_NICE: all }\n",
    "capabilities: { SYS_NICE: [setpriority] }\n",
    "processes: { signal: [ { exe: /a, signals: [TERM] } ] }\n",
    "mode: learn\n",
    "modes: { files: audit }\n",
    "${",
    "}",
    "$${a}",
    "# ${a}\n",
];

/// Pieces that YAML and the language give a meaning to.
const PIECES: [&str; 40] = [
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "  - ",
    "- ",
    ": ",
    ":",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "!<x>",
    "| ",
    ">-\n",
    "'",
    "\"",
    "\\",
    "#",
    " #",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "%TAG ! a\n",
    "<<: ",
    "~",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\0",
    "é",
    "😀",
    "path: /a",
    "none",
];

fn no_file(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Moves an index back to where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(no_file(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        take(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(prop::sample::select(&PIECES), 0..60)) {
        take(&pieces.concat());
    }

    #[test]
    fn damaged_policies(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), 0..12usize, any::<Index>()), 1..6),
    ) {
        let all = examples();
        let mut text = all[which.index(all.len())].clone();
        for (at, cut, piece) in edits {
            let from = boundary(&text, at.index(text.len() + 1));
            let to = boundary(&text, from + cut).max(from);
            text.replace_range(from..to, PIECES[piece.index(PIECES.len())]);
        }
        take(&text);
    }

    #[test]
    fn several_files(
        files in prop::collection::vec(
            prop::collection::vec(prop::sample::select(&COMPOSING), 0..8), 1..5),
        given in prop::option::of("[ab]=.{0,12}"),
    ) {
        let mut vars = Variables::default();
        if let Some(given) = given {
            let _ = vars.give(&given);
        }
        let files: Vec<String> = files.iter().map(|pieces| pieces.concat()).collect();
        take_many(&files, &vars);
        let whole = format!("reeve: v1\nname: a\n{}", files[0]);
        take_many(&[&[whole], &files[1..]].concat(), &vars);
    }

    #[test]
    fn lines_put_into_damaged_policies(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), 0..12usize, any::<Index>()), 0..3),
        line in prop::sample::select(vec![
            "files: - { path: /a, allow: [read] }",
            "capabilities: { SYS_NICE: [setpriority] }",
            "kernel: { modules: [nbd] }",
            "processes: { signal: [ { exe: /bin/a, signals: [TERM] } ] }",
            "{ a: [ { b: c } ] }",
        ]),
    ) {
        let all = examples();
        let mut text = all[which.index(all.len())].clone();
        for (at, cut, piece) in edits {
            let from = boundary(&text, at.index(text.len() + 1));
            let to = boundary(&text, from + cut).max(from);
            text.replace_range(from..to, PIECES[piece.index(PIECES.len())]);
        }
        if let Ok(added) = edit::add_line(&text, line, Some("why")) {
            // Put in once, it is there; and nothing of the text is gone.
            let again = edit::add_line(&added, line, None);
            prop_assert_eq!(again.as_ref(), Ok(&added));
            let mut rest = added.chars();
            for c in text.chars() {
                prop_assert!(rest.any(|other| other == c), "{text:?} {added:?}");
            }
        }
    }

    #[test]
    fn random_questions(text in "\\PC{0,60}", verb in any::<Index>()) {
        let verbs = ["read ", "mount ", "capability ", "signal ", "open-device ", "rename ", ""];
        let _: Result<Question, _> = format!("{}{text}", verbs[verb.index(verbs.len())]).parse();
    }
}

#[test]
fn expensive_documents_end_soon() {
    let most = policy::yaml::MAX_BYTES;
    let head = "reeve: v1\nname: a\nfiles:\n";
    let line = "  - { path: /a, allow: [read] }\n";
    let many_keys: String = (0..60_000).map(|at| format!("k{at}: 1\n")).collect();
    let texts = [
        "[".repeat(4000),
        "{a: ".repeat(1000),
        "- ".repeat(2000),
        "? ".repeat(2000),
        "a:\n".repeat(most / 3),
        "- [\n".repeat(most / 4),
        "&a *a\n".repeat(most / 6),
        "'".repeat(most / 2),
        "\n".repeat(most),
        "# x\n".repeat(most / 4),
        "a: |\n".to_owned() + &" x\n".repeat(most / 4),
        "\"\n".to_owned() + &"x\n".repeat(most / 4),
        "x\n".repeat(most / 2),
        many_keys,
        head.to_owned() + &line.repeat((most - head.len()) / line.len()),
        "x".repeat(most + 1),
    ];
    for text in texts {
        let start = Instant::now();
        assert!(policy::parse("p.yaml", &text).is_err());
        let took = start.elapsed();
        let begins: String = text.chars().take(12).collect();
        assert!(took < Duration::from_secs(10), "{begins:?} took {took:?}");
    }
}
