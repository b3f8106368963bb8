//! How a filter is spelled: parsing, errors that help, and the names of things.

use std::fmt;

use isango_types::operation::Operation;
use isango_types::record::{Blame, CacheStatus, Outcome};
use isango_types::{RecordId, Timestamp, nearest};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};

use super::search::Needle;
use super::units::{COST_STATUSES, NANOS_PER_DOLLAR, duration, scaled};
use super::{
    CostValue, Field, Filter, MetaValue, NumberField, Pattern, ReviewField, Span, StatusValue,
    Term, Test, TextField,
};

/// Longest filter, in bytes.
pub const MAX_BYTES: usize = 4_096;

/// Every field and its names; the first one of a field is the one that it is displayed with.
pub(super) const FIELDS: [(&str, Field); 32] = [
    ("id", Field::Text(TextField::Id)),
    ("event", Field::Text(TextField::Event)),
    ("account", Field::Text(TextField::Account)),
    ("gateway", Field::Text(TextField::Gateway)),
    ("provider", Field::Text(TextField::Provider)),
    ("target", Field::Text(TextField::Target)),
    ("resource", Field::Text(TextField::Resource)),
    ("model", Field::Text(TextField::Model)),
    ("deployment", Field::Text(TextField::Deployment)),
    ("operation", Field::Text(TextField::Operation)),
    ("op", Field::Text(TextField::Operation)),
    ("status", Field::Status),
    ("outcome", Field::Text(TextField::Outcome)),
    ("cache", Field::Text(TextField::Cache)),
    ("blame", Field::Text(TextField::Blame)),
    ("code", Field::Text(TextField::Code)),
    ("stream", Field::Stream),
    ("cost", Field::Cost),
    ("tokens", Field::Number(NumberField::Tokens)),
    ("tokens_in", Field::Number(NumberField::TokensIn)),
    ("tokens_out", Field::Number(NumberField::TokensOut)),
    ("attempts", Field::Number(NumberField::Attempts)),
    ("duration", Field::Number(NumberField::Duration)),
    ("ttft", Field::Number(NumberField::Ttft)),
    ("ttfb", Field::Number(NumberField::Ttfb)),
    ("time", Field::Number(NumberField::Time)),
    ("feedback", Field::Review(ReviewField::Feedback)),
    ("score", Field::Review(ReviewField::Score)),
    ("method", Field::Text(TextField::Method)),
    ("path", Field::Text(TextField::Path)),
    ("token", Field::Text(TextField::Token)),
    ("user_agent", Field::Text(TextField::UserAgent)),
];

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A term names a field that there is not.
    #[error(
        "there is no field `{name}`{}; fields are {}, meta.<key>; a text to search for that holds \
         one of `:=<>` needs quotes",
        help.as_ref().map(|help| format!(", {help}")).unwrap_or_default(),
        FIELDS.map(|(name, _)| name).join(", ")
    )]
    UnknownField {
        /// The name as it was given.
        name: String,
        /// Advice: the valid name that is most like it.
        help: Option<String>,
    },
    /// A field cannot have this value.
    #[error("`{value}` is no value for `{field}`: expected {expected}")]
    BadValue {
        /// The field.
        field: String,
        /// The value as it was given.
        value: String,
        /// What the field takes.
        expected: String,
    },
    /// A term ends where a value should follow.
    #[error("`{0}` needs a value, as in `{0}:value`")]
    NoValue(String),
    /// A `"` has no second one; the number is its place, in bytes.
    #[error("the quote at byte {0} is not closed")]
    OpenQuote(usize),
    /// The text is longer than [`MAX_BYTES`].
    #[error("a filter has at most {MAX_BYTES} bytes")]
    TooLong,
}

impl Filter {
    /// Reads a filter. `now` is what relative times (`time:>-1h`) count from.
    ///
    /// # Errors
    /// The text is no filter; the error says what would be.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, FilterError> {
        if text.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let mut parser = Parser { text, at: 0, now };
        let mut terms = Vec::new();
        while parser.skip_spaces() {
            terms.push(parser.term()?);
        }
        Ok(Self { terms })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    now: Timestamp,
}

/// One value of a list as it is spelled: the pieces between its unquoted `*`.
struct Word {
    pieces: Vec<Box<str>>,
    /// Whether any of it was in quotes, so that it is a text and nothing else.
    quoted: bool,
}

impl Word {
    /// The word as one text.
    fn text(&self) -> String {
        self.pieces.join("*")
    }

    fn is_any(&self) -> bool {
        !self.quoted && self.pieces.iter().map(|piece| &**piece).eq(["", ""])
    }
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Moves to the next term; false at the end.
    fn skip_spaces(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.at < self.text.len()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        let negated = {
            let mut behind = self.rest().chars();
            behind.next() == Some('-') && behind.next().is_some_and(|next| !next.is_whitespace())
        };
        if negated {
            self.at += 1;
        }
        let start = self.at;
        let Some((name, key)) = self.field_name()? else {
            self.at = start;
            let test = Test::Body(needle(&self.word(&|_| false)?)?);
            return Ok(Term { negated, test });
        };
        let differs = self.take("!=");
        if !differs && !self.take(":") {
            self.take("=");
        }
        let test = match key {
            Some(key) => Test::Meta(key.into(), self.list(&name, Self::meta)?),
            None => self.field_test(&name)?,
        };
        Ok(Term {
            negated: negated != differs,
            test,
        })
    }

    /// The name before an operator, and the key of a metadata field; `None` when what follows is
    /// no `field:value`. Stops at the operator.
    fn field_name(&mut self) -> Result<Option<(String, Option<String>)>, FilterError> {
        for prefix in ["meta.", "metadata."] {
            let start = self.at;
            if self.take(prefix) {
                let key = self.word(&is_operator)?.text();
                if is_operator(self.rest()) && !key.is_empty() {
                    return Ok(Some((format!("meta.{key}"), Some(key))));
                }
                self.at = start;
            }
        }
        let rest = self.rest();
        let end = rest.char_indices().map(|(at, _)| at).find(|&at| {
            is_operator(&rest[at..])
                || rest[at..].starts_with(|c: char| c == '"' || c.is_whitespace())
        });
        match end {
            Some(end) if end > 0 && is_operator(&rest[end..]) => {
                let name = rest[..end].to_owned();
                self.at += end;
                Ok(Some((name, None)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Reads up to a space or to where `stops` says so, both outside of quotes.
    fn word(&mut self, stops: &dyn Fn(&str) -> bool) -> Result<Word, FilterError> {
        let mut word = Word {
            pieces: Vec::new(),
            quoted: false,
        };
        let mut piece = String::new();
        while let Some(c) = self.rest().chars().next() {
            if c.is_whitespace() || stops(self.rest()) {
                break;
            }
            if c == '"' {
                word.quoted = true;
                self.quoted(&mut piece)?;
                continue;
            }
            self.at += c.len_utf8();
            if c == '*' {
                // Two stars in a row say no more than one.
                if !piece.is_empty() || word.pieces.is_empty() {
                    word.pieces.push(std::mem::take(&mut piece).into());
                }
            } else {
                piece.push(c);
            }
        }
        word.pieces.push(piece.into());
        Ok(word)
    }

    fn quoted(&mut self, out: &mut String) -> Result<(), FilterError> {
        let start = self.at;
        let mut chars = self.text[start + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + 1 + at + 1;
                    return Ok(());
                }
                '\\' => match chars.next() {
                    Some((_, next @ ('"' | '\\'))) => out.push(next),
                    Some((_, next)) => out.extend(['\\', next]),
                    None => break,
                },
                other => out.push(other),
            }
        }
        Err(FilterError::OpenQuote(start))
    }

    /// The comma-separated values of a field.
    fn list<T>(
        &mut self,
        field: &str,
        read: impl Fn(&Self, &str, &Word) -> Result<T, FilterError>,
    ) -> Result<Vec<T>, FilterError> {
        let mut values = Vec::new();
        loop {
            let word = self.word(&|rest| rest.starts_with(','))?;
            if !word.quoted && word.text().is_empty() {
                return Err(FilterError::NoValue(field.into()));
            }
            values.push(read(self, field, &word)?);
            if !self.take(",") {
                return Ok(values);
            }
        }
    }

    fn field_test(&mut self, name: &str) -> Result<Test, FilterError> {
        let lower = name.to_ascii_lowercase();
        let Some((name, field)) = FIELDS.iter().find(|(known, _)| *known == lower) else {
            return Err(FilterError::UnknownField {
                name: name.into(),
                help: nearest(&lower, FIELDS.iter().map(|(name, _)| *name)),
            });
        };
        Ok(match *field {
            Field::Text(field) => Test::Text(
                field,
                self.list(name, |_, name, word| text_value(field, name, word))?,
            ),
            Field::Number(field) => Test::Number(
                field,
                self.list(name, |parser, name, word| parser.number(field, name, word))?,
            ),
            Field::Review(field) => Test::Review(
                field,
                self.list(name, |_, name, word| review(field, name, word))?,
            ),
            Field::Status => Test::Status(self.list(name, |_, name, word| status(name, word))?),
            Field::Cost => Test::Cost(self.list(name, |_, name, word| cost(name, word))?),
            Field::Stream => {
                let word = self.word(&|_| false)?;
                match &*word.text() {
                    "true" => Test::Stream(true),
                    "false" => Test::Stream(false),
                    _ => return Err(bad(name, &word, "`true` or `false`")),
                }
            }
        })
    }

    fn meta(&self, field: &str, word: &Word) -> Result<MetaValue, FilterError> {
        match span(word, finite) {
            Some(Span::Any | Span::Is(_)) => Ok(MetaValue::Text(pattern(word))),
            Some(span) => Ok(MetaValue::Number(span)),
            None if !word.quoted && word.text().starts_with(['<', '>']) => Err(bad(
                field,
                word,
                "a number to compare with, or a text in quotes",
            )),
            None => Ok(MetaValue::Text(pattern(word))),
        }
    }

    fn number(
        &self,
        field: NumberField,
        name: &str,
        word: &Word,
    ) -> Result<Span<u64>, FilterError> {
        let (found, expected) = match field {
            NumberField::Tokens
            | NumberField::TokensIn
            | NumberField::TokensOut
            | NumberField::Attempts => (
                span(word, |text| text.parse().ok()),
                "a number, as in `100`, `>100` or `10..20`",
            ),
            NumberField::Duration | NumberField::Ttfb | NumberField::Ttft => (
                span(word, duration),
                "a time with its unit (us, ms, s, m, h), as in `>2s` or `100ms..1.5s`",
            ),
            NumberField::Time => (
                span(word, |text| self.moment(text)).map(|span| whole_day(span, &word.text())),
                "a date, an RFC 3339 time or a time ago, as in `2026-11-22`, \
                 `>2026-11-22T16:00:00Z` or `>-1h`",
            ),
        };
        found.ok_or_else(|| bad(name, word, expected))
    }

    /// A moment in microseconds: RFC 3339, a date (its beginning in UTC), or relative to now.
    fn moment(&self, text: &str) -> Option<u64> {
        if text == "now" {
            return Some(self.now.as_micros());
        }
        if let Some(ago) = text.strip_prefix('-') {
            return Some(self.now.as_micros().saturating_sub(duration(ago)?));
        }
        if is_date(text) {
            return Timestamp::parse(&format!("{text}T00:00:00Z"))
                .ok()
                .map(Timestamp::as_micros);
        }
        Timestamp::parse(text).ok().map(Timestamp::as_micros)
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether a text that follows a name begins with an operator.
fn is_operator(rest: &str) -> bool {
    rest.starts_with([':', '=', '<', '>']) || rest.starts_with("!=")
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && !text.contains(['T', 't', ' '])
}

/// A date alone means all of its day.
fn whole_day(span: Span<u64>, text: &str) -> Span<u64> {
    if let Span::Is(start) = span
        && is_date(text)
    {
        return Span::Between(start, start + 86_400_000_000 - 1);
    }
    span
}

/// Words to find, with a `*` where they may begin or end within a word.
fn needle(word: &Word) -> Result<Needle, FilterError> {
    let mut pieces = &word.pieces[..];
    let mut open = [false; 2];
    if let Some((first, rest)) = pieces
        .split_first()
        .filter(|(first, rest)| first.is_empty() && !rest.is_empty())
    {
        (pieces, open[0]) = (rest, first.is_empty());
    }
    if let Some((last, rest)) = pieces
        .split_last()
        .filter(|(last, rest)| last.is_empty() && !rest.is_empty())
    {
        (pieces, open[1]) = (rest, last.is_empty());
    }
    match pieces {
        [text] if !text.is_empty() => Ok(Needle::new(text, open)),
        [_] | [] => Err(FilterError::NoValue("\"\"".into())),
        _ => Err(bad(
            "text",
            word,
            "words with a `*` before or behind them, or in quotes",
        )),
    }
}

fn pattern(word: &Word) -> Pattern {
    Pattern {
        pieces: word.pieces.clone(),
    }
}

fn bad(field: &str, word: &Word, expected: &str) -> FilterError {
    FilterError::BadValue {
        field: field.into(),
        value: word.text(),
        expected: expected.into(),
    }
}

/// Reads a number, a comparison or a range; `None` if the word is none of them.
fn span<T: PartialOrd + Copy>(word: &Word, read: impl Fn(&str) -> Option<T>) -> Option<Span<T>> {
    if word.quoted {
        return None;
    }
    if word.is_any() {
        return Some(Span::Any);
    }
    let text = word.text();
    if let Some(number) = text.strip_prefix(">=") {
        return read(number).map(Span::AtLeast);
    }
    if let Some(number) = text.strip_prefix('>') {
        return read(number).map(Span::Above);
    }
    if let Some(number) = text.strip_prefix("<=") {
        return read(number).map(Span::AtMost);
    }
    if let Some(number) = text.strip_prefix('<') {
        return read(number).map(Span::Below);
    }
    match text.split_once("..") {
        None => read(&text).map(Span::Is),
        Some(("", "")) => None,
        Some((from, "")) => read(from).map(Span::AtLeast),
        Some(("", to)) => read(to).map(Span::AtMost),
        Some((from, to)) => {
            let (from, to) = (read(from)?, read(to)?);
            (from <= to).then_some(Span::Between(from, to))
        }
    }
}

fn text_value(field: TextField, name: &str, word: &Word) -> Result<Pattern, FilterError> {
    let mut pattern = pattern(word);
    if pattern.pieces.len() == 1 {
        let text = &*pattern.pieces[0];
        let known = match field {
            TextField::Operation => closed::<Operation>(text),
            TextField::Outcome => closed::<Outcome>(text),
            TextField::Cache => closed::<CacheStatus>(text),
            TextField::Blame => closed::<Blame>(text),
            TextField::Id => match text.parse::<RecordId>() {
                Ok(id) => {
                    return Ok(Pattern {
                        pieces: vec![id.to_string().into()],
                    });
                }
                Err(_) => Err("a UUID, or the beginning of one with a `*`".into()),
            },
            TextField::Event
            | TextField::Account
            | TextField::Gateway
            | TextField::Provider
            | TextField::Target
            | TextField::Resource
            | TextField::Model
            | TextField::Deployment
            | TextField::Code
            | TextField::Method
            | TextField::Path
            | TextField::Token
            | TextField::UserAgent => Ok(()),
        };
        known.map_err(|expected| bad(name, word, &expected))?;
    }
    if field == TextField::Id {
        for piece in &mut pattern.pieces {
            *piece = piece.to_ascii_lowercase().into();
        }
    }
    Ok(pattern)
}

/// Whether `text` names a member of a closed set; the error lists them.
fn closed<'de, T: Deserialize<'de>>(text: &'de str) -> Result<(), String> {
    let name: StrDeserializer<'de, NameError> = text.into_deserializer();
    T::deserialize(name).map(drop).map_err(|error| {
        let text = error.to_string();
        text.split_once("expected ")
            .map(|(_, expected)| expected.to_owned())
            .unwrap_or(text)
    })
}

fn status(name: &str, word: &Word) -> Result<StatusValue, FilterError> {
    let text = word.text();
    let class = text.strip_suffix("xx").and_then(|digit| digit.parse().ok());
    match (&*text, class) {
        ("error", _) => Ok(StatusValue::Error),
        ("ok", _) => Ok(StatusValue::Ok),
        (_, Some(class @ 1..=9)) if text.len() == 3 => Ok(StatusValue::Class(class)),
        _ => span(word, |text| text.parse().ok())
            .map(StatusValue::Number)
            .ok_or_else(|| {
                bad(
                    name,
                    word,
                    "a status, as in `429`, `4xx`, `>=400`, `400..499`, `error` or `ok`",
                )
            }),
    }
}

fn review(field: ReviewField, name: &str, word: &Word) -> Result<Span<f64>, FilterError> {
    let expected = match field {
        ReviewField::Feedback => "-1, 0 or 1, or `*` for any",
        ReviewField::Score => "a number, as in `100`, `>50` or `10..20`",
    };
    span(word, finite).ok_or_else(|| bad(name, word, expected))
}

fn cost(name: &str, word: &Word) -> Result<CostValue, FilterError> {
    let text = word.text();
    if let Some((_, status)) = COST_STATUSES.iter().find(|(name, _)| *name == text) {
        return Ok(CostValue::Status(*status));
    }
    span(word, |text| scaled(text, NANOS_PER_DOLLAR))
        .map(CostValue::Amount)
        .ok_or_else(|| {
            let statuses = COST_STATUSES.map(|(name, _)| name).join(", ");
            let expected = format!(
                "dollars with at most 9 decimals, as in `>0.01` or `0.1..2`, or {statuses}"
            );
            bad(name, word, &expected)
        })
}

/// Writes a text so that it is read as one piece of text and nothing else.
pub(super) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/');
    if !text.is_empty() && text.chars().all(is_plain) {
        return write!(f, "{text}");
    }
    write!(f, "\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Writes the pieces of a pattern with a `*` between.
pub(super) fn write_pattern(f: &mut fmt::Formatter<'_>, pieces: &[Box<str>]) -> fmt::Result {
    for (n, piece) in pieces.iter().enumerate() {
        if n > 0 {
            write!(f, "*")?;
        }
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | ':' | '@' | '.');
        let looks_like_range = piece.contains("..");
        if (piece.is_empty() && pieces.len() > 1)
            || (!piece.is_empty() && piece.chars().all(is_plain) && !looks_like_range)
        {
            write!(f, "{piece}")?;
        } else {
            write_quoted(f, piece)?;
        }
    }
    Ok(())
}
