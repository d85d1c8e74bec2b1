//! The program of the container: found, and in the end executed.

use std::ffi::{CStr, CString};
use std::io::Read as _;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::Task;
use super::procfs::Procfs;
use crate::failure::{Called, Failure};
use crate::plan::Exec;
use crate::sys;

/// Searched for the program if its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most of `/etc/passwd` that is read, in bytes.
const PASSWD_BYTES_MAX: u64 = 4 << 20;

/// Looks for the program as [`execute`] will, without executing it.
pub(super) fn find(exec: &Exec) -> Result<(), Failure> {
    let name = name(exec)?;
    let mut last = Errno::NOENT;
    for candidate in candidates(name, &exec.env) {
        match rustix::fs::stat(candidate.as_c_str()) {
            Ok(found) if is_program(&found) => return Ok(()),
            Ok(_) => last = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => last = errno,
        }
    }
    Err(Failure::new(format!("execve({name:?})"), last))
}

fn is_program(found: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_mode & 0o111 != 0
}

/// Executes the program; returns only if that failed. `home` becomes `HOME`.
pub(super) fn execute(exec: &Exec, home: Option<CString>) -> Failure {
    let name = match name(exec) {
        Ok(name) => name,
        Err(failure) => return failure,
    };
    let env = exec.env.iter().cloned().chain(home).collect();
    let image = sys::ExecImage::new(exec.args.clone(), env);
    let mut last = Errno::NOENT;
    for candidate in candidates(name, &exec.env) {
        let errno = image.exec(&candidate);
        match errno {
            // Kept if nothing later in the search path is better.
            Errno::ACCESS => last = errno,
            Errno::NOENT | Errno::NOTDIR => {}
            _ => return Failure::new(format!("execve({candidate:?})"), errno),
        }
    }
    Failure::new(format!("execve({name:?})"), last)
}

fn name(exec: &Exec) -> Result<&CString, Failure> {
    let missing = || Failure::new("execve()", Errno::NOENT);
    exec.args.first().ok_or_else(missing)
}

/// `HOME=…` for a user of the container, unless the environment has it: the directory that its
/// `/etc/passwd` names, else `/`.
pub(super) fn home(
    task: &Task<'_>,
    uid: u32,
    procfs: impl FnOnce() -> Result<Procfs, Failure>,
) -> Option<CString> {
    let mut env = task.exec.env.iter();
    if env.any(|entry| entry.to_bytes().starts_with(b"HOME=")) {
        return None;
    }
    // An image need not have the file, or a readable one.
    let passwd = passwd(procfs).unwrap_or_default();
    let home = passwd
        .split(|byte| *byte == b'\n')
        .find_map(|line| home_of(line, uid))
        .unwrap_or(b"/");
    CString::new([b"HOME=", home].concat()).ok()
}

/// The directory in a line of passwd(5), if the line is about this user.
fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|byte| *byte == b':');
    let id = std::str::from_utf8(fields.nth(2)?).ok()?;
    let home = fields.nth(2)?;
    (id.parse() == Ok(uid) && !home.is_empty()).then_some(home)
}

/// The text of the container's `/etc/passwd`. This process is not under the container's policy yet:
/// whatever is there instead of a file must not even be opened, a device above all.
fn passwd(procfs: impl FnOnce() -> Result<Procfs, Failure>) -> Result<Vec<u8>, Failure> {
    let path = "/etc/passwd";
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .called(|| "openat2(\"/etc/passwd\", O_PATH)")?;
    let found = fstat(&file).called(|| "fstat(\"/etc/passwd\")")?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Failure::new("fstat(\"/etc/passwd\")", Errno::INVAL));
    }
    let mut text = Vec::new();
    std::fs::File::from(procfs()?.reopen(&file)?)
        .take(PASSWD_BYTES_MAX)
        .read_to_end(&mut text)
        .called(|| "read(\"/etc/passwd\")")?;
    Ok(text)
}

/// Where `name` may lie: itself if it has a slash, else each directory of `PATH`.
fn candidates(name: &CStr, env: &[CString]) -> Vec<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
    let dirs = path.split(|byte| *byte == b':');
    dirs.filter_map(|dir| {
        let dir = if dir.is_empty() { b"." } else { dir };
        CString::new([dir, b"/", bytes].concat()).ok()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &CStr, env: &[&CStr]) -> Vec<String> {
        let env: Vec<CString> = env.iter().map(|entry| CString::from(*entry)).collect();
        let found = candidates(name, &env);
        found
            .iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_search_path_is_that_of_the_container() {
        assert_eq!(found(c"sh", &[c"PATH=/a::/b"]), ["/a/sh", "./sh", "/b/sh"]);
        assert_eq!(found(c"./sh", &[c"PATH=/a"]), ["./sh"]);
        assert_eq!(found(c"/bin/sh", &[]), ["/bin/sh"]);
        assert_eq!(found(c"sh", &[]).last().unwrap(), "/bin/sh");
    }

    #[test]
    fn the_home_is_that_of_the_user() {
        assert_eq!(
            home_of(b"root:x:0:0:root:/root:/bin/sh", 0),
            Some(&b"/root"[..])
        );
        assert_eq!(home_of(b"root:x:0:0:root:/root:/bin/sh", 1), None);
        assert_eq!(home_of(b"a:x:7:7::", 7), None);
        assert_eq!(home_of(b"a:x:7:7::/h", 7), Some(&b"/h"[..]));
        assert_eq!(home_of(b"", 0), None);
    }
}
