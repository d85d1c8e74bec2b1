//! Hostile configurations: a mutation fuzzer for the parser, the checks and the plan.
//!
//! It begins with configurations that are accepted and changes their bytes and their structure. No
//! input may panic, take more than its share of time or memory, be refused without a word that says
//! where, or lead to a plan whose order is unsafe. What is accepted is changed further.
//!
//! `REEVE_FUZZ_SEED` repeats a run, `REEVE_FUZZ_SECONDS` (5) and `REEVE_FUZZ_INPUTS` (without
//! bound) limit it. An input that fails is left in a file whose name is printed.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use oci_spec::runtime::LinuxResources;
use runtime::cgroup::Layout;
use runtime::plan::{ExecPlan, Host, LaunchPlan, Options, Step};
use runtime::report;
use runtime::spec::{CONFIG_BYTES_MAX, Resources, Spec};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use mutate::{Random, change, pointers, spoil};

/// What the inputs are made of.
const CORPUS: [&str; 3] = [
    include_str!("../../src/plan/golden/basic.json"),
    include_str!("../../src/plan/golden/everything.json"),
    include_str!("../../src/plan/golden/attributes.json"),
];

const HYBRID: &str = "\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
const PURE_V2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

/// Processor time that every input may take, in milliseconds, and more for each MiB of it: of a
/// program that is not optimized.
const MILLISECONDS: u64 = 1_000;
const MILLISECONDS_A_MIB: u64 = 2_000;

/// What no input takes on a busy machine either.
const WATCHED: Duration = Duration::from_secs(60);

/// Memory that every input may take, in bytes, and more for each byte of it.
const MEMORY: u64 = 32 << 20;
const MEMORY_A_BYTE: u64 = 64;

/// Elements of the longest arrays.
const MANY: usize = 100_000;

/// Accepted inputs that are kept to be changed further.
const KEPT: usize = 200;

/// The peak of memory is that of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The configurations to begin with. One has more than the golden file with everything has.
fn corpus() -> Vec<Value> {
    let mut all: Vec<Value> = CORPUS
        .map(|text| serde_json::from_str(text).unwrap())
        .to_vec();
    let mut more = all[0].clone();
    more["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            { "names": ["read", "write", "mount", "nonsuch"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["clone", "personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 0, "value": 2_114_060_288_u64, "valueTwo": 5,
                         "op": "SCMP_CMP_MASKED_EQ" }] },
        ],
    });
    let hook =
        json!([{ "path": "/bin/hook", "args": ["hook", "x"], "env": ["A=b"], "timeout": 5 }]);
    more["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": hook, "poststart": hook, "poststop": hook,
    });
    more["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "5" });
    more["linux"]["netDevices"] = json!({ "eth7": { "name": "eth0" } });
    more["linux"]["cgroupsPath"] = json!("/a/b");
    more["linux"]["rootfsPropagation"] = json!("rslave");
    more["mounts"].as_array_mut().unwrap().extend([
        json!({ "destination": "/t", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"] }),
        json!({ "destination": "/t", "options": ["remount", "size=5m"] }),
        json!({ "destination": "/l", "source": "l", "options": ["bind", "copy-symlink"] }),
    ]);
    all.push(more);
    for config in &all {
        accepted(config.to_string().as_bytes()).unwrap();
    }
    all
}

fn accepted(text: &[u8]) -> Result<Spec, String> {
    let path = Path::new("/b/config.json");
    Spec::parse(text, path, Path::new("/b")).map_err(|error| {
        let line = report::in_a_line(&error);
        let says_where = line.starts_with("`/b/config.json` is not an OCI configuration: ")
            || line.split('`').nth(1).is_some_and(|key| !key.is_empty());
        assert!(says_where, "an error that says nothing: {line}");
        line
    })
}

/// Everything that is done to a configuration before anything is made. Whether it was accepted.
fn try_all(text: &[u8], process_of: &Spec, random: &mut Random) -> bool {
    if let Err(error) = process_of.clone().with_process(text, Path::new("/p")) {
        assert!(!report::in_a_line(&error).is_empty());
    }
    if let Ok(limits) = serde_json::from_slice::<LinuxResources>(text) {
        let _ = Resources::check(Some(&limits)).map(|limits| serde_json::to_string(&limits));
    }
    let Ok(spec) = accepted(text) else {
        return false;
    };
    let mut coin = || random.below(2) == 0;
    let options = Options {
        await_start: coin(),
        systemd_cgroup: coin(),
        rootless: coin(),
        no_pivot: coin(),
        no_new_keyring: coin(),
        preserved_fds: if coin() { 0 } else { u32::MAX },
        holds_appending: false,
    };
    let host = Host {
        cgroups: Layout::parse(if coin() { HYBRID } else { PURE_V2 }),
        policy: coin().then(|| "p".to_owned()),
        options,
    };
    let exec = ExecPlan::build(&spec, &host.options);
    serde_json::to_string(&exec).unwrap();
    match LaunchPlan::build("one".parse().unwrap(), &spec, &host) {
        Ok(plan) => {
            assert!(!plan.to_string().is_empty());
            serde_json::to_string(&plan).unwrap();
            in_order(&plan.steps, true);
        }
        Err(error) => {
            assert!(
                report::in_a_line(&error).contains("linux.cgroupsPath"),
                "{error}"
            );
        }
    }
    in_order(&exec.steps, false);
    true
}

/// What holds for the steps of every plan; `whole` if they are those of a first process.
fn in_order(steps: &[Step], whole: bool) {
    let places = |wanted: fn(&Step) -> bool| -> Vec<usize> {
        let all = steps.iter().enumerate();
        all.filter(|(_, step)| wanted(step))
            .map(|(at, _)| at)
            .collect()
    };
    let once = |wanted: fn(&Step) -> bool| match places(wanted)[..] {
        [at] => at,
        ref other => panic!("at {other:?} of {steps:?}"),
    };
    let is_root = |step: &Step| matches!(step, Step::PivotRoot | Step::MoveRoot);
    let entered = match whole {
        true => once(is_root),
        false => once(|step| matches!(step, Step::EnterContainer)),
    };
    let identity = once(|step| matches!(step, Step::Identity { .. }));
    let close = once(|step| matches!(step, Step::CloseDescriptors(3..)));
    let execute = once(|step| matches!(step, Step::Execute));
    assert!(entered < close && close < identity && identity < execute);
    assert_eq!(execute + 1, steps.len());
    for step in &steps[entered..] {
        let host = matches!(
            step,
            Step::Mount(_)
                | Step::MountCgroups { .. }
                | Step::MountRootfs
                | Step::MakeDevices { .. }
                | Step::MakeLinks(_)
                | Step::Mask(_)
                | Step::Readonly(_)
                | Step::Sysctl { .. }
                | Step::JoinNamespace { .. }
                | Step::RuntimeHooks
        );
        assert!(!host, "{step} comes after the root is the container's");
    }
    for step in &steps[identity + 1..] {
        let free = matches!(
            step,
            Step::NoNewPrivileges
                | Step::StartHook(_)
                | Step::CloseDescriptors(_)
                | Step::ResetSignals
                | Step::Seccomp(_)
                | Step::Execute
        );
        assert!(free, "{step} comes after the privileges are gone");
    }
    let filters = places(|step| matches!(step, Step::Seccomp(_)));
    let closed = places(|step| matches!(step, Step::NoNewPrivileges));
    if let ([filter], []) = (&filters[..], &closed[..]) {
        assert!(
            *filter < identity,
            "a filter without privileges or no_new_privs"
        );
    }
}

/// Runs an input under its limits. `name` says where it comes from.
fn run(name: &str, text: &[u8], process_of: &Spec, random: &mut Random) -> bool {
    // Starts the peak of resident memory anew (proc_pid_clear_refs(5)).
    let _ = fs::write("/proc/self/clear_refs", "5");
    let (before, clock) = (resident("VmRSS:"), processor_time());
    let result = watched(name, text, || {
        catch_unwind(AssertUnwindSafe(|| try_all(text, process_of, random)))
    });
    let taken = processor_time() - clock;
    let memory = resident("VmHWM:").saturating_sub(before);
    let bytes = text.len() as u64;
    let time = Duration::from_millis(MILLISECONDS + ((bytes * MILLISECONDS_A_MIB) >> 20));
    let problem = match &result {
        Err(_) => "it panicked".to_owned(),
        Ok(_) if taken > time => format!("it took {taken:?}"),
        Ok(_) if memory > MEMORY + MEMORY_A_BYTE * bytes => format!("it took {memory} bytes"),
        Ok(accepted) => return *accepted,
    };
    panic!(
        "{name}: {problem}, with {bytes} bytes of input, kept as {:?}",
        keep(text)
    );
}

fn keep(text: &[u8]) -> PathBuf {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("reeve-fuzz-{}.json", std::process::id()));
    fs::write(&file, text).unwrap();
    file
}

/// Does the work; ends this program if the work does not end.
fn watched<T>(name: &str, text: &[u8], work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(WATCHED) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name}: it does not end, kept as {:?}", keep(text));
                std::process::exit(101);
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .unwrap();
    field
        .split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn mutated_configurations() {
    let _alone = alone();
    let now = || {
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos(),
        )
    };
    let seed = number("REEVE_FUZZ_SEED").unwrap_or_else(|| now().unwrap());
    println!("REEVE_FUZZ_SEED={seed}");
    let seconds = Duration::from_secs(number("REEVE_FUZZ_SECONDS").unwrap_or(5));
    let inputs = number("REEVE_FUZZ_INPUTS").unwrap_or(u64::MAX);
    let mut random = Random(seed | 1);
    let first = corpus();
    let process_of = accepted(first[0].to_string().as_bytes()).unwrap();
    let mut kept = first.clone();
    let (begun, mut count, mut good) = (Instant::now(), 0, 0);
    while count < inputs && begun.elapsed() < seconds {
        count += 1;
        let mut config = random.one_of(&kept).clone();
        let other = random.one_of(&first).clone();
        for _ in 0..=random.below(3) {
            change(&mut config, &other, &mut random);
        }
        // A process by itself is a text for `exec`, limits by themselves one for `update`.
        let part = match random.below(8) {
            0 => config.pointer("/process"),
            1 => config.pointer("/linux/resources"),
            _ => None,
        };
        let mut text = part.unwrap_or(&config).to_string().into_bytes();
        let spoiled = random.below(3) == 0;
        if spoiled {
            spoil(&mut text, &mut random);
        }
        if text.len() as u64 > CONFIG_BYTES_MAX {
            continue;
        }
        let name = format!("seed {seed}, input {count}");
        if run(&name, &text, &process_of, &mut random) {
            good += 1;
            // Small ones: they are copied for each input.
            if !spoiled && text.len() < 20_000 {
                match kept.len() {
                    0..KEPT => kept.push(config),
                    full => kept[first.len() + random.below(full - first.len())] = config,
                }
            }
        }
    }
    println!("{count} inputs, {good} of them accepted");
    assert!(
        count < 500 || good > 0,
        "nothing was accepted, so no plan was looked at"
    );
}

/// Every list of every configuration, with its last element ten thousand times more or as often as
/// a configuration has room for.
#[test]
fn long_lists() {
    let _alone = alone();
    let mut random = Random(1);
    let first = corpus();
    let process_of = accepted(first[0].to_string().as_bytes()).unwrap();
    let mut seen: Vec<PathBuf> = Vec::new();
    for config in &first {
        for place in pointers(config) {
            let Some(Value::Array(list)) = config.pointer(&place) else {
                continue;
            };
            // The last is not where an early look would end, and one of each list is enough.
            let Some(element) = list
                .last()
                .filter(|_| !seen.contains(&place.clone().into()))
            else {
                continue;
            };
            seen.push(place.clone().into());
            let room = usize::try_from(CONFIG_BYTES_MAX / 2).unwrap();
            let count = (MANY / 10).min(room / (element.to_string().len() + 1));
            let mut longer = config.clone();
            let target = longer.pointer_mut(&place).unwrap().as_array_mut().unwrap();
            target.extend(std::iter::repeat_n(element.clone(), count));
            run(
                &place,
                longer.to_string().as_bytes(),
                &process_of,
                &mut random,
            );
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

/// As [`long_lists`], with elements that all differ and are all accepted.
#[test]
fn long_lists_of_different_things() {
    let _alone = alone();
    let mut random = Random(1);
    let base = &corpus()[0];
    let process_of = accepted(base.to_string().as_bytes()).unwrap();
    type Element = fn(usize) -> Value;
    let lists: [(&str, Element); 8] = [
        (
            "/mounts",
            |n| json!({ "destination": format!("/m{n}"), "type": "tmpfs", "source": "x" }),
        ),
        ("/mounts", |n| match n {
            0 => json!({ "destination": "/t", "type": "tmpfs", "source": "x" }),
            _ => json!({ "destination": "/t", "options": ["remount", "size=1m"] }),
        }),
        ("/process/env", |n| json!(format!("V{n}=x"))),
        ("/process/args", |n| json!(format!("a{n}"))),
        ("/process/user/additionalGids", |n| json!(n)),
        ("/linux/maskedPaths", |n| json!(format!("/m{n}"))),
        (
            "/linux/devices",
            |n| json!({ "path": format!("/dev/d{n}"), "type": "c", "major": 1, "minor": n }),
        ),
        (
            "/linux/resources/devices",
            |n| json!({ "allow": true, "type": "c", "major": 8, "minor": n, "access": "rwm" }),
        ),
    ];
    for (place, element) in lists {
        let mut config = base.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap();
        parent[name] = Value::Array((0..MANY).map(element).collect());
        let text = config.to_string();
        assert!(
            run(place, text.as_bytes(), &process_of, &mut random),
            "{place} was refused"
        );
    }
    let names: Vec<String> = (0..MANY).map(|n| format!("call{n}")).collect();
    let mut config = base.clone();
    let rule = json!({ "names": names, "action": "SCMP_ACT_ERRNO" });
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    run(
        "names",
        config.to_string().as_bytes(),
        &process_of,
        &mut random,
    );
    let rules = (0..MANY).map(|n| {
        let args = json!([{ "index": 0, "value": n, "op": "SCMP_CMP_EQ" }]);
        json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args })
    });
    let rules: Vec<Value> = rules.collect();
    config["linux"]["seccomp"]["syscalls"] = json!(rules);
    run(
        "rules",
        config.to_string().as_bytes(),
        &process_of,
        &mut random,
    );
}
