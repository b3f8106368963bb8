//! What a key may hold: how a value is read, what was expected, what the reference calls it.

mod units;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use isango_types::price::parse_usd;
use isango_types::record::MetadataValue;
use isango_types::{Secret, Timestamp, is_account, is_gateway_id};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

pub use self::units::parse_wait;
use self::units::{digits, parse_size, size_text, wait_text};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IP address and port.
    Address,
    /// Path of a file or folder.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Bytes: a whole number, or a text with a unit.
    Size {
        /// Smallest, in bytes.
        min: u64,
        /// Largest, in bytes.
        max: u64,
    },
    /// A length of time: a text with units. Where `min_ms` is 0, `"0s"` stands for none.
    Wait {
        /// Shortest, in milliseconds.
        min_ms: u64,
        /// Longest, in milliseconds.
        max_ms: u64,
    },
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Directives of the server's own log.
    Filter,
    /// Any text but an empty one.
    Text,
    /// Any text.
    AnyText,
    /// A name: letters, digits, `_` and `-`.
    Name,
    /// The id of a gateway.
    GatewayId,
    /// A DNS label.
    Label,
    /// A base address.
    Url,
    /// A text that is never shown.
    Secret,
    /// SHA-256 in hex.
    Digest,
    /// A list of texts.
    Texts,
    /// A table of texts.
    TextTable,
    /// A table of texts that are never shown.
    SecretTable,
    /// At most five flat entries.
    Metadata,
    /// An amount of money, never negative.
    Money,
    /// A date, or a moment.
    Date,
    /// A list of tables.
    Tables,
    /// A list of error statuses.
    Statuses,
    /// A number above 0, with decimals where its unit has them.
    Amount,
    /// Lists of texts, by name.
    Lists,
    /// How a limit is split by one dimension, or filtered.
    Split,
    /// The same, by name.
    Splits,
    /// Lists of targets, by the target whose requests they are for.
    Chains,
}

impl Kind {
    /// What the reference calls it.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Address => "address".into(),
            Self::Path => "path".into(),
            Self::Flag => "true or false".into(),
            Self::Count { .. } => "number".into(),
            Self::Size { .. } => "size".into(),
            Self::Wait { .. } => "duration".into(),
            Self::Choice(names) => one_of(names).into(),
            Self::Filter => "log filter".into(),
            Self::Text | Self::AnyText => "text".into(),
            Self::Name => "name".into(),
            Self::GatewayId => "gateway id".into(),
            Self::Label => "DNS label".into(),
            Self::Url => "URL".into(),
            Self::Secret => "secret".into(),
            Self::Digest => "digest".into(),
            Self::Texts => "list of texts".into(),
            Self::TextTable => "table of texts".into(),
            Self::SecretTable => "table of secrets".into(),
            Self::Metadata => "table".into(),
            Self::Money => "amount".into(),
            Self::Date => "date".into(),
            Self::Tables => "list of tables".into(),
            Self::Statuses => "list of statuses".into(),
            Self::Amount => "number".into(),
            Self::Lists => "table of lists of texts".into(),
            Self::Split => "table".into(),
            Self::Splits => "table of tables".into(),
            Self::Chains => "table of lists of targets".into(),
        }
    }

    /// What would have been right, as the end of "expected …".
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Address => r#"an IP address with a port, such as "127.0.0.1:8700""#.into(),
            Self::Path => "a path in quotes".into(),
            Self::Flag => "true or false".into(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Size { min, max } => format!(
                "a size from {} to {}: a number of bytes, or a text such as \"100MiB\"",
                size_text(*min),
                size_text(*max)
            ),
            Self::Wait { min_ms: 0, max_ms } => {
                format!(
                    "a duration of at most {}, such as \"10s\"",
                    wait_text(*max_ms)
                )
            }
            Self::Wait { min_ms, max_ms } => format!(
                "a duration from {} to {}, such as \"250ms\"",
                wait_text(*min_ms),
                wait_text(*max_ms)
            ),
            Self::Choice(names) => one_of(names),
            Self::Filter => {
                r#"a level such as "info", or directives such as "info,isango_proxy=debug""#.into()
            }
            Self::Text => "a text in quotes that is not empty".into(),
            Self::AnyText => "a text in quotes".into(),
            Self::Name => "a name: 1 to 64 letters, digits, `_` or `-`, no `_` or `-` first".into(),
            Self::GatewayId => "1 to 64 of a-z, 0-9 and `_`, with single `-` between them".into(),
            Self::Label => "a DNS label: 1 to 63 of a-z, 0-9 and `-`, no `-` at an end".into(),
            Self::Url => r#"an http or https address, such as "https://ai.example.com/v1""#.into(),
            Self::Secret => {
                r#"a text in quotes, best a reference such as "env:NAME", "file:/path" or "command:…""#
                    .into()
            }
            Self::Digest => "`sha256:` and 64 hex digits".into(),
            Self::Texts => r#"a list of texts, such as ["a", "b"]"#.into(),
            Self::TextTable => r#"a table of texts, such as { a = "b" }"#.into(),
            Self::SecretTable => r#"a table of texts, such as { x-team = "env:NAME" }"#.into(),
            Self::Metadata => "a table of at most 5 texts, numbers, true or false".into(),
            Self::Money => r#"an amount in US dollars, such as 2.5 or "0.000125""#.into(),
            Self::Date => "a date such as 2026-11-22".into(),
            Self::Tables => "a list of tables".into(),
            Self::Statuses => "a list of statuses from 400 to 599, such as [429, 503]".into(),
            Self::Amount => "a number above 0, such as 200_000 or 12.5".into(),
            Self::Lists => r#"a table of lists of texts, such as { model = ["a", "b"] }"#.into(),
            Self::Split | Self::Splits => {
                r#"{ mode = "partition" }, or { mode = "filter", values = ["a"] }"#.into()
            }
            Self::Chains => {
                "a table such as { a = [\"b\"] }, or { a = { to = [\"b\"], on = [\"5xx\"] } }"
                    .into()
            }
        }
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self, Self::Secret | Self::SecretTable)
    }
}

/// `"a", "b" or "c"`.
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// What `value` is, for the end of "found …".
#[must_use]
pub fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty text",
        DeValue::String(_) => "another text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A text; an empty one only where the kind is any text.
#[must_use]
pub fn text<'v>(kind: &Kind, value: &'v DeValue<'_>) -> Option<&'v str> {
    value
        .as_str()
        .filter(|text| !text.is_empty() || *kind == Kind::AnyText)
}

/// A name, the id of a gateway, or a DNS label, as the kind demands.
#[must_use]
pub fn name<'v>(kind: &Kind, value: &'v DeValue<'_>) -> Option<&'v str> {
    value.as_str().filter(|text| {
        if *kind == Kind::GatewayId {
            is_gateway_id(text)
        } else if *kind == Kind::Label {
            is_label(text)
        } else {
            is_account(text)
        }
    })
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An IP address with a port.
#[must_use]
pub fn address(_: &Kind, value: &DeValue<'_>) -> Option<SocketAddr> {
    value.as_str()?.parse().ok()
}

/// `true` or `false`, as a text too so that references and the environment can say it.
#[must_use]
pub fn flag(_: &Kind, value: &DeValue<'_>) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

/// A whole number within the bounds of the kind.
#[must_use]
pub fn count(kind: &Kind, value: &DeValue<'_>) -> Option<u64> {
    let Kind::Count { min, max } = kind else {
        return None;
    };
    let number = match value.as_integer() {
        Some(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok()?,
        None => digits(value.as_str()?)?,
    };
    (*min..=*max).contains(&number).then_some(number)
}

/// A number of bytes within the bounds of the kind.
#[must_use]
pub fn size(kind: &Kind, value: &DeValue<'_>) -> Option<u64> {
    let Kind::Size { min, max } = kind else {
        return None;
    };
    let bytes = match value.as_integer() {
        Some(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok()?,
        None => parse_size(value.as_str()?)?,
    };
    (*min..=*max).contains(&bytes).then_some(bytes)
}

/// A length of time within the bounds of the kind.
#[must_use]
pub fn wait(kind: &Kind, value: &DeValue<'_>) -> Option<Duration> {
    let Kind::Wait { min_ms, max_ms } = kind else {
        return None;
    };
    let wait = parse_wait(value.as_str()?)?;
    let bounds = Duration::from_millis(*min_ms)..=Duration::from_millis(*max_ms);
    bounds.contains(&wait).then_some(wait)
}

/// The index of a text among those of the kind.
#[must_use]
pub fn choice(kind: &Kind, value: &DeValue<'_>) -> Option<usize> {
    let Kind::Choice(names) = kind else {
        return None;
    };
    let text = value.as_str()?;
    names.iter().position(|name| *name == text)
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(_: &Kind, value: &DeValue<'_>) -> Option<[u8; 32]> {
    let hex = value.as_str()?.strip_prefix("sha256:")?;
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

/// A list of texts.
#[must_use]
pub fn texts(_: &Kind, value: &DeValue<'_>) -> Option<Vec<Box<str>>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.get_ref().as_str().map(Into::into))
        .collect()
}

/// A list of error statuses.
#[must_use]
pub fn statuses(_: &Kind, value: &DeValue<'_>) -> Option<Vec<u16>> {
    let status = |item: &Spanned<DeValue<'_>>| {
        let number = item.get_ref().as_integer()?;
        let status = u16::from_str_radix(number.as_str(), number.radix()).ok()?;
        (400..=599).contains(&status).then_some(status)
    };
    value.as_array()?.iter().map(status).collect()
}

/// A number above 0, in billionths.
#[must_use]
pub fn amount(_: &Kind, value: &DeValue<'_>) -> Option<u64> {
    let text = number_text(value)?;
    parse_usd(text).ok().filter(|amount| *amount > 0)
}

/// A moment; of a date, its first one in UTC.
#[must_use]
pub fn moment(_: &Kind, value: &DeValue<'_>) -> Option<Timestamp> {
    let text = match value {
        DeValue::String(text) => Cow::Borrowed(&**text),
        DeValue::Datetime(moment) => Cow::Owned(moment.to_string()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return None,
    };
    parse_moment(&text)
}

/// A moment as RFC 3339 writes it; of a date, its first one in UTC.
#[must_use]
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let of_date = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    Timestamp::parse(text).or_else(|_no_moment| of_date()).ok()
}

/// Lists of texts, by name.
#[must_use]
pub fn lists(_: &Kind, value: &DeValue<'_>) -> Option<BTreeMap<Box<str>, Vec<Box<str>>>> {
    entries(value.as_table()?, |value| texts(&Kind::Texts, value))
}

/// How a limit treats one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// A bucket for each value.
    Partition,
    /// Only these values.
    Filter(Vec<Box<str>>),
}

/// `{ mode = "partition" }`, or `{ mode = "filter", values = […] }` with at least one value.
#[must_use]
pub fn split(_: &Kind, value: &DeValue<'_>) -> Option<Split> {
    let table = value.as_table()?;
    let values = table.get("values").map(Spanned::get_ref);
    let known = if values.is_some() { 2 } else { 1 };
    match (table.get("mode")?.get_ref().as_str()?, values) {
        _ if table.len() != known => None,
        ("partition", None) => Some(Split::Partition),
        ("filter", Some(values)) => texts(&Kind::Texts, values)
            .filter(|values| !values.is_empty())
            .map(Split::Filter),
        (_, _) => None,
    }
}

/// The same, by name.
#[must_use]
pub fn splits(_: &Kind, value: &DeValue<'_>) -> Option<BTreeMap<Box<str>, Split>> {
    entries(value.as_table()?, |value| split(&Kind::Split, value))
}

/// A fallback chain as it is written: names with their places, not yet looked up.
#[derive(Debug)]
pub struct ChainText {
    /// The target whose requests it is for.
    pub from: Spanned<Box<str>>,
    /// The next ones.
    pub to: Vec<Spanned<Box<str>>>,
    /// Its conditions; `None`: all.
    pub on: Option<Vec<Spanned<Box<str>>>>,
}

/// Chains: each a list of targets, or a table of `to` and `on`.
#[must_use]
pub fn chains(_: &Kind, value: &DeValue<'_>) -> Option<Vec<ChainText>> {
    let chain = |(from, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let from = Spanned::new(from.span(), (&**from.get_ref()).into());
        let (to, on) = match value.get_ref().as_table() {
            None => (spanned_texts(value)?, None),
            Some(table) => {
                let known = |name: &Spanned<DeString<'_>>| matches!(&**name.get_ref(), "to" | "on");
                let on = table.get("on").map(spanned_texts);
                if !table.keys().all(known) || matches!(on, Some(None)) {
                    return None;
                }
                (spanned_texts(table.get("to")?)?, on.flatten())
            }
        };
        Some(ChainText { from, to, on })
    };
    value.as_table()?.iter().map(chain).collect()
}

fn spanned_texts(list: &Spanned<DeValue<'_>>) -> Option<Vec<Spanned<Box<str>>>> {
    let text = |item: &Spanned<DeValue<'_>>| {
        let text = item.get_ref().as_str()?;
        Some(Spanned::new(item.span(), text.into()))
    };
    list.get_ref().as_array()?.iter().map(text).collect()
}

/// A table of texts.
#[must_use]
pub fn text_table(_: &Kind, value: &DeValue<'_>) -> Option<BTreeMap<Box<str>, Box<str>>> {
    entries(value.as_table()?, |value| value.as_str().map(Into::into))
}

/// A table of texts that are never shown.
#[must_use]
pub fn secret_table(_: &Kind, value: &DeValue<'_>) -> Option<BTreeMap<Box<str>, Secret>> {
    entries(value.as_table()?, |value| value.as_str().map(Secret::new))
}

/// Whether a value is what its kind asks for, for tables that have a reader of their own.
#[must_use]
pub fn fits(kind: &Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Money => is_money(value),
        Kind::Date => value.is_datetime() || value.is_str(),
        Kind::Tables => {
            let is_table = |item: &Spanned<DeValue<'_>>| item.get_ref().is_table();
            value
                .as_array()
                .is_some_and(|array| array.iter().all(is_table))
        }
        Kind::Flag => value.is_bool(),
        Kind::Count { .. } => count(kind, value).is_some(),
        Kind::Size { .. } => size(kind, value).is_some(),
        Kind::Wait { .. } => wait(kind, value).is_some(),
        Kind::Choice(_) => choice(kind, value).is_some(),
        Kind::Address => address(kind, value).is_some(),
        Kind::Digest => digest(kind, value).is_some(),
        Kind::Name | Kind::GatewayId | Kind::Label => name(kind, value).is_some(),
        Kind::Texts => texts(kind, value).is_some(),
        Kind::TextTable | Kind::SecretTable => text_table(kind, value).is_some(),
        Kind::Metadata => metadata(kind, value).is_some(),
        Kind::Statuses => statuses(kind, value).is_some(),
        Kind::Amount => amount(kind, value).is_some(),
        Kind::Lists => lists(kind, value).is_some(),
        Kind::Split => split(kind, value).is_some(),
        Kind::Splits => splits(kind, value).is_some(),
        Kind::Chains => chains(kind, value).is_some(),
        Kind::Path | Kind::Filter | Kind::Text | Kind::AnyText | Kind::Url | Kind::Secret => {
            text(kind, value).is_some()
        }
    }
}

fn is_money(value: &DeValue<'_>) -> bool {
    number_text(value).is_some_and(|text| parse_usd(text).is_ok())
}

/// The digits of a number, which may stand in quotes.
fn number_text<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    let decimal = value.as_integer().filter(|number| number.radix() == 10);
    decimal
        .map(|number| number.as_str())
        .or_else(|| value.as_float().map(|number| number.as_str()))
        .or_else(|| value.as_str())
}

/// At most five flat entries of request metadata.
#[must_use]
pub fn metadata(_: &Kind, value: &DeValue<'_>) -> Option<BTreeMap<Box<str>, MetadataValue>> {
    let metadata = entries(value.as_table()?, |value| match value {
        DeValue::String(text) => Some(MetadataValue::Text((&**text).into())),
        DeValue::Boolean(flag) => Some(MetadataValue::Bool(*flag)),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(MetadataValue::Number(number.into()))
        }
        DeValue::Float(float) => {
            let number = serde_json::Number::from_f64(float.as_str().parse().ok()?)?;
            Some(MetadataValue::Number(number))
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    })?;
    (metadata.len() <= 5).then_some(metadata)
}

fn entries<T>(
    table: &DeTable<'_>,
    read: impl Fn(&DeValue<'_>) -> Option<T>,
) -> Option<BTreeMap<Box<str>, T>> {
    table
        .iter()
        .map(|(key, value)| Some(((&**key.get_ref()).into(), read(value.get_ref())?)))
        .collect()
}

#[cfg(test)]
mod tests;
