//! The command line as programs written in Go hand it over, and what is said of a wrong one.
//!
//! Engines know runtimes whose options are parsed by Go's `flag` package: long options may have
//! one dash (`-no-subreaper`), and switches a value (`--detach=true`).

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use super::log::{self, Format, Log};
use super::{Cli, command, lean};

/// Parses the command line; `Err` is the exit status of a `reeve` that has nothing more to do.
pub(super) fn parse(args: Vec<OsString>) -> Result<Cli, ExitCode> {
    let args = if args.iter().any(|arg| is_foreign(arg)) {
        translate(&Cli::command(), args)
    } else {
        args
    };
    let matches = lean().try_get_matches_from(&args);
    let parsed = matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        if error.kind() == ErrorKind::DisplayVersion {
            // A version for a reader that has gone is no failure.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let mut command = command();
        let again = command.try_get_matches_from_mut(&args).err();
        explain(&again.unwrap_or(error), &mut command, &args)
    })
}

/// Prints what was asked for (help, version), or what is wrong, where the caller looks for it.
fn explain(error: &clap::Error, command: &mut Command, args: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        // Other runtimes answer so, too.
        _ if args.len() <= 1 => {
            let _ = write!(std::io::stdout(), "{}", command.render_help());
            ExitCode::SUCCESS
        }
        _ => {
            let value = |name: &str| option_value(args, name);
            let json = value("--log-format").is_some_and(|format| format == "json");
            let format = if json { Format::Json } else { Format::Text };
            if let Ok(log) = Log::open(value("--log").as_deref().map(Path::new), format, false) {
                log.install();
            }
            let text = error.render().to_string();
            let text = text.trim_end();
            let what = text.lines().take_while(|line| !line.is_empty());
            let what: Vec<&str> = what.map(str::trim).collect();
            let line = what.join(" ");
            log::error(text, line.strip_prefix("error: ").unwrap_or(&line));
            // Not the 2 of clap: other runtimes answer 1, which of two policies says that they
            // differ.
            match compares(args) {
                true => super::policy::NOT_COMPARED.into(),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether a command line that could not be parsed is one of `policy diff`.
fn compares(args: &[OsString]) -> bool {
    let read = lean().ignore_errors(true).try_get_matches_from(args);
    let read = read.unwrap_or_default();
    let inner = read.subcommand_matches("policy");
    inner.and_then(clap::ArgMatches::subcommand_name) == Some("diff")
}

/// The value of an option on a command line that could not be parsed.
fn option_value(args: &[OsString], name: &str) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == name {
            return args.next().cloned();
        }
        if let Some((option, value)) = arg.to_str().and_then(|arg| arg.split_once('='))
            && option == name
        {
            return Some(value.into());
        }
    }
    None
}

/// Whether an argument may be of Go's kind: worth a closer look.
fn is_foreign(arg: &OsStr) -> bool {
    let Some(arg) = arg.to_str() else {
        return false;
    };
    let one_dash = arg.len() > 2 && arg.starts_with('-') && !arg.starts_with("--");
    one_dash
        || arg.starts_with("--")
            && arg
                .split_once('=')
                .is_some_and(|(_, v)| as_bool(v).is_some())
}

/// `strconv.ParseBool` of Go.
fn as_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The same command line in the form that clap knows. Arguments behind the first one that is no
/// option of the command (such as a command to be executed in a container) stay as they are.
fn translate(root: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let mut current = root;
    let mut done = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    done.extend(args.next());
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default().to_owned();
        if text == "--" {
            done.push(arg);
            break;
        }
        let Some(option) = text.strip_prefix('-') else {
            done.push(arg);
            match current.find_subcommand(&text) {
                Some(below) => current = below,
                None => break,
            }
            continue;
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let Some(known) = find(current, name).or_else(|| find(root, name)) else {
            done.push(arg);
            continue;
        };
        let switch = !known.get_action().takes_values();
        let dashes = if name.chars().count() == 1 { "-" } else { "--" };
        match (switch, value.and_then(as_bool)) {
            (true, Some(false)) => {}
            (true, Some(true)) => done.push(format!("{dashes}{name}").into()),
            _ => {
                done.push(format!("{dashes}{option}").into());
                if !switch && value.is_none() {
                    done.extend(args.next());
                }
            }
        }
    }
    done.extend(args);
    done
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        let short = arg.get_short_and_visible_aliases().unwrap_or_default();
        let mut letters = name.chars();
        let letter = letters.next().filter(|_| letters.next().is_none());
        long.contains(&name) || letter.is_some_and(|letter| short.contains(&letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let args = translate(&command(), args);
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        args.join(" ")
    }

    #[test]
    fn options_with_one_dash_and_switches_with_a_value() {
        for (go, clap) in [
            ("reeve -root /x list -quiet", "reeve --root /x list --quiet"),
            ("reeve -root=/x list -q", "reeve --root=/x list -q"),
            ("reeve --debug=true list", "reeve --debug list"),
            ("reeve --debug=false list", "reeve list"),
            ("reeve --rootless=true list", "reeve --rootless=true list"),
            ("reeve delete -force=1 a", "reeve delete --force a"),
            ("reeve run -b -detach a", "reeve run -b -detach a"),
        ] {
            assert_eq!(translated(go), clap);
        }
    }

    #[test]
    fn every_command_can_be_met() {
        let whole = Cli::command();
        let whole: Vec<_> = whole.get_subcommands().map(Command::get_name).collect();
        let lean = lean();
        let lean: Vec<_> = lean.get_subcommands().map(Command::get_name).collect();
        assert_eq!(lean, whole);
    }

    #[test]
    fn what_is_not_the_runtimes_stays() {
        for line in [
            "reeve ps a -root -aux",
            "reeve -- list -root",
            "reeve list -unknown=true",
            "reeve nonsuch -root",
        ] {
            assert_eq!(translated(line), line);
        }
    }

    #[test]
    fn the_log_of_a_line_that_cannot_be_parsed() {
        let line = ["reeve", "--log", "/l", "--log-format=json", "--nonsuch"];
        let args = line.map(OsString::from);
        assert_eq!(option_value(&args, "--log"), Some("/l".into()));
        assert_eq!(option_value(&args, "--log-format"), Some("json".into()));
        assert_eq!(option_value(&args, "--nonsuch"), None);
    }
}
