//! Documentation of a command line, made from the model that parses it: a page for
//! `docs/reference`, manual pages and completions.
//!
//! For examples of the crates that have a command line, which `cargo xtask docs` runs; the programs
//! themselves stay without it, and so smaller.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, Command, Id};
use clap_complete::Shell;

/// Carries out the arguments of the process: `page` prints the page of `shown`, which begins with
/// `opening`; `files DIR` writes manual pages and completions of `command`. The two are one where
/// help needs no place of its own.
pub fn main(opening: &str, shown: &Command, command: &Command) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["page"] => {
            // As clap completes it when it parses.
            let mut built = shown.clone();
            built.build();
            print!("{opening}{}", page(&built));
            Ok(())
        }
        ["files", dir] => files(Path::new(dir), command),
        _ => Err(io::Error::other("usage: page | files DIR")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("documentation of the command line: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All but the opening.
fn page(command: &Command) -> String {
    let mut page = String::new();
    let global = |arg: &&Arg| !arg.is_positional();
    if command.get_arguments().any(|arg| global(&arg)) {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n## Global options\n");
        options(&mut page, command.get_arguments().filter(global));
    }
    if let Some(examples) = command.get_after_help() {
        after(&mut page, &examples.to_string());
    }
    for below in commands(command) {
        section(&mut page, below, 2, &globals(command));
    }
    page
}

/// The commands below one, without clap's own `help`, which has all of them below it again.
fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    let below = command.get_subcommands();
    below.filter(|below| below.get_name() != "help" || !below.has_subcommands())
}

/// The options that commands below take, too; those that it takes itself from above among them.
fn globals(command: &Command) -> Vec<&Id> {
    let args = command.get_arguments();
    args.filter(|arg| arg.is_global_set())
        .map(Arg::get_id)
        .collect()
}

/// `shown` are options that a command above has and that have been shown there.
fn section(page: &mut String, command: &Command, depth: usize, shown: &[&Id]) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = usage.split([' ', '\n']).skip(1);
    let name: Vec<_> = name
        .take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    let hashes = "#".repeat(depth);
    let about = command.get_about().map(ToString::to_string);
    let _ = write!(
        page,
        "\n{hashes} `{}`\n\n{}\n\n```text\n{usage}\n```\n",
        name.join(" "),
        about.unwrap_or_default().trim_end()
    );
    let local = |arg: &&Arg| !shown.contains(&arg.get_id()) && arg.get_id() != "help";
    if command.get_arguments().any(|arg| local(&arg)) {
        page.push('\n');
        options(page, command.get_arguments().filter(local));
    }
    if let Some(text) = command.get_after_help() {
        after(page, &text.to_string());
    }
    for below in commands(command) {
        section(page, below, depth + 1, &globals(command));
    }
}

fn options<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let _ = writeln!(page, "| option | what it does |\n| --- | --- |");
    for arg in args {
        let short = arg.get_short().map(|short| format!("`-{short}`"));
        let long = arg.get_long().map(|long| format!("`--{long}`"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let values = arg.get_value_names().unwrap_or_default();
        let value = values.first().filter(|_| arg.get_action().takes_values());
        let value = value.map(|name| format!("*{name}*"));
        let names = [names.join(", ")]
            .into_iter()
            .filter(|names| !names.is_empty());
        let name: Vec<String> = names.chain(value).collect();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "| {} | {}{} |", name.join(" "), help, choices(arg));
    }
}

/// The words that an option takes, and what it is without being given.
fn choices(arg: &Arg) -> String {
    let mut text = String::new();
    if !arg.get_action().takes_values() {
        return text;
    }
    let words = arg.get_possible_values();
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.get_name()))
        .collect();
    if !words.is_empty() {
        text = format!("; {}", words.join(", "));
    }
    let defaults = arg.get_default_values();
    let defaults: Vec<_> = defaults
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        let _ = write!(text, "; by default `{}`", defaults.join(" "));
    }
    text
}

fn after(page: &mut String, text: &str) {
    let text = text.trim_end();
    match text.strip_prefix("Examples:\n") {
        Some(examples) => {
            let (lines, rest) = examples.split_once("\n\n").unwrap_or((examples, ""));
            let lines = lines
                .lines()
                .map(|line| line.strip_prefix("  ").unwrap_or(line));
            let lines: Vec<&str> = lines.collect();
            let _ = write!(page, "\n```sh\n{}\n```\n", lines.join("\n"));
            if !rest.is_empty() {
                let _ = write!(page, "\n{rest}\n");
            }
        }
        None => {
            let _ = write!(page, "\n```text\n{text}\n```\n");
        }
    }
}

/// Manual pages and completions, in the places below `/usr/share` where they are looked for.
fn files(dir: &Path, command: &Command) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let manual = dir.join("man/man1");
    fs::create_dir_all(&manual)?;
    clap_mangen::generate_to(command.clone(), &manual)?;
    for (shell, place) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (
            Shell::Fish,
            format!("fish/vendor_completions.d/{name}.fish"),
        ),
        (Shell::Elvish, format!("elvish/lib/{name}.elv")),
    ] {
        let path = dir.join(place);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        let mut file = fs::File::create(path)?;
        clap_complete::generate(shell, &mut command.clone(), name.as_str(), &mut file);
    }
    Ok(())
}
