//! What an exchange used, what that costs, and what it draws from limits.

use isango_types::limit::Decision;
use isango_types::price::{CostStatus, CustomCost, format_usd};
use isango_types::record::{Attempt, Outcome};
use isango_types::{Cost, Operation, Usage, Wire};
use isango_wire::read::Reading;
use isango_wire::tokens;

use super::bodies::Sent;
use super::presumed::{
    given_up, is_unseen, may_have_worked, unseen_output, was_given_up, writes_text,
};
use super::served_model;
use crate::exchange::Draft;
use crate::limit::Spent;
use crate::resolve::Route;

static FREE: Cost = Cost::free();
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
    asked: &Sent,
    reading: &Reading,
    paid: Option<(Option<&Usage>, &Cost)>,
) -> Vec<Decision> {
    if draft.permit.is_none() {
        return Vec::new();
    }
    let was_sent = !draft.attempts.is_empty();
    let succeeded = is_success(draft);
    // Nobody saw an answer begin: the provider may have worked on it all the same.
    let unseen = is_unseen(draft) || was_given_up(draft);
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
    let is_counted = told.is_none_or(|usage| usage.estimated);
    let spent = Spent {
        requests: u64::from(was_sent || succeeded),
        tokens,
        nanousd,
        is_partial: match told {
            Some(usage) => usage.estimated && asked.omitted.is_some(),
            // What the client says it cost makes it no cheaper.
            None => cost.status == CostStatus::Custom,
        },
        is_pending: paid.is_some()
            && is_counted
            && (succeeded || unseen)
            && is_made_later(draft, reading),
        given_up: match was_given_up(draft) {
            // That is its usage then.
            true => (0, 0),
            false => drawn_by_given_up(draft, asked, reading),
        },
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
    let Some(mut permit) = draft.permit.take() else {
        return Vec::new();
    };
    if let Some(route) = &draft.route {
        permit.note_spent(draft.id, &route.gateway, &spent);
    }
    draft.pledge = permit.take_pledge();
    permit.settle(&spent)
}

/// Whether the answer is made after this exchange, which tells nothing of it: because the request asks
/// for that, or because the answer says so (Responses; Perplexity, asynchronous API, read 2026-11-23).
fn is_made_later(draft: &Draft, reading: &Reading) -> bool {
    const UNDER_WAY: [&str; 3] = ["queued", "in_progress", "created"];
    let status = reading.finish_reason.as_deref().unwrap_or("");
    let is_under_way = || UNDER_WAY.iter().any(|one| one.eq_ignore_ascii_case(status));
    draft.background.is_asked || writes_text(draft) && is_under_way()
}

/// Tokens and cost of the sends that the request's own timeout has ended.
fn drawn_by_given_up(draft: &Draft, asked: &Sent, reading: &Reading) -> (u64, u64) {
    let (Some(usage), Some(route)) = (given_up(draft, asked), &draft.route) else {
        return (0, 0);
    };
    let cost = known_cost(draft, route, reading, &usage);
    (usage.total(), cost.unwrap_or(0))
}

/// What an exchange draws from limits of cost: of what has no price as a whole, the parts that have
/// one. A client that sets the cost of its own request sets it no lower there than the list does.
fn drawn_cost(draft: &Draft, reading: &Reading, usage: &Usage, cost: &Cost) -> Option<u64> {
    let listed = match (cost.status, &draft.route) {
        (CostStatus::Custom | CostStatus::Unpriced, Some(route)) => {
            known_cost(draft, route, reading, usage)
        }
        (_, _) => None,
    };
    Some(cost.nanousd.unwrap_or(0).max(listed.unwrap_or(0)))
}

fn is_success(draft: &Draft) -> bool {
    draft.status.is_some_and(|status| status.is_success()) && draft.error.is_none()
}

/// What the provider told, else what we count of what was delivered, and presume of what nobody saw.
pub(super) fn usage(draft: &Draft, asked: &Sent, reading: &Reading) -> Option<Usage> {
    if was_given_up(draft) {
        return given_up(draft, asked);
    }
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

/// What we count of what was asked and delivered.
fn counted(draft: &Draft, asked: &Sent, reading: &Reading) -> Option<Usage> {
    let permit = draft.permit.as_ref();
    // A part of a question would be counted as all of it, unless all of it was counted before.
    let is_known = asked.omitted.is_none() || permit.is_some_and(|one| one.counted().is_some());
    let is_unseen = is_unseen(draft) && is_known;
    let writes_text = writes_text(draft);
    let is_part = draft.response.omitted().is_some();
    // Speech is billed by what was asked; of an answer that broke off before its first word, the
    // question is billed.
    let is_counted = !reading.delivered_text.is_empty()
        || draft.operation == Operation::Speech
        || writes_text && (is_part || draft.outcome != Some(Outcome::Answered));
    let countable = (is_success(draft) || is_unseen)
        && is_counted
        && draft
            .route
            .as_ref()
            .is_some_and(|route| route.wire != Wire::Opaque);
    if !countable {
        return None;
    }
    let model = reading.model.as_deref().or(draft.model.as_deref());
    let mut counted = asked_for(draft, asked, model);
    if counted.characters == 0 {
        counted.output = tokens::count(model.unwrap_or(""), &reading.delivered_text);
    }
    if is_part && writes_text {
        let passed = permit.and_then(|permit| permit.passed(draft.response.total()));
        counted.output = counted.output.max(passed.unwrap_or(0));
    }
    // Of speech, only what is billed by the characters that were asked for can be told.
    let is_told = draft.operation != Operation::Speech || counted.characters > 0;
    is_told.then_some(counted)
}

/// What we count of what was asked; of what was kept in part, what was counted before it was sent.
pub(super) fn asked_for(draft: &Draft, asked: &Sent, model: Option<&str>) -> Usage {
    let body = asked.chunks.concat();
    let mut counted = tokens::estimate(&body, "", model.unwrap_or(""));
    let permit = draft.permit.as_ref().filter(|_| asked.omitted.is_some());
    if let Some(before) = permit.and_then(|permit| permit.counted()) {
        counted.input = counted.input.max(before);
    }
    counted
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
    let is_presumed = usage.is_some() && (is_unseen(draft) || was_given_up(draft));
    if !is_presumed && (draft.is_own_answer() || !is_success(draft)) {
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

const fn unpriced() -> Cost {
    Cost::unknown(CostStatus::Unpriced)
}

/// The cost by the price list, of the model that the answer names or else of that which was asked
/// for; on Bedrock the other way round.
fn listed_cost(draft: &Draft, route: &Route, reading: &Reading, usage: &Usage) -> Cost {
    let models = billed_as(draft, route, reading);
    let models = models.iter().flatten().map(|model| &**model);
    let prices = draft.prices();
    prices.cost_as(&route.provider.slug, models, usage, draft.created_at)
}

/// What of that is known: the parts that the price of the model has a rate for. `None`: it has no
/// price, or one that cannot be.
fn known_cost(draft: &Draft, route: &Route, reading: &Reading, usage: &Usage) -> Option<u64> {
    let prices = draft.prices();
    let slug = &route.provider.slug;
    let models = billed_as(draft, route, reading).into_iter().flatten();
    let mut known =
        models.filter_map(|model| prices.known_nanousd(slug, &model, usage, draft.created_at));
    known.next().filter(|cost| *cost <= Cost::MAX_NANOUSD)
}

/// The names that a price is looked up by, the better first.
fn billed_as(draft: &Draft, route: &Route, reading: &Reading) -> [Option<Box<str>>; 2] {
    let asked = served_model(draft, &Reading::default());
    let named = reading.model.clone();
    match route.wire {
        // Claude's answers name the model alone, and the profile that was asked for (`global.`) has a
        // price of its own.
        Wire::Bedrock => [asked, named],
        Wire::Openai | Wire::Anthropic | Wire::Gemini | Wire::Cohere | Wire::Opaque => {
            [named, asked]
        }
    }
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
