//! Two sends of one request, of which the first to answer wins: for a target that takes longer to
//! begin its answer than it nearly ever does.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use isango_types::record::Attempt;
use tokio::time::{Instant, sleep};

use super::ground::{Ground, Leg, admit};
use super::{Answer, Best, Call, checked, head, judge, tell, usable};
use crate::Proxy;
use crate::credentials;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::limit::Entry;
use crate::retry::Failure;
use crate::upstream::{Bounds, Sending, Source};
use crate::watch;
use crate::way::Way;

/// One of the two.
struct Runner<'a> {
    leg: Leg<'a>,
    call: Call<'a>,
    bounds: Bounds,
    began: Instant,
    started_us: u64,
}

/// What a send came to, and where its time went.
type End = (Result<Response<Source>, Error>, Sending);

/// What both sends came to.
struct Finish<'a> {
    /// Whose end decides.
    last: Runner<'a>,
    end: End,
    /// The failure of the other, if it failed, too.
    beaten: Option<Best>,
}

/// Sends the request where it is and, if its answer has not begun after `delay`, to the next target
/// as well. The first answer that is no failure wins, and the other send is broken off; both are on
/// the record. Of two failures the later one is the result, and the earlier one comes with it.
pub(super) async fn race<'a>(
    ground: &Ground<'_>,
    exchange: &mut Exchange,
    call: &mut Call<'a>,
    (leg, way): (&mut Leg<'a>, &mut Way),
    delay: Duration,
) -> (Result<Answer, Error>, Option<Best>) {
    let taken = std::mem::replace(leg, Leg::at(leg.step));
    let running = Box::pin(run(ground, exchange, call, (taken, way), delay));
    let Finish {
        mut last,
        end,
        beaten,
    } = running.await;
    last.ended(ground, exchange, &end);
    exchange.settles_at(last.call.route.target_name());
    let result = match end.0 {
        Ok(response) => {
            let asked = (last.bounds, response);
            usable(ground.proxy, exchange, &mut last.call, asked).await
        }
        Err(error) => Err(error),
    };
    *leg = Leg {
        moved: Some(last.call),
        ..last.leg
    };
    (result, beaten)
}

/// Both sends, until it is known which one decides; the other one is on the record.
async fn run<'a>(
    ground: &Ground<'_>,
    exchange: &mut Exchange,
    call: &mut Call<'a>,
    (leg, way): (Leg<'a>, &mut Way),
    delay: Duration,
) -> Finish<'a> {
    let alone = |last, end| Finish {
        last,
        end,
        beaten: None,
    };
    let mut one = Runner::start(ground, exchange, call, leg);
    exchange.attempting(one.started_us);
    if let Err(error) = one.authenticate(ground, exchange).await {
        return alone(one, (Err(error), Sending::default()));
    }
    exchange.commits();
    let mut first = Box::pin(send(ground.proxy, one.call.copy(), one.bounds));
    tokio::select! {
        biased;
        end = &mut first => return alone(one, end),
        () = sleep(delay) => {}
    }
    let turn = way.hedge(exchange);
    let mut leg = turn.and_then(|turn| ground.leg(exchange, call, (way, turn)));
    if let Some(hedge) = &mut leg {
        let there = hedge.moved.as_mut().unwrap_or(call);
        if admit(exchange, there, Entry::Beside).await.is_err() {
            leg = None;
        }
    }
    // Nobody waits for an issuer while the first send is under way.
    let is_ready = |leg: &Leg<'_>| {
        let call = leg.moved.as_ref().unwrap_or(call);
        credentials::is_at_hand(ground.proxy, call.credential.as_ref())
    };
    let Some(leg) = leg.filter(is_ready) else {
        return alone(one, first.await);
    };
    let mut two = Runner::start(ground, exchange, call, leg);
    if two.authenticate(ground, exchange).await.is_err() {
        return alone(one, first.await);
    }
    exchange.hedging(two.started_us, two.leg.step, two.call.route.target_name());
    let mut second = Box::pin(send(ground.proxy, two.call.copy(), two.bounds));
    tokio::select! {
        biased;
        end = &mut first => if is_failure(&end, &one) {
            one.ended(ground, exchange, &end);
            let (beaten, end) = tokio::join!(one.beaten(ground, end), second);
            Finish { last: two, end, beaten }
        } else {
            two.lost(exchange);
            alone(one, end)
        },
        end = &mut second => if is_failure(&end, &two) {
            two.ended(ground, exchange, &end);
            exchange.goes_to(one.leg.step, Arc::clone(&one.call.route));
            let (beaten, end) = tokio::join!(two.beaten(ground, end), first);
            Finish { last: one, end, beaten }
        } else {
            one.lost(exchange);
            alone(two, end)
        },
    }
}

async fn send(proxy: &Proxy, mut call: Call<'_>, bounds: Bounds) -> End {
    let mut sending = Sending::default();
    let parts = (&call.method, &mut call.headers);
    let mut head = head(&call.route, parts, &bounds, call.interim);
    let asking = proxy
        .upstream
        .send(&mut head, &mut call.body, &mut sending, None);
    let answer = asking.await;
    (checked(proxy, &call.route, answer), sending)
}

fn is_failure((head, _): &End, runner: &Runner<'_>) -> bool {
    let semantics = &runner.call.route.provider.retry;
    let own = runner.leg.own;
    match head {
        Ok(response) => Failure::of_status(response.status(), semantics, own).is_some(),
        Err(error) => Failure::of_error(error).is_some(),
    }
}

impl<'a> Runner<'a> {
    fn start(
        ground: &Ground<'_>,
        exchange: &Exchange,
        call: &mut Call<'a>,
        mut leg: Leg<'a>,
    ) -> Self {
        leg.moved.as_mut().unwrap_or(&mut *call).uses_credential();
        let call = leg.moved.take().unwrap_or_else(|| call.copy());
        let began = Instant::now();
        if let Some(permit) = &mut leg.permit {
            permit.begin(began);
        }
        Self {
            bounds: ground.limits.bounds(call.route.timeouts(), false),
            leg,
            call,
            began,
            started_us: exchange.elapsed_us(),
        }
    }

    /// Makes its credential ready, if it is one that must be.
    async fn authenticate(
        &mut self,
        ground: &Ground<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), Error> {
        match self.call.credential {
            None => Ok(()),
            Some(_) => {
                let call = &mut self.call;
                Box::pin(credentials::authenticate(ground.proxy, exchange, call)).await
            }
        }
    }

    /// It came to an answer, or failed: the exchange is where it is.
    fn ended(&mut self, ground: &Ground<'_>, exchange: &mut Exchange, (head, sending): &End) {
        let route = &self.call.route;
        if let Some(permit) = &mut self.leg.permit {
            let impatient = ground.limits.is_impatient(route.timeouts());
            let (clock, time) = (ground.proxy.sink.clock(), (self.began, Instant::now()));
            watch::ended(clock, permit, time, head.as_ref(), impatient);
        }
        if let Ok(answer) = head {
            credentials::answered(ground.proxy, &self.call, answer);
        }
        let took_us = exchange.elapsed_us() - self.started_us;
        exchange.goes_to(self.leg.step, Arc::clone(route));
        tell(exchange, (route, head), sending, (self.started_us, took_us));
    }

    /// Its failure, for the case that the other one fails as well: of a refusal, the beginning is
    /// read.
    async fn beaten(&self, ground: &Ground<'_>, (head, _): End) -> Option<Best> {
        let route = &self.call.route;
        let edited = self.call.original.is_some();
        let result = head.map(|response| Answer { response, edited });
        let clock = ground.proxy.sink.clock();
        let (failure, result) = judge(result, route, (self.leg.own, false), clock).await;
        Some(Best::of(&failure?, result, route, self.leg.step))
    }

    /// The other one was faster.
    fn lost(&self, exchange: &mut Exchange) {
        let route = &self.call.route;
        exchange.goes_to(self.leg.step, Arc::clone(route));
        exchange.attempted(Attempt {
            target: route.target_name().into(),
            cancelled_by: Some("hedge".into()),
            started_us: self.started_us,
            ..Attempt::default()
        });
    }
}
