//! From the embedded object to attached, pinned programs.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::maps::Map;
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, Lsm, Program, ProgramError};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use ebpf_common::hooks::{HOOKS, HookInfo, OF_FACILITIES};

use crate::btf::{self, Btf};
use crate::pins::Pins;
use crate::{Error, host};

/// The object that `cargo xtask ebpf` built.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/reeve.bpf.o"));

/// Whether the build embeds an object.
pub(crate) fn has_object() -> bool {
    !OBJECT.is_empty()
}

/// Maps that are pinned; all that the programs have.
pub(crate) const MAPS: &[&str] = &[
    "POLICIES",
    "FILES",
    "SUPERS",
    "SUPER_OWNERS",
    "DEVICES",
    "MOUNTS",
    "CAPABILITIES",
    "PROCESSES",
    "MODULES",
    "CGROUPS",
    "IOCTLS",
    "DEVICE_USES",
    "STATE",
    "EVENTS",
    "SUBJECTS",
    "AYA_LOGS",
    "GRANTS",
    "OWNERS",
    "IN_FORCE",
    "COUNTERS",
    "SOCKETS",
    "SOCKET_PLACES",
    "UNIX_PATHS",
    "UNIX_NAMES",
    "NETWORKS",
    "SOCKET_OWNERS",
];

/// The program that counts tasks that end, on the tracepoint of the same name.
const TASK_EXIT: &str = "sched_process_exit";

/// Loads, attaches and pins everything. On failure nothing stays: the pins of a load that is not
/// whole are removed by dropping them here or by the next load.
pub(crate) fn load_and_pin(pins: &Pins, debug: bool) -> Result<(), Error> {
    if !has_object() {
        return Err(Error::NoObject);
    }
    // Some five megabytes, in reads of a page each: once for both readers.
    let bytes = btf::read_kernel()?;
    let types = aya::Btf::parse(&bytes, aya::Endianness::default())
        .map_err(|error| Error::Load(Box::new(error.into())))?;
    let kernel = Btf::parse(bytes)?;
    let offsets = kernel.offsets()?;
    let hooks = hooks_of(&kernel)?;
    let mut object = parse(&types, &offsets, debug)?;
    verify(&mut object, &types, &hooks)?;
    task_exit(&mut object)?
        .load(TASK_EXIT, &types)
        .map_err(refused(TASK_EXIT))?;
    let directory = pins.begin()?;
    let done = pin_maps(&mut object, &directory)
        .and_then(|()| attach(&mut object, &hooks, &directory))
        .and_then(|()| attach_task_exit(&mut object, &directory))
        .and_then(|()| pins.finish());
    if done.is_err() {
        let _ = pins.remove();
    }
    done
}

/// The hooks that this kernel has. One that it should have and does not is an error; one from a
/// later kernel is left out, because there an older hook governs the same action.
fn hooks_of(kernel: &Btf) -> Result<Vec<(&'static HookInfo, &'static str)>, Error> {
    let version = host::kernel_version();
    let mut found = Vec::new();
    for hook in HOOKS {
        if kernel.has_function(&format!("bpf_lsm_{}", hook.name)) {
            found.push((hook, program_of(kernel, hook)));
        } else if version >= hook.since && !OF_FACILITIES.contains(&hook.name) {
            return Err(Error::NoHook(hook.name));
        }
    }
    Ok(found)
}

/// The program for a hook: of its name, but for `bpf`, which has a fourth argument from 6.15 on,
/// `perf_event_open`, which has lost its first later, and `inode_setattr`, which has a third from
/// 6.9 on.
fn program_of(kernel: &Btf, hook: &'static HookInfo) -> &'static str {
    match hook.name {
        "bpf" if kernel.parameters("bpf_lsm_bpf") == Some(4) => "bpf_from_kernel",
        "inode_setattr" if kernel.parameters("bpf_lsm_inode_setattr") == Some(2) => {
            "inode_setattr_of_two"
        }
        "perf_event_open" if kernel.parameters("bpf_lsm_perf_event_open") == Some(1) => {
            "perf_event_open_of_type"
        }
        name => name,
    }
}

fn parse(types: &aya::Btf, offsets: &[u32], debug: bool) -> Result<Ebpf, Error> {
    let debug = u32::from(debug);
    EbpfLoader::new()
        .btf(Some(types))
        .allow_unsupported_maps()
        .override_global("OFFSETS", offsets, true)
        .override_global("DEBUG", &debug, true)
        .load(OBJECT)
        .map_err(|error| Error::Load(Box::new(error)))
}

fn pin_maps(object: &mut Ebpf, directory: &Path) -> Result<(), Error> {
    for name in MAPS.iter().copied() {
        let Some(map) = object.map(name) else {
            return Err(Error::Incomplete {
                path: directory.into(),
                missing: name.to_owned(),
            });
        };
        let path = directory.join("maps").join(name);
        pin_map(map, &path)?;
    }
    Ok(())
}

fn pin_map(map: &Map, path: &Path) -> Result<(), Error> {
    map.pin(path).map_err(pinned(path))
}

/// A program with the hook that it is for.
type Job<'a> = (&'a mut Lsm, &'static HookInfo);

/// Has the kernel verify every program, on all processors at once: nearly all the time of a load is
/// the verifier's, and programs do not wait for each other there. The threads have ended when this
/// returns.
fn verify(
    object: &mut Ebpf,
    types: &aya::Btf,
    hooks: &[(&'static HookInfo, &'static str)],
) -> Result<(), Error> {
    let hook_of = |name: &str| hooks.iter().find(|(_, program)| *program == name);
    let jobs: Vec<Job<'_>> = object
        .programs_mut()
        .filter_map(|(name, program)| match (hook_of(name), program) {
            (Some((hook, _)), Program::Lsm(program)) => Some((program, *hook)),
            _ => None,
        })
        .collect();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || -> Result<(), Error> {
        while let Some((program, hook)) = next() {
            program.load(hook.name, types).map_err(refused(hook.name))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        // A panic in a thread goes on in this one.
        ended.try_for_each(|end| end.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn refused(hook: &'static str) -> impl Fn(ProgramError) -> Error {
    move |source| Error::Program {
        hook,
        source: Box::new(source),
    }
}

fn attach(
    object: &mut Ebpf,
    hooks: &[(&'static HookInfo, &'static str)],
    directory: &Path,
) -> Result<(), Error> {
    for (hook, name) in hooks {
        let Some(Program::Lsm(program)) = object.program_mut(name) else {
            return Err(Error::Incomplete {
                path: directory.into(),
                missing: (*name).to_owned(),
            });
        };
        attach_one(program, hook, directory)?;
    }
    Ok(())
}

fn attach_one(program: &mut Lsm, hook: &'static HookInfo, directory: &Path) -> Result<(), Error> {
    let path = directory.join("programs").join(hook.name);
    program.pin(&path).map_err(pinned(&path))?;
    let id = program.attach().map_err(refused(hook.name))?;
    let link = program.take_link(id).map_err(refused(hook.name))?;
    pin_link(FdLink::from(link), hook.name, directory)
}

fn task_exit(object: &mut Ebpf) -> Result<&mut BtfTracePoint, Error> {
    match object.program_mut(TASK_EXIT) {
        Some(Program::BtfTracePoint(program)) => Ok(program),
        _ => Err(Error::NoObject),
    }
}

fn attach_task_exit(object: &mut Ebpf, directory: &Path) -> Result<(), Error> {
    let program = task_exit(object)?;
    let path = directory.join("programs").join(TASK_EXIT);
    program.pin(&path).map_err(pinned(&path))?;
    let id = program.attach().map_err(refused(TASK_EXIT))?;
    let link = program.take_link(id).map_err(refused(TASK_EXIT))?;
    pin_link(FdLink::from(link), TASK_EXIT, directory)
}

fn pin_link(link: FdLink, name: &str, directory: &Path) -> Result<(), Error> {
    let path = directory.join("links").join(name);
    link.pin(&path).map_err(pinned(&path))?;
    Ok(())
}

fn pinned<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |error| Error::Pin {
        path,
        source: Box::new(error),
    }
}
