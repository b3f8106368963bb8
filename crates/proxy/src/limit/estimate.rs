//! What a request will draw, guessed before it is sent: input by tokenizer, output by the bound
//! that the request sets or by what the model's answers were like.

use std::collections::HashMap;

use isango_types::Operation;
use isango_wire::tokens::{self, Bound};
use parking_lot::Mutex;

use crate::call::CallBody;

/// How much text of a request is tokenized, in bytes: at most about 2 ms.
const MAX_COUNTED_BYTES: usize = 64 << 10;
/// Output of a model whose answers are not known, in tokens.
pub(crate) const DEFAULT_OUTPUT: u64 = 1_024;
/// Models whose answers are remembered.
const MAX_MODELS: usize = 1_024;
/// Answers from which on their distribution is believed; of fewer, the largest is doubled.
const FEW: u32 = 20;
/// Answers after which older ones count half.
const MANY: u32 = 4_096;
/// How many times the counted input is reserved for a model whose answers are not known, and how
/// much at least: another tokenizer, pictures, words that its provider adds.
const UNKNOWN_FACTOR: u64 = 4;
const UNKNOWN_INPUT: u64 = 256;
/// What 1 is where counted and told input are compared.
const ONE: u64 = 64;

/// What a request is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Provider and model, to learn from the answer.
    pub(crate) model: Box<str>,
    /// Tokens of input by our own count.
    pub(crate) counted: u64,
    /// Tokens of input that the provider may count.
    pub(crate) input: u64,
    /// Tokens of output that it may have.
    pub(crate) output: u64,
    /// Tokens of input and output that it has in all likelihood.
    pub(crate) likely: (u64, u64),
    /// How many answers are asked for.
    pub(crate) answers: u64,
    /// Tokens of output in all, where the request itself sets a bound.
    bound: Option<u64>,
    /// What the model called itself when it answered before.
    pub(crate) served: Option<Box<str>>,
}

impl Estimate {
    /// Guesses again: answers that came meanwhile may tell more.
    pub(crate) fn refresh(&mut self, observed: &Observed) {
        let usual = observed.of(&self.model);
        self.input = usual.input(self.counted);
        self.output = match self.bound {
            Some(bound) => bound,
            None => usual.output.saturating_mul(self.answers),
        };
        self.likely = usual.likely(self);
        self.served = usual.served;
    }
}

/// Estimates what `body` draws at `model` (of `provider`).
pub(crate) fn estimate(
    observed: &Observed,
    (provider, model): (&str, &str),
    operation: Operation,
    body: &CallBody,
) -> Estimate {
    let Bound {
        input,
        max_output,
        answers,
    } = match body {
        CallBody::Whole(whole) => tokens::bound(whole, model, MAX_COUNTED_BYTES),
        CallBody::Passing(passing) => Bound {
            input: unread_input(operation, passing.least_bytes()),
            max_output: None,
            answers: 1,
        },
        CallBody::Gone => Bound::default(),
    };
    let name: Box<str> = format!("{provider}/{model}").into();
    let bound = match (operation.has_output(), max_output) {
        (false, _) => Some(0),
        (true, max_output) => max_output.map(|most| most.saturating_mul(answers)),
    };
    let mut estimate = Estimate {
        model: name,
        counted: input,
        input,
        output: 0,
        likely: (0, 0),
        answers,
        bound,
        served: None,
    };
    estimate.refresh(observed);
    estimate
}

/// A body that was not read is an upload, or a prompt past what is looked at; four bytes of text
/// are about a token.
const fn unread_input(operation: Operation, bytes: u64) -> u64 {
    match operation.reads_text() {
        true => bytes / 4,
        false => 0,
    }
}

/// What the answers of each model were like.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<HashMap<Box<str>, Model>>);

#[derive(Debug, Default)]
struct Model {
    output: Sizes,
    /// Input as the provider told it over input as we counted it, in 64ths.
    input: Sizes,
    served: Option<Box<str>>,
}

/// What 19 of 20 answers of a model do not pass.
#[derive(Debug, PartialEq, Eq)]
struct Usual {
    output: u64,
    /// In 64ths of our own count; `None`: no answer is known.
    input: Option<u64>,
    /// The same of input and output, not doubled where few answers are known.
    likely: Option<(u64, u64)>,
    served: Option<Box<str>>,
}

impl Usual {
    fn input(&self, counted: u64) -> u64 {
        match self.input {
            Some(ratio) => by_ratio(counted, ratio),
            None => counted.saturating_mul(UNKNOWN_FACTOR).max(UNKNOWN_INPUT),
        }
    }

    /// What a request draws in all likelihood: no more than the known answers say, and all that is
    /// held for it where none is known.
    fn likely(&self, estimate: &Estimate) -> (u64, u64) {
        let Some((ratio, output)) = self.likely else {
            return (estimate.input, estimate.output);
        };
        let output = output.saturating_mul(estimate.answers);
        (
            by_ratio(estimate.counted, ratio),
            estimate.output.min(output),
        )
    }
}

/// So many counted tokens of input, as the provider counts them; never less.
fn by_ratio(counted: u64, ratio: u64) -> u64 {
    let scaled = u128::from(counted) * u128::from(ratio) / u128::from(ONE);
    u64::try_from(scaled).unwrap_or(u64::MAX).max(counted)
}

impl Observed {
    fn of(&self, model: &str) -> Usual {
        let observed = self.0.lock();
        match observed.get(model) {
            Some(model) => Usual {
                output: model.output.bound(),
                input: Some(model.input.bound()),
                likely: Some((model.input.p95(), model.output.p95())),
                served: model.served.clone(),
            },
            None => Usual {
                output: DEFAULT_OUTPUT,
                input: None,
                likely: None,
                served: None,
            },
        }
    }

    /// A request that was taken for `estimate` had so many tokens of input and output, and the
    /// answer named the model `served`.
    pub(crate) fn learn(
        &self,
        estimate: &Estimate,
        (input, output): (u64, u64),
        served: Option<&str>,
    ) {
        let mut observed = self.0.lock();
        let name = &estimate.model;
        if !observed.contains_key(name) {
            if observed.len() >= MAX_MODELS {
                return;
            }
            observed.insert(name.clone(), Model::default());
        }
        if let Some(model) = observed.get_mut(name) {
            model.output.add(output);
            let ratio = input.saturating_mul(ONE).div_ceil(estimate.counted.max(1));
            model.input.add(ratio);
            if model.served.as_deref() != served {
                model.served = served.map(Into::into);
            }
        }
    }
}

/// A histogram with four steps to each power of two, up to 2^24 tokens.
#[derive(Debug)]
struct Sizes {
    counts: [u16; 96],
    total: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            counts: [0; 96],
            total: 0,
        }
    }
}

impl Sizes {
    fn add(&mut self, output: u64) {
        if self.total >= MANY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        let step = step(output).min(self.counts.len() - 1);
        self.counts[step] = self.counts[step].saturating_add(1);
        self.total += 1;
    }

    /// [`Sizes::p95`]; of few answers, twice that.
    fn bound(&self) -> u64 {
        match self.total < FEW {
            true => self.p95().saturating_mul(2),
            false => self.p95(),
        }
    }

    fn p95(&self) -> u64 {
        let beyond = match self.total < FEW {
            true => 0,
            false => self.total / FEW,
        };
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate().rev() {
            seen += u32::from(*count);
            if seen > beyond {
                return top_of(step);
            }
        }
        DEFAULT_OUTPUT
    }
}

/// The step of a size: 0 to 3 are their own steps, then four for each power of two.
fn step(size: u64) -> usize {
    if size < 4 {
        return usize::try_from(size).unwrap_or(0);
    }
    let power = size.ilog2();
    let quarter = (size >> (power - 2)) & 3;
    usize::try_from(u64::from(power - 1) * 4 + quarter).unwrap_or(usize::MAX)
}

/// The largest size of a step.
const fn top_of(step: usize) -> u64 {
    let step = step as u64;
    if step < 4 {
        return step;
    }
    let (power, quarter) = (step / 4 + 1, step % 4);
    ((4 + quarter + 1) << (power - 2)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_size_lies_in_its_step_and_above_the_one_before(size in 0..16_000_000_u64) {
            let step = step(size);
            prop_assert!(size <= top_of(step));
            prop_assert!(step == 0 || size > top_of(step - 1));
            prop_assert!(top_of(step) <= size + size / 4 + 1);
        }

        #[test]
        fn no_more_than_one_in_twenty_answers_passes_the_guess(
            sizes in prop::collection::vec(0..100_000_u64, 20..400),
        ) {
            let mut all = Sizes::default();
            sizes.iter().for_each(|size| all.add(*size));
            let guess = all.p95();
            let beyond = sizes.iter().filter(|size| **size > guess).count();
            prop_assert!(beyond * 20 <= sizes.len(), "{beyond} of {}", sizes.len());
        }
    }

    #[test]
    fn a_model_is_known_by_its_answers_the_latest_above_all() {
        let observed = Observed::default();
        let estimate = |model: &str| Estimate {
            model: model.into(),
            counted: 20,
            input: 20,
            output: 0,
            likely: (0, 0),
            answers: 2,
            bound: None,
            served: None,
        };
        let check = |input, output, served: Option<&str>| {
            let mut again = estimate("openai/a");
            again.refresh(&observed);
            let told = (again.input, again.output, again.served.as_deref());
            assert_eq!(told, (input, 2 * output, served));
        };
        let learn = |input, output, served| {
            observed.learn(&estimate("openai/a"), (input, output), served);
        };
        check(UNKNOWN_INPUT, DEFAULT_OUTPUT, None);
        // One answer says little.
        learn(20, 10, Some("a-1"));
        check(49, 2 * 11, Some("a-1"));
        (0..5_000).for_each(|_| learn(40, 100, Some("a-2")));
        check(49, 111, Some("a-2"));
        // Never less than was counted.
        (0..60_000).for_each(|_| learn(2, 5, None));
        check(20, 5, None);
        (0..2 * MAX_MODELS).for_each(|n| observed.learn(&estimate(&n.to_string()), (1, 1), None));
        assert_eq!(observed.0.lock().len(), MAX_MODELS);
    }
}
