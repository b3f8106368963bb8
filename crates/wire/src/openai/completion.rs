//! A whole completion as nearly all providers answer it, read in one pass.

use std::marker::PhantomData;

use isango_types::Operation;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::usage::Counts;
use crate::json::Text;
use crate::read::Reading;

/// What is read of a completion. With a member that would need a closer look, or one that stands
/// twice, it is none.
#[derive(Deserialize)]
struct Completion<'j> {
    #[serde(borrow)]
    id: Option<Text<'j>>,
    #[serde(borrow)]
    model: Option<Text<'j>>,
    #[serde(borrow)]
    choices: First<'j>,
    usage: Option<Counts>,
    #[serde(default, rename = "status")]
    _status: Never,
    #[serde(default, rename = "incomplete_details")]
    _incomplete: Never,
    #[serde(default, rename = "result")]
    _result: Never,
    #[serde(default, rename = "output")]
    _output: Never,
    #[serde(default, rename = "error")]
    _error: Never,
}

/// A member that a usual completion does not have.
#[derive(Default)]
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("a completion that is not a usual one"))
    }
}

/// The first of the choices.
#[derive(Default)]
struct First<'j>(Option<Choice<'j>>);

#[derive(Deserialize)]
struct Choice<'j> {
    #[serde(borrow)]
    finish_reason: Option<Text<'j>>,
}

impl<'de: 'j, 'j> Deserialize<'de> for First<'j> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_seq(FirstVisitor(PhantomData))
    }
}

struct FirstVisitor<'j>(PhantomData<&'j str>);

impl<'de: 'j, 'j> Visitor<'de> for FirstVisitor<'j> {
    type Value = First<'j>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<First<'j>, A::Error> {
        let first = choices.next_element()?;
        if first.is_some() {
            while choices.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(First(first))
    }
}

/// Reads `body` into `out` if it is a usual completion, and so one valid JSON document; whether it
/// was. Where not, nothing is changed.
pub(super) fn read(operation: Operation, body: &str, out: &mut Reading) -> bool {
    if !matches!(operation, Operation::Chat | Operation::TextCompletion) {
        return false;
    }
    let Ok(completion) = serde_json::from_str::<Completion<'_>>(body) else {
        return false;
    };
    let label = |text: Option<Text<'_>>| {
        text.filter(|Text(text)| !text.is_empty())
            .map(|Text(text)| Box::from(text))
    };
    let reason = completion.choices.0.and_then(|first| first.finish_reason);
    out.id = label(completion.id).or(out.id.take());
    out.model = label(completion.model).or(out.model.take());
    out.finish_reason = label(reason).or(out.finish_reason.take());
    let usage = completion.usage.and_then(|told| told.usage(operation));
    out.usage = usage.or(out.usage);
    true
}
