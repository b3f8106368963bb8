//! What an exchange used, what that costs, and what it draws from limits.

use isango_types::limit::Decision;
use isango_types::price::{CostStatus, CustomCost, format_usd};
use isango_types::record::{Attempt, Outcome};
use isango_types::{Cost, Operation, Usage, Wire};
use isango_wire::read::Reading;
use isango_wire::tokens;

use super::bodies::Sent;
use super::served_model;
use crate::exchange::Draft;
use crate::limit::{DEFAULT_OUTPUT, Spent};
use crate::resolve::Route;

static FREE: Cost = Cost::free();
/// How long a model is given to begin, in microseconds, and how many tokens a second it is presumed
/// to bring while nobody sees it.
const BEGINS_WITHIN_US: u64 = 1_000_000;
const UNSEEN_PER_S: u64 = 100;

/// The attempts; of several, each with what it cost: the one whose answer was relayed as much as the
/// exchange, a refusal or what was never sent nothing, and all else nobody knows.
pub(super) fn attempts(draft: &mut Draft, cost: &Cost) -> Vec<Attempt> {
    let mut attempts = std::mem::take(&mut draft.attempts);
    if attempts.len() < 2 {
        return attempts;
    }
    let relayed = draft.status.filter(|_| is_success(draft));
    let mut relayed = relayed.map(|status| (draft.step, Some(status.as_u16())));
    for attempt in attempts.iter_mut().rev() {
        let is_unknown = draft.operation.is_billed() && may_have_worked(attempt);
        attempt.cost = Some(if relayed == Some((attempt.step, attempt.status)) {
            relayed = None;
            cost.clone()
        } else if is_unknown {
            Cost::default()
        } else {
            Cost::free()
        });
    }
    attempts
}

/// Settles what the exchange held of its gateway's limits; `docs/limits.md` has the table. `paid`:
/// usage and cost, if the answer was not one that was paid for before.
pub(super) fn settle_limits(
    draft: &mut Draft,
    reading: &Reading,
    paid: Option<(Option<&Usage>, &Cost)>,
) -> Vec<Decision> {
    let Some(mut permit) = draft.permit.take() else {
        return Vec::new();
    };
    let was_sent = !draft.attempts.is_empty();
    let succeeded = is_success(draft);
    // Nobody saw an answer begin: the provider may have worked on it all the same.
    let unseen = is_unseen(draft);
    let (usage, cost) = paid.unwrap_or((None, &FREE));
    let told = usage.filter(|usage| usage.total() <= Usage::MAX_TOKENS);
    let (tokens, nanousd) = match (was_sent, succeeded, told) {
        _ if paid.is_none() => (Some(0), Some(0)),
        (true, _, Some(usage)) if succeeded || unseen => {
            (Some(usage.total()), drawn_cost(draft, reading, usage, cost))
        }
        (true, true, None) if draft.operation.is_billed() => (None, cost.nanousd),
        (true, _, _) if unseen => (None, None),
        (_, _, _) => (Some(0), Some(0)),
    };
    let spent = Spent {
        requests: u64::from(was_sent || succeeded),
        tokens,
        nanousd,
        answered: was_sent && succeeded,
        told: told.filter(|_| succeeded).and_then(|usage| {
            let (input, output) = (usage.total_input(), usage.total_output());
            let is = |outcome| draft.outcome == Some(outcome);
            // What was ended would have gone on.
            let longer = is(Outcome::Overrun).then(|| output.saturating_mul(2));
            let known = longer.or(is(Outcome::Answered).then_some(output));
            known.map(|output| (input, output))
        }),
        served: reading.model.as_deref(),
    };
    if let Some(route) = &draft.route {
        permit.note_spent(draft.id, &route.gateway, &spent);
    }
    draft.pledge = permit.take_pledge();
    permit.settle(&spent)
}

/// What an exchange draws from limits of cost. A client that sets the cost of its own request sets
/// it no lower there than the list does.
fn drawn_cost(draft: &Draft, reading: &Reading, usage: &Usage, cost: &Cost) -> Option<u64> {
    let listed = match (cost.status, &draft.route) {
        (CostStatus::Custom, Some(route)) => listed_cost(draft, route, reading, usage).nanousd,
        (_, _) => None,
    };
    Some(cost.nanousd.unwrap_or(0).max(listed.unwrap_or(0)))
}

fn is_success(draft: &Draft) -> bool {
    draft.status.is_some_and(|status| status.is_success()) && draft.error.is_none()
}

/// What the provider told, else what we count of what was delivered, and presume of what nobody saw.
pub(super) fn usage(draft: &Draft, asked: &Sent, reading: &Reading) -> Option<Usage> {
    let known = reading.usage.or_else(|| counted(draft, asked, reading));
    let mut usage = known?;
    if usage.estimated && writes_text(draft) {
        let unseen = unseen_output(draft, reading, usage.total_output());
        match reading.delivered_text.is_empty() {
            true => usage.output = usage.output.saturating_add(unseen),
            // What was thought before the first word.
            false => usage.reasoning = usage.reasoning.saturating_add(unseen),
        }
    }
    Some(usage)
}

const fn writes_text(draft: &Draft) -> bool {
    matches!(
        draft.operation,
        Operation::Chat
            | Operation::TextCompletion
            | Operation::Responses
            | Operation::GenerateContent
    )
}

/// Whether its client left an answer that had not begun, at a provider that may have worked on it.
fn is_unseen(draft: &Draft) -> bool {
    has_left(draft)
        && draft.status.is_none()
        && draft.error.is_none()
        && draft.attempts.last().is_some_and(may_have_worked)
}

/// Whether nobody waited for the end of the answer.
const fn has_left(draft: &Draft) -> bool {
    matches!(draft.outcome, Some(Outcome::ClientLeft | Outcome::Stopped))
}

/// Tokens that an answer had which its client did not wait for, and which nobody saw: before its
/// first word, or before it left. `seen`: those that were.
fn unseen_output(draft: &Draft, reading: &Reading, seen: u64) -> u64 {
    let Some(last) = draft.attempts.last().filter(|_| has_left(draft)) else {
        return 0;
    };
    let first = reading.first_token_chunk;
    let first_us = first.and_then(|at| draft.response.times_us().get(at).copied());
    let until_us = first_us.map_or(draft.timing.total_us, u64::from);
    let permit = draft.permit.as_ref();
    let usual = permit.and_then(|permit| permit.usual_output());
    presumed(
        until_us.saturating_sub(last.started_us),
        usual.unwrap_or(DEFAULT_OUTPUT),
        seen,
    )
}

/// What a model brings in so many microseconds in which nothing came, of an answer that usually has
/// `usual` tokens and of which `seen` came: it is given a second to begin, and brings
/// [`UNSEEN_PER_S`] then.
const fn presumed(silent_us: u64, usual: u64, seen: u64) -> u64 {
    let presumed = silent_us.saturating_sub(BEGINS_WITHIN_US) / (1_000_000 / UNSEEN_PER_S);
    let left = usual.saturating_sub(seen);
    match presumed < left {
        true => presumed,
        false => left,
    }
}

/// What we count of what was asked and delivered.
fn counted(draft: &Draft, asked: &Sent, reading: &Reading) -> Option<Usage> {
    // A part of a question would be counted as all of it.
    let is_unseen = is_unseen(draft) && asked.omitted.is_none();
    let writes_text = writes_text(draft);
    // Speech is billed by what was asked; of an answer that broke off before its first word, the
    // question is billed.
    let is_counted = !reading.delivered_text.is_empty()
        || draft.operation == Operation::Speech
        || writes_text && draft.outcome != Some(Outcome::Answered);
    let countable = (is_success(draft) || is_unseen)
        && is_counted
        && draft
            .route
            .as_ref()
            .is_some_and(|route| route.wire != Wire::Opaque);
    if !countable {
        return None;
    }
    let body = asked.chunks.concat();
    let model = reading.model.as_deref().or(draft.model.as_deref());
    let counted = tokens::estimate(&body, &reading.delivered_text, model.unwrap_or(""));
    // Of speech, only what is billed by the characters that were asked for can be told.
    let is_told = draft.operation != Operation::Speech || counted.characters > 0;
    is_told.then_some(counted)
}

pub(super) fn cost(
    draft: &Draft,
    reading: &Reading,
    usage: Option<&Usage>,
    notes: &mut Vec<Box<str>>,
) -> Cost {
    let Some(route) = &draft.route else {
        return Cost::free();
    };
    let is_presumed = usage.is_some() && is_unseen(draft);
    if draft.is_own_answer() || !is_success(draft) && !is_presumed {
        let is_unknown = draft.operation.is_billed() && draft.attempts.iter().any(may_have_worked);
        return match is_unknown {
            true => Cost::default(),
            // An error of the provider that still tells a usage is not billed as output.
            false => Cost::free(),
        };
    }
    let told = usage.filter(|usage| usage.total() <= Usage::MAX_TOKENS);
    let is_absurd = told.is_none() && usage.is_some();
    if let (true, Some(usage)) = (is_absurd, usage) {
        let note = format!(
            "the provider told {} tokens, which cannot be",
            usage.total()
        );
        notes.push(note.into());
    }
    match custom_cost(draft, route.wire, told) {
        Some(Ok(cost)) if is_absurd && cost.nanousd.is_none() => return unpriced(),
        Some(Ok(cost)) => return cost,
        Some(Err(wrong)) => {
            notes.push(format!("cf-aig-custom-cost was ignored: {wrong}").into());
        }
        None => {}
    }
    let Some(usage) = told else {
        return match (is_absurd, draft.operation.is_billed()) {
            (true, _) => unpriced(),
            (false, true) => Cost::default(),
            (false, false) => Cost::free(),
        };
    };
    let cost = listed_cost(draft, route, reading, usage);
    if let Some(nanousd) = cost.nanousd.filter(|cost| *cost > Cost::MAX_NANOUSD) {
        let usd = format_usd(nanousd);
        notes.push(format!("the usage would cost {usd} USD, which cannot be").into());
        return unpriced();
    }
    cost
}

/// Whether the provider may have worked on a send whose answer nobody has seen: all but those that
/// came to no connection.
fn may_have_worked(attempt: &Attempt) -> bool {
    const UNSENT: [&str; 5] = [
        "connect_failed",
        "connect_timeout",
        "tls_failed",
        "private_address",
        "credential_failed",
    ];
    attempt.status.is_none()
        && !attempt
            .error
            .as_deref()
            .is_some_and(|word| UNSENT.contains(&word))
}

const fn unpriced() -> Cost {
    Cost {
        status: CostStatus::Unpriced,
        nanousd: None,
        price: None,
    }
}

/// The cost by the price list, of the model that the answer names or else of that which was asked
/// for; on Bedrock the other way round.
fn listed_cost(draft: &Draft, route: &Route, reading: &Reading, usage: &Usage) -> Cost {
    let prices = &draft.config.prices;
    let slug = &route.provider.slug;
    let mut cost = unpriced();
    let mapped = served_model(draft, &Reading::default());
    let (named, asked) = (reading.model.as_deref(), mapped.as_deref());
    let by = match route.wire {
        // Claude's answers name the model alone, and the profile that was asked for (`global.`) has a
        // price of its own.
        Wire::Bedrock => [asked, named],
        Wire::Openai | Wire::Anthropic | Wire::Gemini | Wire::Cohere | Wire::Opaque => {
            [named, asked]
        }
    };
    for model in by.into_iter().flatten() {
        cost = prices.cost(slug, model, usage, draft.created_at);
        if cost.nanousd.is_some() {
            break;
        }
    }
    cost
}

/// The cost that the client set; `None`: it set none. The error tells why it does not hold.
fn custom_cost(draft: &Draft, wire: Wire, usage: Option<&Usage>) -> Option<Result<Cost, String>> {
    let value = draft.options.custom_cost.as_ref()?;
    let parsed = value
        .to_str()
        .map_err(|_not_ascii| "it must be a JSON object".to_owned())
        .and_then(|text| CustomCost::parse(text).map_err(|error| error.to_string()));
    Some(parsed.and_then(|custom| {
        let cost = match wire {
            // Their own input count has no cache tokens in it.
            Wire::Anthropic | Wire::Bedrock => custom.cost_with_separate_cache(usage),
            Wire::Openai | Wire::Gemini | Wire::Cohere | Wire::Opaque => custom.cost(usage),
        };
        match cost.nanousd {
            Some(nanousd) if nanousd > Cost::MAX_NANOUSD => Err(format!(
                "it comes to more than {} USD",
                format_usd(Cost::MAX_NANOUSD)
            )),
            Some(_) | None => Ok(cost),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::presumed;

    #[test]
    fn what_nobody_saw_is_presumed_by_the_second_up_to_what_is_usual() {
        for (silent_us, usual, seen, expected) in [
            (0, 1_000, 0, 0),
            (999_999, 1_000, 0, 0),
            (1_500_000, 1_000, 0, 50),
            (3_000_000, 1_000, 7, 200),
            (60_000_000, 1_000, 7, 993),
            (60_000_000, 5, 7, 0),
            (u64::MAX, u64::MAX, 0, (u64::MAX - 1_000_000) / 10_000),
        ] {
            assert_eq!(presumed(silent_us, usual, seen), expected, "{silent_us}");
        }
    }
}
