//! System calls that neither std nor rustix wraps: the crate's only `unsafe`.

mod attributes;
pub(crate) mod bpf;
mod handle;
mod mount;
mod pidfd;
mod process;
mod seccomp;
mod signals;
mod socket;

pub(crate) use attributes::{
    SchedAttr, ioprio_set, personality, sched_setaffinity, sched_setattr, set_mempolicy,
};
pub(crate) use handle::file_handle;
pub(crate) use mount::{MountAttr, mount_setattr};
pub(crate) use pidfd::pidfd_send_signal;
pub(crate) use process::{
    CLONE_PARENT, Cloned, ExecImage, clone3, close_all_but, exec_file, exit_now, is_open,
    join_session_keyring, unshare_cgroup_namespace, unshare_mount_namespace,
    unshare_time_namespace,
};
pub(crate) use seccomp::install_filter;
pub(crate) use signals::{block_all_signals, read_signal, reset_signals, signalfd_all};
pub(crate) use socket::loopback_up;

use rustix::io::Errno;

/// The result of a raw system call: −1 with `errno`, or the value.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(result)
    }
}
