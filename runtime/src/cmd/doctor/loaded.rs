//! What is loaded now, as two tables.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use ebpf_loader::Enforcer;
use ebpf_loader::loaded::Loaded;

use crate::cmd::say;

/// Prints what is loaded.
///
/// # Errors
/// Pins that cannot be read, JSON that cannot be written.
pub(super) fn run(json: bool) -> Result<ExitCode, Box<dyn Error>> {
    let loaded = match Enforcer::open()? {
        Some(enforcer) => Some(enforcer.loaded()?),
        None => None,
    };
    if json {
        say(serde_json::to_string_pretty(&loaded)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match loaded {
        Some(loaded) => print(&loaded)?,
        None => say("nothing is loaded: no container has a policy")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(loaded: &Loaded) -> io::Result<()> {
    say(format_args!(
        "{:28} {:>12} {:>8} {:>12} {:>9}",
        "PROGRAM", "VERIFIED", "KIB", "RUNS", "NS/RUN"
    ))?;
    for program in &loaded.programs {
        let each = match program.runs {
            0 => "-".to_owned(),
            runs => (program.run_time_ns / runs).to_string(),
        };
        say(format_args!(
            "{:28} {:>12} {:>8} {:>12} {each:>9}",
            program.hook,
            program.verified_instructions,
            program.memory_bytes.div_ceil(1024),
            program.runs,
        ))?;
    }
    say(format_args!(
        "\n{:28} {:>12} {:>8} {:>12}",
        "TABLE", "ENTRIES", "KIB", "MOST"
    ))?;
    for map in &loaded.maps {
        let entries = map
            .entries
            .map_or("-".to_owned(), |count| count.to_string());
        say(format_args!(
            "{:28} {entries:>12} {:>8} {:>12}",
            map.name,
            map.memory_bytes.div_ceil(1024),
            map.most,
        ))?;
    }
    Ok(())
}
