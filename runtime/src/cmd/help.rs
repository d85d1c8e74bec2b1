//! `reeve --help` and `reeve help`: the commands in groups, and what a session looks like.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::{Cli, Error, say};

/// The commands in the order in which one meets them. One that is in no group is shown last.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Life of a container",
        &[
            "run", "create", "start", "exec", "kill", "pause", "resume", "delete",
        ],
    ),
    (
        "What containers do",
        &["list", "state", "ps", "events", "update"],
    ),
    ("Policies", &["policy", "audit", "doctor"]),
    ("Checkpoints", &["checkpoint", "restore"]),
    ("Set-up", &["spec", "features", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  reeve spec --bundle my-bundle              # a config.json to start from
  reeve run --bundle my-bundle web           # run it; ^C ends it
  reeve run -b my-bundle -p web.yaml web     # the same, under a policy
  reeve list                                 # what runs
  reeve kill web TERM                        # ask it to end
  reeve audit web                            # what its policy refused

`reeve help COMMAND` explains a command. A policy is explained by `reeve policy --help`.";

/// Explain a command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve help run
  reeve help policy explain")]
pub(super) struct Args {
    /// The command, and the one below it
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let names = args.command.iter().map(String::as_str);
    let line = ["reeve"].into_iter().chain(names).chain(["--help"]);
    // Help is clap's error for everyone who asks for it.
    let Err(help) = command().try_get_matches_from(line) else {
        return Ok(ExitCode::SUCCESS);
    };
    if help.kind() == ErrorKind::DisplayHelp {
        say(help.render().to_string().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    // A command that there is not. Whoever does not read standard error misses nothing else.
    let _ = help.print();
    Ok(ExitCode::FAILURE)
}

/// The command line with its help, to print it and to make documentation from. What parses it is
/// the same without the help, which takes its time to put together.
pub fn command() -> Command {
    let command = Cli::command();
    let commands = groups(&command);
    command
        .help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{commands}\
             Global options:\n{{options}}{{after-help}}"
        ))
        .after_help(EXAMPLES)
        .mut_subcommands(|command| {
            let about = command.get_long_about().or(command.get_about()).cloned();
            compact(command).about(about.unwrap_or_default())
        })
        .disable_help_flag(true)
        .arg(help_flag())
}

/// One form of help, with a line for each option, for `-h` and `--help` alike.
fn compact(command: Command) -> Command {
    let command = command.disable_help_flag(true).arg(help_flag());
    command.mut_subcommands(compact)
}

fn help_flag() -> Arg {
    let flag = Arg::new("help").short('h').long("help");
    flag.action(ArgAction::HelpShort).help("Print help")
}

fn groups(command: &Command) -> String {
    let name = |command: &Command| command.get_name().to_owned();
    let mut left: Vec<String> = command.get_subcommands().map(name).collect();
    let width = left.iter().map(String::len).max().unwrap_or_default();
    let line = |name: &str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        let about = about.map(ToString::to_string).unwrap_or_default();
        format!("  {name:width$}  {about}\n")
    };
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let there = names.iter().copied();
        let there: Vec<&str> = there
            .filter(|name| left.iter().any(|known| known == name))
            .collect();
        left.retain(|known| !there.contains(&known.as_str()));
        if !there.is_empty() {
            let lines: String = there.into_iter().map(line).collect();
            text += &format!("{heading}:\n{lines}\n");
        }
    }
    if !left.is_empty() {
        let lines: String = left.iter().map(|name| line(name)).collect();
        text += &format!("Others:\n{lines}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_a_group_and_has_examples() {
        let help = command().render_help().to_string();
        assert!(!help.contains("Others:"), "{help}");
        for command in command().get_subcommands() {
            let examples = command.get_after_help().map(ToString::to_string);
            assert!(
                examples.is_some_and(|text| text.contains("  reeve ")),
                "`reeve {} --help` shows no example",
                command.get_name()
            );
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        let help = command().term_width(100).render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
