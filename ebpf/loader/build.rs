//! Embeds the eBPF object that `cargo xtask ebpf` built, or an empty one, which the loader refuses
//! with a remedy.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = match env::var_os("REEVE_EBPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => root.join("target/ebpf/reeve.bpf.o"),
    };
    println!("cargo:rerun-if-env-changed=REEVE_EBPF_OBJECT");
    println!("cargo:rerun-if-changed={}", built.display());
    let object = match fs::read(&built) {
        Ok(object) => object,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!(
                "cargo:warning=no eBPF object at {}: run `cargo xtask ebpf`",
                built.display()
            );
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    fs::write(out.join("reeve.bpf.o"), object)
}
