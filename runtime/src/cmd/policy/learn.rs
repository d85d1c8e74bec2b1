//! `reeve policy learn` and `reeve policy add-line`: from what was recorded to lines of policy.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy::diagnostic::printable;
use policy::edit;
use policy::learn::{self, Learned, Options, Rule, Seen};
use serde_json::json;

use super::{Vars, counted, say, status, tell_findings};
use crate::audit::{self, Counted, Part, Position, Record};
use crate::cmd;
use crate::failure::Called;
use crate::policy_source;

/// Arguments of `learn`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container whose entries are looked at
    #[arg(required_unless_present = "from")]
    container: Option<String>,
    /// Take the entries from a file, as `reeve audit --json` prints them, instead of the log
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Put the lines into this policy; comments and everything else of it stay
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Name of the policy that is made; else that of the container
    #[arg(long)]
    name: Option<String>,
    /// How paths are grouped: none; siblings=N: N entries of a directory with the same rights
    /// become the directory; depth=N: longer paths become the directory of N names; temporary:
    /// names made up for one use become their directory. May be given several times
    #[arg(long, value_name = "RULE", default_value = "none")]
    generalise: Vec<Rule>,
    /// Print the lines and why each is there as JSON, and change nothing
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    vars: Vars,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let (records, gaps) = match &args.from {
        Some(file) => from_file(file)?,
        None => from_log(root)?,
    };
    let wanted = |record: &&Record| {
        let id = args.container.as_ref();
        id.is_none_or(|id| *id == record.container)
    };
    let records: Vec<Record> = records.iter().filter(wanted).cloned().collect();
    let mut others: Vec<&str> = records.iter().map(|one| one.container.as_str()).collect();
    others.sort_unstable();
    others.dedup();
    if others.len() > 1 {
        let help = "name the container that the policy is for";
        let names = printable(&others.join(", "));
        return Err(format!("entries of several containers: {names}\nhelp: {help}").into());
    }
    let (seen, beyond) = split(&records);
    let options = Options {
        rules: &args.generalise,
        directory: &directory,
    };
    let learned = learn::learn(&seen, &options);
    if args.json {
        let shown = json!({
            "entries": records.len(),
            "lines": learned.lines,
            "unread": learned.unread,
            "beyond": beyond,
        });
        say(serde_json::to_string_pretty(&shown)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    report(&learned, &beyond);
    let of_these = |gap: &&Counted| others.contains(&gap.container.as_str());
    for gap in gaps.iter().filter(of_these) {
        let help =
            "learn `--into` a policy and record under that: what it allows is no entry again";
        eprintln!("{gap}\nhelp: {help}");
    }
    match &args.into {
        Some(file) => put_into(file, &learned, &options, &args.vars),
        None => {
            let named = args.name.as_deref().or(others.first().copied());
            let name = name_of(named.unwrap_or("learned"));
            let head = format!(
                "Made by `reeve policy learn` from {} of container {}.\nRead every line before you \
                 enforce it: a line is here because somebody tried it, not because it is right.",
                counted(records.len(), "entry").replace("entrys", "entries"),
                others.first().copied().unwrap_or("?")
            );
            say(learned.policy(&name, &head).trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A name as a policy may have it.
fn name_of(container: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let lower = container.to_ascii_lowercase();
    let name: String = lower
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(63)
        .collect();
    match name.trim_matches('-') {
        "" => "learned".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether a path is a directory; nothing if it is not there.
fn directory(path: &str) -> Option<bool> {
    fs::metadata(path).ok().map(|found| found.is_dir())
}

/// What was recorded of all containers, and of which of them something is missing.
fn from_log(root: &Path) -> Result<(Vec<Record>, Vec<Counted>), Box<dyn Error>> {
    audit::drain(root)?;
    let mut records = Vec::new();
    let mut at = Position::default();
    let mut gaps = Vec::new();
    loop {
        let part = audit::read(root, at)?;
        tell_torn(&part);
        records.extend(part.records);
        gaps.extend(part.counted);
        if part.end == at {
            break;
        }
        at = part.end;
    }
    gaps.extend(audit::living(root)?);
    gaps.retain(Counted::has_gaps);
    Ok((records, gaps))
}

/// What a file says that `reeve audit --json` or `--append` wrote.
fn from_file(file: &Path) -> Result<(Vec<Record>, Vec<Counted>), audit::Error> {
    let part = audit::read_file(file)?;
    tell_torn(&part);
    let gaps = part.counted.into_iter();
    Ok((part.records, gaps.filter(Counted::has_gaps).collect()))
}

fn tell_torn(part: &Part) {
    if let Some(said) = part.torn() {
        eprintln!("{said}");
    }
}

/// What a line would allow, and what none would, by action and reason.
fn split(records: &[Record]) -> (Vec<Seen>, std::collections::BTreeMap<String, usize>) {
    let mut seen = Vec::new();
    let mut beyond = std::collections::BTreeMap::new();
    for record in records {
        match &record.allow {
            Some(line) => seen.push(Seen {
                line: line.clone(),
                action: record.action.clone(),
                program: record.comm.clone(),
            }),
            None => {
                let what = format!("{} {}: {}", record.action, record.object, record.reason);
                *beyond.entry(what).or_default() += 1;
            }
        }
    }
    (seen, beyond)
}

/// What of the record is in no line, on standard error: standard output is the policy.
fn report(learned: &Learned, beyond: &std::collections::BTreeMap<String, usize>) {
    for (what, count) in beyond {
        let shown = printable(what);
        eprintln!("{count}×, and no line can allow it: {shown}");
    }
    for (line, count) in &learned.unread {
        let shown = printable(line);
        eprintln!("{count}×, and left out, since it is no line that grants: {shown}");
    }
}

fn put_into(
    file: &Path,
    learned: &Learned,
    options: &Options<'_>,
    vars: &Vars,
) -> Result<ExitCode, Box<dyn Error>> {
    let text = policy_source::read(file).map_err(cmd::Error::from)?;
    let (added, left) = learned.put_into(&text, options)?;
    for (line, why) in &left {
        let shown = printable(&line.line);
        let why = why.to_string();
        let why: Vec<String> = why.lines().map(printable).collect();
        eprintln!("not put in: {shown}\n  {}", why.join("\n"));
    }
    write(file, &text, &added, vars)?;
    let many = counted(
        learned.lines.len() - left.len().min(learned.lines.len()),
        "line",
    );
    say(format!(
        "{}: holds {many} of what was learned",
        printable(&file.display().to_string())
    ))?;
    Ok(status(left.is_empty()))
}

/// Adds one line.
pub(super) fn add_line(file: &Path, line: &str, vars: &Vars) -> Result<ExitCode, Box<dyn Error>> {
    let text = policy_source::read(file).map_err(cmd::Error::from)?;
    let added = edit::add_line(&text, line, None)?;
    write(file, &text, &added, vars)
}

/// Writes a policy that is still one, whole or not at all.
fn write(file: &Path, old: &str, new: &str, vars: &Vars) -> Result<ExitCode, Box<dyn Error>> {
    if old == new {
        return Ok(ExitCode::SUCCESS);
    }
    let name = file.display().to_string();
    let variables = vars.variables()?;
    let read = policy::parse_with(&name, new, &variables, &mut policy_source::Included);
    if let Err(found) = read {
        tell_findings(&[&found], false)?;
        return Err("with the new line this is no policy; nothing was written".into());
    }
    // The file behind a link, with the mode that it has.
    let file = fs::canonicalize(file).called(|| format!("realpath(\"{}\")", file.display()))?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mode = fs::metadata(&file)
        .called(|| format!("stat(\"{}\")", file.display()))?
        .mode();
    let draft = folder.join(format!(
        ".{}.reeve-{}",
        file_name(&file),
        std::process::id()
    ));
    let call = |name: &str| format!("{name}(\"{}\")", draft.display());
    let made = fs::File::create_new(&draft).called(|| call("open"))?;
    let written = fill(made, new, mode).called(|| call("write"));
    let renamed = written.and_then(|()| fs::rename(&draft, &file).called(|| call("rename")));
    if renamed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    renamed?;
    Ok(ExitCode::SUCCESS)
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn fill(mut made: fs::File, text: &str, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    made.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
    made.write_all(text.as_bytes())?;
    made.sync_all()
}

#[cfg(test)]
mod tests;
