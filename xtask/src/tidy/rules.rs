//! The rules, each for one file.

use super::Finding;
use super::source::Source;

const COLUMNS: usize = 100;
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const MAIN_LINES: usize = 40;

/// What must not be in code, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("dbg!(", "log it, or leave it out"),
    ("todo!(", "write it, or leave it out"),
    ("unimplemented!(", "write it, or return an error"),
];

/// Everything that is wrong with the file `name`.
pub(crate) fn check(name: &str, source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    opening(source, &mut found);
    columns(source, &mut found);
    lengths(name, source, &mut found);
    functions(source, &mut found);
    forbidden(source, &mut found);
    globs(name, source, &mut found);
    allows(source, &mut found);
    found
}

fn finding(rule: &'static str, line: usize, message: String) -> Finding {
    Finding {
        rule,
        line,
        message,
        size: None,
    }
}

fn opening(source: &Source, found: &mut Vec<Finding>) {
    if !source.text.starts_with("//!") {
        let message = "the file does not begin with `//!` and what it is".to_owned();
        found.push(finding("opening", 1, message));
    }
}

fn columns(source: &Source, found: &mut Vec<Finding>) {
    for (index, line) in source.text.lines().enumerate() {
        let width = line.chars().count();
        if width > COLUMNS {
            let message = format!("{width} columns; the most is {COLUMNS}");
            found.push(finding("columns", index + 1, message));
        }
    }
}

fn lengths(name: &str, source: &Source, found: &mut Vec<Finding>) {
    let lines = source.text.lines().count();
    let is_main = name.rsplit('/').next() == Some("main.rs") && source.code.contains("fn main(");
    let (rule, most) = if is_main {
        ("main-lines", MAIN_LINES)
    } else {
        ("file-lines", FILE_LINES)
    };
    if lines > most {
        let message = format!("the file has {lines} lines; the most is {most}");
        let size = Some((String::new(), lines));
        found.push(Finding {
            rule,
            line: 1,
            message,
            size,
        });
    }
}

fn functions(source: &Source, found: &mut Vec<Finding>) {
    for (name, line, lines) in function_lengths(&source.code) {
        if lines > FUNCTION_LINES {
            let message = format!("`{name}` has {lines} lines; the most is {FUNCTION_LINES}");
            let rule = "function-lines";
            found.push(Finding {
                rule,
                line,
                message,
                size: Some((name, lines)),
            });
        }
    }
}

/// Names of all functions with a body.
pub(crate) fn functions_of(source: &Source) -> Vec<String> {
    function_lengths(&source.code)
        .into_iter()
        .map(|(name, ..)| name)
        .collect()
}

/// Name, first line and number of lines of every function with a body.
fn function_lengths(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code[..at].chars().next_back().is_none_or(|c| !is_word(c));
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        let Some(body) = body(rest) else { continue };
        let first = code[..at].matches('\n').count() + 1;
        found.push((name, first, body.matches('\n').count() + 1));
    }
    found
}

/// From a function's name to the brace that closes its body; none if it ends with a semicolon.
fn body(rest: &str) -> Option<&str> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in rest.char_indices() {
        match c {
            // An array type, `[u8; 4]`, has a semicolon that ends nothing.
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(&rest[..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn forbidden(source: &Source, found: &mut Vec<Finding>) {
    for (index, line) in source.code.lines().enumerate() {
        for (what, instead) in FORBIDDEN {
            if line.contains(what) {
                let message = format!("`{what}` is not for committed code: {instead}");
                found.push(finding("forbidden", index + 1, message));
            }
        }
    }
}

/// A module names what it takes from its parent; only unit tests take everything.
fn globs(name: &str, source: &Source, found: &mut Vec<Finding>) {
    let shipped = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    for (index, line) in shipped.lines().enumerate() {
        if line.contains("use super::*") && !name.ends_with("tests.rs") {
            let message = "`use super::*` outside unit tests: name what is used".to_owned();
            found.push(finding("globs", index + 1, message));
        }
    }
}

/// Every `allow` and `expect` of a lint says why.
fn allows(source: &Source, found: &mut Vec<Finding>) {
    for marker in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in source.code.match_indices(marker) {
            let attribute = source.code[at..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason") {
                let line = source.code[..at].matches('\n').count() + 1;
                let message = format!("`{marker}…)` without `reason = \"…\"`");
                found.push(finding("allow", line, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{check, function_lengths};
    use crate::tidy::source::Source;

    fn broken(name: &str, text: &str) -> Vec<&'static str> {
        let found = check(name, &Source::new(text.to_owned()));
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_fires_and_a_clean_file_passes() {
        assert!(broken("a.rs", "//! A module.\n\nfn a() {}\n").is_empty());
        assert_eq!(broken("a.rs", "fn a() {}\n"), ["opening"]);
        assert_eq!(
            broken("a.rs", &format!("//! {}\n", "x".repeat(97))),
            ["columns"]
        );
        assert_eq!(
            broken("a.rs", &format!("//! A.\n{}", "//\n".repeat(600))),
            ["file-lines"]
        );
        let long = format!("//! A.\nfn main() {{}}\n{}", "//\n".repeat(40));
        assert_eq!(broken("src/main.rs", &long), ["main-lines"]);
        let body = "    x();\n".repeat(70);
        assert_eq!(
            broken("a.rs", &format!("//! A.\nfn a() {{\n{body}}}\n")),
            ["function-lines"]
        );
        assert_eq!(
            broken("a.rs", "//! A.\nfn a() { dbg!(1); }\n"),
            ["forbidden"]
        );
        assert_eq!(
            broken("a.rs", "//! A.\n#[allow(dead_code)]\nfn a() {}\n"),
            ["allow"]
        );
    }

    #[test]
    fn text_and_comments_are_not_code() {
        let text = "//! Never `dbg!(x)`.\nconst A: &str = \"todo!(\"; // #[allow(x)]\n";
        assert!(broken("a.rs", text).is_empty());
        assert!(broken("a.rs", "//! A.\n#[allow(a, reason = \"b\")]\nfn a() {}\n").is_empty());
    }

    #[test]
    fn only_functions_with_bodies_count() {
        let code = "trait A { fn a(x: [u8; 4]); fn b() {\n } }\ntype F = fn (u8);\n";
        assert_eq!(function_lengths(code), [("b".to_owned(), 1, 2)]);
    }
}
