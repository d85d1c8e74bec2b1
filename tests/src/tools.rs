//! Where the programs under test are.

use std::path::PathBuf;
use std::process::Command;

use crate::Error;

/// The program `name`: next to the running one, in the directory above (as cargo lays them out), or
/// in PATH.
pub fn find(name: &'static str) -> Result<PathBuf, Error> {
    let mut places = Vec::new();
    if let Some(directory) = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()))
    {
        places.push(directory.clone());
        places.extend(directory.parent().map(PathBuf::from));
    }
    places.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let found = places
        .into_iter()
        .map(|place| place.join(name))
        .find(|path| path.is_file());
    found.ok_or(Error::NoTool(name))
}

/// A command of the runtime under test.
pub fn reeve() -> Result<Command, Error> {
    Ok(Command::new(find("reeve")?))
}

/// Runs a command to its end; its standard output, or an error with its standard error.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let line = format!("{command:?}");
    let failed = |status: String, messages: String| Error::Command {
        command: line.clone(),
        status,
        messages,
    };
    let output = command
        .output()
        .map_err(|error| failed(error.to_string(), String::new()))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(failed(output.status.to_string(), messages));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
