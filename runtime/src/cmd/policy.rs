//! `reeve policy`: check a policy, ask it questions, print its schema, give a container another
//! one. Only the last changes anything.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::explain::FORMS;
use policy::{Compiled, Diagnostics, Facts, Policy, Question, Severity};

use super::make::read_policy;
use super::{Error, say};
use crate::failure::{Called, Failure};
use crate::launch;
use crate::resolve;
use crate::spec::ContainerId;

/// Check policies, explain what they allow, and replace those of containers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve policy check web.yaml
  reeve policy explain web.yaml --action 'write /etc/shadow'
  reeve policy update web web.yaml      # in force at once, in one step
  reeve policy schema > reeve.schema.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report everything that is wrong with a policy; exit status 1 if there is an error
    Check {
        /// The policy
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Say whether an action would be allowed, by which line, and which hooks decide; exit status 1
    /// if it is refused
    #[command(after_help = forms())]
    Explain {
        /// The policy
        file: PathBuf,
        /// The action, such as `write /etc/shadow`
        #[arg(long, required = true)]
        action: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Print the JSON schema of the language, for editors
    Schema,
    /// Give a container that lives another policy, in one step
    ///
    /// Every decision is by the old policy or by the new one. Files that are open and mappings that
    /// are made stay as they are.
    Update {
        /// Name of the container
        #[arg(value_name = "ID")]
        id: ContainerId,
        /// The policy
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not look at this host: take every path as a plain one that exists
    #[arg(long)]
    offline: bool,
}

fn forms() -> String {
    format!(
        "Actions (a path with spaces in '…'):\n  {}",
        FORMS.join("\n  ")
    )
}

/// Runs the sub-command.
///
/// # Errors
/// A file that cannot be read, a path that cannot be looked up, an action that is none, or output
/// that cannot be written.
pub fn run(args: &Args, root: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &args.command {
        Command::Check { file, output } => check(file, output, root),
        Command::Explain {
            file,
            action,
            output,
        } => explain(file, action, output, root),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&policy::schema())?;
            say(&schema)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Update { id, file } => {
            let given = read_policy(file)?;
            launch::replace(root, id, given).map_err(Error::from)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(
    file: &Path,
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let name = file.display().to_string();
    let compiled = match policy::parse(&name, &read(file)?) {
        Ok(policy) => {
            let facts = look_up(&policy, &[], output, root)?;
            policy::compile(&policy, &facts)
        }
        Err(found) => Err(found),
    };
    let (found, grants) = match &compiled {
        Ok(compiled) => (&compiled.warnings, compiled.grants.len()),
        Err(found) => (found, 0),
    };
    if output.json {
        say(&serde_json::to_string_pretty(&found.to_json())?)?;
    } else {
        print_findings(found)?;
        let errors = counted(found.count(Severity::Error), "error");
        let warnings = counted(found.count(Severity::Warning), "warning");
        match compiled.is_ok() {
            true => say(format!(
                "{name}: good: {}, {warnings}",
                counted(grants, "grant")
            ))?,
            false => say(format!("{name}: {errors}, {warnings}"))?,
        }
    }
    Ok(status(compiled.is_ok()))
}

fn explain(
    file: &Path,
    actions: &[String],
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let questions = actions.iter().map(|action| action.parse::<Question>());
    let questions = questions.collect::<Result<Vec<_>, _>>()?;
    let name = file.display().to_string();
    let known = match policy::parse(&name, &read(file)?) {
        Ok(policy) => {
            let facts = look_up(&policy, &questions, output, root)?;
            policy::compile(&policy, &facts).map(|compiled| (policy, compiled, facts))
        }
        Err(found) => Err(found),
    };
    let (policy, compiled, facts): (Policy, Compiled, Facts) = match known {
        Ok(known) => known,
        Err(found) => {
            print_findings(&found)?;
            return Ok(status(false));
        }
    };
    let answers = questions
        .iter()
        .map(|question| policy::explain(&policy, &compiled, &facts, question));
    let answers: Vec<_> = answers.collect();
    if output.json {
        say(&serde_json::to_string_pretty(&answers)?)?;
    } else {
        for answer in &answers {
            say(answer.to_string().trim_end())?;
        }
    }
    Ok(status(answers.iter().all(|answer| answer.allowed)))
}

fn look_up(
    policy: &Policy,
    questions: &[Question],
    output: &Output,
    root: &Path,
) -> Result<Facts, resolve::Error> {
    let asked: Vec<String> = questions.iter().flat_map(Question::paths).collect();
    let asked = asked.iter().map(String::as_str);
    if output.offline {
        return Ok(Facts::lexical(policy, asked));
    }
    let mut facts = resolve::facts(policy)?;
    let replaced = questions.iter().filter_map(Question::replaces);
    resolve::add_paths(&mut facts, asked.chain(replaced))?;
    facts
        .core
        .extend(resolve::core_object(&root.to_string_lossy())?);
    Ok(facts)
}

/// Reads a policy, and not much more than one may be long: the parser says what is wrong with a
/// longer one.
fn read(file: &Path) -> Result<String, Failure> {
    let call = || format!("open(\"{}\", O_RDONLY)", file.display());
    let most = policy::yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let opened = File::open(file).called(call)?;
    opened.take(most).read_to_end(&mut bytes).called(call)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn counted(many: usize, what: &str) -> String {
    let plural = if many == 1 { "" } else { "s" };
    format!("{many} {what}{plural}")
}

fn status(good: bool) -> ExitCode {
    ExitCode::from(u8::from(!good))
}

fn print_findings(found: &Diagnostics) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    say(found.to_string().trim_end())
}
