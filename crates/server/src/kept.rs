//! How many records each gateway keeps (`log_management`): counts them now and then, and erases the
//! oldest, or has new ones not kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use isango_proxy::Proxy;
use isango_store::analytics::{Aggregate, Measure, Progress};
use isango_store::filter::Filter;
use isango_store::later::Deletion;
use isango_store::logs::{Error, LogStore, MAX_PAGE, Order, Query};
use isango_types::policy::{Beyond, LogManagement};
use isango_types::{Clock, Gateway, Snapshot};

/// Most records that one look erases of a gateway; the next one goes on.
const MAX_ERASED: u64 = 100_000;

/// Looks at every gateway that keeps so many records and no more.
pub(crate) fn look(config: &Snapshot, proxy: &Proxy, logs: &dyn LogStore, clock: &Clock) {
    let mut full = BTreeSet::new();
    for gateway in config.gateways() {
        let Some(management) = gateway.log_management else {
            continue;
        };
        match look_at(gateway, management, logs, clock) {
            Ok(true) => {
                full.insert((gateway.account.clone(), gateway.id.clone()));
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(gateway = %gateway.id, %error, "records cannot be counted or erased");
            }
        }
    }
    proxy.keep_no_records_of(full);
}

/// Whether new records are not to be kept.
fn look_at(
    gateway: &Arc<Gateway>,
    management: LogManagement,
    logs: &dyn LogStore,
    clock: &Clock,
) -> Result<bool, Error> {
    let text = format!("account:\"{}\" gateway:\"{}\"", gateway.account, gateway.id);
    let filter = Filter::parse(&text, clock.now())
        .map_err(|error| Error::Damaged(format!("the filter of a gateway: {error}")))?;
    let question = Aggregate {
        filter: filter.clone(),
        measures: vec![Measure::Count],
        ..Aggregate::default()
    };
    let answer = logs.aggregate(&question, &Progress::default())?;
    let count = answer.total.values.first().copied().flatten().unwrap_or(0);
    let beyond = count.saturating_sub(management.records);
    match management.beyond {
        Beyond::StopInserting => return Ok(count >= management.records),
        // What is not counted yet may be younger than what would be erased for it.
        Beyond::DeleteOldest if !answer.is_complete => return Ok(false),
        Beyond::DeleteOldest => {}
    }
    let mut left = beyond.min(MAX_ERASED);
    while left > 0 {
        let query = Query {
            filter: filter.clone(),
            order: Order::OldestFirst,
            limit: usize::try_from(left).unwrap_or(MAX_PAGE).min(MAX_PAGE),
            ..Query::default()
        };
        let erased = logs.delete_matching(&query, Deletion::Erased)?;
        if erased == 0 {
            break;
        }
        left = left.saturating_sub(erased);
    }
    Ok(false)
}
