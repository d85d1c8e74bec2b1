//! `reeve policy`: check, compare and test policies, ask them questions, make them from what was
//! recorded, give a container another one. Nothing is changed but the file that `add-line` and
//! `learn --into` are given, and the container that `update` is.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::explain::FORMS;
use policy::{Answer, Compiled, Diagnostics, Facts, Policy, Question, Variables, VariablesError};

use super::make::read_policy;
use super::{Error, say};
use crate::spec::ContainerId;
use crate::{launch, policy_source, resolve};

mod check;
mod diff;
mod expect;
mod learn;
mod show;

/// Check policies, explain what they allow, learn them, and replace those of containers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve policy check web.yaml
  reeve policy explain web.yaml --action 'write /etc/shadow'
  reeve policy learn web --into web.yaml      # from what was recorded of container web
  reeve policy diff old.yaml web.yaml
  reeve policy update web web.yaml      # in force at once, in one step
  reeve policy schema > reeve.schema.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Exit status of a `reeve policy diff` that could not compare: 1 is that of a difference.
pub(super) const NOT_COMPARED: u8 = 2;

impl Args {
    /// Whether it is `diff`.
    pub(super) fn compares(&self) -> bool {
        matches!(self.command, Command::Diff { .. })
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report everything that is wrong with a policy; exit status 1 if there is an error
    Check {
        /// The policy
        file: PathBuf,
        /// Take warnings for errors
        #[arg(long)]
        strict: bool,
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
    /// Print the policy as one text that needs no other file and no variable
    Show {
        /// The policy
        file: PathBuf,
        /// Print the tables that are loaded, row by row
        #[arg(long)]
        compiled: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Say what one policy allows and the other does not (`-` only the first, `+` only the
    /// second), decided by the compiled tables; exit status 0 if they mean the same, 1 if not, 2
    /// for an error
    Diff {
        /// The first policy
        first: PathBuf,
        /// The second policy
        second: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Check a policy against a file of expectations; exit status 1 if one does not hold
    #[command(after_help = "\
A file of expectations:
  policy: web.yaml
  cases:
    - { action: read /srv/www/index.html, expect: allow, by: 'files[0]' }
    - { action: write /etc/shadow, expect: refuse }")]
    Test {
        /// The expectations
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Make a policy, or lines for one, from what was recorded of a container
    ///
    /// Record in mode `learn` or `audit`. The policy allows what was recorded and nothing else,
    /// unless `--generalise` says so; each line says how often what it allows was seen, and from
    /// which programs. What no line can allow is told on standard error.
    Learn(learn::Args),
    /// Add a line, as `reeve audit` and `explain` print it, to a policy; all else of it stays
    AddLine {
        /// The policy
        file: PathBuf,
        /// The line, such as `files: - { path: /srv, allow: [read] }`
        line: String,
        #[command(flatten)]
        vars: Vars,
    },
    /// List what policies can extend, or print one
    Presets {
        /// The preset to print
        name: Option<String>,
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
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
        #[command(flatten)]
        vars: Vars,
    },
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    vars: Vars,
    /// Do not look at this host: take every path as a plain one that exists
    #[arg(long)]
    offline: bool,
}

/// Variables of a policy.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Vars {
    /// Set a variable of the policy: what `${NAME}` stands for
    #[arg(long = "var", value_name = "NAME=VALUE")]
    given: Vec<String>,
}

impl Vars {
    /// All of them.
    pub(super) fn variables(&self) -> Result<Variables, VariablesError> {
        let mut vars = Variables::default();
        self.given.iter().try_for_each(|text| vars.give(text))?;
        Ok(vars)
    }
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
        Command::Check {
            file,
            strict,
            output,
        } => check::run(file, *strict, output, root),
        Command::Explain {
            file,
            action,
            output,
        } => explain(file, action, output, root),
        Command::Show {
            file,
            compiled,
            output,
        } => show::run(file, *compiled, output, root),
        Command::Diff {
            first,
            second,
            output,
        } => diff::run(first, second, output, root),
        Command::Test { file, output } => expect::run(file, output, root),
        Command::Learn(args) => learn::run(args, root),
        Command::AddLine { file, line, vars } => learn::add_line(file, line, vars),
        Command::Presets { name, json } => show::presets(name.as_deref(), *json),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&policy::schema())?;
            say(&schema)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Update { id, file, vars } => {
            let given = read_policy(file, &vars.variables()?)?;
            launch::replace(root, id, given).map_err(Error::from)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn explain(
    file: &Path,
    actions: &[String],
    output: &Output,
    root: &Path,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let questions = actions.iter().map(|action| action.parse::<Question>());
    let questions = questions.collect::<Result<Vec<_>, _>>()?;
    let known = match knowledge(file, &questions, output, root)? {
        Ok(known) => known,
        Err(found) => {
            tell_findings(&[&found], output.json)?;
            return Ok(status(false));
        }
    };
    let answers = questions.iter().map(|question| known.answer(question));
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

/// A policy that compiles, and what was asked of the host.
struct Known {
    policy: Policy,
    compiled: Compiled,
    facts: Facts,
}

impl Known {
    fn answer(&self, question: &Question) -> Answer {
        policy::explain(&self.policy, &self.compiled, &self.facts, question)
    }
}

/// Reads and compiles a policy, with what is needed to answer these questions.
fn knowledge(
    file: &Path,
    questions: &[Question],
    output: &Output,
    root: &Path,
) -> Result<Result<Known, Diagnostics>, Box<dyn std::error::Error>> {
    let policy = match load(file, output)? {
        Ok(policy) => policy,
        Err(found) => return Ok(Err(found)),
    };
    let facts = look_up(&policy, questions, output, root)?;
    let compiled = policy::compile(&policy, &facts);
    Ok(compiled.map(|compiled| Known {
        policy,
        compiled,
        facts,
    }))
}

fn load(
    file: &Path,
    output: &Output,
) -> Result<Result<Policy, Diagnostics>, Box<dyn std::error::Error>> {
    match policy_source::load(file, &output.vars.variables()?) {
        Ok(policy) => Ok(Ok(policy)),
        Err(policy_source::Error::Policy(found)) => Ok(Err(found)),
        Err(error) => Err(error.into()),
    }
}

fn look_up(
    policy: &Policy,
    questions: &[Question],
    output: &Output,
    root: &Path,
) -> Result<Facts, resolve::Error> {
    let asked: BTreeSet<String> = questions.iter().flat_map(Question::paths).collect();
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

fn counted(many: usize, what: &str) -> String {
    let plural = if many == 1 { "" } else { "s" };
    format!("{many} {what}{plural}")
}

fn status(good: bool) -> ExitCode {
    ExitCode::from(u8::from(!good))
}

/// Says on standard error what is wrong with policies, as JSON if that is asked for: standard
/// output holds what was asked, or nothing.
fn tell_findings(found: &[&Diagnostics], json: bool) -> io::Result<()> {
    let mut out = io::stderr().lock();
    if !json {
        return found.iter().try_for_each(|one| write!(out, "{one}"));
    }
    let rows = found.iter().map(|one| one.to_json());
    let rows = rows.flat_map(|rows| rows.as_array().cloned().unwrap_or_default());
    writeln!(out, "{:#}", rows.collect::<serde_json::Value>())
}
