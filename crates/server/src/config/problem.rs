//! What is wrong with a configuration, and where: source, line, column, and the line itself with
//! everything that could be a secret made unreadable.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use isango_types::nearest;
use serde::Serialize;

use super::keys;

/// Longest part of a line that is shown, in characters.
const EXCERPT: usize = 100;

/// A configuration that cannot be used. Displays every problem that was found, each with its
/// place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// What is wrong, in the order of the sources; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, the environment variable or the flag that it stands in.
    pub source: String,
    /// Line in the file, from 1; `None` outside of a file.
    pub line: Option<usize>,
    /// Column in that line, in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right, if it is not plain from the message.
    pub help: Option<String>,
    /// The line, and where in it the problem begins and how far it goes, in characters.
    #[serde(skip)]
    excerpt: Option<(String, usize, usize)>,
}

impl Problem {
    /// The problem in one line, without the line it stands in.
    #[must_use]
    pub fn summary(&self) -> String {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.source),
            _ => self.source.clone(),
        };
        let help = self.help.as_ref().map(|help| format!("; {help}"));
        format!("{place}: {}{}", self.message, help.unwrap_or_default())
    }

    /// A problem with a source as a whole.
    pub(super) fn of_source(source: String, message: String) -> Self {
        Self {
            source,
            line: None,
            column: None,
            message,
            help: None,
            excerpt: None,
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some((text, start, length)) = &self.excerpt {
            let number = self.line.map(|line| line.to_string()).unwrap_or_default();
            let indent = " ".repeat(number.len());
            write!(f, "\n  {number} | {text}\n  {indent} | ")?;
            write!(f, "{}{}", " ".repeat(*start), "^".repeat(*length))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Where values come from. All sources share one space of byte positions, so that a span tells
/// the source too.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Origin>);

#[derive(Debug)]
struct Origin {
    name: String,
    text: String,
    base: usize,
    is_file: bool,
}

impl Origins {
    /// Adds the text of the file; the first of all sources, so that its positions are its own.
    pub(super) fn add_file(&mut self, name: String, text: String) {
        self.add(name, text, true);
    }

    /// Adds one setting from the environment or a flag; returns the span of its value.
    pub(super) fn add_setting(&mut self, name: &str, value: &str) -> Range<usize> {
        let text = format!("{name}={value}");
        let base = self.add(name.to_owned(), text, false);
        base + name.len() + 1..base + name.len() + 1 + value.len()
    }

    fn add(&mut self, name: String, text: String, is_file: bool) -> usize {
        let base = self
            .0
            .last()
            .map_or(0, |last| last.base + last.text.len() + 1);
        self.0.push(Origin {
            name,
            text,
            base,
            is_file,
        });
        base
    }

    /// Whether `span` lies in the file.
    pub(super) fn is_file(&self, span: &Range<usize>) -> bool {
        self.origin(span).is_some_and(|origin| origin.is_file)
    }

    fn origin(&self, span: &Range<usize>) -> Option<&Origin> {
        self.0.iter().rev().find(|origin| origin.base <= span.start)
    }

    /// Turns a finding into a problem with a place.
    fn locate(&self, finding: Finding) -> Problem {
        let Finding {
            span,
            message,
            help,
        } = finding;
        let Some((origin, span)) = span.and_then(|span| Some((self.origin(&span)?, span))) else {
            let name = self
                .0
                .first()
                .map_or_else(|| "configuration".into(), |o| o.name.clone());
            return Problem {
                help,
                ..Problem::of_source(name, message)
            };
        };
        let start = floor(&origin.text, span.start - origin.base);
        let end = floor(&origin.text, span.end.saturating_sub(origin.base)).max(start);
        let line_start = origin.text[..start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let line = origin.text[line_start..].lines().next().unwrap_or_default();
        let column = origin.text[line_start..start].chars().count();
        let marked = origin.text[start..end]
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let masked = if origin.is_file {
            mask(line)
        } else {
            line.to_owned()
        };
        Problem {
            source: origin.name.clone(),
            line: origin
                .is_file
                .then(|| origin.text[..start].matches('\n').count() + 1),
            column: origin.is_file.then_some(column + 1),
            message,
            help,
            excerpt: (!line.trim().is_empty()).then(|| excerpt(&masked, column, marked)),
        }
    }

    /// Turns all findings into an error; `None` when there are none.
    pub(super) fn error(&self, report: Report) -> Option<ConfigError> {
        let mut findings = report.0.into_inner();
        findings.sort_by_key(|finding| finding.span.as_ref().map(|span| span.start));
        findings.dedup();
        let problems: Vec<_> = findings
            .into_iter()
            .map(|finding| self.locate(finding))
            .collect();
        (!problems.is_empty()).then_some(ConfigError { problems })
    }

    /// Place of a span in the file, for a reference to it from another place.
    pub(super) fn place(&self, span: Range<usize>) -> String {
        let problem = self.locate(Finding {
            span: Some(span),
            message: String::new(),
            help: None,
        });
        match problem.line {
            Some(line) => format!("line {line}"),
            None => problem.source,
        }
    }
}

/// The largest character boundary that is not beyond `index`.
fn floor(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Cuts a long line down to what stands around the problem.
fn excerpt(line: &str, column: usize, marked: usize) -> (String, usize, usize) {
    let from = column.saturating_sub(EXCERPT / 2);
    let text: String = line
        .chars()
        .skip(from)
        .take(EXCERPT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let start = column - from;
    let room = text.chars().count().saturating_sub(start);
    (text.trim_end().to_owned(), start, marked.min(room).max(1))
}

/// Hides what could be a secret: everything behind the first `=` of a line, unless the key before
/// it is one of ours that holds none.
fn mask(line: &str) -> String {
    let trimmed = line.trim_start();
    if trimmed.starts_with('[') && !trimmed.contains(['"', '\'', '{', '=']) {
        return line.to_owned();
    }
    let shown = match line.split_once('=') {
        Some((key, value)) if is_harmless(key) && !value.contains('@') => line.len(),
        Some((key, _)) => key.len() + 1,
        None => match trimmed.split_once(' ') {
            Some((word, _)) if is_harmless(word) => line.len() - trimmed.len() + word.len(),
            _ => 0,
        },
    };
    let hidden = line[shown..]
        .chars()
        .map(|c| if c.is_whitespace() { c } else { '*' });
    line[..shown].chars().chain(hidden).collect()
}

/// Whether `key` names values that may be shown wherever it stands.
fn is_harmless(key: &str) -> bool {
    let name = key
        .trim()
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .trim_matches(['"', '\'']);
    let mut described = keys::all().filter(|key| key.name() == name).peekable();
    described.peek().is_some()
        && described.all(|key| !key.kind.is_secret())
        && !["key", "secret", "token", "credential", "password"]
            .iter()
            .any(|s| name.contains(s))
}

/// One thing that is wrong, before its place is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    span: Option<Range<usize>>,
    message: String,
    help: Option<String>,
}

/// Collects what is wrong, so that all of it can be told at once.
#[derive(Debug, Default)]
pub(super) struct Report(RefCell<Vec<Finding>>);

impl Report {
    /// Notes that something at `span` is wrong; without one, it is the configuration as a whole.
    pub(super) fn problem(&self, span: impl Into<Option<Range<usize>>>, message: String) {
        self.0.borrow_mut().push(Finding {
            span: span.into(),
            message,
            help: None,
        });
    }

    /// Everything that is wrong, with advice that holds beyond the file, and where.
    pub(super) fn into_texts(self) -> Vec<(Option<Range<usize>>, String)> {
        let text = |finding: Finding| {
            let is_general = |help: &String| help.starts_with("did you") || help.contains("here:");
            let text = match finding.help.filter(is_general) {
                Some(help) => format!("{}; {help}", finding.message),
                None => finding.message,
            };
            (finding.span, text)
        };
        self.0.into_inner().into_iter().map(text).collect()
    }

    /// Notes that something at `span` is wrong, with advice.
    pub(super) fn advise(
        &self,
        span: impl Into<Option<Range<usize>>>,
        message: String,
        help: impl Into<Option<String>>,
    ) {
        self.0.borrow_mut().push(Finding {
            span: span.into(),
            message,
            help: help.into(),
        });
    }
}

/// Advice for a key that is unknown in `section`: the nearest there, else the section where a key
/// of this name is known.
pub(super) fn nearest_key(name: &str, section: &str) -> Option<String> {
    let near = nearest(name, keys::names_in(section).into_iter());
    let elsewhere = || {
        keys::all()
            .find(|key| key.name() == name)
            .map(|key| key.path)
    };
    match near {
        Some(near) if near.starts_with("did") => Some(near),
        other => elsewhere()
            .map(|path| format!("did you mean `{path}`?"))
            .or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_line_hides_what_could_be_a_secret() {
        let check = |line: &str, shown: &str| assert_eq!(mask(line), shown);
        check(r#"listen = "127.0.0.1""#, r#"listen = "127.0.0.1""#);
        check("[providers.custom]", "[providers.custom]");
        check(r#"  credential = "sk-1""#, "  credential = ******");
        check("credential = sk-1", "credential = ****");
        check(r#"credentail = "sk-1""#, "credentail = ******");
        check(r#"x = { secret = "a b" }"#, "x = * ****** * ** ** *");
        check(r#"[{ secret = "sk" }]"#, "[{ secret = **** **");
        check(
            r#"gateways.targets.credential = "s""#,
            "gateways.targets.credential = ***",
        );
        check("listen 127.0.0.1", "listen *********");
        check("sk-1 listen", "**** ******");
        check(r#"key = "sk-1""#, "key = ******");
        check("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", &"*".repeat(32));
    }
}
