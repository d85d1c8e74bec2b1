//! Lines put into texts of every shape; what was there stays.

use super::*;
use crate::model::parse;

fn adds(text: &str, line: &str, wanted: &str) {
    let found = add_line(text, line, None).unwrap_or_else(|error| panic!("{text}{line}\n{error}"));
    assert_eq!(found, wanted, "{line}");
    // A second time changes nothing.
    assert_eq!(
        add_line(&found, line, None).as_deref(),
        Ok(found.as_str()),
        "{line}"
    );
    if text.contains("reeve:") {
        parse("p.yaml", &found).unwrap_or_else(|errors| panic!("{found}{errors}"));
    }
}

const HEAD: &str = "# mine\nreeve: v1  # always\nname: a\n";

#[test]
fn a_section_that_is_missing_is_added_at_the_end() {
    let file = "files: - { path: /srv, allow: [read] }";
    adds(
        HEAD,
        file,
        &format!("{HEAD}files:\n  - {{ path: /srv, allow: [read] }}\n"),
    );
    let clock = "kernel: { clock: true }";
    adds(HEAD, clock, &format!("{HEAD}kernel:\n  clock: true\n"));
    let signal = "processes: { signal: [ { exe: /bin/a, signals: [TERM] } ] }";
    adds(
        HEAD,
        signal,
        &format!("{HEAD}processes:\n  signal:\n    - {{ exe: /bin/a, signals: [TERM] }}\n"),
    );
    let without_end = HEAD.trim_end();
    adds(without_end, clock, &format!("{HEAD}kernel:\n  clock: true"));
}

#[test]
fn an_item_goes_behind_the_last_one_and_comments_stay() {
    let text = format!(
        "{HEAD}files:\n\
            \x20 # images\n\
            \x20 - {{ path: /a, allow: [read] }}   # why\n\
            \x20 # below\n\n\
            mode: audit\n"
    );
    let wanted = format!(
        "{HEAD}files:\n\
            \x20 # images\n\
            \x20 - {{ path: /a, allow: [read] }}   # why\n\
            \x20 - {{ path: '/b c', allow: [write] }}\n\
            \x20 # below\n\n\
            mode: audit\n"
    );
    adds(&text, "files: - { path: '/b c', allow: [write] }", &wanted);
    let block = format!("{HEAD}files:\n- path: /a\n  allow:\n    - read # x\n# end\n");
    let wanted = format!(
        "{HEAD}files:\n\
            - path: /a\n\
            \x20 allow:\n\
            \x20   - read # x\n\
            - {{ path: /b, allow: [read] }}\n\
            # end\n"
    );
    adds(&block, "files: - { path: /b, allow: [read] }", &wanted);
    let wanted =
        format!("{HEAD}files:\n- path: /a\n  allow:\n    - read # x\n    - write\n# end\n");
    adds(
        &block,
        "files: - { path: /a, allow: [read, write] }",
        &wanted,
    );
    let flow = format!("{HEAD}files: [ {{ path: /a, allow: [read] }} ] # x\n");
    let wanted = format!(
        "{HEAD}files: [ {{ path: /a, allow: [read] }}, {{ path: /b, allow: [read] }} ] # x\n"
    );
    adds(&flow, "files: - { path: /b, allow: [read] }", &wanted);
    let empty = format!("{HEAD}files: # none yet\nmode: audit\n");
    let wanted =
        format!("{HEAD}files: # none yet\n  - {{ path: /b, allow: [read] }}\nmode: audit\n");
    adds(&empty, "files: - { path: /b, allow: [read] }", &wanted);
    let windows =
        "reeve: v1\r\nname: a\r\nfiles:\r\n  - { path: /a, allow: [read] }\r\nmode: audit\r\n";
    let wanted = "reeve: v1\r\n\
        name: a\r\n\
        files:\r\n\
        \x20 - { path: /a, allow: [read] }\r\n\
        \x20 - { path: /b, allow: [read] }\r\n\
        mode: audit\r\n";
    adds(windows, "files: - { path: /b, allow: [read] }", wanted);
}

#[test]
fn rights_go_into_the_line_that_is_there() {
    let text = format!("{HEAD}files:\n  - {{ path: /a, allow: [ read ] }} # x\n");
    let wanted = format!("{HEAD}files:\n  - {{ path: /a, allow: [ read, write ] }} # x\n");
    adds(&text, "files: - { path: /a, allow: [write] }", &wanted);
    let capabilities = format!("{HEAD}capabilities:\n  CAP_SYS_NICE: [setpriority] # nice\n");
    let wanted = format!("{HEAD}capabilities:\n  CAP_SYS_NICE: [setpriority, ioprio_set] # nice\n");
    adds(
        &capabilities,
        "capabilities: { SYS_NICE: [ioprio_set] }",
        &wanted,
    );
    let wanted = format!(
        "{HEAD}capabilities:\n  CAP_SYS_NICE: [setpriority] # nice\n  SYS_TIME: [adjtimex]\n"
    );
    adds(
        &capabilities,
        "capabilities: { SYS_TIME: [adjtimex] }",
        &wanted,
    );
    let wanted = format!("{HEAD}capabilities:\n  CAP_SYS_NICE: all # nice\n");
    adds(&capabilities, "capabilities: { SYS_NICE: all }", &wanted);
    let flow = format!("{HEAD}kernel: {{ modules: [nbd] }}\n");
    let wanted = format!("{HEAD}kernel: {{ modules: [nbd, loop] }}\n");
    adds(&flow, "kernel: { modules: [loop] }", &wanted);
    let wanted = format!("{HEAD}kernel: {{ modules: [nbd], clock: true }}\n");
    adds(&flow, "kernel: { clock: true }", &wanted);
}

#[test]
fn what_the_text_takes_out_is_not_put_back_in() {
    let text = format!("{HEAD}files:\n  - {{ path: /a, allow: none }}\n");
    let error = add_line(&text, "files: - { path: /a, allow: [read] }", None).expect_err("none");
    assert!(
        error.to_string().contains("line 5 says `allow: none`"),
        "{error}"
    );
    assert!(matches!(
        add_line(&text, "- x", None),
        Err(EditError::Form(_))
    ));
    assert!(matches!(
        add_line("a: [", "files: - c", None),
        Err(EditError::Syntax(_))
    ));
}

#[test]
fn a_reason_becomes_a_comment() {
    let found = add_line(
        HEAD,
        "files: - { path: /a, allow: [read] }",
        Some("3 times, by cp"),
    );
    let wanted = format!("{HEAD}files:\n  - {{ path: /a, allow: [read] }}  # 3 times, by cp\n");
    assert_eq!(found, Ok(wanted));
}

#[test]
fn brackets_in_comments_are_no_end_of_a_list() {
    let text = format!("{HEAD}kernel:\n  modules: [nbd] # [x]\nfiles: [] # ]\n");
    let wanted = text.replace("[nbd]", "[nbd, loop]");
    adds(&text, "kernel: { modules: [loop] }", &wanted);
    let wanted = text.replace("files: []", "files: [{ path: /a, allow: [read] }]");
    adds(&text, "files: - { path: /a, allow: [read] }", &wanted);
    let quoted = format!("{HEAD}files: [ {{ path: '/a]#', allow: [read] }} ]\n");
    let wanted = quoted.replace("} ]", "}, { path: /b, allow: [read] } ]");
    adds(&quoted, "files: - { path: /b, allow: [read] }", &wanted);
}

#[test]
fn a_line_gets_the_keys_that_it_lacks() {
    let at = |lines: &str| format!("{HEAD}{lines}");
    adds(
        &at("files:\n  - { path: /srv, allow: [read] }  # why\n"),
        "files: - { path: /srv, allow: [read, write], ioctl: [FICLONE] }",
        &at("files:\n  - { path: /srv, allow: [read, write], ioctl: [FICLONE] }  # why\n"),
    );
    adds(
        &at("devices:\n  - block: '8:0'\n    allow: [read]\n"),
        "devices: - { block: \"8:0\", allow: [read], ioctl: [BLKDISCARD] }",
        &at("devices:\n  - block: '8:0'\n    allow: [read]\n    ioctl: [BLKDISCARD]\n"),
    );
    let setns = "processes:\n  setns:\n    - { exe: /bin/a, types: [net] }\n";
    adds(
        &at(setns),
        "processes: { setns: [ { exe: /bin/a, types: [mnt] } ] }",
        &at(&setns.replace("[net]", "[net, mnt]")),
    );
    let both = "kernel:\n  sysctl:\n    read: [vm.swappiness]\n";
    adds(
        &at(both),
        "kernel: { sysctl: { write: [vm.dirty_ratio] } }",
        &at(&format!("{both}    write: [vm.dirty_ratio]\n")),
    );
}

#[test]
fn a_type_of_mounts_has_one_line_and_actions_have_theirs() {
    let at = |lines: &str| format!("{HEAD}mounts:\n{lines}");
    let one = "  - { type: ext4, source: '8:1', flags: [ro] }\n";
    adds(
        &at(one),
        "mounts: - { type: ext4, source: \"8:2\" }",
        &at(&one.replace("'8:1'", "['8:1', '8:2']")),
    );
    let many = "  - { type: ext4, source: ['8:1', '8:2'] }\n";
    adds(
        &at(many),
        "mounts: - { type: ext4, source: \"8:2\" }",
        &at(many),
    );
    adds(
        &at(many),
        "mounts: - { type: ext4, source: [\"8:3\"] }",
        &at(&many.replace("'8:2'", "'8:2', '8:3'")),
    );
    // Without a source it holds for all.
    let any = "  - { type: tmpfs }\n  - { allow: [chroot] }\n";
    adds(&at(any), "mounts: - { type: tmpfs, source: x }", &at(any));
    adds(
        &at(any),
        "mounts: - { allow: [remount] }",
        &at(&any.replace("[chroot]", "[chroot, remount]")),
    );
    adds(
        &at(any),
        "mounts: - { allow: [umount], target: /srv/a }",
        &at(&format!("{any}  - {{ allow: [umount], target: /srv/a }}\n")),
    );
}

#[test]
fn what_is_no_grant_is_not_added() {
    for (line, key) in [
        ("mode: audit", "mode"),
        ("include: [/etc/shadow]", "include"),
        ("name: b", "name"),
        (
            "files: - { path: /srv, allow: [read] }\nmode: audit",
            "mode",
        ),
        ("kernel: { clock: true }\nextends: [host]", "extends"),
        (
            "{ kernel: { \"clock: true\\nmode: audit #\": true } }",
            "clock: true?mode: audit #",
        ),
    ] {
        let error = add_line(HEAD, line, None).expect_err(line).to_string();
        assert!(
            error.starts_with(&format!("`{key}` is no grant")),
            "{error}"
        );
    }
    for line in ["", "\n", "{}", "x"] {
        let error = add_line(HEAD, line, None).expect_err("no line");
        assert!(matches!(error, EditError::Form(_)), "{error}");
    }
    let error = add_line(HEAD, "\u{1b}[2J", None).expect_err("no line");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}
