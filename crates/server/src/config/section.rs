//! Reads the keys of one table by their description, and notes what is wrong with them.
//!
//! A reader always returns a value, so that reading goes on and all problems are told at once; a
//! configuration with a problem is never used.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use isango_types::provider::BaseUrl;
use isango_types::record::MetadataValue;
use isango_types::{Secret, Timestamp};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::{self, LATER, Unset};
use super::problem::{Report, nearest_key};
use super::value::{self, ChainText, Kind, Split};

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    report: &'a Report,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    path: &'static str,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(table: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self {
            report,
            table: Some(table),
            span: None,
            path: "",
        }
    }

    /// The tables with names of their own that the pattern `path` (`providers.*`) describes.
    pub(super) fn named(&self, path: &'static str) -> Vec<(&'a str, Self)> {
        let holder = path.strip_suffix(".*").unwrap_or(path);
        let table = self
            .get(holder)
            .and_then(|found| found.get_ref().as_table());
        let tables = table.into_iter().flatten().map(|(name, value)| {
            let table = value.get_ref().as_table();
            // The name stands in the header, the place that people look at.
            let section = Self {
                report: self.report,
                table,
                span: Some(name.span()),
                path,
            };
            (&**name.get_ref(), section)
        });
        tables.collect()
    }

    /// The table `path` (spelled as in [`keys::Key::path`]) that stands under its last name here;
    /// an empty one when it is absent.
    pub(super) fn table(&self, path: &'static str) -> Self {
        let found = self.get(last_name(path));
        let table = found.and_then(|found| found.get_ref().as_table());
        Self {
            report: self.report,
            table,
            span: found.map(Spanned::span),
            path,
        }
    }

    /// The tables of the array `path` (`gateways[]`).
    pub(super) fn tables(&self, path: &'static str) -> Vec<Self> {
        let array = self
            .get(last_name(path))
            .and_then(|found| found.get_ref().as_array());
        let tables = array.into_iter().flatten().map(|item| Self {
            report: self.report,
            table: item.get_ref().as_table(),
            span: Some(item.span()),
            path,
        });
        tables.collect()
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(name)
    }

    /// Where `name` is set; else where the table begins.
    pub(super) fn span(&self, name: &str) -> Option<Range<usize>> {
        self.get(name)
            .map(Spanned::span)
            .or_else(|| self.span.clone())
    }

    /// Whether `name` is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Notes that the value of `name` is wrong.
    pub(super) fn problem(&self, name: &str, message: String, help: Option<String>) {
        self.report.advise(self.span(name), message, help);
    }

    /// Notes that what stands at `span` is wrong.
    pub(super) fn problem_at(&self, span: Range<usize>, message: String, help: Option<String>) {
        self.report.advise(Some(span), message, help);
    }

    /// Reads `name` with `read`; its default where it is absent.
    fn read<T>(&self, name: &str, read: impl Fn(&Kind, &DeValue<'_>) -> Option<T>) -> Option<T> {
        let path = join(self.path, name);
        let key = keys::find(&path);
        debug_assert!(
            key.is_some(),
            "`{path}` is read but not described in keys.rs"
        );
        let key = key?;
        let Some(found) = self.get(name) else {
            return match key.default {
                Unset::Is(text) => read(&key.kind, &DeValue::String(text.into())),
                Unset::Required => {
                    self.problem(name, format!("`{name}` is missing"), Some(example_of(key)));
                    None
                }
                Unset::Absent | Unset::From(_) => None,
            };
        };
        let value = read(&key.kind, found.get_ref());
        if value.is_none() {
            let message = format!(
                "`{name}` must be {}; found {}",
                key.kind.expected(),
                value::found(found.get_ref())
            );
            self.report.problem(found.span(), message);
        }
        value
    }

    pub(super) fn address(&self, name: &str) -> SocketAddr {
        self.read(name, value::address)
            .unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.read(name, value::flag).unwrap_or_default()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        let count = self.read(name, value::count).unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(super) fn size(&self, name: &str) -> u64 {
        self.read(name, value::size).unwrap_or_default()
    }

    /// A size where 0 stands for no limit.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        Some(self.size(name)).filter(|bytes| *bytes > 0)
    }

    pub(super) fn wait(&self, name: &str) -> Duration {
        self.read(name, value::wait).unwrap_or_default()
    }

    /// A duration where 0 stands for none.
    pub(super) fn timeout(&self, name: &str) -> Option<Duration> {
        Some(self.wait(name)).filter(|wait| !wait.is_zero())
    }

    /// The index of the choice.
    pub(super) fn choice(&self, name: &str) -> usize {
        self.read(name, value::choice).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<Box<str>> {
        self.read(name, |kind, value| value::text(kind, value).map(Into::into))
    }

    pub(super) fn name(&self, name: &str) -> Option<Box<str>> {
        self.read(name, |kind, value| value::name(kind, value).map(Into::into))
    }

    /// The text of `name`, whose kind is checked by another reader.
    pub(super) fn plain(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.get_ref().as_str()
    }

    pub(super) fn moment(&self, name: &str) -> Option<Timestamp> {
        self.read(name, value::moment)
    }

    pub(super) fn filter(&self, name: &str) -> String {
        let read = |kind: &Kind, value: &DeValue<'_>| {
            let text = value::text(kind, value)?;
            crate::telemetry::is_filter(text).then(|| text.to_owned())
        };
        self.read(name, read).unwrap_or_default()
    }

    /// A path; a relative one from the file is relative to `folder`.
    pub(super) fn path(
        &self,
        name: &str,
        folder: &dyn Fn(&Range<usize>) -> PathBuf,
    ) -> Option<PathBuf> {
        let path = self.read(name, |kind, value| {
            value::text(kind, value).map(PathBuf::from)
        })?;
        match self.get(name) {
            Some(found) => Some(folder(&found.span()).join(path)),
            None => Some(path),
        }
    }

    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        self.read(name, |kind, value| {
            value::text(kind, value).map(Secret::new)
        })
    }

    pub(super) fn secret_table(&self, name: &str) -> BTreeMap<Box<str>, Secret> {
        self.read(name, value::secret_table).unwrap_or_default()
    }

    pub(super) fn url(&self, name: &str) -> Option<BaseUrl> {
        let text = self.text(name)?;
        match BaseUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.problem(name, format!("`{name}`: {error}"), None);
                None
            }
        }
    }

    /// The whole table as its own reader takes it, after its keys have been checked by kind;
    /// `None` when something is wrong with it.
    pub(super) fn deserialize<T: DeserializeOwned>(&self) -> Option<T> {
        let table = self.table?;
        let names = keys::names_in(self.path);
        let wrong = names
            .iter()
            .filter(|name| !self.is_of_its_kind(name))
            .count();
        let unknown = table.keys().any(|key| !names.contains(&&**key.get_ref()));
        if wrong > 0 || unknown {
            return None;
        }
        let span = self.span.clone().unwrap_or_default();
        let value = Spanned::new(span.clone(), DeValue::Table(table.clone()));
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(read) => Some(read),
            Err(error) => {
                self.report
                    .problem(error.span().unwrap_or(span), error.message().to_owned());
                None
            }
        }
    }

    fn is_of_its_kind(&self, name: &str) -> bool {
        let read = |kind: &Kind, value: &DeValue<'_>| value::fits(kind, value).then_some(());
        self.read(name, read).is_some() || !self.has(name)
    }

    pub(super) fn digest(&self, name: &str) -> Option<[u8; 32]> {
        self.read(name, value::digest)
    }

    pub(super) fn texts(&self, name: &str) -> Vec<Box<str>> {
        self.read(name, value::texts).unwrap_or_default()
    }

    pub(super) fn text_table(&self, name: &str) -> BTreeMap<Box<str>, Box<str>> {
        self.read(name, value::text_table).unwrap_or_default()
    }

    pub(super) fn statuses(&self, name: &str) -> Vec<u16> {
        self.read(name, value::statuses).unwrap_or_default()
    }

    pub(super) fn amount(&self, name: &str) -> Option<u64> {
        self.read(name, value::amount)
    }

    pub(super) fn lists(&self, name: &str) -> BTreeMap<Box<str>, Vec<Box<str>>> {
        self.read(name, value::lists).unwrap_or_default()
    }

    pub(super) fn split(&self, name: &str) -> Option<Split> {
        self.read(name, value::split)
    }

    pub(super) fn splits(&self, name: &str) -> BTreeMap<Box<str>, Split> {
        self.read(name, value::splits).unwrap_or_default()
    }

    pub(super) fn chains(&self, name: &str) -> Vec<ChainText> {
        self.read(name, value::chains).unwrap_or_default()
    }

    pub(super) fn metadata(&self, name: &str) -> BTreeMap<Box<str>, MetadataValue> {
        self.read(name, value::metadata).unwrap_or_default()
    }
}

fn example_of(key: &keys::Key) -> String {
    format!("write for instance `{} = {}`", key.name(), key.example)
}

fn last_name(path: &str) -> &str {
    path.rsplit('.')
        .next()
        .unwrap_or(path)
        .trim_end_matches("[]")
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// Notes every key under `section` that nobody reads (misspelled, in the wrong place, of a later
/// version), and every section that is no table.
pub(super) fn check_names(table: &DeTable<'_>, section: &str, report: &Report) {
    for (name, value) in table {
        let path = join(section, name.get_ref());
        let of_array = format!("{path}[]");
        let of_named = join(section, "*");
        if keys::find(&path).is_some() {
            continue;
        } else if keys::is_section(&path) {
            check_table(value, &path, report);
        } else if keys::is_section(&of_array) {
            check_array(value, &of_array, report);
        } else if keys::is_section(&of_named) {
            check_table(value, &of_named, report);
        } else {
            refuse(name, section, report);
        }
    }
}

fn refuse(name: &Spanned<Cow<'_, str>>, section: &str, report: &Report) {
    let path = join(section, name.get_ref());
    let text = name.get_ref();
    match LATER.iter().find(|later| later.path == path) {
        Some(later) => {
            let version = concat!(
                env!("CARGO_PKG_VERSION_MAJOR"),
                ".",
                env!("CARGO_PKG_VERSION_MINOR")
            );
            let message = format!(
                "`{text}` is not available in this version ({version}): {} is not built yet",
                later.what
            );
            report.problem(name.span(), message);
        }
        None => {
            let message = format!("unknown key `{text}`{}", place(section));
            report.advise(name.span(), message, nearest_key(text, section));
        }
    }
}

/// ` in [server]`, or nothing at the top.
fn place(section: &str) -> String {
    if section.is_empty() {
        String::new()
    } else {
        format!(" in {}", keys::header(section))
    }
}

fn check_table(value: &Spanned<DeValue<'_>>, section: &str, report: &Report) {
    match value.get_ref().as_table() {
        Some(table) => check_names(table, section, report),
        None => {
            let found = value::found(value.get_ref());
            let header = keys::header(section);
            report.problem(
                value.span(),
                format!("{header} must be a table; found {found}"),
            );
        }
    }
}

fn check_array(value: &Spanned<DeValue<'_>>, section: &str, report: &Report) {
    let Some(array) = value.get_ref().as_array() else {
        let found = value::found(value.get_ref());
        let header = keys::header(section);
        let message = format!("{header} is a list of tables; found {found}");
        return report.advise(
            value.span(),
            message,
            format!("begin each one with {header}"),
        );
    };
    for item in array.iter() {
        check_table(item, section, report);
    }
}
