//! `cargo xtask ebpf`: builds the eBPF programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cmd::Cmd;
use crate::paths;
use crate::setup::{self, Compiler, Need};

/// Build the eBPF programs.
///
/// The object is put at `target/ebpf/reeve.bpf.o`, where the loader's build takes it from. It is
/// touched only when it changed.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Linker and code generation for every eBPF build.
const FLAGS: [&str; 6] = [
    "-C",
    "link-arg=--btf",
    "-C",
    "debuginfo=2",
    "-C",
    "panic=abort",
];

/// Runs the task.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let object = build()?;
    let size = fs::metadata(&object)
        .with_context(|| format!("stat `{}`", object.display()))?
        .len();
    println!("{} ({size} bytes)", object.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs with what is needed for it; returns the object's path.
pub(crate) fn build() -> Result<PathBuf> {
    setup::ensure(&[Need::Compiler, Need::Linker])?;
    compile(&["build", "--release"])?;
    let built = paths::root().join("ebpf/programs/target/bpfel-unknown-none/release/reeve");
    let object = paths::target().join("ebpf/reeve.bpf.o");
    paths::create_dir(&paths::target().join("ebpf"))?;
    let new = object.with_extension("new");
    // DWARF is four fifths of the object; the kernel wants BTF, which stays.
    let strip = Cmd::new(setup::llvm_strip()).arg("-g").arg(&built);
    strip.arg("-o").arg(&new).quiet()?;
    if is_same(&new, &object) {
        return Ok(object);
    }
    fs::rename(&new, &object).with_context(|| format!("rename to `{}`", object.display()))?;
    Ok(object)
}

fn is_same(new: &Path, old: &Path) -> bool {
    matches!((fs::read(new), fs::read(old)), (Ok(new), Ok(old)) if new == old)
}

/// Runs cargo on the programs with the eBPF compiler and linker.
fn compile(args: &[&str]) -> Result<()> {
    let compiler = Compiler::find()?.context(
        "no compiler for the eBPF programs\nhelp: `cargo xtask setup` unpacks Debian's; \
         `rustup toolchain install nightly --component rust-src` gives another",
    )?;
    let linker = format!("linker={}", setup::bpf_linker()?.display());
    // BTF has the paths of the sources: make them the same on every machine.
    let workspace = format!("--remap-path-prefix={}=.", paths::root().display());
    let registry = paths::cargo_home()?.join("registry/src");
    let registry = format!("--remap-path-prefix={}=registry", registry.display());
    let own = ["-C", &linker, &workspace, &registry];
    let flags: Vec<&str> = own.into_iter().chain(FLAGS).collect();
    let cargo = Cmd::new("cargo")
        .args(args)
        .arg("--manifest-path")
        .arg(paths::root().join("ebpf/programs/Cargo.toml"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    compiler.apply(cargo).run()
}
