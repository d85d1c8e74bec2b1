//! The multi-call program `vmstorage`.

fn main() -> std::process::ExitCode {
    vmstorage::cli::main()
}
