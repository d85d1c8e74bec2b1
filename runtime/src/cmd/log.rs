//! Where errors and messages go: standard error, and the file of `--log`.
//!
//! Engines read that file: containerd's shim and conmon take the `msg` of the last line whose
//! `level` is `error`, so an error is one line with its causes. What they do with standard error is
//! in [`super::engines`].

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use clap::ValueEnum;
use policy::diagnostic::printable;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::time;
use crate::state::now_ms;

/// Form of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: on standard error as sentences, in a file as `key=value`.
    #[default]
    Text,
    /// One JSON object a line, with `level`, `msg` and `time`.
    Json,
}

/// Where messages go. Until [`Log::install`], as if nothing had been asked for.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    format: Format,
    most: LevelFilter,
}

static LOG: OnceLock<Log> = OnceLock::new();
const PLAIN: &Log = &Log {
    file: None,
    format: Format::Text,
    most: LevelFilter::WARN,
};

impl Log {
    /// Opens the file, if one is named. Every line is added to its end by one write, since several
    /// `reeve` may have it open at a time.
    pub(super) fn open(file: Option<&Path>, format: Format, debug: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        Ok(Self {
            file: file.map(|path| options.open(path)).transpose()?,
            format,
            most: if debug {
                LevelFilter::DEBUG
            } else {
                LevelFilter::WARN
            },
        })
    }

    /// Makes this the one that messages and errors of the process go to.
    pub(super) fn install(self) {
        if LOG.set(self).is_ok() {
            // Fails only if there is one already, which then is this one.
            let _ = tracing::subscriber::set_global_default(Messages);
        }
    }

    fn write(&self, message: &Message) {
        let text = match (self.format, &self.file) {
            (Format::Json, _) => message.json(now_ms()),
            (Format::Text, Some(_)) => message.logfmt(now_ms()),
            (Format::Text, None) => message.sentence(),
        };
        // There is nowhere left to complain to.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(text.as_bytes()),
            None => io::stderr().lock().write_all(text.as_bytes()),
        };
    }
}

/// Tells an error: `text` is for people, `line` has the same in one line.
pub(super) fn error(text: &str, line: &str) {
    let log = LOG.get().unwrap_or(PLAIN);
    let to_people = log.file.is_some() || log.format == Format::Text;
    if log.file.is_some() || log.format == Format::Json {
        log.write(&Message {
            level: "error",
            text: line.to_owned(),
            fields: Vec::new(),
        });
    }
    if to_people {
        let _ = writeln!(io::stderr().lock(), "{}", lines(text.trim_end()));
    }
}

/// Lines that a terminal does not obey: names in them come from whoever made a file.
fn lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// A message with its fields.
#[derive(Debug, Default)]
struct Message {
    level: &'static str,
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Message {
    fn sentence(&self) -> String {
        let mut text = format!("{}: {}", self.level, self.text);
        for (name, value) in &self.fields {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {name}: {value}");
        }
        lines(&text) + "\n"
    }

    fn logfmt(&self, now_ms: u64) -> String {
        let (time, level) = (time::seconds(now_ms), self.level);
        let mut text = format!("time=\"{time}\" level={level} msg={:?}", self.text);
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}={value:?}");
        }
        text + "\n"
    }

    fn json(&self, now_ms: u64) -> String {
        let fields = self.fields.iter();
        let mut object: Map<String, Value> = fields
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        // Last, so that no field hides one of these.
        object.insert("level".to_owned(), self.level.into());
        object.insert("msg".to_owned(), self.text.as_str().into());
        object.insert("time".to_owned(), time::seconds(now_ms).into());
        format!("{}\n", Value::Object(object))
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.text = value,
            name => self.fields.push((name, value)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Hands the messages of the code to the log. Spans are not used here, and so not kept.
struct Messages;

impl Subscriber for Messages {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LOG.get().unwrap_or(PLAIN).most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LOG.get().unwrap_or(PLAIN).most)
    }

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let mut message = Message {
            level,
            ..Message::default()
        };
        event.record(&mut message);
        LOG.get().unwrap_or(PLAIN).write(&message);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_356_073_120;

    fn message() -> Message {
        Message {
            level: "warning",
            text: "a \"group\" is left\nover".to_owned(),
            fields: vec![("path", "/a b".to_owned())],
        }
    }

    #[test]
    fn the_forms_of_a_message() {
        assert_eq!(
            message().json(NOON),
            "{\"level\":\"warning\",\"msg\":\"a \\\"group\\\" is left\\nover\",\
             \"path\":\"/a b\",\"time\":\"2026-11-22T14:01:13Z\"}\n"
        );
        assert_eq!(
            message().logfmt(NOON),
            "time=\"2026-11-22T14:01:13Z\" level=warning \
             msg=\"a \\\"group\\\" is left\\nover\" path=\"/a b\"\n"
        );
        assert_eq!(
            message().sentence(),
            "warning: a \"group\" is left\nover, path: /a b\n"
        );
    }

    #[test]
    fn no_field_hides_the_message() {
        let mut message = message();
        message.fields = vec![("msg", "x".to_owned()), ("level", "y".to_owned())];
        let line: Value = serde_json::from_str(&message.json(NOON)).unwrap();
        assert_eq!(line["level"], "warning");
        assert_eq!(line["msg"], "a \"group\" is left\nover");
    }
}
