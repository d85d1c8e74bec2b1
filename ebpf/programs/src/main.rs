//! Reeve's eBPF programs: one on each LSM hook of [`ebpf_common::hooks::HOOKS`].
//!
//! Each program does the same: honour an earlier refusal, find the caller's subject (one
//! task-storage look-up; without one the hook returns at once), gather what the hook sees, ask the
//! pure decision of `ebpf-common`, and either return or report and refuse. The programs decide
//! nothing themselves.
//!
//! Reading order: [`maps`], [`field`], [`verifier`], [`subject`], [`tables`], [`syscall`],
//! [`object`], [`mount`], [`count`], [`report`], then the hooks by topic.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod count;
mod descriptors;
mod field;
mod files;
mod ipc;
mod kernel;
mod keys;
mod maps;
mod mount;
mod mounts;
mod names;
mod object;
mod processes;
mod report;
mod sockets;
mod subject;
mod switches;
mod syscall;
mod sysctl;
mod tables;
mod unix;
mod verifier;

/// The helpers that LSM programs call are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
