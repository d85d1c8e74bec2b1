//! What `reeve audit --json` says of a container.

use serde_json::Value;

use crate::{Error, tools};

/// An audit event, by the names under which `reeve audit --json` prints it.
#[derive(Clone, Debug)]
pub struct Event(pub Value);

impl Event {
    /// A field as text; empty if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Whether the action was refused, rather than recorded and let through.
    pub fn refused(&self) -> bool {
        self.text("verdict") == "refused"
    }

    /// The LSM hook that saw it.
    pub fn hook(&self) -> &str {
        self.text("hook")
    }
}

/// The events of a container so far.
pub fn events(id: &str) -> Result<Vec<Event>, Error> {
    let text = tools::output(tools::reeve()?.args(["audit", "--json", id]))?;
    parse(&text)
}

/// One JSON object a line.
fn parse(text: &str) -> Result<Vec<Event>, Error> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let value = serde_json::from_str(line);
            value.map(Event).map_err(|source| Error::Json {
                line: line.to_owned(),
                source,
            })
        })
        // The last line may tell what is missing.
        .filter(|event| !matches!(event, Ok(event) if event.0.get("counters").is_some()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_a_line() {
        let text = "{\"hook\":\"file_open\",\"verdict\":\"refused\"}\n\n{}\n{\"counters\":{}}\n";
        let events = parse(text).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].hook(), "file_open");
        assert!(events[0].refused() && !events[1].refused());
        assert!(parse("refused\n").is_err());
    }
}
