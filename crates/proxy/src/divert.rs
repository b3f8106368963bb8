//! Sends a request elsewhere where a limit of its gateway says so (`on_exceeded = "fallback"`): to
//! the first target that it can be rewritten for. The limits that are for it there are asked as if
//! it had come so; the one that sent it only counts.

use std::sync::Arc;

use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use isango_types::limit::{Diversion, OnExceeded};
use isango_types::{Limit, Snapshot, Target};

use crate::Proxy;
use crate::ask::{self, Call};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::limit::{self, Admission, Stage};

/// Draws from the limits that are due once the body was looked at, or, if it `is_sent` next, before
/// that; the request may go to another target for it.
///
/// # Errors
/// Those of [`limit::admit`].
pub(crate) async fn admit(
    proxy: &Proxy,
    config: &Snapshot,
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    is_sent: bool,
) -> Result<(), Error> {
    let last = match is_sent {
        false => 1,
        true => 2,
    };
    let mut at = last;
    while at <= last {
        let stage = match at {
            0 => Stage::Head,
            1 => Stage::Body,
            _ => Stage::Send(&call.body),
        };
        at = match limit::admit(exchange, stage).await? {
            Admission::Passes => at + 1,
            Admission::Elsewhere(full) => {
                let from = Arc::clone(&call.route);
                match divert((proxy, config), exchange, call, &full.limit) {
                    Some(()) => full.diverts(exchange, from.target_name()),
                    None => return Err(full.refuses(exchange)),
                }
                // All that are for it there, from the first on.
                0
            }
        };
    }
    if is_sent {
        asks_plainly(exchange, call);
    }
    Ok(())
}

/// Asks for an answer that is not encoded, where it may have to be ended.
pub(crate) fn asks_plainly(exchange: &Exchange, call: &mut Call<'_>) {
    if exchange.may_cut() {
        let plain = HeaderValue::from_static("identity");
        call.headers.insert(ACCEPT_ENCODING, plain);
    }
}

/// Rewrites the call for the first target of `limit` that it can be sent to; the record tells why
/// others were passed over. `None`: there is none.
fn divert(
    (proxy, config): (&Proxy, &Snapshot),
    exchange: &mut Exchange,
    call: &mut Call<'_>,
    limit: &Limit,
) -> Option<()> {
    let OnExceeded::Fallback(Diversion { to, model }) = &limit.on_exceeded else {
        return None;
    };
    let route = Arc::clone(&call.route);
    let own = route.target.as_ref().map(|target| &*target.name);
    let targets: Vec<&Arc<Target>> = match to.is_empty() {
        true => own
            .and_then(|own| route.gateway.chain(own))
            .map_or_else(Vec::new, |chain| chain.to.iter().collect()),
        false => {
            let named = |name: &str| {
                let mut targets = route.gateway.targets.iter();
                targets.find(|target| *target.name == *name)
            };
            to.iter().filter_map(|name| named(name)).collect()
        }
    };
    for (at, target) in targets.into_iter().enumerate() {
        let is_own = Some(&*target.name) == own;
        if is_own && model.is_none() || !is_own && exchange.has_left(&target.name) {
            continue;
        }
        match ask::redirect((proxy, config), exchange, call, (target, model.as_deref())) {
            Ok(moved) => {
                *call = moved;
                exchange.brings(0);
                exchange.goes_to(at + 1, Arc::clone(&call.route));
                exchange.remark(&format!(
                    "limit `{}` sent it to `{}`",
                    limit.id, target.name
                ));
                return Some(());
            }
            Err(why) => exchange.remark(&format!(
                "limit `{}` could not send it to `{}`: it {why}",
                limit.id, target.name
            )),
        }
    }
    None
}
