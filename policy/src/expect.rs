//! A file of expectations: actions, and what a policy should answer.

use std::fmt;

use serde::Serialize;

use crate::compose::Variables;
use crate::diagnostic::{Diagnostic, Diagnostics, printable};
use crate::explain::{Answer, Question};
use crate::reader::{Fields, Reader};
use crate::source::{Source, Span};
use crate::yaml::{self, Kind, Node};

/// What an action should come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// It is allowed.
    Allow,
    /// It is refused.
    Refuse,
}

/// One expectation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// The action.
    pub question: Question,
    /// What it should come to.
    pub expect: Expected,
    /// The line that should decide, such as `files[0]`, or `none`.
    pub by: Option<String>,
}

/// A file of expectations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expectations {
    /// The policy, relative to the file.
    pub policy: String,
    /// Variables of the policy.
    pub vars: Variables,
    /// What it should answer.
    pub cases: Vec<Case>,
}

/// What came of a case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outcome {
    /// Line of the case.
    pub line: usize,
    /// The action.
    pub action: String,
    /// What was expected.
    pub expected: Expected,
    /// The line that was expected to decide.
    pub expected_by: Option<String>,
    /// What it came to.
    pub found: Expected,
    /// The line that decided, or `none`.
    pub found_by: String,
    /// Whether that is what was expected.
    pub holds: bool,
    /// Why it came out so.
    pub reason: &'static str,
}

impl Case {
    /// Compares with an answer.
    pub fn outcome(&self, answer: &Answer) -> Outcome {
        let found = match answer.allowed {
            true => Expected::Allow,
            false => Expected::Refuse,
        };
        let by = answer.by.as_ref();
        let found_by = by.map_or_else(|| "none".to_owned(), |by| by.name.clone());
        let by_holds = self.by.as_ref().is_none_or(|wanted| *wanted == found_by);
        Outcome {
            line: self.line,
            action: self.question.to_string(),
            expected: self.expect,
            expected_by: self.by.clone(),
            found,
            holds: found == self.expect && by_holds,
            found_by,
            reason: answer.reason,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = printable(&self.action);
        if self.holds {
            return write!(f, "ok    {action}: {} by {}", self.found, self.found_by);
        }
        let wanted = match &self.expected_by {
            Some(by) => format!("{} by {}", self.expected, printable(by)),
            None => self.expected.to_string(),
        };
        write!(
            f,
            "FAIL  {action}: expected {wanted} (line {}), found {} by {}, because {}",
            self.line, self.found, self.found_by, self.reason
        )
    }
}

/// Reads a file of expectations.
///
/// # Errors
/// All findings at once.
pub fn parse(name: &str, text: &str) -> Result<Expectations, Diagnostics> {
    let mut source = Source::default();
    let text = source.add(name, text);
    let mut out = Diagnostics::new(source);
    if text.text().trim().is_empty() {
        let found = Diagnostic::error(text.span((1, 0), (1, 0)), "there are no expectations");
        out.push(found.help("begin with `policy: policy.yaml`"));
        return Err(out);
    }
    let root = yaml::read(&text, &mut out);
    let mut reader = Reader { out };
    let found = root.and_then(|root| read(&mut reader, &root));
    match (found, reader.out.has_errors()) {
        (Some(found), false) => Ok(found),
        _ => Err(reader.out.sorted()),
    }
}

fn read(reader: &mut Reader, root: &Node) -> Option<Expectations> {
    let fields = reader.fields(root, "the expectations", &["policy", "vars", "cases"])?;
    let policy = reader.require(&fields, "policy", "policy.yaml");
    let policy = policy.and_then(|node| reader.text(node, "a file"));
    let policy = policy.map(|text| text.value.to_owned());
    let mut vars = Variables::default();
    if let Some(node) = fields.find("vars") {
        for (name, value) in reader.entries(node, "vars").unwrap_or_default() {
            let Kind::Scalar { text, .. } = &value.kind else {
                reader.error(value.span, "expected a text");
                continue;
            };
            if let Err(error) = vars.give(&format!("{}={text}", name.value)) {
                reader.error(name.span, error.to_string());
            }
        }
    }
    let cases = reader.require(
        &fields,
        "cases",
        "[ { action: read /etc/hosts, expect: allow } ]",
    );
    let listed = cases.and_then(|node| reader.list(node, "cases"))?;
    if let (Some(node), []) = (cases, listed) {
        let help = "add one, such as `{ action: read /etc/hosts, expect: refuse }`";
        finding(reader, node.span, "there is no case", Some(help.to_owned()));
    }
    let cases = listed.iter().filter_map(|node| read_case(reader, node));
    let cases = cases.collect();
    Some(Expectations {
        policy: policy?,
        vars,
        cases,
    })
}

fn read_case(reader: &mut Reader, node: &Node) -> Option<Case> {
    let fields = reader.fields(node, "a case", &["action", "expect", "by"])?;
    let question = reader.require(&fields, "action", "read /etc/hosts");
    let question = question.and_then(|node| read_question(reader, node));
    let expect = reader.require(&fields, "expect", "allow");
    let expect = expect.and_then(|node| read_expected(reader, node));
    let by = read_by(reader, &fields);
    Some(Case {
        line: node.span.line,
        question: question?,
        expect: expect?,
        by,
    })
}

fn read_question(reader: &mut Reader, node: &Node) -> Option<Question> {
    let text = reader.text(node, "an action")?;
    match text.value.parse() {
        Ok(question) => Some(question),
        Err(error) => {
            let error = error.to_string();
            let (message, help) = match error.split_once("\nhelp: ") {
                Some((message, help)) => (message, Some(help.to_owned())),
                None => (error.as_str(), None),
            };
            finding(reader, text.span, message, help);
            None
        }
    }
}

fn finding(reader: &mut Reader, span: Span, message: &str, help: Option<String>) {
    reader
        .out
        .push(Diagnostic::error(span, message).maybe_help(help));
}

fn read_expected(reader: &mut Reader, node: &Node) -> Option<Expected> {
    let word = reader.word(node, "`allow` or `refuse`")?;
    match word.value {
        "allow" => Some(Expected::Allow),
        "refuse" | "deny" => Some(Expected::Refuse),
        _ => {
            reader.unknown_word(word, "answers", &["allow", "refuse"]);
            None
        }
    }
}

fn read_by(reader: &mut Reader, fields: &Fields<'_>) -> Option<String> {
    let word = reader.word(fields.find("by")?, "the name of a line")?;
    let named = word.value.split_once('[').and_then(|(section, rest)| {
        let index = rest.strip_suffix(']')?;
        let known = crate::model::SECTIONS
            .iter()
            .any(|(name, _)| *name == section);
        (known && index.parse::<usize>().is_ok()).then_some(())
    });
    if named.is_none() && word.value != "none" {
        let message = format!("`{}` does not name a line", word.value);
        let help = "write a section and an index from 0, such as `files[0]`, or `none`";
        finding(reader, word.span, &message, Some(help.to_owned()));
        return None;
    }
    Some(word.value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, compile, explain};

    const TEXT: &str = "policy: p.yaml\n\
        vars: { at: /srv }\n\
        cases:\n\
        \x20 - { action: read /srv/a, expect: allow, by: 'files[0]' }\n\
        \x20 - { action: write /srv/a, expect: deny, by: 'files[0]' }\n\
        \x20 - { action: read /etc/hosts, expect: refuse, by: none }\n\
        \x20 - { action: set-clock, expect: allow }\n\
        \x20 - { action: read /srv/a, expect: allow, by: 'kernel[0]' }\n";

    #[test]
    fn cases_hold_or_say_why_not() {
        let expected = parse("t.yaml", TEXT).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(expected.policy, "p.yaml");
        let text = "reeve: v1\nname: a\nfiles: [{ path: '${at}', allow: [read] }]\n";
        let policy = crate::parse_with("p.yaml", text, &expected.vars, &mut crate::NoFiles);
        let policy = policy.unwrap_or_else(|found| panic!("{found}"));
        let asked = expected.cases.iter().flat_map(|case| case.question.paths());
        let asked: Vec<String> = asked.collect();
        let facts = Facts::lexical(&policy, asked.iter().map(String::as_str));
        let compiled = compile(&policy, &facts).expect("good");
        let outcomes: Vec<Outcome> = expected
            .cases
            .iter()
            .map(|case| case.outcome(&explain(&policy, &compiled, &facts, &case.question)))
            .collect();
        let holds: Vec<bool> = outcomes.iter().map(|outcome| outcome.holds).collect();
        assert_eq!(holds, [true, true, true, false, false]);
        let shown: Vec<String> = outcomes.iter().map(Outcome::to_string).collect();
        assert_eq!(shown[0], "ok    read /srv/a: allow by files[0]");
        assert!(
            shown[3].starts_with(
                "FAIL  set-clock: expected allow (line 7), found refuse by none, because"
            ),
            "{}",
            shown[3]
        );
    }

    #[test]
    fn what_is_no_expectation_is_told_with_its_line() {
        let text = "polcy: x\n\
            cases:\n\
            \x20 - { action: raed /a, expect: allow }\n\
            \x20 - { action: read /a, expect: maybe, by: file }\n\
            \x20 - { expect: allow }\n";
        let found = parse("t.yaml", text).expect_err("wrong").to_string();
        for line in [
            "t.yaml:1:1: error: unknown key `polcy`",
            "t.yaml:3:15: error: `raed` is not an action",
            "help: did you mean `read`?",
            "t.yaml:4:32: error: `maybe` is not among the answers",
            "t.yaml:4:43: error: `file` does not name a line",
            "t.yaml:5:5: error: `action` is missing",
        ] {
            assert!(found.contains(line), "{line}\n{found}");
        }
    }

    #[test]
    fn nothing_expected_is_an_error() {
        for (text, told) in [
            (
                "policy: p.yaml\ncases: []\n",
                "t.yaml:2:8: error: there is no case",
            ),
            (
                "policy: p.yaml\ncases:\n",
                "expected a list of cases, found nothing",
            ),
            (" \n", "error: there are no expectations"),
            ("- 1\n", "expected the expectations, a mapping"),
        ] {
            let found = parse("t.yaml", text).expect_err(text).to_string();
            assert!(found.contains(told), "{found}");
        }
    }
}
