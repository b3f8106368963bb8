//! The failure that is the answer when nothing better comes.

use std::sync::Arc;

use http::{Response, StatusCode};
use isango_types::Clock;
use tokio::time::Instant;

use super::{Answer, PEEK_BYTES, PEEK_TIME};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::resolve::Route;
use crate::retry::{Failure, Rank, asked_wait};

/// The failure that is the answer when nothing better comes.
pub(crate) struct Best {
    /// `None`: there is nothing worse.
    rank: Option<Rank>,
    result: Result<Answer, Error>,
    route: Arc<Route>,
    step: usize,
}

impl Best {
    pub(super) fn of(
        failure: &Failure,
        result: Result<Answer, Error>,
        route: &Arc<Route>,
        step: usize,
    ) -> Self {
        Self {
            rank: Some(failure.rank(step, Instant::now())),
            result,
            route: Arc::clone(route),
            step,
        }
    }

    /// The better one.
    pub(super) fn better(earlier: Option<Self>, later: Self) -> Self {
        match earlier {
            Some(earlier) if earlier.is_better(&later) => earlier,
            Some(_) | None => later,
        }
    }

    /// The same where there may be none.
    pub(super) fn better_of(earlier: Option<Self>, later: Option<Self>) -> Option<Self> {
        match later {
            Some(later) => Some(Self::better(earlier, later)),
            None => earlier,
        }
    }

    /// Keeps the failure of a leg while others are tried: of a refusal, the beginning is read.
    pub(crate) async fn hold(
        result: Result<Answer, Error>,
        route: &Arc<Route>,
        step: usize,
        clock: &Clock,
    ) -> Self {
        let (failure, result) = match result {
            Ok(Answer { response, edited }) => {
                let asked = asked_wait(response.status(), response.headers(), clock.now());
                let failure = Failure::of_leg(response.status(), asked);
                let (head, source) = response.into_parts();
                let (_seen, source) = source.peek(PEEK_BYTES, PEEK_TIME).await;
                let response = Response::from_parts(head, source);
                (Some(failure), Ok(Answer { response, edited }))
            }
            Err(error) => (Failure::of_error(&error), Err(error)),
        };
        let now = Instant::now();
        Self {
            rank: failure.map(|failure| failure.rank(step, now)),
            result,
            route: Arc::clone(route),
            step,
        }
    }

    /// Whether this one is of more use than a later one.
    pub(crate) fn is_better(&self, later: &Self) -> bool {
        match (&self.rank, &later.rank) {
            (Some(rank), Some(later)) => rank.is_better(later),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Whether the provider asks to be asked later.
    pub(super) fn is_rate_limit(&self) -> bool {
        let answer = self.result.as_ref();
        answer.is_ok_and(|answer| answer.response.status() == StatusCode::TOO_MANY_REQUESTS)
    }

    pub(crate) fn tell(self, exchange: &mut Exchange) -> Result<Answer, Error> {
        exchange.goes_to(self.step, self.route);
        self.result
    }
}
