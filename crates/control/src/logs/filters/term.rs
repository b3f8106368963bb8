//! What a store makes of a filter of the contract, where it can: then a list is answered from its
//! columns, and its total is exact.
//!
//! It cannot where the contract asks what no field of the store's language does: a text regardless
//! of case, one name of a model, any key or value of metadata, the absence of a number.

use isango_store::filter::{
    CostValue, MetaValue, NumberField, Pattern, ReviewField, Span, StatusValue, Term, Test,
    TextField,
};
use isango_types::Timestamp;
use isango_types::record::CacheStatus;

use super::{Filter, Key, Operator, Wanted};

/// Microseconds of a millisecond.
const MILLI: u64 = 1_000;
/// Whole numbers up to here are exact.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl Filter {
    /// The term of the store's language that lets the same records pass; `None`: there is none.
    pub(in crate::logs) fn term(&self) -> Option<Term> {
        Some(Term {
            negated: self.operator == Operator::Neq,
            test: self.test()?,
        })
    }

    fn test(&self) -> Option<Test> {
        match self.key {
            Key::Id => self.texts(TextField::Id),
            Key::Provider => self.texts(TextField::Provider),
            Key::ModelType => self.texts(TextField::Operation),
            Key::EventId => self.texts(TextField::Event),
            Key::UserAgent => self.texts(TextField::UserAgent),
            Key::EntryName => self.entry(),
            Key::Success => self.flag().map(|is| {
                let value = if is {
                    StatusValue::Ok
                } else {
                    StatusValue::Error
                };
                Test::Status(vec![value])
            }),
            Key::Cached => self.flag().map(|is| {
                let such = CacheStatus::ALL
                    .into_iter()
                    .filter(|status| status.is_kept() == is);
                let such = such.map(|status| Pattern::exact(status.as_str()));
                Test::Text(TextField::Cache, such.collect())
            }),
            Key::Authentication => match self.flag()? {
                true => Some(Test::Text(TextField::Token, vec![Pattern::any()])),
                false => None,
            },
            Key::CreatedAt => self.times(),
            Key::Tokens => self.numbers(NumberField::Tokens),
            Key::TokensIn => self.numbers(NumberField::TokensIn),
            Key::TokensOut => self.numbers(NumberField::TokensOut),
            Key::Duration => self.millis(),
            Key::StatusCode => {
                let values = self.spans(whole)?.into_iter().map(StatusValue::Number);
                Some(Test::Status(values.collect()))
            }
            Key::Cost => {
                let spans = self.spans(nanos)?;
                Some(Test::Cost(
                    spans.into_iter().map(CostValue::Amount).collect(),
                ))
            }
            Key::Feedback => {
                let spans = self.spans(Some)?;
                Some(Test::Review(ReviewField::Feedback, spans))
            }
            Key::Model | Key::RequestContentType | Key::ResponseContentType | Key::EntryValue => {
                None
            }
        }
    }

    fn is_equality(&self) -> bool {
        matches!(self.operator, Operator::Eq | Operator::Neq)
    }

    fn texts(&self, field: TextField) -> Option<Test> {
        let texts = self.values.iter().map(|wanted| match wanted {
            Wanted::Text(text) if self.is_equality() => Some(Pattern::exact(text)),
            Wanted::Text(_)
            | Wanted::Number(_)
            | Wanted::Flag(_)
            | Wanted::Time(_)
            | Wanted::Null => None,
        });
        Some(Test::Text(field, texts.collect::<Option<_>>()?))
    }

    /// Whether there is metadata of a key.
    fn entry(&self) -> Option<Test> {
        match self.values.as_slice() {
            [Wanted::Text(key)] if self.is_equality() => {
                let any = MetaValue::Text(Pattern::any());
                Some(Test::Meta(key.as_str().into(), vec![any]))
            }
            _ => None,
        }
    }

    fn flag(&self) -> Option<bool> {
        match self.values.as_slice() {
            [Wanted::Flag(is)] if self.is_equality() => Some(*is),
            _ => None,
        }
    }

    fn times(&self) -> Option<Test> {
        let spans = self.values.iter().map(|wanted| match wanted {
            Wanted::Time(moment) => Some(self.span(Timestamp::as_micros(*moment))),
            Wanted::Text(_) | Wanted::Number(_) | Wanted::Flag(_) | Wanted::Null => None,
        });
        let spans = spans.collect::<Option<Option<Vec<_>>>>()??;
        Some(Test::Number(NumberField::Time, spans))
    }

    fn numbers(&self, field: NumberField) -> Option<Test> {
        Some(Test::Number(field, self.spans(whole)?))
    }

    /// Whole milliseconds of what the store has in microseconds.
    fn millis(&self) -> Option<Test> {
        let spans = self.spans(whole)?.into_iter().map(|span| {
            let first = |milli: u64| milli.saturating_mul(MILLI);
            let behind = |milli: u64| first(milli.saturating_add(1));
            match span {
                Span::Is(milli) => Span::Between(first(milli), behind(milli) - 1),
                Span::Above(milli) => Span::AtLeast(behind(milli)),
                Span::AtLeast(milli) => Span::AtLeast(first(milli)),
                Span::Below(milli) => Span::Below(first(milli)),
                Span::AtMost(milli) => Span::Below(behind(milli)),
                Span::Any | Span::Between(..) => span,
            }
        });
        Some(Test::Number(NumberField::Duration, spans.collect()))
    }

    fn spans<T: Copy>(&self, read: impl Fn(f64) -> Option<T>) -> Option<Vec<Span<T>>> {
        let spans = self.values.iter().map(|wanted| match wanted {
            Wanted::Number(number) => self.span(read(*number)?),
            Wanted::Text(_) | Wanted::Flag(_) | Wanted::Time(_) | Wanted::Null => None,
        });
        spans.collect()
    }

    const fn span<T: Copy>(&self, value: T) -> Option<Span<T>> {
        match self.operator {
            Operator::Eq | Operator::Neq => Some(Span::Is(value)),
            Operator::Lt => Some(Span::Below(value)),
            Operator::Gt => Some(Span::Above(value)),
            Operator::AtLeast => Some(Span::AtLeast(value)),
            Operator::AtMost => Some(Span::AtMost(value)),
            Operator::Contains => None,
        }
    }
}

/// A count; `None` for what no count is.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, not negative and exact"
    )]
    let is_count = |number: f64| number as u64;
    let is_whole = (0.0..=MAX_EXACT).contains(&number) && number.fract() == 0.0;
    is_whole.then(|| is_count(number))
}

/// Nano-dollars, where it is a number of them.
fn nanos(dollars: f64) -> Option<u64> {
    let nanos = (dollars * 1e9).round();
    whole(nanos).filter(|_| (nanos / 1e9).to_bits() == dollars.to_bits())
}
