//! What is presumed of answers that nobody saw: a client that leaves, or whose own timeout ends a
//! send, is not free of what its provider did meanwhile.

use isango_types::record::{Attempt, Outcome};
use isango_types::{Operation, Usage};
use isango_wire::read::Reading;

use super::bodies::Sent;
use super::spent::asked_for;
use crate::exchange::Draft;
use crate::limit::DEFAULT_OUTPUT;

/// How long a model is given to begin, in microseconds, and how many tokens a second it is presumed
/// to bring while nobody sees it.
const BEGINS_WITHIN_US: u64 = 1_000_000;
const UNSEEN_PER_S: u64 = 100;

/// Whether its client left an answer that had not begun, at a provider that may have worked on it.
pub(super) fn is_unseen(draft: &Draft) -> bool {
    has_left(draft)
        && draft.status.is_none()
        && draft.error.is_none()
        && draft.attempts.last().is_some_and(may_have_worked)
}

/// Whether nobody waited for the end of the answer.
const fn has_left(draft: &Draft) -> bool {
    matches!(draft.outcome, Some(Outcome::ClientLeft | Outcome::Stopped))
}

/// Whether no provider's answer was relayed, and the request's own timeout has ended sends: what is
/// presumed of them is all that there is.
pub(super) fn was_given_up(draft: &Draft) -> bool {
    draft.error.is_some() && !draft.given_up_us.is_empty()
}

/// What is presumed of the sends that the request's own timeout has ended, together.
pub(super) fn given_up(draft: &Draft, asked: &Sent) -> Option<Usage> {
    let count = u64::try_from(draft.given_up_us.len()).unwrap_or(u64::MAX);
    if count == 0 || !draft.operation.reads_text() {
        return None;
    }
    let one = asked_for(draft, asked, draft.model.as_deref());
    let unseen = draft
        .given_up_us
        .iter()
        .map(|silent_us| match writes_text(draft) {
            true => presumed(*silent_us, usual_output(draft), 0),
            false => 0,
        });
    Some(Usage {
        input: one.input.saturating_mul(count),
        output: unseen.fold(0, u64::saturating_add),
        estimated: true,
        ..Usage::default()
    })
}

/// Tokens that an answer had which its client did not wait for, and which nobody saw: before its
/// first word, or before it left. `seen`: those that were.
pub(super) fn unseen_output(draft: &Draft, reading: &Reading, seen: u64) -> u64 {
    let Some(last) = draft.attempts.last().filter(|_| has_left(draft)) else {
        return 0;
    };
    let first = reading.first_token_chunk;
    let first_us = first.and_then(|at| draft.response.times_us().get(at).copied());
    let until_us = first_us.map_or(draft.timing.total_us, u64::from);
    let silent_us = until_us.saturating_sub(last.started_us);
    presumed(silent_us, usual_output(draft), seen)
}

pub(super) const fn writes_text(draft: &Draft) -> bool {
    matches!(
        draft.operation,
        Operation::Chat
            | Operation::TextCompletion
            | Operation::Responses
            | Operation::GenerateContent
    )
}

/// Whether the provider may have worked on a send whose answer nobody has seen: all but those that
/// came to no connection.
pub(super) fn may_have_worked(attempt: &Attempt) -> bool {
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

fn usual_output(draft: &Draft) -> u64 {
    let permit = draft.permit.as_ref();
    let usual = permit.and_then(|permit| permit.usual_output());
    usual.unwrap_or(DEFAULT_OUTPUT)
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
