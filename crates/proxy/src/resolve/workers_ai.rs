//! Workers AI: the account is the one in the gateway's own path (data-plane section 2.3).

use isango_types::is_account;
use isango_types::provider::BaseUrl;

use super::append::plain;
use super::{Mapped, Names, invalid};
use crate::error::Error;

/// The host whose accounts are known to be 32 hex digits.
const HOST: &str = "api.cloudflare.com";

/// Beginnings of model names, which may stand without `run/` before them.
const MODELS: [&str; 4] = ["@cf/", "@hf/", "%40cf/", "%40hf/"];

pub(super) fn map<'p>(path: &'p str, account: &'p str) -> Result<Mapped<'p>, Error> {
    if !is_account(account) {
        return Err(invalid(
            "the account in the path is 1 to 64 letters, digits, `_` and `-`",
        ));
    }
    let is_model = MODELS.iter().any(|prefix| path.starts_with(prefix));
    Ok(Mapped {
        path: if is_model {
            ["/run/", path, "", ""]
        } else {
            plain(path)
        },
        names: Names {
            account,
            ..Names::default()
        },
        ..Mapped::default()
    })
}

/// Checks the account that the real host would be asked for.
pub(super) fn check_account(base: &BaseUrl, account: &str) -> Result<(), Error> {
    let is_id = account.len() == 32 && account.bytes().all(|byte| byte.is_ascii_hexdigit());
    if account.is_empty() || &*base.authority != HOST || is_id {
        return Ok(());
    }
    Err(invalid(
        "for Workers AI the account in the path is a Cloudflare account id, 32 hex digits",
    ))
}
