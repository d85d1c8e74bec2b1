//! What the words of an attempt stand for: made anew for each time that it is made.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use reeve_tests::fixture::in_container;
use reeve_tests::{Fixture, Running, host, rootfs, tools};

use crate::services::Services;
use crate::stage::set_mode;

/// Who makes an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A user without privileges, without a policy.
    Ordinary,
    /// Root with every capability, under the policy.
    Governed,
    /// Root with every capability, without a policy.
    Free,
}

/// Words that need a closed directory, for itself or for a process in it.
const PLACES: [&str; 5] = ["{plot}", "{bare}", "{pid}", "{other}", "{hand}"];

/// Objects of the host for one attempt, and the words that name them.
pub(crate) struct Ground {
    words: Vec<(&'static str, String)>,
    services: Services,
    closed: PathBuf,
    /// To remove at the end.
    made: Vec<PathBuf>,
}

impl Ground {
    /// Makes what `text` names: closed to all but root by its modes.
    pub(crate) fn new(
        who: Who,
        text: &str,
        running: &Running,
        (closed, granted): (&Fixture, &Fixture),
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut ground = Self {
            words: Vec::new(),
            services: Services::default(),
            closed: closed.at(&number.to_string()),
            made: Vec::new(),
        };
        let bare = ground.closed.clone();
        if PLACES.iter().any(|word| text.contains(word)) {
            make_plot(&bare, text);
        }
        ground.word("plot", in_container(&bare));
        ground.word("bare", bare.display().to_string());
        for kind in ["ro", "rw"] {
            let plot = granted.at(&format!("{kind}/{number}"));
            if text.contains(&format!("{{{kind}}}")) {
                make_plot(&plot, "");
                set_mode(&plot.join("file"), 0o644);
            }
            ground.word(kind, in_container(&plot));
        }
        let own = format!("/own/{number}");
        let at = running.container().root().join(own.trim_start_matches('/'));
        fs::create_dir(&at).expect("mkdir");
        set_mode(&at, 0o777);
        ground.word("own", own);
        ground.word("runtime", running.runtime_pid().to_string());
        ground.host_objects(who, text, number);
        ground.services.start(text, &bare, &mut ground.words);
        ground
    }

    /// Everything that can be seen of the closed directory: a difference is a change.
    pub(crate) fn snapshot(&self) -> Vec<String> {
        let mut seen = Vec::new();
        look(&self.closed, &mut seen);
        seen.sort_unstable();
        seen
    }

    /// Gives a word its meaning; the first one stands.
    pub(crate) fn word(&mut self, word: &'static str, meaning: String) {
        self.words.insert(0, (word, meaning));
    }

    /// The text with every word replaced.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (word, meaning) in &self.words {
            filled = filled.replace(&format!("{{{word}}}"), meaning);
        }
        assert!(!filled.contains('{'), "a word without meaning: `{filled}`");
        filled
    }

    /// Reeve's own objects for who is governed, and some of the same kind for others, which may
    /// well destroy them.
    fn host_objects(&mut self, who: Who, text: &str, number: u32) {
        if text.contains("{cgroup}") {
            let cgroup = PathBuf::from(format!("/sys/fs/cgroup/escape-{number}"));
            fs::create_dir(&cgroup).expect("make a cgroup");
            self.word("cgroup", in_container(&cgroup));
            self.made.push(cgroup);
        }
        let (state, pins) = match who {
            Who::Governed => (PathBuf::from(host::STATE_DIR), PathBuf::from(host::PIN_DIR)),
            Who::Ordinary | Who::Free => decoys(text, number),
        };
        if text.contains("{pin") {
            let below = |pin: &PathBuf| pin.starts_with(&pins);
            let pin = match who {
                Who::Governed => host::pins().into_iter().find(below).expect("a pin"),
                Who::Ordinary | Who::Free => pins.join("map"),
            };
            self.word("pin", in_container(pin));
        }
        self.word("state", in_container(state));
        self.word("pins", in_container(pins));
        let disk = Path::new("/dev/vda");
        let (major, minor) = host::device_number(disk).expect("the disk");
        self.word("disk", in_container(disk));
        self.word("disknumber", format!("{major}:{minor}"));
        if text.contains("{module}") {
            let module = host::module_file("dummy").expect("a module");
            self.word("module", in_container(module));
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for directory in &self.made {
            // In use by what is about to end: left in a machine that is thrown away.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Notes what is in a directory, itself included.
fn look(path: &Path, seen: &mut Vec<String>) {
    let Ok(found) = fs::symlink_metadata(path) else {
        return;
    };
    let about = (found.mode(), found.uid(), found.gid(), found.nlink());
    let (length, changed) = (found.len(), (found.ctime(), found.ctime_nsec()));
    seen.push(format!(
        "{}: {about:?} {length} {changed:?}",
        path.display()
    ));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        look(&entry.path(), seen);
    }
}

/// Directories like Reeve's own.
fn decoys(text: &str, number: u32) -> (PathBuf, PathBuf) {
    let state = PathBuf::from(format!("/run/decoy-{number}"));
    if text.contains("{state}") {
        fs::create_dir(&state).expect("mkdir");
        fs::write(state.join("audit.jsonl"), "").expect("write");
        set_mode(&state, 0o700);
    }
    let pins = PathBuf::from(format!("/sys/fs/bpf/decoy-{number}"));
    if text.contains("{pin") {
        fs::create_dir(&pins).expect("mkdir");
        host_probe(&["bpf-obj-pin", &pins.join("map").display().to_string()]);
        set_mode(&pins, 0o700);
    }
    (state, pins)
}

/// Runs the probe on the host; what it told.
pub(crate) fn host_probe(words: &[&str]) -> String {
    let probe = tools::find("probe").expect("the probe");
    let output = tools::output(std::process::Command::new(probe).args(words));
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    output
        .split_whitespace()
        .last()
        .unwrap_or_default()
        .to_owned()
}

/// A directory with a file of each kind in it.
fn make_plot(plot: &Path, text: &str) {
    fs::create_dir_all(plot.join("directory")).expect("mkdir");
    fs::create_dir(plot.join("private")).expect("mkdir");
    set_mode(&plot.join("private"), 0o700);
    for (name, mode) in [("file", 0o600), ("second", 0o600), ("open", 0o666)] {
        fs::write(plot.join(name), vec![b'.'; 8192]).expect("write a file");
        set_mode(&plot.join(name), mode);
    }
    std::os::unix::fs::symlink("file", plot.join("symlink")).expect("symlink");
    if text.contains("program") {
        let probe = tools::find("probe").expect("the probe");
        rootfs::copy_program(&probe, &plot.join("program")).expect("copy the probe");
        set_mode(&plot.join("program"), 0o700);
    }
    if text.contains("swap") {
        fs::write(plot.join("swap"), swap_space()).expect("write a file");
        set_mode(&plot.join("swap"), 0o600);
    }
}

/// What `mkswap` writes, for 40 pages (`union swap_header` in `include/linux/swap.h`).
fn swap_space() -> Vec<u8> {
    const PAGE: usize = 4096;
    const PAGES: u32 = 40;
    let mut space = vec![0; PAGE * PAGES as usize];
    space[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    space[1028..1032].copy_from_slice(&(PAGES - 1).to_le_bytes());
    space[PAGE - 10..PAGE].copy_from_slice(b"SWAPSPACE2");
    space
}
