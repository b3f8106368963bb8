//! Values that stand elsewhere: `env:NAME` and `${NAME}` for the environment, `file:/path` and
//! `command:LINE` for secrets.
//!
//! What a reference leads to is taken as it is; it is not searched for references again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::command;
use super::keys;
use super::problem::Report;

/// The variables of the process, read once.
pub type Environment = BTreeMap<String, String>;

/// Replaces each reference in the texts of a configuration.
#[derive(Debug)]
pub(super) struct References<'a> {
    /// Where `env:` and `${}` lead.
    pub(super) environment: &'a Environment,
    /// What a relative `file:` is relative to.
    pub(super) folder: &'a Path,
    /// Where missing targets are noted.
    pub(super) report: &'a Report,
}

impl References<'_> {
    /// Replaces the references in every text under `table`, which stands at `path`.
    pub(super) fn resolve(&self, table: &mut DeTable<'_>, path: &str) {
        let names: Vec<_> = table
            .keys()
            .map(|name| name.get_ref().to_string())
            .collect();
        for name in names {
            let dot = if path.is_empty() { "" } else { "." };
            let child = format!("{path}{dot}{name}");
            let named = format!("{path}{dot}*");
            let child = if keys::is_section(&named) {
                named
            } else {
                child
            };
            if let Some(value) = table.get_mut(name.as_str()) {
                self.resolve_value(value, &child);
            }
        }
    }

    fn resolve_value(&self, value: &mut Spanned<DeValue<'_>>, path: &str) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => match self.replacement(text, path) {
                Ok(None) => {}
                Ok(Some(new)) => *text = Cow::Owned(new),
                Err(message) => self.report.problem(span, message),
            },
            DeValue::Table(table) => self.resolve(table, path),
            DeValue::Array(array) => {
                let path = format!("{path}[]");
                for index in 0..array.len() {
                    if let Some(item) = array.get_mut(index) {
                        self.resolve_value(item, &path);
                    }
                }
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// What a reference that stands at `path` leads to; `None`: the text is none.
    pub(super) fn replacement(&self, text: &str, path: &str) -> Result<Option<String>, String> {
        let is_secret = is_secret(path);
        let new = if let Some(name) = text.strip_prefix("env:") {
            self.variable(name)?.to_owned()
        } else if let Some(file) = text.strip_prefix("file:").filter(|_| is_secret) {
            let read = std::fs::read_to_string(self.folder.join(file));
            read.map_err(|error| format!("`{file}` cannot be read: {error}"))?
                .trim_end()
                .to_owned()
        } else if let Some(line) = text.strip_prefix("command:").filter(|_| is_secret) {
            command::output(line)?
        } else if text.contains("${") {
            self.expand(text)?
        } else {
            return Ok(None);
        };
        if is_secret && new.is_empty() {
            return Err("the reference leads to an empty text".into());
        }
        Ok(Some(new))
    }

    fn variable(&self, name: &str) -> Result<&str, String> {
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err("what follows is not the name of an environment variable".into());
        }
        let value = self.environment.get(name).map(String::as_str);
        value.ok_or_else(|| format!("environment variable `{name}` is not set"))
    }

    /// Replaces each `${NAME}`; `$${` stands for `${`.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut new = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                new.push_str(before);
                new.push_str("${");
                rest = after;
                continue;
            }
            new.push_str(before);
            let (name, after) = after.split_once('}').ok_or("`${` without its `}`")?;
            new.push_str(self.variable(name)?);
            rest = after;
        }
        new.push_str(rest);
        Ok(new)
    }
}

/// Whether the text at `path` is a secret, or an entry of a table of secrets.
fn is_secret(path: &str) -> bool {
    let holder = path.rsplit_once('.').map(|(holder, _)| holder);
    [Some(path), holder]
        .into_iter()
        .flatten()
        .filter_map(keys::find)
        .any(|k| k.kind.is_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str, path: &str) -> Result<Option<String>, String> {
        let environment =
            Environment::from([("A".into(), "one".into()), ("EMPTY".into(), String::new())]);
        let (folder, report) = (Path::new("/nowhere"), &Report::default());
        References {
            environment: &environment,
            folder,
            report,
        }
        .replacement(text, path)
    }

    #[test]
    fn references_lead_to_the_environment() {
        let check = |text: &str, new: Option<&str>| {
            assert_eq!(replaced(text, "listen").unwrap().as_deref(), new, "{text}");
        };
        check("env:A", Some("one"));
        check("x-${A}-${A}", Some("x-one-one"));
        check("$${A}", Some("${A}"));
        check("$5", None);
        check("file:/etc/passwd", None);
        check("env:EMPTY", Some(""));
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_refused() {
        let check = |text: &str, path: &str, message: &str| {
            assert_eq!(replaced(text, path).unwrap_err(), message);
        };
        let credential = "gateways[].targets[].credential";
        check("env:B", "listen", "environment variable `B` is not set");
        check("${B}", "listen", "environment variable `B` is not set");
        check("${A", "listen", "`${` without its `}`");
        check(
            "env:",
            "listen",
            "what follows is not the name of an environment variable",
        );
        check(
            "env:EMPTY",
            credential,
            "the reference leads to an empty text",
        );
        assert!(
            replaced("file:key", credential)
                .unwrap_err()
                .starts_with("`key` cannot be read")
        );
        assert!(replaced("file:key", "providers.*.headers.x-a").is_err());
    }
}
