//! Which records a question is about: those of one account, and of these what a filter says.

use isango_store::Filter;
use isango_store::filter::TextField;
use isango_types::{Timestamp, is_gateway_id};
use utoipa::IntoParams;

use crate::Control;
use crate::auth::Caller;
use crate::error::Failure;
use crate::params::Params;

/// Names of the parameters.
pub(crate) const SCOPE: [&str; 4] = ["gateway", "filter", "since", "until"];

/// Which records.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct ScopeParams {
    /// One gateway; without it all of the account that are there for whoever asks.
    gateway: Option<String>,
    /// In the language of `isango logs`: `status:error model:gpt-4o* cost:>0.01 "out of stock"`.
    filter: Option<String>,
    /// From this moment on (RFC 3339).
    since: Option<String>,
    /// To this moment, which is not in it.
    until: Option<String>,
}

/// Records of one account.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) filter: Filter,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Scope {
    /// The records of `account` that pass a filter: of one of its gateways if one is named, else of
    /// those that are there for whoever asks.
    ///
    /// # Errors
    /// The filter cannot be read; or it looks into bodies, and whoever asks may not.
    pub(crate) fn new(
        control: &Control,
        caller: &Caller,
        account: &str,
        (gateway, filter): (Option<&str>, Option<&str>),
    ) -> Result<Self, Failure> {
        let filter = Filter::parse(filter.unwrap_or_default(), control.clock.now());
        let filter =
            filter.map_err(|error| Failure::bad_request(format!("the filter: {error}")))?;
        if filter.needs_bodies() && !caller.reads_bodies() {
            let why = "words are looked for in bodies, which you may not read";
            return Err(Failure::forbidden(why));
        }
        let filter = match gateway {
            None => match caller.gateways() {
                None => filter,
                Some(some) => filter.one_of(TextField::Gateway, some.iter().map(|id| &**id)),
            },
            Some(id) if !is_gateway_id(id) || !caller.sees(id) => return Err(Failure::not_found()),
            Some(id) => filter.only(TextField::Gateway, id),
        };
        Ok(Self {
            filter: filter.only(TextField::Account, account),
            since: None,
            until: None,
        })
    }

    /// The same, as the parameters of an address say.
    ///
    /// # Errors
    /// Those of [`Scope::new`]; or a moment is none.
    pub(crate) fn of_params(
        control: &Control,
        caller: &Caller,
        account: &str,
        params: &Params,
    ) -> Result<Self, Failure> {
        let what = (params.get("gateway"), params.get("filter"));
        Ok(Self {
            since: params.moment("since")?,
            until: params.moment("until")?,
            ..Self::new(control, caller, account, what)?
        })
    }
}
