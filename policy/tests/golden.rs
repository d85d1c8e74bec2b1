//! Golden files: every error with its place, line and caret, and the tables of whole policies.
//! `REEVE_BLESS=1` writes them anew; the difference is then for a person to read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ebpf_common::abi::{ANY_MINOR, NO_RULE, mount_scope, type_hash_of};
use ebpf_common::decide::mount::MountAction;
use ebpf_common::socket::PREFIX_BITS;
use policy::names::capability::Capability;
use policy::names::mount;
use policy::names::signal::Signal;
use policy::names::socket::right_names;
use policy::names::syscall::Syscall;
use policy::{Compiled, Facts, Files, Found, Question, Tables, Variables};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn policies_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of golden files");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no golden files in {}", folder.display());
    paths
}

fn compare(golden: &Path, found: &str, failures: &mut Vec<String>) {
    if std::env::var_os("REEVE_BLESS").is_some() {
        fs::write(golden, found).expect("write a golden file");
        return;
    }
    let wanted = fs::read_to_string(golden).unwrap_or_default();
    if wanted != found {
        failures.push(format!(
            "{}\n--- wanted\n{wanted}--- found\n{found}",
            golden.display()
        ));
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn errors() {
    let mut failures = Vec::new();
    for path in policies_in(&folder("errors")) {
        let text = String::from_utf8_lossy(&fs::read(&path).expect("a policy")).into_owned();
        let mut files = Beside(folder("errors"));
        let vars = Variables::default();
        let found = match policy::parse_with(&file_name(&path), &text, &vars, &mut files) {
            Ok(policy) => {
                // Nothing that the policy names exists, unless the file's name says otherwise.
                let facts = match path.to_string_lossy().contains("missing") {
                    true => missing(&policy),
                    false => Facts::lexical(&policy, []),
                };
                match policy::compile(&policy, &facts) {
                    Ok(compiled) => compiled.warnings.to_string(),
                    Err(found) => found.to_string(),
                }
            }
            Err(found) => found.to_string(),
        };
        assert!(!found.is_empty(), "{} is faultless", path.display());
        compare(&path.with_extension("txt"), &found, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Files of a folder.
struct Beside(PathBuf);

impl Files for Beside {
    fn read(&mut self, _: &str, path: &str) -> Result<(String, String), String> {
        let text = fs::read_to_string(self.0.join(path));
        let text = text.map_err(|_| "no such file".to_owned())?;
        Ok((path.to_owned(), text))
    }
}

#[test]
fn warnings() {
    let mut failures = Vec::new();
    for path in policies_in(&folder("warnings")) {
        let text = fs::read_to_string(&path).expect("a policy");
        let policy =
            policy::parse(&file_name(&path), &text).unwrap_or_else(|found| panic!("{found}"));
        let asked = policy::lint::questions(&policy);
        let paths: Vec<String> = asked.iter().flat_map(Question::paths).collect();
        let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
        let compiled = policy::compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
        let found = policy::lint::lint(&policy, &compiled, &facts);
        let found = compiled.warnings.with(found).to_string();
        compare(&path.with_extension("txt"), &found, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn missing(policy: &policy::Policy) -> Facts {
    let requests = policy.paths();
    let paths = requests
        .iter()
        .map(|request| (request.key(), Found::Missing));
    Facts {
        paths: paths.collect(),
        ..Facts::default()
    }
}

// System calls differ by architecture, and so do the sets of them.
#[cfg(target_arch = "x86_64")]
#[test]
fn tables() {
    let mut failures = Vec::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let mut paths = policies_in(&folder("tables"));
    paths.extend(policies_in(&examples));
    for path in paths {
        let text = fs::read_to_string(&path).expect("a policy");
        let policy =
            policy::parse(&file_name(&path), &text).unwrap_or_else(|found| panic!("{found}"));
        let facts = Facts::lexical(&policy, []);
        let compiled = policy::compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
        let golden = folder("tables")
            .join(file_name(&path))
            .with_extension("txt");
        compare(&golden, &render(&compiled, &facts), &mut failures);
        let stored = serde_json::to_string(&compiled).expect("to JSON");
        let read: Compiled = serde_json::from_str(&stored).expect("from JSON");
        assert_eq!(read.tables, compiled.tables, "{}", path.display());
        assert_eq!(read.grants, compiled.grants, "{}", path.display());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn by(rule: u32) -> String {
    match rule {
        NO_RULE => "built in".to_owned(),
        rule => format!("rule {rule}"),
    }
}

/// What is named by a number.
fn numbered(tables: &Tables) -> String {
    let mut out = String::new();
    for ((kind, number), row) in &tables.grants {
        let (rights, by) = (row.rights.0, by(row.rule));
        writeln!(out, "grant {kind}:{number:x} rights {rights:x} {by}").expect("a string");
    }
    out
}

fn render(compiled: &Compiled, facts: &Facts) -> String {
    let tables = &compiled.tables;
    let mut out = format!("{}\n", compiled.name);
    for (index, grant) in compiled.grants.iter().enumerate() {
        let (section, line, text) = (&grant.section, grant.line, &grant.text);
        writeln!(out, "rule {index}: {section}, line {line}: {text}").expect("a string");
    }
    let header = &tables.header;
    writeln!(out, "header: {header:x?}").expect("a string");
    let path = |inode| {
        let mut all = facts.paths.iter();
        let found = all.find_map(|(_, found)| match found {
            Found::At(object) if object.inode == inode => Some(object.real.clone()),
            Found::Module(files) => {
                let file = files.iter().find(|file| file.inode == inode)?;
                Some(file.real.clone())
            }
            _ => None,
        });
        found.unwrap_or_default()
    };
    for (inode, rule) in &tables.files {
        let (path, rights) = (path(*inode), rule.rights);
        writeln!(out, "file {path} {rights:?} {}", by(rule.rule)).expect("a string");
    }
    for (device, rule) in &tables.devices {
        let minor = match device.minor {
            ANY_MINOR => "*".to_owned(),
            minor => minor.to_string(),
        };
        let (class, major, rights) = (device.class, device.major, rule.rights);
        writeln!(
            out,
            "device {class} {major}:{minor} {rights:?} {}",
            by(rule.rule)
        )
        .expect("a string");
    }
    render_mounts(compiled, &mut out);
    render_capabilities(compiled, &mut out);
    for (inode, rule) in &tables.processes {
        let sent = (0..64).filter(|number| rule.signals >> number & 1 == 1);
        let names: Vec<_> = sent
            .filter_map(Signal::from_number)
            .map(Signal::name)
            .collect();
        let (path, ptrace) = (path(*inode), rule.ptrace);
        let reach = match (rule.limits, rule.namespaces, rule.exec) {
            (0, 0, 0) => String::new(),
            (limits, types, exec) => format!("limits {limits} setns {types:x} exec {exec} "),
        };
        writeln!(
            out,
            "process {path} {names:?} ptrace {ptrace} {reach}{}",
            by(rule.rule)
        )
        .expect("a string");
    }
    for (inode, rule) in &tables.modules {
        writeln!(out, "module {} {}", path(*inode), by(rule.rule)).expect("a string");
    }
    for (inode, rule) in &tables.sockets.paths {
        let (path, rights) = (path(*inode), right_names(rule.rights));
        writeln!(out, "unix {path} {rights:?} {}", by(rule.rule)).expect("a string");
    }
    render_sockets(compiled, &mut out);
    out += &numbered(tables);
    out
}

fn render_sockets(compiled: &Compiled, out: &mut String) {
    let sockets = &compiled.tables.sockets;
    for (name, rule) in &sockets.names {
        let (rights, by) = (right_names(rule.rights), by(rule.rule));
        writeln!(out, "abstract {name:x} {rights:?} {by}").expect("a string");
    }
    let kinds = &sockets.kinds;
    if kinds.kinds != 0 {
        let (made, netlink, families) = (kinds.kinds, kinds.netlink, kinds.families);
        writeln!(
            out,
            "kinds {made:#x} netlink {netlink:#x} families {families:#x}"
        )
        .expect("a string");
    }
    for (key, rules) in &sockets.places {
        let (kind, version) = (key.selector >> 8, key.selector & 0xff);
        let prefix = key.prefix - PREFIX_BITS;
        let address: String = key
            .address
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        writeln!(
            out,
            "place kind {kind} version {version} {address}/{prefix}"
        )
        .expect("a string");
        for rule in rules.ports.iter().take(rules.count as usize) {
            let (first, last, rights) = (rule.first, rule.last, right_names(rule.rights));
            writeln!(out, "  ports {first}-{last} {rights:?} {}", by(rule.rule)).expect("a string");
        }
    }
}

fn render_mounts(compiled: &Compiled, out: &mut String) {
    for (key, rule) in &compiled.tables.mounts {
        let by = match compiled.grants.get(rule.rule as usize) {
            Some(_) => format!("rule {}", rule.rule),
            None => "built in".to_owned(),
        };
        let (scope, object, dev) = (key.scope, key.object, key.dev);
        if scope == mount_scope::ACTION {
            let name = MountAction::NAMES[key.fs_type as usize].0;
            writeln!(out, "mounts allow {name} at {dev:x}:{object} {by}").expect("a string");
            continue;
        }
        let name = mount::TYPES
            .into_iter()
            .find(|name| type_hash_of(name) == key.fs_type);
        let flags = mount::flag_names(rule.required_flags);
        let at = match scope {
            mount_scope::TYPE => String::new(),
            _ => format!("scope {scope} {dev:x}:{object:x} "),
        };
        let files = match rule.files.is_empty() {
            true => String::new(),
            false => format!("files {:?} ", rule.files),
        };
        writeln!(out, "mount {name:?} {flags:?} {at}{files}{by}").expect("a string");
    }
}

fn render_capabilities(compiled: &Compiled, out: &mut String) {
    for (number, rule) in &compiled.tables.capabilities {
        let name = Capability::from_number(*number).map_or("?", Capability::name);
        let has = |call: &Syscall| rule.used_in(Some(call.number())).allowed;
        let calls: Vec<_> = Syscall::all().filter(has).map(Syscall::name).collect();
        let calls = match (rule.all, calls.len()) {
            (1, _) => "all".to_owned(),
            (_, many) if many > 100 => {
                let lacks = Syscall::all().filter(|call| !has(call));
                format!(
                    "all but {}",
                    lacks.map(Syscall::name).collect::<Vec<_>>().join(" ")
                )
            }
            _ => calls.join(" "),
        };
        writeln!(out, "capability {name} [{calls}] {}", by(rule.rule)).expect("a string");
    }
}
