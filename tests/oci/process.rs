//! `process`: arguments, environment, directory, user, limits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::support::bundle::exists;
use crate::support::{Bundle, Cgroups, Need, covers};

#[test]
fn arguments_arrive_as_they_are() {
    covers(&["process.args"]).run(|| {
        let args = [
            "/probe", "script", "--", "see", "--", "", " a  b ", "$HOME", "ü\n",
        ];
        let bundle = Bundle::new().set("process.args", json!(args));
        let seen = crate::support::Seen::of(&bundle.run());
        assert_eq!(seen.0["args"], json!(args));
    });
}

#[test]
fn the_program_is_looked_up_in_path() {
    covers(&["process.args: looked up in PATH"]).run(|| {
        let bundle = Bundle::new().set("process.args", json!(["probe", "script", "--", "see"]));
        let env = json!(["PATH=/nowhere:/:/bin", "A=b"]);
        let ended = bundle.set("process.env", env).run().succeeded();
        assert_eq!(crate::support::Seen::of(&ended).0["args"][0], "probe");
    });
}

#[test]
fn the_environment_is_what_is_listed() {
    covers(&["process.env"]).run(|| {
        let env = ["PATH=/bin", "EMPTY=", "WITH=a=b c", "ÜMLAUT=ß"];
        let seen = Bundle::new().set("process.env", json!(env)).see();
        let mut found = seen.env();
        // Set from the user's entry in /etc/passwd, or `/`, by runtimes that know no better.
        found.retain(|variable| !variable.starts_with("HOME="));
        assert_eq!(found, env);
    });
}

#[test]
fn without_an_environment() {
    covers(&["process.env"]).run(|| {
        let seen = Bundle::new().without("process.env").see();
        let others = seen
            .env()
            .iter()
            .any(|variable| !variable.starts_with("HOME="));
        assert!(!others, "{:?}", seen.env());
    });
}

#[test]
fn the_working_directory() {
    covers(&["process.cwd"]).run(|| {
        let seen = Bundle::new().set("process.cwd", json!("/own")).see();
        assert_eq!(seen.0["cwd"], "/own");
    });
}

#[test]
fn a_missing_working_directory_is_made() {
    covers(&["process.cwd: made if missing"]).run(|| {
        let bundle = Bundle::doing(&["see"]).set("process.cwd", json!("/own/a/b"));
        let seen = crate::support::Seen::of(&bundle.run().succeeded());
        assert_eq!(seen.0["cwd"], "/own/a/b");
        assert!(exists(bundle.rootfs().join("own/a/b")));
    });
}

#[test]
fn a_relative_working_directory_is_refused() {
    covers(&["process.cwd: a relative path is refused"])
        .known("crun", "1.8 takes it as below `/`")
        .run(|| {
            let bundle = Bundle::new().set("process.cwd", json!("own"));
            bundle.run_refused().refused_naming(&["cwd"]);
        });
}

#[test]
fn the_working_directory_of_the_user() {
    covers(&["process.cwd", "process.user.uid"]).run(|| {
        // Only the container's user may enter it: the change comes after the change of the user.
        let bundle = Bundle::doing(&["see"]).set("process.cwd", json!("/own/home"));
        let home = bundle.rootfs().join("own/home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
        let user = json!({ "uid": 1000, "gid": 1000 });
        let ended = bundle.set("process.user", user).run().succeeded();
        assert_eq!(crate::support::Seen::of(&ended).0["cwd"], "/own/home");
    });
}

#[test]
fn without_arguments_nothing_runs() {
    covers(&["process.args: empty is refused"]).run(|| {
        Bundle::new().set("process.args", json!([])).run_refused();
        Bundle::new().without("process.args").run_refused();
    });
}

#[test]
fn a_missing_program_is_an_error() {
    covers(&["process.args: a missing program is an error"]).run(|| {
        for program in ["/no/such/program", "no-such-program"] {
            let bundle = Bundle::new().set("process.args", json!([program]));
            bundle.run_refused().refused_naming(&[program]);
        }
        for program in ["/own", "/own/file"] {
            let bundle = Bundle::new().set("process.args", json!([program]));
            bundle.file("rootfs/own/file", "not executable");
            bundle.run_refused();
        }
    });
}

#[test]
fn a_process_is_needed_to_start() {
    covers(&["start: without process is an error"]).run(|| {
        let bundle = Bundle::new().without("process");
        let created = bundle.create_with(&[]);
        if created.status.success() {
            bundle.call("start", &[], &[]).refused();
        } else {
            created.refused();
        }
    });
}

#[test]
fn user_and_groups() {
    covers(&[
        "process.user.uid",
        "process.user.gid",
        "process.user.additionalGids",
    ])
    .run(|| {
        let user = json!({ "uid": 1234, "gid": 5678, "additionalGids": [5, 2147483000] });
        let seen = Bundle::new().set("process.user", user).see();
        assert_eq!(seen.ids("Uid"), [1234; 4]);
        assert_eq!(seen.ids("Gid"), [5678; 4]);
        let mut groups = seen.ids("Groups");
        groups.retain(|group| *group != 5678);
        assert_eq!(groups, [5, 2_147_483_000]);
    });
}

#[test]
fn without_additional_groups_there_are_none() {
    covers(&["process.user.additionalGids"]).run(|| {
        let user = json!({ "uid": 1000, "gid": 1000 });
        let seen = Bundle::new().set("process.user", user).see();
        let others: Vec<u32> = seen
            .ids("Groups")
            .into_iter()
            .filter(|group| *group != 1000)
            .collect();
        assert_eq!(others, Vec::<u32>::new());
    });
}

#[test]
fn the_mask_of_new_files() {
    covers(&["process.user.umask"]).run(|| {
        let seen = Bundle::new().set("process.user.umask", json!(0o27)).see();
        assert_eq!(seen.status("Umask"), "0027");
        let seen = Bundle::new().set("process.user.umask", json!(0)).see();
        assert_eq!(seen.status("Umask"), "0000");
    });
}

#[test]
fn the_mask_of_new_files_by_itself() {
    covers(&["process.user.umask"]).run(|| {
        assert_eq!(Bundle::new().see().status("Umask"), "0022");
    });
}

#[test]
fn limits_of_a_process() {
    covers(&["process.rlimits[].type", "process.rlimits[].soft", "process.rlimits[].hard"]).run(
        || {
            let limit = |kind: &str, soft: u64, hard: u64| {
            json!({ "type": format!("RLIMIT_{kind}"), "soft": soft, "hard": hard })
        };
            // All of them, none above what an ordinary machine gives.
            let limits = json!([
                limit("AS", 1 << 40, 1 << 41),
                limit("CORE", 0, 1 << 20),
                limit("CPU", 1000, 2000),
                limit("DATA", 1 << 39, 1 << 40),
                limit("FSIZE", 1 << 30, 1 << 31),
                limit("LOCKS", 50, 60),
                limit("MEMLOCK", 4096, 8192),
                limit("MSGQUEUE", 4096, 8192),
                limit("NICE", 0, 0),
                limit("NOFILE", 200, 300),
                limit("NPROC", 400, 500),
                limit("RSS", 1 << 33, 1 << 34),
                limit("RTPRIO", 0, 0),
                limit("RTTIME", 1_000_000, 2_000_000),
                limit("SIGPENDING", 30, 40),
                limit("STACK", 1 << 20, 1 << 22),
            ]);
            let seen = Bundle::new().set("process.rlimits", limits).see();
            let pair = |name: &str, soft: u64, hard: u64| {
                assert_eq!(seen.limit(name), (soft.to_string(), hard.to_string()), "{name}");
            };
            pair("Max address space", 1 << 40, 1 << 41);
            pair("Max core file size", 0, 1 << 20);
            pair("Max cpu time", 1000, 2000);
            pair("Max data size", 1 << 39, 1 << 40);
            pair("Max file size", 1 << 30, 1 << 31);
            pair("Max file locks", 50, 60);
            pair("Max locked memory", 4096, 8192);
            pair("Max msgqueue size", 4096, 8192);
            pair("Max nice priority", 0, 0);
            pair("Max open files", 200, 300);
            pair("Max processes", 400, 500);
            pair("Max resident set", 1 << 33, 1 << 34);
            pair("Max realtime priority", 0, 0);
            pair("Max realtime timeout", 1_000_000, 2_000_000);
            pair("Max pending signals", 30, 40);
            pair("Max stack size", 1 << 20, 1 << 22);
        },
    );
}

#[test]
fn a_limit_without_an_end() {
    covers(&["process.rlimits[].soft", "process.rlimits[].hard"]).run(|| {
        let limit = json!({ "type": "RLIMIT_FSIZE", "soft": u64::MAX, "hard": u64::MAX });
        let seen = Bundle::new().set("process.rlimits", json!([limit])).see();
        let unlimited = "unlimited".to_owned();
        assert_eq!(seen.limit("Max file size"), (unlimited.clone(), unlimited));
    });
}

#[test]
fn a_limit_twice_is_refused() {
    covers(&["process.rlimits: a duplicate is refused"])
        .known("crun", "1.8 takes the last one")
        .known("runc", "1.1.5 takes the last one")
        .run(|| {
            let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 });
            let bundle = Bundle::new().set("process.rlimits", json!([limit, limit]));
            bundle.run_refused();
        });
}

#[test]
fn an_unknown_limit_is_refused() {
    covers(&["process.rlimits: an unknown type is refused"])
        .known_on(Cgroups::Version2, "crun", "1.8 leaves the cgroup behind")
        .run(|| {
            let limit = json!({ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 });
            let bundle = Bundle::new().set("process.rlimits", json!([limit]));
            bundle.run_refused().refused_naming(&["RLIMIT_NOSUCH"]);
        });
}

#[test]
fn no_new_privileges() {
    covers(&["process.noNewPrivileges"]).run(|| {
        for (value, wanted) in [(true, "1"), (false, "0")] {
            let seen = Bundle::new()
                .set("process.noNewPrivileges", json!(value))
                .see();
            assert_eq!(seen.status("NoNewPrivs"), wanted);
        }
        assert_eq!(Bundle::new().see().status("NoNewPrivs"), "0");
    });
}

#[test]
fn who_is_killed_when_memory_runs_out() {
    covers(&["process.oomScoreAdj"]).run(|| {
        let seen = Bundle::new().set("process.oomScoreAdj", json!(321)).see();
        assert_eq!(seen.file("oom_score_adj").trim(), "321");
        let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(Bundle::new().see().file("oom_score_adj"), own);
    });
}

#[test]
fn a_profile_of_apparmor() {
    covers(&["process.apparmorProfile"])
        .needs(Need::File("/sys/kernel/security/apparmor"))
        .run(|| {
            let bundle = Bundle::new().set("process.apparmorProfile", json!("unconfined"));
            let seen = bundle.see();
            let labels = [
                seen.file("attr/apparmor/current"),
                seen.file("attr/current"),
            ];
            assert!(
                labels.iter().any(|label| label.trim() == "unconfined"),
                "{labels:?}"
            );
            let missing = json!("no-such-profile-anywhere");
            Bundle::new()
                .set("process.apparmorProfile", missing)
                .run_refused();
        });
}

#[test]
fn a_loaded_profile_of_apparmor() {
    const PARSER: &str = "/usr/sbin/apparmor_parser";
    covers(&["process.apparmorProfile"])
        .needs(Need::File("/sys/kernel/security/apparmor"))
        .needs(Need::File(PARSER))
        .run(|| {
            let holder = Bundle::new();
            let rules = "file, capability, network, mount, signal, ptrace, unix,";
            let flags = "flags=(attach_disconnected,mediate_deleted)";
            let profile = format!("profile reeve-oci {flags} {{ {rules} }}\n");
            let file = holder.file("profile", &profile);
            let parser = |option: &str| {
                let status = Command::new(PARSER).arg(option).arg(&file).status();
                assert!(status.unwrap().success(), "{option}");
            };
            parser("--replace");
            let seen = Bundle::new()
                .set("process.apparmorProfile", json!("reeve-oci"))
                .see();
            parser("--remove");
            let label = seen.file("attr/current");
            assert_eq!(label.trim(), "reeve-oci (enforce)");
        });
}

#[test]
fn a_profile_without_apparmor_is_refused() {
    covers(&["process.apparmorProfile"]).run(|| {
        // Where there is AppArmor, the profile is one that it does not know.
        let profile = json!("no-such-profile-anywhere");
        Bundle::new()
            .set("process.apparmorProfile", profile)
            .run_refused()
            .refused_naming(&["apparmor"]);
    });
}

#[test]
fn a_label_without_selinux_is_refused() {
    covers(&["process.selinuxLabel"])
        .known("crun", "passes over it where there is no SELinux")
        .run(|| {
            let label = json!("system_u:system_r:svirt_lxc_net_t:s0:c124,c675");
            let bundle = Bundle::new().set("process.selinuxLabel", label);
            bundle.run_refused().refused_naming(&["selinux"]);
        });
}

#[test]
fn names_of_the_machine() {
    covers(&["hostname", "domainname"])
        .known("runc", "1.1.5 knows no domainname")
        .run(|| {
            let bundle = Bundle::new().set("hostname", json!("a-name"));
            let seen = bundle.set("domainname", json!("example.org")).see();
            assert_eq!(seen.0["hostname"], "a-name");
            assert_eq!(seen.0["domainname"], "example.org");
        });
}

#[test]
fn a_hostname_alone() {
    covers(&["hostname"]).run(|| {
        let seen = Bundle::new().set("hostname", json!("only.this")).see();
        assert_eq!(seen.0["hostname"], "only.this");
        let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(
            Bundle::new().without("hostname").see().0["hostname"],
            own.trim()
        );
    });
}

#[test]
fn a_hostname_needs_a_namespace() {
    covers(&["hostname"]).run(|| {
        let bundle = Bundle::new().without_namespace("uts");
        bundle.run_refused().refused_naming(&["hostname", "uts"]);
    });
}
