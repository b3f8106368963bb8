//! What a request will draw, guessed before it is sent: input by tokenizer, output by the bound
//! that the request sets or by what the model's answers were like.

use std::collections::HashMap;

use isango_types::Operation;
use isango_wire::tokens::{self, Bound};
use parking_lot::Mutex;

use crate::call::CallBody;
use crate::resolve::Route;

/// How much text of a request is tokenized, in bytes: at most about 2 ms.
const MAX_COUNTED_BYTES: usize = 64 << 10;
/// Output of a model whose answers are not known, in tokens.
pub(crate) const DEFAULT_OUTPUT: u64 = 1_024;
/// Gateways, and models of each, whose answers are remembered; beyond, those that were learned of
/// longest ago are forgotten.
const MAX_GATEWAYS: usize = 1_024;
const MAX_MODELS: usize = 256;
/// Models that answer under one name, and for how many answers one is kept that did not answer
/// again.
const MAX_SERVED: usize = 4;
const SERVED_FOR: u64 = 64;
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
    /// Whose answers tell of it: account and id of the gateway.
    pub(crate) gateway: Box<str>,
    /// Provider, target or resource, and model, to learn from the answer.
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
    /// Most characters that it can have to be spoken: bytes of its body.
    pub(crate) characters: u64,
    /// Tokens of output in all, where the request itself sets a bound.
    bound: Option<u64>,
    /// What the model called itself in answers before, mostly one name.
    pub(crate) served: Vec<Box<str>>,
    /// It has answered before: what it costs is known, or cannot be known.
    pub(crate) has_answered: bool,
    /// Nobody can tell what it is that is asked: a text that was not read may be for any model.
    is_blind: bool,
}

impl Estimate {
    /// The same request at another target.
    pub(crate) fn at(&self, observed: &Observed, asked: Asked<'_>) -> Self {
        let mut moved = Self {
            model: asked.name(),
            ..self.clone()
        };
        moved.refresh(observed);
        moved
    }

    /// Guesses again: answers that came meanwhile may tell more.
    pub(crate) fn refresh(&mut self, observed: &Observed) {
        let usual = observed.of(self);
        self.input = usual.input(self.counted);
        self.output = match self.bound {
            Some(bound) => bound,
            None => usual.output.saturating_mul(self.answers),
        };
        self.likely = usual.likely(self);
        // What answered before says nothing of what is asked now.
        let is_known = !self.is_blind;
        self.has_answered = usual.has_answered && is_known;
        self.served = usual.served;
        self.served.truncate(if is_known { MAX_SERVED } else { 0 });
    }
}

/// What a request asks for, and where. `model`: `None` where it cannot be told.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) route: &'a Route,
    pub(crate) model: Option<&'a str>,
    pub(crate) operation: Operation,
}

impl Asked<'_> {
    /// Whose answers tell of it.
    fn gateway(&self) -> Box<str> {
        let gateway = &self.route.gateway;
        format!("{}/{}", gateway.account, gateway.id).into()
    }

    /// The name that its answers are known by in its gateway. The same model may be deployed under
    /// one name at one place, and another under the same name elsewhere.
    fn name(&self) -> Box<str> {
        let route = self.route;
        let place = match &route.target {
            Some(target) => &*target.name,
            None => route.resource.as_deref().unwrap_or(""),
        };
        let mut model = self.model.unwrap_or("").to_owned();
        if route.deployment.is_some() {
            // The same in any case.
            model.make_ascii_lowercase();
        }
        format!("{}/{place}/{model}", route.provider.slug).into()
    }
}

/// Estimates what `body` draws.
pub(crate) fn estimate(observed: &Observed, asked: Asked<'_>, body: &CallBody) -> Estimate {
    let (operation, model) = (asked.operation, asked.model.unwrap_or(""));
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
    let bound = match (operation.has_output(), max_output) {
        (false, _) => Some(0),
        (true, max_output) => max_output.map(|most| most.saturating_mul(answers)),
    };
    let is_unread = matches!(body, CallBody::Passing(_)) && operation.reads_text();
    let mut estimate = Estimate {
        gateway: asked.gateway(),
        model: asked.name(),
        counted: input,
        input,
        output: 0,
        likely: (0, 0),
        answers,
        characters: match body {
            CallBody::Whole(whole) => whole.len() as u64,
            CallBody::Passing(passing) => passing.least_bytes(),
            CallBody::Gone => 0,
        },
        bound,
        served: Vec::new(),
        has_answered: false,
        is_blind: is_unread && asked.model.is_none(),
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

/// What the answers of each model were like, apart for each gateway: nobody's answers say what is
/// held for the requests of others.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    gateways: HashMap<Box<str>, Gateway>,
    /// Answers that were learned from.
    turn: u64,
}

#[derive(Debug, Default)]
struct Gateway {
    models: HashMap<Box<str>, Model>,
    learned: u64,
}

#[derive(Debug, Default)]
struct Model {
    output: Sizes,
    /// Input as the provider told it over input as we counted it, in 64ths.
    input: Sizes,
    /// Names that it gave itself, and which of its answers gave them last.
    served: Vec<(Box<str>, u64)>,
    answers: u64,
    learned: u64,
}

impl Model {
    fn called_itself(&mut self, name: Option<&str>) {
        self.answers += 1;
        let now = self.answers;
        if let Some(name) = name {
            self.served.retain(|(known, _)| **known != *name);
            self.served.insert(0, (name.into(), now));
            self.served.truncate(MAX_SERVED);
        }
        self.served.retain(|(_, last)| last + SERVED_FOR > now);
    }
}

/// What 19 of 20 answers of a model do not pass.
#[derive(Debug, PartialEq, Eq)]
struct Usual {
    output: u64,
    /// In 64ths of our own count; `None`: no answer is known.
    input: Option<u64>,
    /// The same of input and output, not doubled where few answers are known.
    likely: Option<(u64, u64)>,
    served: Vec<Box<str>>,
    has_answered: bool,
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
    fn of(&self, estimate: &Estimate) -> Usual {
        let known = self.0.lock();
        let models = known.gateways.get(&estimate.gateway);
        let model = models.and_then(|gateway| gateway.models.get(&estimate.model));
        let told = model.filter(|model| model.output.total > 0);
        let names = model.map_or(&[][..], |model| &model.served);
        Usual {
            output: told.map_or(DEFAULT_OUTPUT, |model| model.output.bound()),
            input: told.map(|model| model.input.bound()),
            likely: told.map(|model| (model.input.p95(), model.output.p95())),
            served: names.iter().map(|(name, _)| name.clone()).collect(),
            has_answered: model.is_some(),
        }
    }

    /// What the model that is asked for called itself of late; `None`: it has not answered.
    pub(super) fn served(&self, asked: Asked<'_>) -> Option<Vec<Box<str>>> {
        let known = self.0.lock();
        let models = known.gateways.get(&asked.gateway())?;
        let model = models.models.get(&asked.name())?;
        Some(model.served.iter().map(|(name, _)| name.clone()).collect())
    }

    /// A request that was taken for `estimate` was answered by the model `served`, as far as the
    /// answer named one. `told`: it had so many tokens of input and output.
    pub(crate) fn learn(
        &self,
        estimate: &Estimate,
        told: Option<(u64, u64)>,
        served: Option<&str>,
    ) {
        let mut known = self.0.lock();
        known.turn += 1;
        let turn = known.turn;
        let gateway = entry(
            &mut known.gateways,
            &estimate.gateway,
            MAX_GATEWAYS,
            |one| one.learned,
        );
        gateway.learned = turn;
        let model = entry(&mut gateway.models, &estimate.model, MAX_MODELS, |one| {
            one.learned
        });
        model.learned = turn;
        model.called_itself(served);
        if let Some((input, output)) = told {
            model.output.add(output);
            let ratio = input.saturating_mul(ONE).div_ceil(estimate.counted.max(1));
            model.input.add(ratio);
        }
    }
}

/// The entry of a name; a new one takes the place of the one that was learned of longest ago where
/// there are `most`.
fn entry<'m, T: Default>(
    all: &'m mut HashMap<Box<str>, T>,
    name: &str,
    most: usize,
    learned: fn(&T) -> u64,
) -> &'m mut T {
    if !all.contains_key(name) && all.len() >= most {
        let oldest = all.iter().min_by_key(|(_, one)| learned(one));
        let oldest = oldest.map(|(name, _)| name.clone());
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    all.entry(name.into()).or_default()
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

    fn of(gateway: &str, model: &str) -> Estimate {
        Estimate {
            gateway: gateway.into(),
            model: model.into(),
            counted: 20,
            input: 20,
            output: 0,
            likely: (0, 0),
            answers: 2,
            characters: 0,
            bound: None,
            served: Vec::new(),
            has_answered: false,
            is_blind: false,
        }
    }

    #[test]
    fn a_model_is_known_by_its_answers_the_latest_above_all() {
        let observed = Observed::default();
        let again = || {
            let mut again = of("local/g", "openai//a");
            again.refresh(&observed);
            again
        };
        let check = |input, output, served: &[&str]| {
            let again = again();
            let names: Vec<&str> = again.served.iter().map(|name| &**name).collect();
            assert_eq!(
                (again.input, again.output, &names[..]),
                (input, 2 * output, served)
            );
        };
        let learn = |told, served: Option<&str>| {
            observed.learn(&of("local/g", "openai//a"), told, served);
        };
        check(UNKNOWN_INPUT, DEFAULT_OUTPUT, &[]);
        assert!(!again().has_answered);
        // It answered, and did not tell anything.
        learn(None, None);
        assert!(again().has_answered);
        check(UNKNOWN_INPUT, DEFAULT_OUTPUT, &[]);
        // One answer says little.
        learn(Some((20, 10)), Some("a-1"));
        check(49, 2 * 11, &["a-1"]);
        (0..5_000).for_each(|_| learn(Some((40, 100)), Some("a-2")));
        check(49, 111, &["a-2"]);
        // Several answer under one name, of which the rarer is not forgotten at once.
        learn(Some((40, 100)), Some("a-1"));
        (0..SERVED_FOR - 1).for_each(|_| learn(Some((40, 100)), Some("a-2")));
        check(49, 111, &["a-2", "a-1"]);
        learn(Some((40, 100)), Some("a-2"));
        check(49, 111, &["a-2"]);
        (0..100).for_each(|n| learn(Some((40, 100)), Some(&format!("b-{n}"))));
        assert_eq!(again().served.len(), MAX_SERVED);
        // Never less than was counted.
        (0..60_000).for_each(|_| learn(Some((2, 5)), None));
        check(20, 5, &[]);
    }

    #[test]
    fn gateways_know_their_own_answers_and_forget_the_oldest() {
        let observed = Observed::default();
        let learn = |gateway: &str, model: &str| {
            observed.learn(&of(gateway, model), Some((1, 1)), None);
        };
        let knows = |gateway, model| {
            let mut again = of(gateway, model);
            again.refresh(&observed);
            again.has_answered
        };
        learn("local/g", "a");
        learn("local/h", "b");
        assert!(knows("local/g", "a") && !knows("local/g", "b") && !knows("local/h", "a"));
        // Made-up names crowd out those of their own gateway only.
        (0..2 * MAX_MODELS).for_each(|n| learn("local/g", &n.to_string()));
        assert!(!knows("local/g", "a") && knows("local/h", "b"));
        let known = observed.0.lock();
        assert_eq!(known.gateways["local/g"].models.len(), MAX_MODELS);
        drop(known);
        (0..2 * MAX_GATEWAYS).for_each(|n| learn(&n.to_string(), "a"));
        assert_eq!(observed.0.lock().gateways.len(), MAX_GATEWAYS);
    }

    #[test]
    fn a_text_that_nobody_read_may_be_for_any_model() {
        let observed = Observed::default();
        let mut blind = Estimate {
            is_blind: true,
            ..of("local/g", "openai//")
        };
        observed.learn(&blind, Some((1, 1)), Some("gpt-4o"));
        blind.refresh(&observed);
        assert_eq!((blind.has_answered, blind.served.len()), (false, 0));
    }
}
