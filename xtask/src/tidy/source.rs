//! A Rust file, and the same file without comments and literals.

use std::iter::Peekable;
use std::str::CharIndices;

/// A Rust file.
pub(crate) struct Source {
    /// As it is.
    pub(crate) text: String,
    /// The same characters line by line, with every comment and the inside of every string and
    /// character literal blanked out: what is left is code.
    pub(crate) code: String,
}

impl Source {
    /// Reads `text`.
    pub(crate) fn new(text: String) -> Self {
        let code = blank(&text);
        Source { text, code }
    }
}

/// Replaces comments and the content of literals by spaces.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    let mut previous = ' ';
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            out.push(' ');
            skip_line(&mut chars, &mut out);
        } else if rest.starts_with("/*") {
            out.push(' ');
            skip_block(&mut chars, &mut out);
        } else if let Some(hashes) = raw_string(rest, previous) {
            out.push(c);
            skip_raw(&mut chars, &mut out, hashes);
        } else if c == '"' {
            out.push(c);
            skip_quoted(&mut chars, &mut out, '"');
        } else if c == '\'' && is_char_literal(rest) {
            out.push(c);
            skip_quoted(&mut chars, &mut out, '\'');
        } else {
            out.push(c);
        }
        previous = c;
    }
    out
}

type Chars<'a> = Peekable<CharIndices<'a>>;

/// A blank, except that lines stay lines.
fn blanked(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

fn skip_line(chars: &mut Chars<'_>, out: &mut String) {
    while let Some((_, c)) = chars.next_if(|&(_, c)| c != '\n') {
        out.push(blanked(c));
    }
}

/// Block comments nest.
fn skip_block(chars: &mut Chars<'_>, out: &mut String) {
    let mut depth = 1;
    let mut previous = ' ';
    // The `*` of the opening.
    out.extend(chars.next().map(|_| ' '));
    for (_, c) in chars.by_ref() {
        out.push(blanked(c));
        match (previous, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                previous = c;
                continue;
            }
        }
        previous = ' ';
        if depth == 0 {
            return;
        }
    }
}

/// The number of hashes if `rest` starts a raw string and is not the end of an identifier.
fn raw_string(rest: &str, previous: char) -> Option<usize> {
    if previous.is_alphanumeric() || previous == '_' {
        return None;
    }
    let after = rest
        .strip_prefix('r')
        .or(rest.strip_prefix("br"))
        .or(rest.strip_prefix("cr"))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn skip_raw(chars: &mut Chars<'_>, out: &mut String, hashes: usize) {
    for (_, c) in chars.by_ref() {
        out.push(c);
        if c == '"' {
            break;
        }
    }
    while let Some((_, c)) = chars.next() {
        if c != '"' {
            out.push(blanked(c));
            continue;
        }
        let mut ahead = chars.clone();
        if (0..hashes).all(|_| ahead.next().is_some_and(|(_, c)| c == '#')) {
            out.push(c);
            return;
        }
        out.push(' ');
    }
}

fn skip_quoted(chars: &mut Chars<'_>, out: &mut String, quote: char) {
    while let Some((_, c)) = chars.next() {
        if c == quote {
            out.push(c);
            return;
        }
        out.push(blanked(c));
        if c == '\\' {
            out.extend(chars.next().map(|(_, escaped)| blanked(escaped)));
        }
    }
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn code(text: &str) -> String {
        Source::new(text.to_owned()).code
    }

    #[test]
    fn comments_and_literals_vanish() {
        let pairs = [
            ("a // dbg!(\nb", "a         \nb"),
            ("x(\"{ \\\" }\", '{')", "x(\"      \", ' ')"),
            ("/* { /* } */ { */ y", "                  y"),
            ("r#\"a\"b{\"# z", "r#\"    \"# z"),
        ];
        for (text, expected) in pairs {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn lifetimes_and_identifiers_stay() {
        let text = "fn f<'a>(bar: &'a str) -> &'a str { bar }";
        assert_eq!(code(text), text);
    }

    #[test]
    fn lines_stay_lines() {
        let text = "a\n/* b\nc */\n\"d\ne\"\n";
        assert_eq!(code(text).lines().count(), text.lines().count());
    }
}
