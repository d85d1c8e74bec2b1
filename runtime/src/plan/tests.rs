//! Plans of whole configurations, compared with the text files beside them. `REEVE_BLESS=1 cargo
//! test -p runtime` writes them anew.

use std::fs;
use std::path::Path;

use super::*;
use crate::cgroup::Layout;
use crate::spec::Spec;

const PURE_V2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
const HYBRID: &str = "\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

fn plan(config: &str, mountinfo: &str, policy: Option<&str>) -> LaunchPlan {
    let spec = Spec::check(&serde_json::from_str(config).unwrap(), Path::new("/b")).unwrap();
    let host = Host {
        cgroups: Layout::parse(mountinfo),
        policy: policy.map(str::to_owned),
        options: Options::default(),
    };
    LaunchPlan::build("one".parse().unwrap(), &spec, &host).unwrap()
}

fn compare(name: &str, plan: &LaunchPlan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/plan/golden")
        .join(name);
    let text = plan.to_string();
    if std::env::var_os("REEVE_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        golden,
        "{} differs: look, then REEVE_BLESS=1",
        path.display()
    );
}

#[test]
fn the_configuration_that_runc_writes() {
    let plan = plan(include_str!("golden/basic.json"), HYBRID, None);
    compare("basic.txt", &plan);
}

#[test]
fn everything_that_is_supported() {
    let plan = plan(
        include_str!("golden/everything.json"),
        PURE_V2,
        Some("agent"),
    );
    compare("everything.txt", &plan);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["confinement"]["policy"], "agent");
    assert_eq!(json["exec"]["args"][0], "/bin/agent");
}

#[test]
fn attributes_and_labels_of_the_process() {
    let plan = plan(include_str!("golden/attributes.json"), PURE_V2, None);
    compare("attributes.txt", &plan);
}

#[test]
fn a_filter_comes_last_or_before_the_privileges_go() {
    for (no_new_privileges, before) in [(true, "execute"), (false, "user 0:0; ")] {
        let mut config: serde_json::Value =
            serde_json::from_str(include_str!("golden/attributes.json")).unwrap();
        config["process"]["noNewPrivileges"] = no_new_privileges.into();
        config["linux"]["seccomp"] = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/run/agent.sock",
            "syscalls": [{ "names": ["mount"], "action": "SCMP_ACT_NOTIFY" }]
        });
        let plan = plan(&config.to_string(), PURE_V2, None);
        let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
        let is_filter = |step: &String| step.starts_with("seccomp filter, ");
        let at = steps.iter().position(is_filter).unwrap();
        assert!(steps[at].ends_with("spec-allow, notifies an agent"));
        assert!(steps[at + 1].starts_with(before), "{}", steps[at + 1]);
        let label = steps.iter().position(|step| step.starts_with("SELinux"));
        assert!(label.unwrap() < at);
        let listener = plan.seccomp_listener.unwrap();
        assert_eq!(listener.path, Path::new("/run/agent.sock"));
    }
}

#[test]
fn the_cgroup_namespace_is_made_by_the_process_itself() {
    let plan = plan(include_str!("golden/everything.json"), PURE_V2, None);
    assert!(plan.birth.new_namespaces.contains(&NamespaceKind::Cgroup));
    assert_eq!(
        plan.birth.clone_flags() & NamespaceKind::Cgroup.clone_flag(),
        0
    );
    assert_ne!(
        plan.birth.clone_flags() & NamespaceKind::User.clone_flag(),
        0
    );
}

#[test]
fn nothing_of_the_host_is_in_reach_after_the_pivot_and_no_privilege_is_needed_after_identity() {
    for (config, mountinfo) in [
        (include_str!("golden/basic.json"), HYBRID),
        (include_str!("golden/everything.json"), PURE_V2),
        (include_str!("golden/attributes.json"), PURE_V2),
    ] {
        let steps = plan(config, mountinfo, None).steps;
        let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
        let pivot = at(|step| matches!(step, Step::PivotRoot));
        let identity = at(|step| matches!(step, Step::Identity { .. }));
        for step in &steps[pivot..] {
            let mounts = matches!(
                step,
                Step::Mount(_) | Step::MakeDevices { .. } | Step::Mask(_) | Step::Readonly(_)
            );
            assert!(!mounts, "{step} comes after the pivot");
        }
        for step in &steps[identity + 1..] {
            let free = matches!(
                step,
                Step::NoNewPrivileges | Step::StartHook(_) | Step::Seccomp(_) | Step::Execute
            );
            assert!(free, "{step} comes after the privileges are gone");
        }
        assert!(matches!(steps.last(), Some(Step::Execute)));
    }
}

#[test]
fn a_plan_with_a_policy_gives_no_word_for_going_without() {
    use crate::launch::NoPolicyAsked;
    let config = include_str!("golden/basic.json");
    assert!(NoPolicyAsked::of(&plan(config, PURE_V2, Some("p"))).is_none());
    assert!(NoPolicyAsked::of(&plan(config, PURE_V2, None)).is_some());
}
