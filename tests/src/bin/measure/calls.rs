//! What single system calls cost, in this process as it is: contained or not.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::sys;

/// Directories between the given one and the files that are opened.
pub(crate) const DEPTHS: [usize; 3] = [3, 8, 30];

/// Calls in a batch: enough of them that reading the clock does not show.
const MANY: u32 = 2000;
const SOME: u32 = 200;
const FEW: u32 = 40;

/// Makes the files below `dir` that [`run`] uses.
pub(crate) fn prepare(dir: &Path) -> Result<Value, Failure> {
    for depth in DEPTHS {
        let file = file_at(dir, depth);
        let parent = file.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(Failure::call(|| format!("mkdir({parent:?})")))?;
        fs::write(&file, [0; 4096]).map_err(Failure::call(|| format!("write({file:?})")))?;
    }
    Ok(json!({}))
}

/// Nanoseconds that each kind of call takes, one number for each of `batches`, below `label`.
///
/// `program` ends at once; `dir` was prepared by [`prepare`].
pub(crate) fn run(
    label: &OsStr,
    batches: u64,
    dir: &Path,
    program: &Path,
) -> Result<Value, Failure> {
    let mut found = Map::new();
    for (name, count, mut call) in kinds(dir, program)? {
        // The first batch warms caches up.
        batch(count, &mut *call)?;
        let times = (0..batches).map(|_| batch(count, &mut *call));
        let times = times.collect::<Result<Vec<u64>, _>>()?;
        found.insert(name, json!(times));
    }
    Ok(json!({ "label": label.to_string_lossy(), "ns": found }))
}

/// A call, or a few that belong together.
type Call = Box<dyn FnMut() -> Result<(), Failure>>;

fn kinds(dir: &Path, program: &Path) -> Result<Vec<(String, u32, Call)>, Failure> {
    let mut kinds: Vec<(String, u32, Call)> = Vec::new();
    for depth in DEPTHS {
        let file = file_at(dir, depth);
        let name = format!("open and close, {depth} deep");
        kinds.push((name, MANY, Box::new(move || open(&file).map(drop))));
    }
    let file = file_at(dir, 8);
    kinds.push(("stat, 8 deep".to_owned(), MANY, stat(file.clone())));
    kinds.push(("map a file and unmap it".to_owned(), MANY, map(&file)?));
    kinds.push(("chown (a capability)".to_owned(), MANY, give(file)));
    kinds.push(("connect and accept".to_owned(), SOME, connect()?));
    kinds.push(("fork and wait".to_owned(), SOME, Box::new(fork)));
    kinds.push(("fork, execute and wait".to_owned(), FEW, execute(program)));
    Ok(kinds)
}

fn file_at(dir: &Path, depth: usize) -> PathBuf {
    let mut path = dir.join(depth.to_string());
    path.extend((1..depth).map(|_| "d"));
    path.join("file")
}

/// Nanoseconds for each of `count` calls.
fn batch(count: u32, call: &mut dyn FnMut() -> Result<(), Failure>) -> Result<u64, Failure> {
    let begin = Instant::now();
    for _ in 0..count {
        call()?;
    }
    let each = begin.elapsed() / count;
    Ok(u64::try_from(each.as_nanos()).unwrap_or(u64::MAX))
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(Failure::call(|| format!("open({path:?})")))
}

fn stat(path: PathBuf) -> Call {
    Box::new(move || {
        let found = fs::metadata(&path);
        found
            .map(drop)
            .map_err(Failure::call(|| format!("stat({path:?})")))
    })
}

fn map(path: &Path) -> Result<Call, Failure> {
    let file = open(path)?;
    Ok(Box::new(move || {
        sys::map_and_unmap(&file).map_err(Failure::call(|| "mmap()".to_owned()))
    }))
}

/// To another owner and back: `CAP_CHOWN` is asked for each time.
fn give(path: PathBuf) -> Call {
    let mut owner = 1;
    Box::new(move || {
        owner ^= 1;
        let given = chown(&path, Some(owner), None);
        given.map_err(Failure::call(|| format!("chown({path:?}, {owner})")))
    })
}

fn connect() -> Result<Call, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let listener = listener.map_err(Failure::call(|| "bind(127.0.0.1)".to_owned()))?;
    let address = listener.local_addr();
    let address = address.map_err(Failure::call(|| "getsockname()".to_owned()))?;
    Ok(Box::new(move || {
        let client = TcpStream::connect(address);
        let client = client.map_err(Failure::call(|| format!("connect({address})")))?;
        let server = listener.accept();
        server.map_err(Failure::call(|| "accept()".to_owned()))?;
        // No port stays in TIME_WAIT.
        rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO))
            .map_err(Failure::call(|| "setsockopt(SO_LINGER)".to_owned()))
    }))
}

fn fork() -> Result<(), Failure> {
    let cloned = sys::clone3(0).map_err(Failure::call(|| "clone3()".to_owned()))?;
    let Some(child) = cloned else { sys::exit_now() };
    let ended = sys::wait4(child);
    ended
        .map(drop)
        .map_err(Failure::call(|| "wait4()".to_owned()))
}

fn execute(program: &Path) -> Call {
    let program = program.to_owned();
    Box::new(move || {
        let status = Command::new(&program).status();
        let status = status.map_err(Failure::call(|| format!("execve({program:?})")))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Command {
                line: program.display().to_string(),
                how: status.to_string(),
            }),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::{prepare, run};

    #[test]
    fn every_kind_has_a_time_for_each_batch() {
        let dir = tempfile::tempdir().expect("a directory");
        prepare(dir.path()).expect("files");
        let found = run(OsStr::new("x"), 2, dir.path(), Path::new("/bin/true"));
        let found = found.expect("calls that succeed");
        assert_eq!(found["label"], "x");
        let kinds = found["ns"].as_object().expect("kinds");
        assert!(kinds.len() == 9, "{kinds:?}");
        for (kind, times) in kinds {
            assert_eq!(times.as_array().map(Vec::len), Some(2), "{kind}");
        }
    }
}
