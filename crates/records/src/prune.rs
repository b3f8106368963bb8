//! Which row groups need not be read for a filter, as their statistics and bloom filters tell.

use isango_store::filter::{
    CostValue, Filter, MetaValue, NumberField, Pattern, Span, StatusValue, Test, TextField,
};
use isango_types::RecordId;
use isango_types::record::CacheStatus;
use parquet::file::statistics::Statistics;

use crate::fields::{METADATA, Number, Text};
use crate::segment::Segment;
use crate::select::{column, number};

/// Whether a row group can hold a row that passes a filter.
pub(crate) fn may_match(segment: &Segment, group: usize, filter: &Filter) -> bool {
    let group = Group { segment, group };
    let terms = filter.terms().iter().filter(|term| !term.negated);
    terms.into_iter().all(|term| group.may_pass(&term.test))
}

/// What the footer says of a column of a row group.
enum Known<'s> {
    /// Nothing that helps.
    Nothing,
    /// No row has a value.
    Empty,
    /// The values lie between two, as far as they were written down.
    Numbers(u64, u64),
    Texts(&'s [u8], &'s [u8]),
}

struct Group<'s> {
    segment: &'s Segment,
    group: usize,
}

impl Group<'_> {
    fn may_pass(&self, test: &Test) -> bool {
        match test {
            Test::Body(_) | Test::Review(..) | Test::Number(NumberField::Tokens, _) => true,
            Test::Text(TextField::Id, any) => any.iter().any(|one| self.may_have_id(one)),
            Test::Text(TextField::Event, any) => any
                .iter()
                .any(|one| self.may_have_event(one) || self.may_have_id(one)),
            Test::Text(TextField::Model, any) => [Text::Model, Text::ModelRequested]
                .iter()
                .any(|column| self.may_have_text(column.name(), any.iter())),
            Test::Text(TextField::Cache, any)
                if any
                    .iter()
                    .any(|one| one.matches(CacheStatus::Bypass.as_str())) =>
            {
                true
            }
            Test::Text(field, any) => {
                column(*field).is_none_or(|column| self.may_have_text(column.name(), any.iter()))
            }
            Test::Meta(key, any) => self.may_have_metadata(key, any),
            Test::Number(field, any) => self.may_have_number(number(*field), any.iter().copied()),
            Test::Status(any) => any.iter().any(|value| match value {
                StatusValue::Number(span) => self.may_have_number(Number::Status, [*span]),
                StatusValue::Class(digit) => {
                    let span = Span::Between(digit * 100, digit * 100 + 99);
                    self.may_have_number(Number::Status, [span])
                }
                StatusValue::Error | StatusValue::Ok => true,
            }),
            Test::Cost(any) => any.iter().any(|value| match value {
                CostValue::Amount(span) => self.may_have_number(Number::Cost, [*span]),
                CostValue::Status(status) => {
                    let status = Pattern::exact(status.as_str());
                    self.may_have_text(Text::CostStatus.name(), [&status])
                }
            }),
            Test::Stream(_) => true,
        }
    }

    fn may_have_id(&self, pattern: &Pattern) -> bool {
        let holds = |id: RecordId| {
            let id = u128::from_be_bytes(*id.as_bytes());
            self.segment.may_hold(self.group, id)
        };
        match pattern.as_text() {
            Some(text) => text.parse().is_ok_and(holds),
            None => true,
        }
    }

    fn may_have_event(&self, pattern: &Pattern) -> bool {
        let name = Text::Event.name();
        self.may_have_text(name, [pattern])
            && pattern.as_text().is_none_or(|text| {
                let text = text.as_bytes();
                self.segment.may_hold_value(self.group, name, text)
            })
    }

    fn may_have_metadata(&self, key: &str, any: &[MetaValue]) -> bool {
        if self.segment.has_more() {
            return true;
        }
        let patterns = any.iter().filter_map(|value| match value {
            MetaValue::Text(pattern) => Some(pattern),
            MetaValue::Number(_) => None,
        });
        let has_number = any
            .iter()
            .any(|value| matches!(value, MetaValue::Number(_)));
        let name = format!("{METADATA}{key}");
        match self.known(&name) {
            // No row of the segment has the key.
            None => false,
            Some(Known::Empty) => false,
            Some(_) => has_number || self.may_have_text(&name, patterns),
        }
    }

    fn may_have_text<'p>(&self, column: &str, any: impl IntoIterator<Item = &'p Pattern>) -> bool {
        match self.known(column) {
            Some(Known::Empty) => false,
            Some(Known::Texts(first, last)) => any.into_iter().any(|pattern| {
                let beginning = pattern.beginning().as_bytes();
                let is_exact = pattern.as_text().is_some();
                beginning <= last
                    && (first <= beginning || (!is_exact && first.starts_with(beginning)))
            }),
            None | Some(Known::Nothing | Known::Numbers(..)) => true,
        }
    }

    fn may_have_number(&self, number: Number, any: impl IntoIterator<Item = Span<u64>>) -> bool {
        match self.known(number.name()) {
            Some(Known::Empty) => false,
            Some(Known::Numbers(first, last)) => any.into_iter().any(|span| {
                let (from, to) = span.ends();
                from <= last && first <= to
            }),
            None | Some(Known::Nothing | Known::Texts(..)) => true,
        }
    }

    /// `None` if there is no such column.
    fn known(&self, column: &str) -> Option<Known<'_>> {
        let (rows, statistics) = self.segment.statistics(self.group, column)?;
        let Some(statistics) = statistics else {
            return Some(Known::Nothing);
        };
        if statistics.null_count_opt() == Some(rows) {
            return Some(Known::Empty);
        }
        let known = match statistics {
            Statistics::Int64(range) => range
                .min_opt()
                .zip(range.max_opt())
                .map(|(min, max)| Known::Numbers(min.cast_unsigned(), max.cast_unsigned())),
            Statistics::ByteArray(range) => range
                .min_opt()
                .zip(range.max_opt())
                .map(|(min, max)| Known::Texts(min.data(), max.data())),
            Statistics::Boolean(_)
            | Statistics::Int32(_)
            | Statistics::Int96(_)
            | Statistics::Float(_)
            | Statistics::Double(_)
            | Statistics::FixedLenByteArray(_) => None,
        };
        Some(known.unwrap_or(Known::Nothing))
    }
}
