//! Filters as text, which parses to the same filter.

use std::fmt;

use super::parse::{FIELDS, write_pattern, write_quoted};
use super::{CostValue, Field, Filter, MetaValue, Span, StatusValue, Test, units};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.terms.iter().enumerate() {
            let space = if n > 0 { " " } else { "" };
            let minus = if term.negated { "-" } else { "" };
            write!(f, "{space}{minus}{}", term.test)?;
        }
        Ok(())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(needle) => {
                let [start, end] = needle.open().map(|is_open| if is_open { "*" } else { "" });
                write!(f, "{start}")?;
                write_quoted(f, needle.as_str())?;
                write!(f, "{end}")
            }
            Self::Text(field, any) => {
                write!(f, "{}:", Field::Text(*field).name())?;
                write_list(f, any, |f, pattern| write_pattern(f, &pattern.pieces))
            }
            Self::Meta(key, any) => {
                write!(f, "meta.")?;
                write_quoted(f, key)?;
                write!(f, ":")?;
                write_list(f, any, |f, value| match value {
                    MetaValue::Text(pattern) => write_pattern(f, &pattern.pieces),
                    MetaValue::Number(span) => span.write(f, &|number| number.to_string()),
                })
            }
            Self::Number(field, any) => {
                write!(f, "{}:", Field::Number(*field).name())?;
                write_list(f, any, |f, span| {
                    span.write(f, &|number| field.spell(number))
                })
            }
            Self::Status(any) => {
                write!(f, "status:")?;
                write_list(f, any, |f, value| match value {
                    StatusValue::Number(span) => span.write(f, &|number| number.to_string()),
                    StatusValue::Class(digit) => write!(f, "{digit}xx"),
                    StatusValue::Error => write!(f, "error"),
                    StatusValue::Ok => write!(f, "ok"),
                })
            }
            Self::Cost(any) => {
                write!(f, "cost:")?;
                write_list(f, any, |f, value| match value {
                    CostValue::Amount(span) => span.write(f, &units::spell_cost),
                    CostValue::Status(status) => write!(f, "{}", units::cost_status_name(*status)),
                })
            }
            Self::Review(field, any) => {
                write!(f, "{}:", Field::Review(*field).name())?;
                write_list(f, any, |f, span| {
                    span.write(f, &|number| number.to_string())
                })
            }
            Self::Stream(stream) => write!(f, "stream:{stream}"),
        }
    }
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    values: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            write!(f, ",")?;
        }
        write(f, value)?;
    }
    Ok(())
}

impl<T: Copy> Span<T> {
    fn write(self, f: &mut fmt::Formatter<'_>, spell: &dyn Fn(T) -> String) -> fmt::Result {
        match self {
            Self::Any => write!(f, "*"),
            Self::Is(value) => write!(f, "{}", spell(value)),
            Self::Above(value) => write!(f, ">{}", spell(value)),
            Self::AtLeast(value) => write!(f, ">={}", spell(value)),
            Self::Below(value) => write!(f, "<{}", spell(value)),
            Self::AtMost(value) => write!(f, "<={}", spell(value)),
            Self::Between(from, to) => write!(f, "{}..{}", spell(from), spell(to)),
        }
    }
}

impl Field {
    /// The name that the text form uses.
    fn name(self) -> &'static str {
        FIELDS
            .iter()
            .find(|(_, field)| *field == self)
            .map_or("", |(name, _)| name)
    }
}
