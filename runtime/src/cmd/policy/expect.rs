//! `reeve policy test`: expectations of a policy, and whether they hold.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use policy::Question;
use policy::expect::{self, Outcome};

use super::{Known, Output, counted, look_up, say, status, tell_findings};
use crate::policy_source;

pub(super) fn run(file: &Path, output: &Output, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let text = match policy_source::read(file) {
        Err(policy_source::Error::Policy(found)) => Err(found),
        other => Ok(other?),
    };
    let name = file.display().to_string();
    let expected = match text.and_then(|text| expect::parse(&name, &text)) {
        Ok(expected) => expected,
        Err(found) => {
            tell_findings(&[&found], output.json)?;
            return Ok(status(false));
        }
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut vars = expected.vars.clone();
    vars.extend(&output.vars.variables()?);
    let policy = match policy_source::load(&folder.join(&expected.policy), &vars) {
        Ok(policy) => policy,
        Err(policy_source::Error::Policy(found)) => {
            tell_findings(&[&found], output.json)?;
            return Ok(status(false));
        }
        Err(error) => return Err(error.into()),
    };
    let cases = expected.cases.iter();
    let questions: Vec<Question> = cases.map(|case| case.question.clone()).collect();
    let facts = look_up(&policy, &questions, output, root)?;
    let known = match policy::compile(&policy, &facts) {
        Ok(compiled) => Known {
            policy,
            compiled,
            facts,
        },
        Err(found) => {
            tell_findings(&[&found], output.json)?;
            return Ok(status(false));
        }
    };
    let outcomes = expected.cases.iter();
    let outcomes = outcomes.map(|case| case.outcome(&known.answer(&case.question)));
    let outcomes: Vec<Outcome> = outcomes.collect();
    let failed = outcomes.iter().filter(|outcome| !outcome.holds).count();
    if output.json {
        say(serde_json::to_string_pretty(&outcomes)?)?;
    } else {
        for outcome in &outcomes {
            say(outcome)?;
        }
        let good = outcomes.len() - failed;
        let hold = if good == 1 { "holds" } else { "hold" };
        let expectations = counted(good, "expectation");
        say(format!("{expectations} {hold}, {failed} do not"))?;
    }
    Ok(status(failed == 0))
}
