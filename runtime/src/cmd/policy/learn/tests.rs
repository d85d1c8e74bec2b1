//! From files of entries to files of policy.

use super::*;

fn record(container: &str, action: &str, allow: Option<&str>) -> String {
    let record = json!({
        "time_us": 1, "container": container, "policy": "p", "pid": 1, "tid": 1, "uid": 0,
        "comm": "cp", "hook": "file_open", "action": action, "object": "/srv/a",
        "verdict": "would refuse", "errno": "EACCES", "reason": "no grant names it",
        "rule": null, "allow": allow,
    });
    format!("{record}\n")
}

fn args(dir: &Path, more: &[&str]) -> Args {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let log = dir.join("log").display().to_string();
    let line = ["learn", "--from", &log]
        .into_iter()
        .chain(more.iter().copied());
    <Line as clap::Parser>::parse_from(line).args
}

const FILE: &str = "files: - { path: /srv/a, allow: [read] }";

#[test]
fn lines_go_into_a_policy_whose_comments_and_mode_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let log = [
        record("web", "read", Some(FILE)),
        record("web", "read", Some(FILE)),
        "junk\n".to_owned(),
        record("web", "umount", None),
    ];
    fs::write(at("log"), log.concat()).unwrap();
    let text = "reeve: v1\nname: web  # mine\nmode: learn\n";
    fs::write(at("real.yaml"), text).unwrap();
    fs::set_permissions(at("real.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.yaml", at("p.yaml")).unwrap();
    let into = at("p.yaml").display().to_string();
    run(&args(dir.path(), &["--into", &into]), dir.path()).unwrap();
    let found = fs::read_to_string(at("real.yaml")).unwrap();
    assert!(found.starts_with(text), "{found}");
    assert!(
        found.contains("optional: true }  # 2×: read by cp; not there now"),
        "{found}"
    );
    let mode = fs::metadata(at("real.yaml")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(fs::symlink_metadata(at("p.yaml")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn entries_of_several_containers_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let log = [
        record("a", "read", Some(FILE)),
        record("b", "read", Some(FILE)),
    ];
    fs::write(dir.path().join("log"), log.concat()).unwrap();
    let error = run(&args(dir.path(), &[]), dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("several containers: a, b"),
        "{error}"
    );
    run(&args(dir.path(), &["a"]), dir.path()).unwrap();
}

#[test]
fn what_would_be_no_policy_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let text = "reeve: v1\nname: a\n";
    fs::write(&file, text).unwrap();
    let vars = Vars::default();
    let error = add_line(&file, "files: - { path: srv, allow: [read] }", &vars).unwrap_err();
    assert!(error.to_string().contains("nothing was written"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    add_line(&file, FILE, &vars).unwrap();
    let found = fs::read_to_string(&file).unwrap();
    assert_eq!(
        found,
        format!("{text}files:\n  - {{ path: /srv/a, allow: [read] }}\n")
    );
}

#[test]
fn names_of_containers_become_names_of_policies() {
    assert_eq!(name_of("Web_1.prod"), "web-1-prod");
    assert_eq!(name_of("__"), "learned");
}

#[test]
fn an_entry_does_not_switch_enforcement_off() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let log = [
        record("web", "read", Some("mode: audit")),
        record("web", "read", Some("include: [/etc/shadow]")),
        record("web", "read", Some(FILE)),
    ];
    fs::write(dir.path().join("log"), log.concat()).unwrap();
    fs::write(&file, "reeve: v1\nname: a\n").unwrap();
    let into = file.display().to_string();
    run(&args(dir.path(), &["--into", &into]), dir.path()).unwrap();
    let found = fs::read_to_string(&file).unwrap();
    assert!(found.contains("path: /srv/a"), "{found}");
    assert!(!found.contains("audit") && !found.contains("include"));
    let error = add_line(&file, "mode: audit", &Vars::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("`mode` is no grant"),
        "{error}"
    );
}
